"""How the surroundings of a pixel count for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from ._map_step import MapStep
from ._maps import smooth

_PASSES = 2
# Side of the near surroundings, as a fraction of the wide ones.
_NEAR = 0.4
# Pixels of the wide surroundings count up to so many times the usual, and together so much as one.
_CEILING = 2.0
_WIDE_WEIGHT = 0.3


class Surroundings(MapStep):
    r"""Weighs each pixel of a map by what its surroundings show.

    With a map a in multiples of the usual, the result is

    .. math:: (a + 0.3\, G_w * \min(a, 2)) \cdot G_n * \sqrt{a}

    where :math:`G_w` and :math:`G_n` are mean filters of the wide and the near surroundings,
    applied twice. The factor raises what is part of something larger, and lowers single peaks,
    of which normal images have many; it multiplies, so that the border of a defect stays sharp.
    The sum lifts the inside of large and faint defects, which differ a little at many pixels,
    above that of normal images. Nothing in it is fitted. This library's own.

    Parameters
    ----------
    size : int
        Side of the wide mean filter in pixels, odd.

    Examples
    --------
    Of two equal peaks, the one among raised values comes out higher:

    >>> import torch
    >>> from skanomaly.scoring import Surroundings
    >>> maps = torch.full((1, 64, 64), 0.5)
    >>> maps[0, 8:24, 8:24] = 1.5
    >>> maps[0, 16, 16] = maps[0, 48, 48] = 4.0
    >>> weighed = Surroundings(size=31)(maps, torch.zeros(1, 5))
    >>> bool(weighed[0, 16, 16] > 1.2 * weighed[0, 48, 48])
    True
    """

    def __init__(self, *, size: int) -> None:
        super().__init__()
        if type(size) is not int or size < 1 or size % 2 == 0:
            raise ValueError(f"size must be an odd positive integer, got {size!r} instead.")
        self.size = size
        self.reach = _PASSES * (size // 2)

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], image_shape: Sequence[int]
    ) -> Self | None:
        """Make one of ``region_size``, for maps of images that are in multiples of the usual.

        Parameters
        ----------
        parameters : mapping of str to object
            The detector's.
        image_shape : (int, int, int) or (int,)
            Height, width and channels of its images, or the number of features.

        Returns
        -------
        Surroundings or None
            None without ``region_size`` or ``normalize_map``, and for rows.
        """
        fraction = parameters["region_size"]
        if fraction is None or not parameters["normalize_map"] or len(image_shape) != 3:
            return None
        return cls.of_images(image_shape[:2], fraction)

    @classmethod
    def of_images(cls, shape: Sequence[int], fraction: float) -> Self:
        """Make one for images of a size.

        Parameters
        ----------
        shape : (int, int)
            Height and width of the images, in pixels.
        fraction : float
            Size as a fraction of the shorter side, from 0 to 1.

        Returns
        -------
        Surroundings
        """
        return cls(size=_odd(fraction * min(shape)))

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Weigh maps.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w)
            In multiples of the usual.
        frame : Tensor of shape (b, 5)
            Not used.

        Returns
        -------
        Tensor of shape (b, h, w)
        """
        wide = smooth(maps.clamp(max=_CEILING), self.size, _PASSES)
        near = smooth(maps.sqrt(), _odd(_NEAR * self.size), _PASSES)
        # Running sums may end a rounding below 0.
        return (maps + _WIDE_WEIGHT * wide.clamp(min=0)) * near.clamp(min=0)

    def config(self) -> dict[str, Any]:
        """Return the settings.

        Returns
        -------
        dict
        """
        return {"size": self.size}


def _odd(size: float) -> int:
    return int(size) // 2 * 2 + 1
