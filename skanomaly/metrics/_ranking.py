"""Pixels of all images ranked by value, and the metrics computed from the ranks."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .._logging import warn
from ._histogram import Floats, Histogram, Keys, ordered_keys
from ._pixels import Pixels

# Pixels collected before they are sorted into bins.
_CHUNK = 2**20
_NOTABLE_ERROR = 1e-3


class Bounded(NamedTuple):
    """A value, and a bound on its distance from the exact one."""

    value: float
    error: float


class Neighbors(NamedTuple):
    """Numbers of pixels with regard to entries, each an ndarray of shape (m,), float64.

    Attributes
    ----------
    above, tied, unsure : ndarray of shape (m,), float64
        Number of pixels with a higher value than all of the entry, with the same value, and in
        bins that share a part of its range.
    """

    above: Floats
    tied: Floats
    unsure: Floats


@dataclass(frozen=True, eq=False)
class PixelRanking:
    """Defective pixels by value, with the numbers of pixels above and beside them.

    Ranking metrics need no more, since a curve over thresholds rises only where a threshold passes
    a defective pixel. Arrays have one entry for each distinct value, or each bin, of defective
    pixels.

    Attributes
    ----------
    normal, defective : Neighbors
        The normal pixels, and the other defective ones, with regard to each entry.
    n_defective : ndarray of shape (m,), float64
        Number of defective pixels.
    overlap : ndarray of shape (m,), float64
        The same, with each pixel weighted by one over the size of its region.
    is_single : ndarray of shape (m,), bool
        Whether all pixels of an entry have the same value.
    n_normal : float
        Number of all normal pixels.
    """

    normal: Neighbors
    defective: Neighbors
    n_defective: Floats
    overlap: Floats
    is_single: NDArray[np.bool_]
    n_normal: float

    def roc_auc(self) -> Bounded:
        """Area under the ROC curve."""
        return self._mean_height(self.n_defective, 1.0)

    def per_region_overlap(self, max_fpr: float) -> Bounded:
        """Area under the mean overlap up to `max_fpr`, divided by `max_fpr`."""
        return self._mean_height(self.overlap, max_fpr)

    def average_precision(self) -> Bounded:
        """Mean over defective pixels of the precision at their value."""
        here, normal, others = self.n_defective, self.normal, self.defective
        fewest_alarms = normal.above + normal.tied
        most_alarms = fewest_alarms + normal.unsure
        # Pixels of one value are found together, and those of a bin one by one.
        n_found = others.above + np.where(self.is_single, here, (here + 1) / 2) + others.unsure / 2
        value = n_found / (n_found + (fewest_alarms + most_alarms) / 2)
        most_found = others.above + here + others.unsure
        highest = most_found / (most_found + fewest_alarms)
        # With the normal pixels first, precision is below 1 by most_alarms / (before + j) at the
        # j-th defective pixel; the sum of 1 / (before + j) is at most log(1 + here / before).
        before = others.above + most_alarms
        ratio = np.divide(here, before, out=np.zeros_like(before), where=before > 0)
        lowest = np.where(
            self.is_single,
            (others.above + here) / (before + here),
            1 - most_alarms * np.log1p(ratio) / here,
        )
        return _bounded(*(_weighted_mean(each, here) for each in (value, lowest, highest)))

    def _mean_height(self, rise: Floats, limit: float) -> Bounded:
        """Mean height, from 0 to `limit`, of a curve that rises in these steps."""
        above, tied, unsure = (each / (self.n_normal * limit) for each in self.normal)
        lowest, highest = _step(above + unsure, tied), _step(above, tied)
        values = _step(above, tied + unsure)
        return _bounded(*(_weighted_mean(each, rise) for each in (values, lowest, highest)))


def _step(start: Floats, width: Floats) -> Floats:
    """Area up to 1 below a step of height 1, which is a slope as wide as its ties."""
    # The end at 1 may cut the slope.
    inside = np.clip(1 - start, 0, width)
    area = np.divide(inside**2, 2 * width, out=np.zeros_like(width), where=width > 0)
    return area + np.maximum(1 - start - width, 0)


def _bounded(value: float, lowest: float, highest: float) -> Bounded:
    return Bounded(value, max(highest - value, value - lowest, 0.0))


def _weighted_mean(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum() / weights.sum())


def _neighbors(histogram: Histogram, of: Histogram, *, is_self: bool) -> Neighbors:
    """Count the pixels of a histogram with regard to the bins of another, or of itself."""
    counts = histogram.sums[0]
    total = counts.sum()
    above = total - _cumulative(histogram.lows, counts, of.highs, side="right")
    by_high = np.argsort(histogram.highs, kind="stable")
    below = _cumulative(histogram.highs[by_high], counts[by_high], of.lows, side="left")
    if is_self:
        return Neighbors(above, np.zeros_like(above), total - above - below - counts)
    singles = histogram.levels == 0
    keys, counts = histogram.lows[singles], counts[singles]
    tied = np.zeros_like(above)
    if len(keys):
        found = np.searchsorted(keys, of.lows).clip(max=len(keys) - 1)
        tied = np.where((of.levels == 0) & (keys[found] == of.lows), counts[found], 0.0)
    return Neighbors(above, tied, total - above - below - tied)


def _cumulative(keys: Keys, counts: Floats, at: Keys, side: Literal["left", "right"]) -> Floats:
    """Sum of the counts of all sorted keys below others, or up to them with side="right"."""
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    return cumulative[np.searchsorted(keys, at, side=side)]


def rank_pixels(
    pixels: Iterable[Pixels], *, max_bins: int | None, regions: bool = False
) -> PixelRanking:
    """Rank the pixels of all images, read one by one.

    Parameters
    ----------
    pixels : iterable of tuple (defective, values)
        As yielded by `iterate_pixels`.
    max_bins : int or None
        Largest number of bins, for normal and for defective pixels each. None keeps all values.
    regions : bool, default=False
        Whether to find the regions of defective pixels; images must then be of shape (h, w).

    Returns
    -------
    PixelRanking
    """
    if max_bins is not None:
        if not isinstance(max_bins, numbers.Integral) or isinstance(max_bins, bool):
            raise TypeError(f"'max_bins' must be an int or None. Got {max_bins!r} instead.")
        if max_bins < 2:
            raise ValueError(f"'max_bins' must be at least 2. Got {max_bins} instead.")
    normal, defective = Histogram(n_weights=0), Histogram(n_weights=1)
    for index, (mask, values) in enumerate(pixels):
        if regions and mask.ndim != 2:
            raise ValueError(
                f"Regions need masks of shape (h, w). Got shape {mask.shape} at index {index}."
            )
        keys = ordered_keys(values)
        normal.add(keys[~mask])
        defective.add(keys[mask], _inverse_region_size(mask) if regions else np.ones(mask.sum()))
        if max_bins is not None and normal.n_waiting + defective.n_waiting >= _CHUNK:
            normal.fold(max_bins)
            defective.fold(max_bins)
    normal.fold(max_bins)
    defective.fold(max_bins)
    if not (len(normal.lows) and len(defective.lows)):
        which = "normal" if len(defective.lows) else "defective"
        raise ValueError(
            f"There is no {which} pixel in 'masks'; the metrics need both kinds. Masks must be "
            "bool, or numbers from 0 to 1 or from 0 to 255, where more than half is defective."
        )
    return rank(normal, defective)


def rank(normal: Histogram, defective: Histogram) -> PixelRanking:
    """Rank counted pixels; the sums of defective ones are counts and overlaps."""
    n_defective, overlap = defective.sums
    return PixelRanking(
        _neighbors(normal, defective, is_self=False),
        _neighbors(defective, defective, is_self=True),
        n_defective,
        overlap,
        defective.levels == 0,
        float(normal.sums[0].sum()),
    )


def warn_of_error(*results: Bounded) -> None:
    """Warn if there were too few bins for one of the values."""
    error = max(result.error for result in results)
    if error > _NOTABLE_ERROR:
        warn(
            f"With so few bins a value can be {error:.2g} from the exact one. Raise 'max_bins', "
            "or pass None to compute exact values.",
        )


def _inverse_region_size(mask: NDArray[np.bool_]) -> Floats:
    """One over the size of its region for each defective pixel; diagonal neighbours connect."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    of_pixels = labels[mask]
    return 1 / np.bincount(of_pixels)[of_pixels]
