"""From an image and its reconstruction to a map and a score."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_PRIOR_IMAGES = 10


def difference_map(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Squared difference, averaged over channels (SSAE).

    Parameters
    ----------
    images, reconstructions : Tensor of shape (b, c, h, w) or (b, n_features)

    Returns
    -------
    Tensor of shape (b, h, w) or (b, n_features)
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
    """
    if size == 1 or passes == 0:
        return maps
    maps, half = maps.unsqueeze(1), size // 2
    for _ in range(passes):
        # A square mean is a mean over columns of means over rows, at a fraction of the cost.
        for kernel, padding in (((size, 1), (half, 0)), ((1, size), (0, half))):
            maps = functional.avg_pool2d(
                maps, kernel, stride=1, padding=padding, count_include_pad=False
            )
    return maps.squeeze(1)


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
    """
    total, count = torch.zeros(1, 1), 0
    for maps in batches:
        total = total + maps.sum(0)
        count += len(maps)
    overall = total.flatten(1).mean(1).view(-1, *[1] * (total.ndim - 1)) / count
    expected = (total + _PRIOR_IMAGES * overall) / (count + _PRIOR_IMAGES)
    return torch.where(overall > 0, expected, 1.0).numpy()


def resize_map(expected: Tensor, size: torch.Size) -> Tensor:
    """Bring expected maps (k, h, w) to the size of other images; rows stay as they are."""
    if expected.shape[1:] == size:
        return expected
    return functional.interpolate(
        expected.unsqueeze(0), size=size, mode="bilinear", align_corners=False
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
    """
    flat = maps.flatten(1)
    if aggregation == "max":
        return flat.amax(1)
    if aggregation == "mean":
        return flat.mean(1)
    count = max(1, round(float(aggregation) * flat.shape[1]))
    return torch.topk(flat, count, dim=1).values.mean(1)
