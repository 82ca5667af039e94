"""Pixels of all images ranked by value, and the metrics computed from the ranks."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ._histogram import Floats, Histogram, fit_into, ordered_keys
from ._pixels import Pixels

# Pixels collected before they are sorted into bins.
_CHUNK = 2**20
_NOTABLE_ERROR = 1e-3


class Bounded(NamedTuple):
    """A value, and a bound on its distance from the exact one."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class PixelRanking:
    """Defective pixels by value, with the numbers of normal pixels above and beside them.

    Ranking metrics need no more, since a curve over thresholds rises only where a threshold passes
    a defective pixel. Arrays have one entry for each distinct value, or each bin, of defective
    pixels, the highest first.

    Attributes
    ----------
    n_above, n_beside : ndarray of shape (m,), float64
        Number of normal pixels with a higher value, and with the same value.
    n_defective : ndarray of shape (m,), float64
        Number of defective pixels.
    overlap : ndarray of shape (m,), float64
        The same, with each pixel weighted by one over the size of its region.
    n_normal : float
        Number of all normal pixels.
    exact : bool
        False for bins: the order of pixels within a bin is then unknown.
    """

    n_above: Floats
    n_beside: Floats
    n_defective: Floats
    overlap: Floats
    n_normal: float
    exact: bool

    def roc_auc(self) -> Bounded:
        """Area under the ROC curve."""
        return self._mean_height(self.n_defective, 1.0)

    def per_region_overlap(self, max_fpr: float) -> Bounded:
        """Area under the mean overlap up to `max_fpr`, divided by `max_fpr`."""
        return self._mean_height(self.overlap, max_fpr)

    def average_precision(self) -> Bounded:
        """Mean over defective pixels of the precision at their value."""
        here, n_alarms = self.n_defective, self.n_above + self.n_beside
        found = np.cumsum(here)
        value = _weighted_mean(found / (found + n_alarms), here)
        highest = _weighted_mean(found / (found + self.n_above), here)
        # With a bin's normal pixels first, precision is below 1 by n_alarms / (before + j) at its
        # j-th defective pixel; the sum of 1 / (before + j) is at most log(1 + here / before).
        before = found - here + n_alarms
        ratio = np.divide(here, before, out=np.zeros_like(before), where=before > 0)
        lowest = _weighted_mean(1 - n_alarms * np.log1p(ratio) / here, here)
        return self._bounded(value, lowest, highest)

    def _mean_height(self, rise: Floats, limit: float) -> Bounded:
        """Mean height, from 0 to `limit`, of a curve that rises in these steps."""
        start = self.n_above / (self.n_normal * limit)
        width = self.n_beside / (self.n_normal * limit)
        # A step is a slope as wide as its ties; the end at 1 may cut it.
        inside = np.clip(1 - start, 0, width)
        area = np.divide(inside**2, 2 * width, out=np.zeros_like(width), where=width > 0)
        if_first, if_last = np.maximum(1 - start, 0), np.maximum(1 - start - width, 0)
        value = _weighted_mean(area + if_last, rise)
        return self._bounded(value, _weighted_mean(if_last, rise), _weighted_mean(if_first, rise))

    def _bounded(self, value: float, lowest: float, highest: float) -> Bounded:
        return Bounded(value, 0.0 if self.exact else max(highest - value, value - lowest))


def _weighted_mean(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum() / weights.sum())


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
    n_dropped_bits = 0
    for index, (mask, values) in enumerate(pixels):
        if regions and mask.ndim != 2:
            raise ValueError(
                f"Regions need masks of shape (h, w). Got shape {mask.shape} at index {index}."
            )
        keys = ordered_keys(values)
        normal.add(keys[~mask])
        defective.add(keys[mask], _inverse_region_size(mask) if regions else np.ones(mask.sum()))
        if max_bins is not None and normal.n_waiting + defective.n_waiting >= _CHUNK:
            n_dropped_bits = fit_into(max_bins, [normal, defective], n_dropped_bits)
    n_dropped_bits = fit_into(max_bins, [normal, defective], n_dropped_bits)
    if not (len(normal.keys) and len(defective.keys)):
        which = "normal" if len(defective.keys) else "defective"
        raise ValueError(
            f"There is no {which} pixel in 'masks'; the metrics need both kinds. Masks must be "
            "bool, or numbers from 0 to 1 or from 0 to 255, where more than half is defective."
        )
    n_lower = np.concatenate([[0.0], np.cumsum(normal.sums[0])])
    highest_first = defective.keys[::-1]
    below = n_lower[np.searchsorted(normal.keys, highest_first, side="left")]
    not_above = n_lower[np.searchsorted(normal.keys, highest_first, side="right")]
    return PixelRanking(
        n_lower[-1] - not_above,
        not_above - below,
        defective.sums[0, ::-1],
        defective.sums[1, ::-1],
        float(n_lower[-1]),
        exact=n_dropped_bits == 0,
    )


def warn_of_error(*results: Bounded) -> None:
    """Warn if there were too few bins for one of the values."""
    error = max(result.error for result in results)
    if error > _NOTABLE_ERROR:
        warnings.warn(
            f"With so few bins a value can be {error:.2g} from the exact one. Raise 'max_bins', "
            "or pass None to compute exact values.",
            stacklevel=3,
        )


def _inverse_region_size(mask: NDArray[np.bool_]) -> Floats:
    """One over the size of its region for each defective pixel; diagonal neighbours connect."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    of_pixels = labels[mask]
    return 1 / np.bincount(of_pixels)[of_pixels]
