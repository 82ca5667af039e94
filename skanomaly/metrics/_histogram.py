"""Histograms of floats: of each distinct value, or of bins that widen to bound memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]

_MANTISSA = 52  # bits
_HALF, _ONE = (int(key) for key in np.array([0.5, 1.0]).view(np.int64))


def ordered_keys(values: Floats) -> Keys:
    """Map finite floats to integers of the same order: their bits, inverted if negative.

    Dropping the last bits of a key rounds its number to fewer significant digits. Bins are then as
    fine as the numbers are near zero, and no range need be known in advance.
    """
    # Adding zero turns -0.0 into 0.0.
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


def rounded(keys: Keys, n_dropped_bits: int) -> Keys:
    """Round keys to fewer bits.

    From one half to one, the bits of the distance to one are dropped, so that bins are as fine
    near one as near zero: probabilities crowd at both ends. Keys that are equal after rounding stay
    equal when more bits are dropped.
    """
    if not n_dropped_bits:
        return keys
    result = keys >> n_dropped_bits << n_dropped_bits
    if n_dropped_bits <= _MANTISSA:
        # The distance in units of the smallest one, and the position of its leading bit.
        near = np.flatnonzero((keys >= _HALF) & (keys < _ONE))
        distance = _ONE - keys[near]
        n_bits = np.frexp(distance.astype(np.float64))[1]
        dropped = np.maximum(n_bits - 1 - (_MANTISSA - n_dropped_bits), 0)
        result[near] = _ONE - (distance >> dropped << dropped)
    return result


class Histogram:
    """Count and sum of weights for each rounded key.

    Parameters
    ----------
    n_weights : int
        Number of weights per key.

    Attributes
    ----------
    keys : ndarray of shape (m,), int64
        The distinct keys in rising order, rounded as in `rounded`.
    sums : ndarray of shape (1 + n_weights, m), float64
        Counts, and sums of the weights.
    n_waiting : int
        Number of keys added since the last `fold`.
    """

    def __init__(self, n_weights: int) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self.sums: Floats = np.empty((1 + n_weights, 0))
        self.n_waiting = 0
        self._waiting: list[tuple[NDArray[np.generic], ...]] = []

    def add(self, keys: Keys, *weights: Floats) -> None:
        """Store keys of shape (n,), and weights of that shape, for the next `fold`."""
        self._waiting.append((keys, *weights))
        self.n_waiting += len(keys)

    def fold(self, n_dropped_bits: int) -> None:
        """Add the stored keys to the sums; earlier ones must be rounded to the same bits."""
        if not self.n_waiting:
            return
        keys, *weights = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting, self.n_waiting = [], 0
        keys = rounded(keys, n_dropped_bits)
        if weights:
            keys, sums = _sum_equal(keys, np.stack([np.ones(len(keys)), *weights]))
        else:
            keys, counts = np.unique(keys, return_counts=True)
            sums = counts[np.newaxis].astype(np.float64)
        if len(self.keys):
            keys = np.concatenate([self.keys, keys])
            keys, sums = _sum_equal(keys, np.concatenate([self.sums, sums], axis=1))
        self.keys, self.sums = keys, sums

    def n_keys_without(self, n_dropped_bits: int) -> int:
        """Return how many distinct keys would remain with this many bits dropped."""
        return len(_starts(rounded(self.keys, n_dropped_bits)))

    def drop(self, n_dropped_bits: int) -> None:
        """Round all keys, and sum those that become equal."""
        self.keys, self.sums = _sum_equal(rounded(self.keys, n_dropped_bits), self.sums)


def fit_into(max_bins: int | None, histograms: list[Histogram], n_dropped_bits: int) -> int:
    """Fold histograms and drop the fewest bits that leave each with at most `max_bins` keys.

    Parameters
    ----------
    max_bins : int or None
        At least 2; None drops nothing.
    histograms : list of Histogram
        All are rounded to the same bits.
    n_dropped_bits : int
        Number of bits dropped so far.

    Returns
    -------
    int
        Number of bits dropped now. It depends on the set of all keys and not on their order.
    """
    for histogram in histograms:
        histogram.fold(n_dropped_bits)
    before = n_dropped_bits
    if max_bins is not None:
        while any(histogram.n_keys_without(n_dropped_bits) > max_bins for histogram in histograms):
            n_dropped_bits += 1
    if n_dropped_bits > before:
        for histogram in histograms:
            histogram.drop(n_dropped_bits)
    return n_dropped_bits


def _sum_equal(keys: Keys, sums: Floats) -> tuple[Keys, Floats]:
    order = np.argsort(keys)
    keys = keys[order]
    starts = _starts(keys)
    return keys[starts], np.add.reduceat(sums[:, order], starts, axis=1)


def _starts(sorted_keys: Keys) -> NDArray[np.intp]:
    """Return the first index of each distinct key."""
    return np.flatnonzero(np.diff(sorted_keys, prepend=sorted_keys[:1] - 1))
