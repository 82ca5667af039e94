"""Thresholds and p-values from the ranks of new values among those of normal images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._logging import warn

# Number of differences held in memory at a time.
_CHUNK_VALUES = 2**22


def to_float64(alpha: Any) -> float:
    """Convert a level to the double-precision number that prints the same.

    The float32 number nearest to 0.01 is slightly below it, and would need one more image.
    """
    return float(str(alpha)) if isinstance(alpha, np.floating) else float(alpha)


def critical_rank(alpha: float, count: int) -> int:
    """Count the possible p-values that are at most `alpha`.

    Conformal p-values are multiples of 1 / (count + 1). This is the largest k for which
    k / (count + 1) is at most `alpha` in floating-point numbers: 0.29 × 100 is less than 29, but
    29 / 100 is not greater than 0.29.

    Parameters
    ----------
    alpha : float
        From 0 to 1, exclusive.
    count : int
        Number of calibration values.

    Returns
    -------
    int
        From 0 to `count`.
    """
    possible = np.arange(1, count + 1) / (count + 1)
    return int(np.searchsorted(possible, alpha, side="right"))


def _fewest_calibration_values(alpha: float) -> int:
    """Smallest number of calibration values with which a p-value can be at most `alpha`."""
    count = max(1, math.ceil(1 / alpha) - 1)
    # 1 / alpha may be rounded up.
    return count - 1 if count > 1 and critical_rank(alpha, count - 1) else count


def warn_of_too_few(alpha: float, count: int, available: int) -> None:
    """Warn the caller of `fit` that calibration needs more images."""
    warn(
        f"alpha={alpha} needs at least {_fewest_calibration_values(alpha)} images to "
        f"calibrate on, got {count} of the {available} in X instead. No image will ever be "
        "flagged, and no pixel marked. Pass more images, a larger calibration_size or a larger "
        "alpha, or cv, with which all images serve for calibration.",
    )


def bound_false_alarms(rank: int, count: int, n_detectors: int) -> float:
    """Upper bound of the rate of false alarms, for any detector and images.

    k / (n + 1) for one detector, and for K detectors the bound of Gasparin and Ramdas 2025
    ("Improving the statistical efficiency of cross-conformal prediction").

    Parameters
    ----------
    rank : int
        Result of `critical_rank`, k.
    count : int
        Number of calibration values, n.
    n_detectors : int
        K.
    """
    if rank == 0 or n_detectors == 1:
        return rank / (count + 1)
    return min(1.0, 2 * (rank + n_detectors - 1) / (count + n_detectors))


class Comparison(NamedTuple):
    """Result of `ConformalThreshold.compare`."""

    margin: NDArray[np.float64]
    shifted: NDArray[np.float64]


class ConformalThreshold:
    """Compare new values, low for anomalies, with those of n normal images.

    Each of K detectors has its own calibration values, of images that it was not trained on, and a
    new image has K values (Vovk 2015, "Cross-conformal predictors").

    Parameters
    ----------
    calibration : sequence of K ndarrays of shape (n_k,)
        Finite values of the normal images, for each detector.
    rank : int
        Result of `critical_rank`, from 0 to n.
    """

    def __init__(self, calibration: Sequence[NDArray[np.float64]], rank: int) -> None:
        self.calibration = [np.sort(values) for values in calibration]
        self.rank = rank

    @property
    def value(self) -> float:
        """The `rank`-th smallest of all calibration values; minus infinity if `rank` is 0."""
        return -np.inf if self.rank == 0 else self._quantile(self.rank)

    def p_values(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fraction of calibration values that are at most the new value, which counts as one.

        Parameters
        ----------
        values : ndarray of shape (K, m)
            Values of m new images by K detectors.

        Returns
        -------
        ndarray of shape (m,)
            From 1 / (n + 1) to 1.
        """
        counts = np.zeros(values.shape[1])
        for known, new in zip(self.calibration, values, strict=True):
            counts += np.searchsorted(known, new, side="right")
        return (1 + counts) / (1 + sum(map(len, self.calibration)))

    def compare(self, values: NDArray[np.float64]) -> Comparison:
        """Compute the distances of new values from the threshold.

        Parameters
        ----------
        values : ndarray of shape (K, ...)
            Values of new images, or of pixels of their maps, by K detectors.

        Returns
        -------
        margin : ndarray of shape (...)
            The `rank`-th largest difference between the new value and the calibration values;
            infinite if `rank` is 0, NaN if a value is NaN. It is below 0 exactly where the p-value
            is at most ``rank / (n + 1)``: where fewer than `rank` calibration values are at most
            the value.
        shifted : ndarray of shape (...)
            The margin plus the threshold, finite also if `rank` is 0; with a single detector the
            values themselves.
        """
        rank = max(1, self.rank)
        difference = self._difference(values, rank)
        difference[np.isnan(values).any(axis=0)] = np.nan  # whichever differences sorting selects
        margin = difference if self.rank else np.where(np.isnan(difference), np.nan, np.inf)
        if len(values) == 1:
            return Comparison(margin, values[0])
        return Comparison(margin, difference + self._quantile(rank))

    def _quantile(self, rank: int) -> float:
        return float(np.sort(np.concatenate(self.calibration))[rank - 1])

    def _difference(self, values: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
        """The `rank`-th largest of the differences."""
        if len(values) == 1:
            return values[0] - self.calibration[0][rank - 1]
        # At most `rank` values of each detector matter.
        lowest = [known[:rank, np.newaxis] for known in self.calibration]
        flat = values.reshape(len(values), -1)
        result = np.empty(flat.shape[1])
        size = max(1, _CHUNK_VALUES // sum(map(len, lowest)))
        for start in range(0, len(result), size):
            part = slice(start, start + size)
            differences = np.concatenate(
                [new[part] - known for new, known in zip(flat, lowest, strict=True)]
            )
            result[part] = np.partition(differences, -rank, axis=0)[-rank]
        return result.reshape(values.shape[1:])
