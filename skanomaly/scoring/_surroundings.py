"""What large but faint defects add to a map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ._maps import smooth

# More than so many times the usual counts no further: a small defect does not make its wide
# surroundings suspicious, however strong it is.
_CEILING = 2.0
_PASSES = 2


@dataclass(frozen=True)
class RegionTerm:
    """A wide mean of how unusual the places around are, each up to a ceiling.

    A network repairs a large defect near its rim first, so that its inside stands out a little at
    many places rather than much at a few. This library's own.

    Attributes
    ----------
    size : int
        Side of the wide mean filter in pixels, odd.
    floor : float
        Smallest wide mean in normal images; what is below adds nothing.
    weight : float
        Makes the peaks of the wide means of normal images as high as those of their maps.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import RegionTerm
    >>> normal = torch.rand(20, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> term = RegionTerm.fit([normal], size=9)
    >>> faint = normal[:1].clone()
    >>> faint[:, 8:24, 8:24] += 0.5
    >>> bool((term.add_to(faint) - faint).max() > (term.add_to(normal) - normal).max())
    True
    """

    size: int
    floor: float
    weight: float

    @classmethod
    def fit(cls, batches: Iterable[Tensor], size: int) -> RegionTerm:
        """Learn floor and weight from the maps of normal images.

        Parameters
        ----------
        batches : iterable of Tensor of shape (b, h, w)
            Maps in multiples of the usual.
        size : int
            Side of the wide mean filter in pixels, odd.

        Returns
        -------
        RegionTerm
        """
        floors, wide_peaks, peaks = [], [], []
        for maps in batches:
            wide = _wide_means(maps, size).flatten(1)
            floors.append(wide.amin())
            wide_peaks.append(wide.amax(1))
            peaks.append(maps.flatten(1).amax(1))
        peak = torch.cat(wide_peaks).mean()
        weight = torch.cat(peaks).mean() / peak if peak > 0 else torch.zeros(())
        return cls(size, float(torch.stack(floors).amin()), float(weight))

    @property
    def reach(self) -> int:
        """How far away, in pixels, what it adds to a place may come from."""
        return _PASSES * (self.size // 2)

    def add_to(self, maps: Tensor) -> Tensor:
        """Add it to maps.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w)
            In multiples of the usual.

        Returns
        -------
        Tensor of shape (b, h, w)
        """
        return maps + self.weight * (_wide_means(maps, self.size) - self.floor).clamp(min=0)


def _wide_means(maps: Tensor, size: int) -> Tensor:
    return smooth(maps.clamp(max=_CEILING), size, _PASSES)
