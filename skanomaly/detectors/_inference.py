"""A fitted detector over many images, batch by batch, and over large ones tile by tile."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..networks import receptive_field
from ..scoring import MapStep
from ..training import autocast
from ._images import ValidatedInput, channels_first
from ._model import DetectorModel
from ._standardization import undo
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
        `frame_sums` of the whole images, in units of the training data; of rows, zeros.
    """

    tile: Tile | None
    images: Tensor
    reconstructions: Tensor
    shift: Tensor
    scale: Tensor
    frame: Tensor

    def kept(self, values: Tensor) -> Tensor:
        """Cut values of what is seen, (…, h, w), down to what is kept."""
        return values if self.tile is None else self.tile.crop(values)


@dataclass(frozen=True)
class Inference:
    """Runs models over data, in constant memory.

    Attributes
    ----------
    device : torch.device
        Where the networks of the models are.
    dtype : torch.dtype
        Of the networks' products on images; rows are computed in float64.
    """

    device: torch.device
    dtype: torch.dtype

    def maps(self, model: DetectorModel, data: ValidatedInput) -> Iterator[Tensor]:
        """Yield anomaly maps batch by batch: (b, h, w) or (b, n_features), float64."""
        for maps, frame in self.difference_maps(model, data):
            for step in model.steps:
                maps = apply_step(step, maps, frame)
            yield maps

    def difference_maps(
        self, model: DetectorModel, data: ValidatedInput
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield difference maps (b, k, …) and `frame_sums` (b, 5), float64, batch by batch."""
        return _assemble(
            self.pieces(model, data),
            lambda piece: piece.kept(model.compare(piece.images, piece.reconstructions)),
        )

    def reconstructions(self, model: DetectorModel, data: ValidatedInput) -> Iterator[Tensor]:
        """Yield reconstructions in the range of the data: (b, c, h, w) or (b, n_features)."""
        channels = data.shape[-1]

        def in_own_range(piece: Piece) -> Tensor:
            values = piece.reconstructions[:, :channels]
            return piece.kept(undo(values, piece.shift, piece.scale))

        for values, _ in _assemble(self.pieces(model, data), in_own_range):
            yield values

    def pieces(self, model: DetectorModel, data: ValidatedInput) -> Iterator[Piece]:
        """Reconstruct batch by batch, and tile by tile where images are large.

        Yields
        ------
        Piece
            On the CPU, or on a CUDA device that the network is on; the tiles of a batch one after
            another.
        """
        device, dtype = self.device, self.dtype
        if not data.is_image:
            # Matrix products in double precision, whose rounding no score can show.
            model, dtype = copy.deepcopy(model), torch.float32
            model.network.double()
        standardization, margin = model.standardization, model.margin
        # Apple's devices know no float64, which maps are computed in.
        keep_on = device if device.type == "cuda" else torch.device("cpu")

        most = _CHUNK_PIXELS if device.type == "cpu" else _ACCELERATOR_CHUNK_PIXELS
        size = max(1, min(_LARGEST_CHUNK, most // int(np.prod(data.shape[:2]))))
        at_once = size

        def repair(standardized: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal at_once
            count = len(standardized)
            if standardized.ndim == 2:
                # Kernels differ from one number of rows to another, in the last digit.
                filled = torch.nn.functional.pad(standardized, (0, 0, 0, size - count))
                return standardized, model.repair(filled)[1][:count]
            while True:
                try:
                    parts = [model.repair(part) for part in standardized.split(at_once)]
                    if len(parts) == 1:
                        return parts[0]
                    images, reconstructions = zip(*parts, strict=True)
                    return torch.cat(images), torch.cat(reconstructions)
                except torch.cuda.OutOfMemoryError:
                    at_once = min(at_once, count)
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

        def piece(
            values: NDArray, tile: Tile | None, whole: tuple[Tensor, Tensor, Tensor] | None
        ) -> Piece:
            batch = _to_tensor(values, device)
            if whole is None:
                standardized, shift, scale = standardization(batch)
                frame = model.frame(batch.to(keep_on))
            else:
                shift, scale, frame = whole
                standardized = (batch - shift) / scale
            with torch.inference_mode(), autocast(device, dtype):
                images, reconstructions = repair(standardized)
            if tile is not None and not tile.is_whole:
                # Maps reach less far than the network does.
                near = tile.near(margin)
                images, reconstructions = near.cut(images, tile), near.cut(reconstructions, tile)
                tile = near
            return Piece(
                tile, *(t.to(keep_on) for t in (images, reconstructions, shift, scale, frame))
            )

        cuts: list[Tile | None] = [None]
        if data.is_image:
            reach, stride = receptive_field(model.network)
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
                frame = frame + model.frame(_to_tensor(data.scale(batch[:, *grown]), keep_on), core)
            for cut in cuts:
                assert cut is not None
                yield piece(data.scale(batch[:, *cut.seen]), cut, (*scaling, frame))


def _to_tensor(values: NDArray, device: torch.device) -> Tensor:
    """Bring images (b, h, w, c) channels first, and rows as they are, onto the device."""
    return channels_first(values).to(device)


def _assemble(
    pieces: Iterable[Piece], function: Callable[[Piece], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
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
    Tensor of shape (b, 5), float64
        `frame_sums` of its images.
    """
    whole: Tensor | None = None
    for piece in pieces:
        part = function(piece)
        tile = piece.tile
        if tile is None or tile.is_whole:
            yield part, piece.frame
            continue
        if whole is None:
            whole = part.new_empty(*part.shape[:-2], *tile.size)
        whole[(..., *tile.kept)] = part
        if tile.is_last:
            yield whole, piece.frame
            whole = None


def fill(out: NDArray, batches: Iterable[NDArray]) -> NDArray:
    """Fill an array with what comes batch by batch, so that nothing is held twice."""
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch
        start += len(batch)
    return out


def apply_step(step: MapStep, maps: Tensor, frame: Tensor) -> Tensor:
    """Take a step with maps, part by part and in place where they are large."""
    if not step.reach:
        return step(maps, frame)
    cuts = list(tiles(*maps.shape[1:], reach=step.reach))
    if len(cuts) == 1:
        return step(maps, frame)
    before: list[tuple[Tile, Tensor]] = []
    for _, row in groupby(cuts, key=lambda cut: cut.kept[0].start):
        done = [(cut, cut.crop(step(cut.cut(maps), frame))) for cut in row]
        # A row of tiles looks at its neighbours as they were.
        _put(before, maps)
        before = done
    _put(before, maps)
    return maps


def _put(parts: Iterable[tuple[Tile, Tensor]], maps: Tensor) -> None:
    for cut, part in parts:
        maps[(..., *cut.kept)] = part


def reconstruction_function(
    model: DetectorModel, data: ValidatedInput, device: torch.device
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Make a differentiable function of what the network takes for normal.

    Parameters
    ----------
    model : DetectorModel
        Its network is on ``device``.
    data : ValidatedInput
        All of it is read.
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
    network = copy.deepcopy(model.network).requires_grad_(False).to(values.dtype)
    standardization = model.standardization
    channels = data.shape[-1]

    def function(batch: Tensor) -> Tensor:
        standardized, shift, scale = standardization(batch)
        output = network(standardization.represent(standardized))
        return undo(output[:, :channels], shift, scale)

    return function, values
