"""From an image and its reconstruction to a map and a score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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

    At the border the mean is over the pixels that lie inside.

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
    length, radius = maps.shape[axis], size // 2
    padded = functional.pad(maps, (radius, radius) if axis == -1 else (0, 0, radius, radius))
    total = padded.narrow(axis, 0, length).clone()
    for shift in range(1, size):
        total += padded.narrow(axis, shift, length)
    count = _pixels_inside(length, radius, maps.device)
    return total / (count if axis == -1 else count.unsqueeze(-1))


def _pixels_inside(length: int, radius: int, device: torch.device) -> Tensor:
    """How many pixels of a window lie inside, around each pixel: (length,)."""
    pixel = torch.arange(length, device=device)
    return (pixel + radius + 1).clamp(max=length) - (pixel - radius).clamp(min=0)


def _mean_by_sums(maps: Tensor, size: int) -> Tensor:
    """Mean along the last axis, at a cost that does not: differences of running sums."""
    length, radius = maps.shape[-1], size // 2
    sums = maps.cumsum(-1)
    # Beyond the border sums stay as they are: 0 on one side, all on the other.
    before = sums.new_zeros(*sums.shape[:-1], radius + 1)
    after = sums[..., -1:].expand(*sums.shape[:-1], radius)
    sums = torch.cat([before, sums, after], dim=-1)
    return (sums[..., size:] - sums[..., :length]) / _pixels_inside(length, radius, maps.device)


def aggregate(maps: Tensor, aggregation: str | float) -> Tensor:
    """Reduce each map to one score.

    Parameters
    ----------
    maps : Tensor of shape (b, …)
    aggregation : {"max", "mean"} or float
        A number from 0 to 1 is the mean of that fraction of the largest values, of one at least.

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
    pixels: Any = flat.shape[1]
    if isinstance(pixels, int):
        return torch.topk(flat, max(1, round(float(aggregation) * pixels)), dim=1).values.mean(1)
    # In a graph for images of any size, the graph has to round the number.
    fraction = torch.tensor(float(aggregation), dtype=torch.float64)
    count = (fraction * torch.scalar_tensor(pixels, dtype=torch.float64)).round().clamp(min=1)
    largest: Any = count.long().item()
    torch._check(largest >= 1)
    torch._check(largest <= pixels)
    return torch.topk(flat, largest, dim=1).values.mean(1)
