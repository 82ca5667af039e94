"""A trained network over many images, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..scoring import difference_map, smooth
from ..training import autocast
from ._images import ValidatedInput
from ._standardization import Standardization, undo

# Values in one forward pass. The batch depends on the image size alone, so that scores do not
# depend on how many images are scored together.
_CHUNK_VALUES = 2**16
_LARGEST_CHUNK = 256


def reconstruct_in_batches(
    network: nn.Module,
    data: ValidatedInput,
    standardization: Standardization,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Reconstruct batch by batch, in constant memory.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on ``device``.
    data : ValidatedInput
    standardization : Standardization
    device : torch.device
    dtype : torch.dtype
        Of the network's products on images; rows are computed in float64.

    Yields
    ------
    images, reconstructions : Tensor of shape (b, c [+ 1], h, w) or (b, n_features), on the CPU
        Standardised, and with the local contrast as the last channel where there is one.
    shift, scale : Tensor broadcastable to them
        What brings them back to their own range.
    """
    if not data.is_image:
        # Matrix products in double precision, whose rounding no score can show.
        network, dtype = copy.deepcopy(network).double(), torch.float32
    size = max(1, min(_LARGEST_CHUNK, _CHUNK_VALUES // int(np.prod(data.shape))))
    for start in range(0, len(data), size):
        indices = np.arange(start, min(start + size, len(data)))
        # Kernels may differ from one batch size to another: always the same one.
        padded = np.concatenate([indices, np.full(size - len(indices), indices[-1])])
        values = torch.from_numpy(data.read(padded)).to(device)
        if data.is_image:
            values = values.permute(0, 3, 1, 2)
        images, shift, scale = standardization.apply(values)
        images = standardization.represent(images)
        with torch.inference_mode(), autocast(device, dtype):
            reconstructions = network(images).to(images.dtype)
        yield tuple(  # type: ignore[misc]
            (tensor[: len(indices)] if len(tensor) == size else tensor).cpu()
            for tensor in (images, reconstructions, shift, scale)
        )


def reconstruction_function(
    network: nn.Module,
    data: ValidatedInput,
    standardization: Standardization,
    *,
    device: torch.device,
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Make a differentiable function of what the network takes for normal.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on ``device``.
    data : ValidatedInput
        All of it is read.
    standardization : Standardization
    device : torch.device

    Returns
    -------
    function : callable
        Maps tensors (b, c, h, w) or (b, n_features) to the same shape, in the range of the data.
    values : Tensor of shape (n, c, h, w), float32, or (n, n_features), float64
        The data.
    """
    values = torch.from_numpy(data.read(np.arange(len(data)))).to(device)
    if data.is_image:
        values = values.permute(0, 3, 1, 2).float()
    else:
        values = values.double()
    # A copy, whose weights take no part in derivatives.
    network = copy.deepcopy(network).requires_grad_(False).to(values.dtype)
    channels = data.shape[-1]

    def function(batch: Tensor) -> Tensor:
        standardized, shift, scale = standardization.apply(batch)
        output = network(standardization.represent(standardized))
        return undo(output[:, :channels], shift, scale)

    return function, values


def smoothed_difference_maps(
    batches: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]], channels: int, size: int, passes: int
) -> Iterator[Tensor]:
    """Compare images with their reconstructions.

    Parameters
    ----------
    batches : iterable
        Of `reconstruct_in_batches`.
    channels : int
        Channels of the images themselves; a further one is the local contrast.
    size, passes : int
        Side and repetitions of the mean filter.

    Yields
    ------
    Tensor of shape (b, k, h, w) or (b, 1, n_features), float64
        k is 2 with local contrast, which has a map of its own, else 1.
    """
    for images, reconstructions, _, _ in batches:
        images, reconstructions = images.double(), reconstructions.double()
        if images.ndim == 2:
            yield difference_map(images, reconstructions).unsqueeze(1)
            continue
        parts = zip(images.split(channels, 1), reconstructions.split(channels, 1), strict=True)
        maps = [smooth(difference_map(*part), size, passes) for part in parts]
        yield torch.stack(maps, dim=1)
