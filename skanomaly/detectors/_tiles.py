"""Large images, cut into overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

# Side in pixels of what is looked at at once; larger images are cut into tiles.
_SIDE = 1536


class Tile(NamedTuple):
    """A part of an image.

    Attributes
    ----------
    size : (int, int)
        Height and width of the image.
    seen : (slice, slice)
        Rows and columns that are looked at.
    kept : (slice, slice)
        Rows and columns, inside those, that the result is kept of. Those of all tiles cover the
        image without overlap.
    """

    size: tuple[int, int]
    seen: tuple[slice, slice]
    kept: tuple[slice, slice]

    @property
    def is_whole(self) -> bool:
        """Whether this is the whole image."""
        return all(
            part.stop - part.start == side for part, side in zip(self.kept, self.size, strict=True)
        )

    @property
    def is_last(self) -> bool:
        """Whether this is the last tile of its image."""
        return tuple(part.stop for part in self.kept) == self.size

    def near(self, margin: int) -> Tile:
        """Make the tile that keeps the same and sees no further around it than ``margin``."""
        rows, columns = (
            slice(max(seen.start, kept.start - margin), min(seen.stop, kept.stop + margin))
            for seen, kept in zip(self.seen, self.kept, strict=True)
        )
        return Tile(self.size, (rows, columns), self.kept)

    def cut(self, maps: Tensor, seen: Tile | None = None) -> Tensor:
        """Cut out what is seen, of (…, height, width) or of what another tile sees of it."""
        start = (0, 0) if seen is None else tuple(part.start for part in seen.seen)
        rows, columns = (
            slice(part.start - first, part.stop - first)
            for part, first in zip(self.seen, start, strict=True)
        )
        return maps[..., rows, columns]

    def crop(self, maps: Tensor) -> Tensor:
        """Cut down to what is kept, of maps of what was seen."""
        parts = zip(self.kept, self.seen, strict=True)
        rows, columns = (slice(k.start - s.start, k.stop - s.start) for k, s in parts)
        return maps[..., rows, columns]


def tiles(height: int, width: int, *, reach: int | None, stride: int = 1) -> Iterator[Tile]:
    """Cut an image into tiles, row by row.

    Parameters
    ----------
    height, width : int
        Of the image in pixels.
    reach : int or None
        How far away, in pixels, what a result depends on may lie. None leaves the image whole.
    stride : int, default=1
        Tiles start at multiples of it.

    Yields
    ------
    Tile
    """
    rows, columns = (_intervals(length, reach, stride) for length in (height, width))
    for seen_rows, kept_rows in rows:
        for seen_columns, kept_columns in columns:
            yield Tile((height, width), (seen_rows, seen_columns), (kept_rows, kept_columns))


def _intervals(length: int, reach: int | None, stride: int) -> list[tuple[slice, slice]]:
    """Take one side apart into what is seen and what is kept."""
    if reach is None or length <= _SIDE:
        return [(slice(0, length), slice(0, length))]
    margin = -(-reach // stride) * stride
    # At least half of what is looked at along a side is kept.
    step = max(_SIDE - 2 * margin, 2 * margin, stride) // stride * stride
    starts = range(0, length, step)
    return [
        (
            slice(max(0, start - margin), min(length, start + step + margin)),
            slice(start, min(length, start + step)),
        )
        for start in starts
    ]
