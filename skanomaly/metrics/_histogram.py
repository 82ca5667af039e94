"""Counts of numbers by value: of each value, or of bins that widen as far as memory asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]

_MANTISSA = 52  # bits
_HALF, _ONE = (int(key) for key in np.array([0.5, 1.0]).view(np.int64))


def ordered_keys(values: Floats) -> Keys:
    """Integers in the order of finite floats: their own bits, with the negative ones turned.

    Dropping the last bits of a key rounds its number to fewer significant digits, so that bins
    are as fine as the numbers are near zero, and need no range that is known in advance.
    """
    # Adding zero makes zero of minus zero.
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


def rounded(keys: Keys, n_dropped_bits: int) -> Keys:
    """Bring keys together that are equal without so many of their last bits.

    Just below one, bits are those of the distance to it, so that bins are as fine there as near
    zero: probabilities crowd at either end. Keys that are equal stay so without further bits.
    """
    if not n_dropped_bits:
        return keys
    result = keys >> n_dropped_bits << n_dropped_bits
    if n_dropped_bits <= _MANTISSA:
        # The distance as a multiple of the smallest, and the place of its first bit.
        near = np.flatnonzero((keys >= _HALF) & (keys < _ONE))
        distance = _ONE - keys[near]
        n_bits = np.frexp(distance.astype(np.float64))[1]
        dropped = np.maximum(n_bits - 1 - (_MANTISSA - n_dropped_bits), 0)
        result[near] = _ONE - (distance >> dropped << dropped)
    return result


class Histogram:
    """Sums over keys that are equal but for their last bits.

    Parameters
    ----------
    n_weights : int
        How many weights each key comes with.

    Attributes
    ----------
    keys : ndarray of shape (m,), int64
        The distinct keys in rising order, without the dropped bits: see `rounded`.
    sums : ndarray of shape (1 + n_weights, m), float64
        How many there were of each, and the sums of their weights.
    n_waiting : int
        How many have been added since the last `fold`.
    """

    def __init__(self, n_weights: int) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self.sums: Floats = np.empty((1 + n_weights, 0))
        self.n_waiting = 0
        self._waiting: list[tuple[Keys, Floats]] = []

    def add(self, keys: Keys, *weights: Floats) -> None:
        """Take keys of shape (n,), and weights of that shape, to be summed later."""
        self._waiting.append((keys, np.reshape(weights, (len(weights), len(keys)))))
        self.n_waiting += len(keys)

    def fold(self, n_dropped_bits: int) -> None:
        """Sum what waits; all that came before must have been folded with as many bits."""
        if not self.n_waiting:
            return
        keys = np.concatenate([keys for keys, _ in self._waiting])
        weights = np.concatenate([weights for _, weights in self._waiting], axis=1)
        self._waiting, self.n_waiting = [], 0
        keys = rounded(keys, n_dropped_bits)
        if len(weights):
            keys, sums = _sum_equal(keys, np.vstack([np.ones(len(keys)), weights]))
        else:
            keys.sort()
            starts = _starts(keys)
            sums = np.diff(starts, append=len(keys)).astype(np.float64)[np.newaxis]
            keys = keys[starts]
        if len(self.keys):
            keys, sums = _sum_equal(
                np.concatenate([self.keys, keys]), np.concatenate([self.sums, sums], axis=1)
            )
        self.keys, self.sums = keys, sums

    def n_keys_without(self, n_dropped_bits: int) -> int:
        """How many distinct keys there would be without so many of their last bits."""
        return len(_starts(rounded(self.keys, n_dropped_bits)))

    def drop(self, n_dropped_bits: int) -> None:
        """Take so many bits off all keys, and sum those that become equal."""
        if len(self.keys):
            self.keys, self.sums = _sum_equal(rounded(self.keys, n_dropped_bits), self.sums)


def fit_into(max_bins: int | None, histograms: list[Histogram], n_dropped_bits: int) -> int:
    """Fold histograms and drop the fewest bits that leave each with `max_bins` keys at most.

    Parameters
    ----------
    max_bins : int or None
        At least 2; None drops nothing.
    histograms : list of Histogram
        They keep the same bits.
    n_dropped_bits : int
        As many as have been dropped up to now.

    Returns
    -------
    int
        As many as are dropped now. It depends on all keys together and not on their order.
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
    """Where a new key begins."""
    is_new = np.ones(len(sorted_keys), dtype=bool)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=is_new[1:])
    return np.flatnonzero(is_new)
