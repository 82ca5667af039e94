"""Weighting of pixels by their surroundings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from ._maps import MapStep, smooth

_PASSES = 2
# Side of the near window, as a fraction of the wide one.
_NEAR = 0.4


class Surroundings(MapStep):
    r"""Weights each pixel of a map by its surroundings.

    For a map R relative to normal images, the result is

    .. math:: (R + b\, G_w * \min(R, c)) \cdot (G_v * R^a)

    where :math:`G_w` and :math:`G_v` are two passes of mean filters with a wide window (``size``)
    and a near one (0.4 times as wide). The factor raises regions and lowers isolated peaks, which
    are common in normal images; as a factor, it keeps the borders of defects sharp. The sum raises
    the inside of large, faint defects. Nothing is fitted. This is a method of this library.

    Parameters
    ----------
    size : int
        Side of the wide window in pixels, odd.
    ceiling : float, default=10.0
        Largest value c that counts in the wide window, above 0, so that a strong defect does not
        raise all of it.
    weight : float, default=0.5
        Weight b of the mean over the wide window, at least 0.
    exponent : float, default=0.25
        Exponent a in the near window, above 0 and at most 1. The smaller it is, the more the factor
        depends on how many pixels of the window deviate, and the less on how far they do.

    Examples
    --------
    Of two equal peaks, the one inside a region of larger values becomes higher:

    >>> import torch
    >>> from skanomaly.scoring import Surroundings
    >>> maps = torch.full((1, 64, 64), 0.5)
    >>> maps[0, 8:24, 8:24] = 1.5
    >>> maps[0, 16, 16] = maps[0, 48, 48] = 4.0
    >>> weighted = Surroundings(size=31)(maps, torch.zeros(1, 5))
    >>> bool(weighted[0, 16, 16] > 1.2 * weighted[0, 48, 48])
    True
    """

    earlier_settings = {"ceiling": 2.0, "weight": 0.3, "exponent": 0.5}

    def __init__(
        self, *, size: int, ceiling: float = 10.0, weight: float = 0.5, exponent: float = 0.25
    ) -> None:
        super().__init__()
        if type(size) is not int or size < 1 or size % 2 == 0:
            raise ValueError(f"size must be an odd positive integer, got {size!r} instead.")
        if not (0 < ceiling < math.inf and 0 <= weight < math.inf and 0 < exponent <= 1):
            raise ValueError(
                "ceiling must be above 0, weight at least 0, and exponent above 0 and at most 1, "
                f"got {ceiling!r}, {weight!r} and {exponent!r} instead."
            )
        self.size = size
        self.ceiling = ceiling
        self.weight = weight
        self.exponent = exponent
        self.reach = _PASSES * (size // 2)

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], image_shape: Sequence[int]
    ) -> Self | None:
        """Make the step for images, from ``region_size`` times their shorter side.

        Parameters
        ----------
        parameters : mapping of str to object
            Parameters of the detector.
        image_shape : (int, int, int) or (int,)
            Height, width and channels of its images, or the number of features.

        Returns
        -------
        Surroundings or None
            None if ``region_size`` is None or ``normalize_map`` is False, and for rows.
        """
        fraction = parameters["region_size"]
        if fraction is None or not parameters["normalize_map"] or len(image_shape) != 3:
            return None
        return cls(size=_odd(fraction * min(image_shape[:2])))

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Weight maps.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w)
            Relative to normal images.
        frame : Tensor of shape (b, 5)
            Not used.

        Returns
        -------
        Tensor of shape (b, h, w)
        """
        wide = smooth(maps.clamp(max=self.ceiling), self.size, _PASSES)
        near = smooth(maps.pow(self.exponent), _odd(_NEAR * self.size), _PASSES)
        # Cumulative sums may round to just below 0.
        return (maps + self.weight * wide.clamp(min=0)) * near.clamp(min=0)

    def config(self) -> dict[str, Any]:
        """Return the settings.

        Returns
        -------
        dict
        """
        return {name: getattr(self, name) for name in ("size", *self.earlier_settings)}


def _odd(size: float) -> int:
    """Round to the nearest odd integer."""
    return int(size) // 2 * 2 + 1
