"""A trained network over many images, batch by batch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..networks import receptive_field
from ..scoring import Surroundings, difference_map, frame_sums, smooth
from ..training import autocast
from ._images import ValidatedInput, channels_first
from ._standardization import Standardization, undo
from ._tiles import Tile, tiles

# Pixels in one forward pass: with more, a CPU is no faster. Of rows, values.
_CHUNK_PIXELS = 2**18
_ACCELERATOR_CHUNK_PIXELS = 2**23
_LARGEST_CHUNK = 256


class Piece(NamedTuple):
    """A batch of images, or one tile of it, and what the network makes of it.

    Attributes
    ----------
    tile : Tile or None
        None for rows.
    images, reconstructions : Tensor of shape (b, c [+ 1], h, w) or (b, n_features)
        Standardised, and with the local contrast as the last channel where there is one.
    shift, scale : Tensor broadcastable to them
        What brings them back to their own range.
    frame : Tensor of shape (b, 5), float64
        `frame_sums` of the whole pictures, in units of the training data; of rows, zeros.
    """

    tile: Tile | None
    images: Tensor
    reconstructions: Tensor
    shift: Tensor
    scale: Tensor
    frame: Tensor


def reconstruct_in_batches(
    network: nn.Module,
    data: ValidatedInput,
    standardization: Standardization,
    *,
    device: torch.device,
    dtype: torch.dtype,
    margin: int,
) -> Iterator[Piece]:
    """Reconstruct batch by batch, and tile by tile where images are large, in constant memory.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on ``device``. Images are taken apart if it has a ``reach``.
    data : ValidatedInput
    standardization : Standardization
    device : torch.device
    dtype : torch.dtype
        Of the network's products on images; rows are computed in float64.
    margin : int
        How many pixels around a tile are needed to make maps of its reconstruction.

    Yields
    ------
    Piece
        On the CPU, or on a CUDA device that the network is on; the tiles of a batch one after
        another.
    """
    if not data.is_image:
        # Matrix products in double precision, whose rounding no score can show.
        network, dtype = copy.deepcopy(network).double(), torch.float32
    # Apple's devices know no float64, which maps are computed in.
    keep_on = device if device.type == "cuda" else torch.device("cpu")

    most = _CHUNK_PIXELS if device.type == "cpu" else _ACCELERATOR_CHUNK_PIXELS
    size = max(1, min(_LARGEST_CHUNK, most // int(np.prod(data.shape[:2]))))
    at_once = size

    def forward(images: Tensor) -> Tensor:
        nonlocal at_once
        if images.ndim == 2:
            # Kernels differ from one number of rows to another, in the last digit: always the same.
            filled = nn.functional.pad(images, (0, 0, 0, size - len(images)))
            return network(filled)[: len(images)]
        while True:
            try:
                parts = [network(part) for part in images.split(at_once)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.cuda.OutOfMemoryError:
                at_once = min(at_once, len(images))
                if at_once == 1:
                    raise
            # Tried again outside the handler, which holds on to what the failed pass allocated.
            at_once //= 2
            warnings.warn(
                f"Out of memory on {device}: going on with {at_once} images of {data.shape} at "
                "once.",
                UserWarning,
                stacklevel=2,
            )

    def relative(values: NDArray) -> Tensor:
        batch = _to_tensor(values, keep_on)
        shift, scale = standardization.of_dataset(batch)
        return (batch - shift) / scale

    def piece(
        values: NDArray, tile: Tile | None, whole: tuple[Tensor, Tensor, Tensor] | None
    ) -> Piece:
        batch = _to_tensor(values, device)
        if whole is None:
            images, shift, scale = standardization.apply(batch)
            frame = (
                frame_sums(relative(values)) if data.is_image else batch.new_zeros(len(batch), 5)
            )
        else:
            shift, scale, frame = whole
            images = (batch - shift) / scale
        images = standardization.represent(images)
        with torch.inference_mode(), autocast(device, dtype):
            reconstructions = forward(images).to(images.dtype)
        if tile is not None and not tile.is_whole:
            # Maps reach less far than the network does.
            near = tile.near(margin)
            images, reconstructions = near.cut(images, tile), near.cut(reconstructions, tile)
            tile = near
        return Piece(tile, *(t.to(keep_on) for t in (images, reconstructions, shift, scale, frame)))

    cuts: list[Tile | None] = [None]
    if data.is_image:
        reach, stride = receptive_field(network)
        reach = None if reach is None else reach + margin
        cuts = list(tiles(*data.shape[:2], reach=reach, stride=stride))
    batches = (
        np.arange(start, min(start + size, len(data))) for start in range(0, len(data), size)
    )
    for batch in data.load_ahead(batches):
        if len(cuts) == 1:
            yield piece(data.scale(batch), cuts[0], None)
            continue
        parts = (cut.kept for cut in cuts if cut is not None)
        strips = (_to_tensor(data.scale(batch[:, *part]), device) for part in parts)
        scaling = standardization.of_large_images(strips)
        frame = torch.zeros(())
        for cut in cuts:
            assert cut is not None
            # One row and column more, for the differences across the border.
            grown = (slice(part.start, part.stop + 1) for part in cut.kept)
            core = cut.kept[0].stop - cut.kept[0].start, cut.kept[1].stop - cut.kept[1].start
            frame = frame + frame_sums(relative(data.scale(batch[:, *grown])), core)
        for cut in cuts:
            assert cut is not None
            yield piece(data.scale(batch[:, *cut.seen]), cut, (*scaling, frame))


def _to_tensor(values: NDArray, device: torch.device) -> Tensor:
    """Bring images (b, h, w, c) channels first, and rows as they are, onto the device."""
    return channels_first(values).to(device)


def assemble(pieces: Iterable[Piece], function: Callable[[Piece], Tensor]) -> Iterator[Tensor]:
    """Put together what a function makes of pieces, batch by batch.

    Parameters
    ----------
    pieces : iterable of Piece
    function : callable
        Makes (b, …, h, w) of what is kept of a tile, or anything of a whole batch.

    Yields
    ------
    Tensor
        For each batch.
    """
    whole: Tensor | None = None
    for piece in pieces:
        part = function(piece)
        tile = piece.tile
        if tile is None or tile.is_whole:
            yield part
            continue
        if whole is None:
            whole = part.new_empty(*part.shape[:-2], *tile.size)
        whole[(..., *tile.kept)] = part
        if tile.is_last:
            yield whole
            whole = None


def fill(out: NDArray, batches: Iterable[NDArray]) -> NDArray:
    """Fill an array with what comes batch by batch, so that nothing is held twice."""
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch
        start += len(batch)
    return out


def reconstruction_in_own_range(piece: Piece, channels: int) -> Tensor:
    """What is kept of a reconstruction, as the images were: (b, c, h, w) or (b, n_features)."""
    values = undo(piece.reconstructions[:, :channels], piece.shift, piece.scale)
    return values if piece.tile is None else piece.tile.crop(values)


def weigh_by_tiles(surroundings: Surroundings, maps: Tensor) -> Tensor:
    """Weigh maps (b, h, w) by their surroundings, large ones part by part and in place."""
    cuts = list(tiles(*maps.shape[1:], reach=surroundings.reach))
    if len(cuts) == 1:
        return surroundings.apply(maps)
    before: list[tuple[Tile, Tensor]] = []
    for _, row in groupby(cuts, key=lambda cut: cut.kept[0].start):
        done = [(cut, cut.crop(surroundings.apply(cut.cut(maps)))) for cut in row]
        # A row of tiles looks at its neighbours as they were.
        _put(before, maps)
        before = done
    _put(before, maps)
    return maps


def _put(parts: Iterable[tuple[Tile, Tensor]], maps: Tensor) -> None:
    for cut, part in parts:
        maps[(..., *cut.kept)] = part


def smoothed_difference_map(piece: Piece, channels: int, size: int, passes: int) -> Tensor:
    """Compare images with their reconstructions.

    Parameters
    ----------
    piece : Piece
    channels : int
        Channels of the images themselves; a further one is the local contrast.
    size, passes : int
        Side and repetitions of the mean filter.

    Returns
    -------
    Tensor of shape (b, k, h, w) or (b, 1, n_features), float64
        Of what is kept of the tile. k is 2 with local contrast, which has a map of its own,
        else 1.
    """
    images, reconstructions = piece.images, piece.reconstructions
    if piece.tile is None:
        return difference_map(images.double(), reconstructions.double()).unsqueeze(1)
    # In float32, which the reconstructions are in: there are no differences to lose digits in.
    parts = zip(images.split(channels, 1), reconstructions.split(channels, 1), strict=True)
    maps = [smooth(difference_map(*part), size, passes) for part in parts]
    return piece.tile.crop(torch.stack(maps, dim=1)).double()


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
    values = _to_tensor(data.read(np.arange(len(data))), device)
    values = values.float() if data.is_image else values.double()
    # A copy, whose weights take no part in derivatives.
    network = copy.deepcopy(network).requires_grad_(False).to(values.dtype)
    channels = data.shape[-1]

    def function(batch: Tensor) -> Tensor:
        standardized, shift, scale = standardization.apply(batch)
        output = network(standardization.represent(standardized))
        return undo(output[:, :channels], shift, scale)

    return function, values
