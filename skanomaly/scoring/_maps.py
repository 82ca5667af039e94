"""From an image and its reconstruction to a map and a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_PRIOR_IMAGES = 10
# Side of the largest mean filter that a sum of shifts computes faster than running sums.
_LARGEST_SHIFTED = 15


def difference_map(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Squared difference, averaged over channels (SSAE).

    Parameters
    ----------
    images, reconstructions : Tensor of shape (b, c, h, w) or (b, n_features)

    Returns
    -------
    Tensor of shape (b, h, w) or (b, n_features)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import difference_map
    >>> difference_map(torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 8, 8])
    """
    squared = (images - reconstructions).square()
    return squared.mean(1) if images.ndim == 4 else squared


def smooth(maps: Tensor, size: int, passes: int) -> Tensor:
    """Smooth maps with a mean filter, several times over.

    At the border the mean is over the places that lie inside.

    Parameters
    ----------
    maps : Tensor of shape (b, h, w)
    size : int
        Side of the filter in pixels, odd.
    passes : int
        How often to apply it; 0 leaves the maps as they are.

    Returns
    -------
    Tensor of shape (b, h, w)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import smooth
    >>> smooth(torch.tensor([[[0.0, 0.0, 6.0, 0.0, 0.0]]]), size=3, passes=1)
    tensor([[[0., 2., 2., 2., 0.]]])
    """
    if size == 1 or passes == 0:
        return maps
    for _ in range(passes):
        # A square mean is a mean over columns of means over rows, at a fraction of the cost.
        if size > _LARGEST_SHIFTED:
            maps = _mean_by_sums(_mean_by_sums(maps, size).mT, size).mT
        else:
            maps = _mean_by_shifts(_mean_by_shifts(maps, size, -1), size, -2)
    return maps


def _mean_by_shifts(maps: Tensor, size: int, axis: int) -> Tensor:
    """Mean along an axis, at a cost that grows with the window: a sum of shifted maps.

    On CPUs several times as fast as pooling.
    """
    length, reach = maps.shape[axis], size // 2
    padded = functional.pad(maps, (reach, reach) if axis == -1 else (0, 0, reach, reach))
    total = padded.narrow(axis, 0, length).clone()
    for shift in range(1, size):
        total += padded.narrow(axis, shift, length)
    count = _places_inside(length, reach, maps.device)
    return total / (count if axis == -1 else count.unsqueeze(-1))


def _places_inside(length: int, reach: int, device: torch.device) -> Tensor:
    """How many places of a window lie inside, around each place: (length,)."""
    place = torch.arange(length, device=device)
    return (place + reach + 1).clamp(max=length) - (place - reach).clamp(min=0)


def _mean_by_sums(maps: Tensor, size: int) -> Tensor:
    """Mean along the last axis, at a cost that does not: differences of running sums."""
    length, reach = maps.shape[-1], size // 2
    sums = maps.cumsum(-1)
    # Beyond the border sums stay as they are: 0 on one side, all on the other.
    before = sums.new_zeros(*sums.shape[:-1], reach + 1)
    after = sums[..., -1:].expand(*sums.shape[:-1], reach)
    sums = torch.cat([before, sums, after], dim=-1)
    return (sums[..., size:] - sums[..., :length]) / _places_inside(length, reach, maps.device)


def expected_map(batches: Iterable[Tensor]) -> NDArray[np.float64]:
    """Average the maps of normal images, place by place.

    Some places are harder to reconstruct than others, edges more so than a smooth middle. A map
    divided by this one says how many times more than usual the image differs there. Each place
    is pulled a little towards the mean over all places, as if that had been seen in
    ten further images, so that few images do not make a noisy divisor.

    Parameters
    ----------
    batches : iterable of Tensor of shape (b, k, …), float64
        k kinds of maps of the same images; each is averaged by itself.

    Returns
    -------
    ndarray of shape (k, …), float64
        Above 0.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import expected_map
    >>> maps = torch.ones(90, 1, 1, 2, dtype=torch.float64)
    >>> maps[..., 1] = 3  # usually three times as different as its neighbour
    >>> expected_map([maps])
    array([[[1.1, 2.9]]])
    """
    total, count = torch.zeros(1, 1), 0
    for maps in batches:
        total = total + maps.sum(0)
        count += len(maps)
    overall = total.flatten(1).mean(1).view(-1, *[1] * (total.ndim - 1)) / count
    expected = (total + _PRIOR_IMAGES * overall) / (count + _PRIOR_IMAGES)
    return torch.where(overall > 0, expected, 1.0).numpy()


def leave_one_out(ratio: Tensor, count: int) -> Tensor:
    """Take an image's own share out of the expected map that its maps were divided by.

    A place where one image of n differs a thousandfold is divided by that image too, and comes out
    at about n: the image seems more normal than a new one like it, which has no share.

    Parameters
    ----------
    ratio : Tensor of shape (b, k, …)
        Maps of images over their expected map.
    count : int
        Number of images that the expected map was averaged over, these among them.

    Returns
    -------
    Tensor of that shape
        The maps over the expected map of the other images.

    Examples
    --------
    Of three maps of one place, one is ten times the others. To the expected map of the other two
    it is more unusual than to that of all three:

    >>> import torch
    >>> from skanomaly.scoring import expected_map, leave_one_out
    >>> maps = torch.tensor([1.0, 1.0, 10.0], dtype=torch.float64).view(3, 1, 1)
    >>> ratio = maps / torch.from_numpy(expected_map([maps]))
    >>> round(ratio[2].item(), 2), round(leave_one_out(ratio, 3)[2].item(), 2)
    (2.5, 2.86)
    """
    others = count + _PRIOR_IMAGES - 1
    # With maps m and expected map e = (m + rest) / (others + 1), ratio is m / e.
    return ratio * others / (others + 1 - ratio)


def resize_map(
    expected: Tensor, size: Sequence[int], part: tuple[slice, slice] | None = None
) -> Tensor:
    """Bring expected maps to the size of other images; rows stay as they are.

    Parameters
    ----------
    expected : Tensor of shape (k, h, w) or (k, n_features)
    size : (int, int) or (int,)
        Height and width of the other images.
    part : (slice, slice) or None
        Rows and columns of the resized maps to compute alone.

    Returns
    -------
    Tensor of shape (k, *size), or (k, rows, columns) of the part

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import resize_map
    >>> resize_map(torch.ones(1, 32, 32), (48, 64)).shape
    torch.Size([1, 48, 64])
    """
    if expected.shape[1:] == torch.Size(size):
        return expected if part is None else expected[:, *part]
    if part is None:
        return functional.interpolate(
            expected.unsqueeze(0), size=list(size), mode="bilinear", align_corners=False
        ).squeeze(0)
    y, x = (
        (torch.arange(p.start, p.stop).to(expected) + 0.5) * 2 / side - 1
        for p, side in zip(part, size, strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return functional.grid_sample(
        expected.unsqueeze(0), grid.unsqueeze(0), padding_mode="border", align_corners=False
    ).squeeze(0)


def aggregate(maps: Tensor, aggregation: str | float) -> Tensor:
    """Reduce each map to one score.

    Parameters
    ----------
    maps : Tensor of shape (b, …)
    aggregation : {"max", "mean"} or float
        A number from 0 to 1 is the mean of that share of the largest values, of one at least.

    Returns
    -------
    Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import aggregate
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, 10.0]]])
    >>> aggregate(maps, "max"), aggregate(maps, "mean"), aggregate(maps, 0.5)
    (tensor([10.]), tensor([4.]), tensor([6.5000]))
    """
    flat = maps.flatten(1)
    if aggregation == "max":
        return flat.amax(1)
    if aggregation == "mean":
        return flat.mean(1)
    count = max(1, round(float(aggregation) * flat.shape[1]))
    return torch.topk(flat, count, dim=1).values.mean(1)
