"""Fitted models applied to many images batch by batch, and to large images tile by tile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from .._device import require_memory
from .._logging import warn
from .._validation import Shape, ValidatedInput, channels_first, to_image_dtype
from ..networks import apply_in_windows, window_step
from ..scoring import MapStep
from ..training import autocast
from ._model import DetectorModel

Slices = tuple[slice, slice]

# Pixels, or values of rows, in one forward pass: with more, a CPU is no faster.
_CHUNK_PIXELS = 2**18
_ACCELERATOR_CHUNK_PIXELS = 2**23
_LARGEST_CHUNK = 256
# Pixels of maps that a step is applied to at once, in double precision.
_STEP_PIXELS = 2**20
# Side in pixels beyond which images are cut into tiles.
_SIDE = 1536


class Tile(NamedTuple):
    """A part of an image.

    Attributes
    ----------
    size : (int, int)
        Height and width of the image.
    seen : (slice, slice)
        Rows and columns that the network reads.
    kept : (slice, slice)
        Rows and columns, inside those, whose result is kept. Those of all tiles cover the image
        without overlap.
    """

    size: tuple[int, int]
    seen: Slices
    kept: Slices

    @property
    def is_whole(self) -> bool:
        """Whether this is the whole image."""
        return self.is_last and self.kept[0].start == self.kept[1].start == 0

    @property
    def is_last(self) -> bool:
        """Whether this is the last tile of its image."""
        return tuple(part.stop for part in self.kept) == self.size

    def near(self, margin: int) -> Tile:
        """Return the tile that keeps the same and sees at most ``margin`` pixels around it."""
        rows, columns = (
            slice(max(seen.start, kept.start - margin), min(seen.stop, kept.stop + margin))
            for seen, kept in zip(self.seen, self.kept, strict=True)
        )
        return Tile(self.size, (rows, columns), self.kept)

    def cut(self, values: Tensor, around: Tile) -> Tensor:
        """Cut values seen by another tile, (…, h, w), down to those seen by this one."""
        return values[(..., *_within(self.seen, around.seen))]

    def crop(self, values: Tensor) -> Tensor:
        """Cut values that are seen, (…, h, w), down to those that are kept."""
        return values[(..., *_within(self.kept, self.seen))]


def _within(parts: Slices, around: Slices) -> Slices:
    rows, columns = (
        slice(part.start - outer.start, part.stop - outer.start)
        for part, outer in zip(parts, around, strict=True)
    )
    return rows, columns


def tiles(
    size: tuple[int, int],
    margin: tuple[int | None, int | None],
    step: tuple[int, int] = (1, 1),
) -> Iterator[Tile]:
    """Cut an image into tiles, row by row.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image in pixels.
    margin : (int or None, int or None)
        Pixels that tiles see beyond what they keep, along both axes. None does not cut the image.
    step : (int, int), default=(1, 1)
        Tiles start at multiples of it.

    Yields
    ------
    Tile
    """
    rows, columns = map(_intervals, size, margin, step)
    for seen_rows, kept_rows in rows:
        for seen_columns, kept_columns in columns:
            yield Tile(size, (seen_rows, seen_columns), (kept_rows, kept_columns))


def _intervals(length: int, margin: int | None, step: int) -> list[Slices]:
    """Cut one side into what is seen and what is kept."""
    if margin is None or length <= _SIDE:
        return [(slice(0, length), slice(0, length))]
    margin = -(-margin // step) * step
    # At least half of each seen side is kept.
    kept = max(_SIDE - 2 * margin, 2 * margin, step) // step * step
    return [
        (
            slice(max(0, start - margin), min(length, start + kept + margin)),
            slice(start, min(length, start + kept)),
        )
        for start in range(0, length, kept)
    ]


class Piece(NamedTuple):
    """A batch of images, or one tile of it, and the output of the network.

    Attributes
    ----------
    tile : Tile or None
        None for rows.
    images, reconstructions : Tensor of shape (b, c [+ 1], h, w) or (b, n_features)
        As `DetectorModel.repair` returns them.
    shift, scale : Tensor broadcastable to them
        As `Standardization` returns them.
    frame : Tensor of shape (b, 5), float64
        `DetectorModel.frame` of the whole images.
    """

    tile: Tile | None
    images: Tensor
    reconstructions: Tensor
    shift: Tensor
    scale: Tensor
    frame: Tensor


@dataclass(frozen=True)
class Inference:
    """Applies a model to data in constant memory.

    Attributes
    ----------
    model : DetectorModel
    device : torch.device
        Device of the network.
    precision : {"auto", "float32", "bfloat16"}
        Of the network's products on images, where "auto" is float32. Rows are computed in float64.
    """

    model: DetectorModel
    device: torch.device
    precision: str

    def maps(self, data: ValidatedInput) -> Iterator[Tensor]:
        """Yield anomaly maps (b, h, w) or (b, n_features), float64, batch by batch."""
        for maps, frame in self.difference_maps(data):
            for step in self.model.steps:
                maps = apply_step(step, maps, frame)
            yield maps

    def difference_maps(self, data: ValidatedInput) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield difference maps (b, k, …) and frames (b, 5), float64, batch by batch."""
        return _assemble(
            self._pieces(data),
            lambda piece: self.model.compare(piece.images, piece.reconstructions),
        )

    def reconstructions(self, data: ValidatedInput) -> Iterator[NDArray[Any]]:
        """Yield reconstructions (b, h, w, c) in the dtype of the data, or (b, n_features)."""
        channels = data.shape[-1]
        for values, _ in _assemble(
            self._pieces(data),
            lambda piece: piece.reconstructions[:, :channels] * piece.scale + piece.shift,
        ):
            array = values.cpu().numpy()
            if data.is_image:
                array = to_image_dtype(np.moveaxis(array, 1, -1), data.source.dtype)
            yield array

    def _pieces(self, data: ValidatedInput) -> Iterator[Piece]:
        """Apply the network batch by batch, and to the tiles of a batch one after another.

        Pieces are on the CPU, or on the CUDA device of the network.
        """
        model, device = self.model, self.device
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        if not data.is_image:
            # In float64 the rounding of matrix products is negligible.
            model, dtype = copy.deepcopy(model), torch.float32
            model.network.double()
        # Apple's devices have no float64, which maps are computed in.
        keep_on = device if device.type == "cuda" else torch.device("cpu")
        most = _CHUNK_PIXELS if device.type == "cpu" else _ACCELERATOR_CHUNK_PIXELS
        size = max(1, min(_LARGEST_CHUNK, most // int(np.prod(data.shape[:2]))))

        def repair(standardized: Tensor) -> tuple[Tensor, Tensor]:
            if standardized.ndim == 4:
                return model.repair(standardized)
            # The last digit may depend on the number of rows.
            count = len(standardized)
            filled = torch.nn.functional.pad(standardized, (0, 0, 0, size - count))
            return standardized, model.repair(filled)[1][:count]

        def piece(
            values: NDArray, tile: Tile | None, whole: tuple[Tensor, Tensor, Tensor] | None = None
        ) -> Piece:
            batch = channels_first(values).to(device)
            if whole is None:
                standardized, shift, scale = model.standardization(batch)
                frame = model.frame(batch.to(keep_on))
            else:
                shift, scale, frame = whole
                standardized = (batch - shift) / scale
            with torch.inference_mode(), autocast(device, dtype):
                images, reconstructions = repair(standardized)
            if tile is not None and not tile.is_whole:
                # Maps depend on fewer pixels than the network's output.
                near = tile.near(model.margin)
                images, reconstructions = near.cut(images, tile), near.cut(reconstructions, tile)
                tile = near
            tensors = (images, reconstructions, shift, scale, frame)
            return Piece(tile, *(tensor.to(keep_on) for tensor in tensors))

        cuts: list[Tile] = []
        if data.is_image:
            sides = data.shape[0], data.shape[1]
            rows, columns = (
                _margin_and_step(model, length, side)
                for length, side in zip(sides, model.window or sides, strict=True)
            )
            cuts = list(tiles(sides, (rows[0], columns[0]), (rows[1], columns[1])))
        if len(cuts) > 1:
            size = 1
        at_once = size

        def uncut(values: NDArray) -> Iterator[Piece]:
            """Halve what does not fit into memory, for the maps as for the network."""
            nonlocal at_once
            while len(values):
                found = None
                try:
                    found = piece(values[:at_once], cuts[0] if cuts else None)
                except torch.cuda.OutOfMemoryError:
                    at_once = min(at_once, len(values))
                    if at_once == 1 or not data.is_image:
                        raise
                if found is not None:
                    values = values[at_once:]
                    yield found
                    continue
                # Outside the handler, which keeps the memory of the failed pass allocated.
                at_once //= 2
                warn(
                    f"Out of memory on {device}: going on with {at_once} images of {data.shape} at "
                    "once.",
                )

        starts = range(0, len(data), size)
        batches = (np.arange(start, min(start + size, len(data))) for start in starts)
        for batch in data.load_ahead(batches):
            if len(cuts) < 2:
                yield from uncut(data.scale(batch))
                continue
            strips = (channels_first(data.scale(batch[:, *cut.kept])).to(device) for cut in cuts)
            scaling = model.standardization.of_large_images(strips)
            frame = torch.zeros(())
            for cut in cuts:
                # One row and column more, for the differences across the border.
                grown = (slice(part.start, part.stop + 1) for part in cut.kept)
                core = cut.kept[0].stop - cut.kept[0].start, cut.kept[1].stop - cut.kept[1].start
                values = channels_first(data.scale(batch[:, *grown])).to(keep_on)
                frame = frame + model.frame(values, core)
            for cut in cuts:
                yield piece(data.scale(batch[:, *cut.seen]), cut, (*scaling, frame))


def _margin_and_step(model: DetectorModel, length: int, side: int) -> tuple[int | None, int]:
    """Margin and step of tiles along an axis: windows bound what a pixel depends on."""
    return (side + model.margin, window_step(side)) if side < length else (None, 1)


def _assemble(
    pieces: Iterable[Piece], function: Callable[[Piece], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a function's values for whole images, with their frames, batch by batch.

    The function returns (b, …, h, w) for tiles, and is also given whole batches.
    """
    whole: Tensor | None = None
    for piece in pieces:
        part, tile = function(piece), piece.tile
        if tile is None or tile.is_whole:
            yield part, piece.frame
            continue
        part = tile.crop(part)
        if whole is None:
            whole = part.new_empty(*part.shape[:-2], *tile.size)
        whole[(..., *tile.kept)] = part
        if tile.is_last:
            yield whole, piece.frame
            whole = None


def apply_step(step: MapStep, maps: Tensor, frame: Tensor) -> Tensor:
    """Apply a step to maps, a few at a time; to large ones tile by tile and in place."""
    few = max(1, _STEP_PIXELS // maps[0].numel())
    if len(maps) > few:
        parts = zip(maps.split(few), frame.split(few), strict=True)
        return torch.cat([apply_step(step, *part) for part in parts])
    size = maps.shape[1], maps.shape[-1]
    cuts = list(tiles(size, (step.reach, step.reach))) if step.reach else []
    if len(cuts) < 2:
        return step(maps, frame)
    before: list[tuple[Tile, Tensor]] = []
    for _, row in groupby(cuts, key=lambda cut: cut.kept[0].start):
        done = [(cut, cut.crop(step(maps[(..., *cut.seen)], frame))) for cut in row]
        # The next row of tiles reads this one unchanged.
        _put(before, maps)
        before = done
    _put(before, maps)
    return maps


def _put(parts: Iterable[tuple[Tile, Tensor]], maps: Tensor) -> None:
    for cut, part in parts:
        maps[(..., *cut.kept)] = part


def allocate(shape: Shape, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """Make an array for results, or raise a MemoryError that names them."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    require_memory(n_bytes, f"{what} of shape {shape}", "Pass fewer images at a time.")
    return np.empty(shape, dtype)


def fill(out: NDArray, batches: Iterable[NDArray]) -> NDArray:
    """Fill an array batch by batch, which holds nothing twice as concatenation does."""
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch
        start += len(batch)
    return out


def reconstruction_function(
    model: DetectorModel, data: ValidatedInput, device: torch.device
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Make the reconstruction a differentiable function.

    Parameters
    ----------
    model : DetectorModel
        Its network is on ``device``.
    data : ValidatedInput
        Is read at once.
    device : torch.device

    Returns
    -------
    function : callable
        Maps tensors (b, c, h, w) or (b, n_features) to the same shape, in the range of the data.
    values : Tensor of shape (n, c, h, w), float32, or (n, n_features), float64
        The data.
    """
    values = channels_first(data.read(np.arange(len(data)))).to(device)
    values = values.float() if data.is_image else values.double()
    # A copy, whose weights take no part in derivatives.
    network = copy.deepcopy(model.network).requires_grad_(False).to(values.dtype)
    standardization = model.standardization

    def function(batch: Tensor) -> Tensor:
        standardized, shift, scale = standardization(batch)
        images = standardization.represent(standardized)
        output = apply_in_windows(network, images, model.window)
        return output[:, : data.shape[-1]] * scale + shift

    return function, values
