"""Thresholds and p-values from the ranks of new values among those of normal images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Differences held in memory at once.
_CHUNK_VALUES = 2**22


def to_float64(alpha: Any) -> float:
    """Convert a level to the double-precision number that prints the same.

    The float32 nearest to 0.01 is a little below it, and would ask for one image more.
    """
    return float(str(alpha)) if isinstance(alpha, np.floating) else float(alpha)


def critical_rank(alpha: float, count: int) -> int:
    """Tell how many of the possible p-values are at most `alpha`.

    Conformal p-values are multiples of 1 / (count + 1), and this is the largest k for which k /
    (count + 1) is at most `alpha`, as floating-point numbers compare: 0.29 × 100 falls short of 29,
    but 29 / 100 is not above 0.29.

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


def fewest_calibration_values(alpha: float) -> int:
    """Tell how many calibration values it takes for any p-value to be at most `alpha`."""
    count = max(1, math.ceil(1 / alpha) - 1)
    # 1 / alpha may have been rounded up.
    return count - 1 if count > 1 and critical_rank(alpha, count - 1) else count


def bound_false_alarms(rank: int, count: int, n_detectors: int) -> float:
    """Bound the rate of false alarms, whatever the detector and the images.

    k / (n + 1) for one detector; for K of them the bound of Gasparin and Ramdas 2025 ("Improving
    the statistical efficiency of cross-conformal prediction").

    Parameters
    ----------
    rank : int
        Of `critical_rank`, k.
    count : int
        Number of calibration values, n.
    n_detectors : int
        K.
    """
    if rank == 0 or n_detectors == 1:
        return rank / (count + 1)
    return min(1.0, 2 * (rank + n_detectors - 1) / (count + n_detectors))


class ConformalThreshold:
    """Compare new values, low for anomalies, with those of n normal images.

    There may be K detectors, each with calibration values of its own, from images that it was not
    trained on; a new image then has K values (Vovk 2015, "Cross-conformal predictors").

    Parameters
    ----------
    calibration : sequence of K ndarrays of shape (n_k,)
        Values of the normal images by each detector, finite.
    rank : int
        Of `critical_rank`, from 0 to n.
    """

    def __init__(self, calibration: Sequence[NDArray[np.float64]], rank: int) -> None:
        self.calibration = [np.sort(values) for values in calibration]
        self.rank = rank

    @property
    def value(self) -> float:
        """The `rank`-th smallest of all calibration values; infinitely low if `rank` is 0."""
        return -np.inf if self.rank == 0 else self._quantile(self.rank)

    def p_values(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the calibration values that are as low, a new value counted among them.

        Parameters
        ----------
        values : ndarray of shape (K, m)
            Of m new images by K detectors.

        Returns
        -------
        ndarray of shape (m,)
            From 1 / (n + 1) to 1.
        """
        counts = np.zeros(values.shape[1])
        for known, new in zip(self.calibration, values, strict=True):
            counts += np.searchsorted(known, new, side="right")
        return (1 + counts) / (1 + sum(map(len, self.calibration)))

    def margin(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far new values are above the threshold.

        Below 0 exactly where the p-value is at most ``rank / (n + 1)``: fewer than `rank`
        calibration values are as low where the `rank`-th largest difference between the new value
        and the calibration values is below 0.

        Parameters
        ----------
        values : ndarray of shape (K, m)
            Of m new images by K detectors.

        Returns
        -------
        ndarray of shape (m,)
            Infinite if `rank` is 0.
        """
        if self.rank == 0:
            return np.full(values.shape[1], np.inf)
        return self._difference(values, self.rank)

    def shifted_margin(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The margin plus the threshold, finite where `rank` is 0 too.

        With a single detector these are the values themselves.
        """
        if len(values) == 1:
            return values[0]
        rank = max(1, self.rank)
        return self._difference(values, rank) + self._quantile(rank)

    def _quantile(self, rank: int) -> float:
        return float(np.sort(np.concatenate(self.calibration))[rank - 1])

    def _difference(self, values: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
        """The `rank`-th largest of the differences."""
        # No detector can add more than `rank` of those that count.
        lowest = [known[:rank, np.newaxis] for known in self.calibration]
        result = np.empty(values.shape[1])
        size = max(1, _CHUNK_VALUES // sum(map(len, lowest)))
        for start in range(0, len(result), size):
            part = slice(start, start + size)
            differences = np.concatenate(
                [new[part] - known for new, known in zip(values, lowest, strict=True)]
            )
            result[part] = np.partition(differences, -rank, axis=0)[-rank]
        return result
