"""Difference maps, smoothing, aggregation, and the base class of map steps."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

# Largest side of a mean filter for which a sum of shifted maps is faster than cumulative sums.
_LARGEST_SHIFTED = 15


def difference_map(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Squared difference, averaged over the channels (SSAE).

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
    """Apply a mean filter several times.

    At the border, the mean is over the pixels inside the image.

    Parameters
    ----------
    maps : Tensor of shape (b, h, w)
    size : int
        Side of the filter in pixels, odd.
    passes : int
        Number of applications; 0 returns the maps unchanged.

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
        # The filter is separable.
        if size > _LARGEST_SHIFTED:
            maps = _mean_by_sums(_mean_by_sums(maps, size).mT, size).mT
        else:
            maps = _mean_by_shifts(_mean_by_shifts(maps, size, -1), size, -2)
    return maps


def _mean_by_shifts(maps: Tensor, size: int, axis: int) -> Tensor:
    """Filter along an axis by a sum of shifted maps, several times faster on CPUs than pooling."""
    length, radius = maps.shape[axis], size // 2
    padded = functional.pad(maps, (radius, radius) if axis == -1 else (0, 0, radius, radius))
    total = padded.narrow(axis, 0, length).clone()
    for shift in range(1, size):
        total += padded.narrow(axis, shift, length)
    count = _pixels_inside(length, radius, maps.device)
    return total / (count if axis == -1 else count.unsqueeze(-1))


def _pixels_inside(length: int, radius: int, device: torch.device) -> Tensor:
    """Count the pixels of the window around each pixel that lie inside: (length,)."""
    pixel = torch.arange(length, device=device)
    return (pixel + radius + 1).clamp(max=length) - (pixel - radius).clamp(min=0)


def _mean_by_sums(maps: Tensor, size: int) -> Tensor:
    """Filter along the last axis by cumulative sums, at a cost independent of the size."""
    length, radius = maps.shape[-1], size // 2
    sums = maps.cumsum(-1)
    # Cumulative sums beyond the border: 0 before it, the total after it.
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
        A number from 0 to 1 is the mean of that fraction of the values, the largest ones, and of at
        least one.

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
    # In an exported graph for images of any size, the graph computes the number.
    fraction = torch.tensor(float(aggregation), dtype=torch.float64)
    count = (fraction * torch.scalar_tensor(pixels, dtype=torch.float64)).round().clamp(min=1)
    largest: Any = count.long().item()
    torch._check(largest >= 1)
    torch._check(largest <= pixels)
    return torch.topk(flat, largest, dim=1).values.mean(1)


class MapStep(nn.Module):
    """Base class of the steps from difference maps to anomaly maps.

    The constructor of a subclass takes learned values as tensors and settings as numbers or
    strings, all by keyword. It registers the tensors as buffers of the same names, and `config`
    returns the settings; model files store both. Buffers are float64, stay on the CPU, and are
    converted to the dtype and device of the input.

    Attributes
    ----------
    reach : int or None
        A pixel of the result depends on pixels at most this far away. Large images are then
        processed in tiles. None means the whole image.
    earlier_settings : mapping of str to object
        Settings of model files and pickles that were written before the constructor took them.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import MapStep
    >>> class Power(MapStep):
    ...     def __init__(self, *, exponent):
    ...         super().__init__()
    ...         self.exponent = exponent
    ...
    ...     def forward(self, maps, frame):
    ...         return maps**self.exponent
    ...
    ...     def config(self):
    ...         return {"exponent": self.exponent}
    >>> Power(exponent=2)(torch.full((1, 2, 2), 3.0), torch.zeros(1, 5))
    tensor([[[9., 9.],
             [9., 9.]]])
    """

    reach: int | None = 0
    earlier_settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**self.earlier_settings, **state})

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], image_shape: Sequence[int]
    ) -> Self | None:
        """Make the step from the parameters of a detector; required in ``OPTIONAL_STEPS``.

        Parameters
        ----------
        parameters : mapping of str to object
            Parameters of the detector.
        image_shape : (int, int, int) or (int,)
            Height, width and channels of its images, or the number of features.

        Returns
        -------
        MapStep or None
            None if the detector does not use this step.
        """
        raise NotImplementedError

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Make the step from the contents of a model file.

        Parameters
        ----------
        config : mapping of str to object
            As returned by `config`, without the names of ``earlier_settings`` if it is older.
        tensors : mapping of str to Tensor
            The buffers.

        Returns
        -------
        MapStep
        """
        return cls(**{**cls.earlier_settings, **config}, **tensors)

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Transform maps.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w) or (b, n_features), float64
            At least 0. The first step gets (b, k, h, w) or (b, 1, n_features).
        frame : Tensor of shape (b, 5), float64
            `frame_sums` of the images.

        Returns
        -------
        Tensor of shape (b, h, w) or (b, n_features), float64
            At least 0.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the settings of the constructor, without tensors.

        Returns
        -------
        dict
        """
        return {}
