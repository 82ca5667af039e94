"""Histograms of floats: of each distinct value, or of bins that follow the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]

# Growth of the bins' counts in each attempt to fit into the number of bins.
_GROWTH = 1.25
# Above the highest tenth of the values, counts of bins are limited by their rank.
_TOP = 0.1
# Fraction of bins below which a pass of merging waits for the next one.
_FEW = 0.03


def ordered_keys(values: Floats) -> Keys:
    """Map finite floats to integers of the same order: their bits, inverted if negative."""
    # Adding zero turns -0.0 into 0.0.
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


class Histogram:
    """Count and sum of weights for each key, or for bins of keys.

    A bin holds keys that differ in their last bits only. As in a q-digest [1]_, bins are merged
    where they count few keys: at most a fraction of the keys from there upwards, or of a tenth of
    all keys if this is less. Bins are thus narrow where keys crowd and at the high end, on which
    metrics of rare positives depend. Later keys get bins of their own, so that bins may overlap.

    Parameters
    ----------
    n_weights : int
        Number of weights per key.

    Attributes
    ----------
    lows, highs : ndarray of shape (m,), int64
        Lowest and highest key of each bin, by rising `lows`.
    levels : ndarray of shape (m,), int64
        Number of last bits in which the keys of a bin may differ; 0 for a single key.
    sums : ndarray of shape (1 + n_weights, m), float64
        Counts, and sums of the weights.
    n_waiting : int
        Number of keys added since the last `fold`.

    References
    ----------
    .. [1] N. Shrivastava, C. Buragohain, D. Agrawal, S. Suri, "Medians and Beyond: New Aggregation
       Techniques for Sensor Networks", SenSys 2004.
    """

    def __init__(self, n_weights: int) -> None:
        self.lows: Keys = np.empty(0, np.int64)
        self.highs: Keys = self.lows
        self.levels: Keys = self.lows
        self.sums: Floats = np.empty((1 + n_weights, 0))
        self.n_waiting = 0
        self._waiting: list[tuple[NDArray[np.generic], ...]] = []
        self._fraction = 0.0

    def add(self, keys: Keys, *weights: Floats) -> None:
        """Store keys of shape (n,), and weights of that shape, for the next `fold`."""
        self._waiting.append((keys, *weights))
        self.n_waiting += len(keys)

    def fold(self, max_bins: int | None) -> None:
        """Count the stored keys, and merge bins until at most `max_bins` are left.

        Parameters
        ----------
        max_bins : int or None
            At least 2; None merges nothing.
        """
        if self.n_waiting:
            keys, *weights = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting, self.n_waiting = [], 0
            if weights:
                order = np.argsort(keys)
                sums = np.stack([np.ones(len(keys)), *(weight[order] for weight in weights)])
                keys, sums = _sum_equal(keys[order], sums)
            else:
                keys, counts = np.unique(keys, return_counts=True)
                sums = counts[np.newaxis].astype(np.float64)
            self._insert(keys, sums)
        if max_bins is not None and len(self.lows) > max_bins:
            # About a third of the fraction that values without ties need.
            self._fraction = max(self._fraction, 8 / max_bins)
            self._merge_all()
            while len(self.lows) > max_bins:
                self._fraction *= _GROWTH
                self._merge_all()

    def _insert(self, keys: Keys, sums: Floats) -> None:
        """Insert distinct keys in rising order."""
        levels = np.zeros_like(keys)
        lows = np.concatenate([self.lows, keys])
        order = np.argsort(lows, kind="stable")
        self.lows = lows[order]
        self.highs = np.concatenate([self.highs, keys])[order]
        self.levels = np.concatenate([self.levels, levels])[order]
        self.sums = np.concatenate([self.sums, sums], axis=1)[:, order]
        self._merge(0, np.inf)

    def _merge_all(self) -> None:
        """Merge bins of few keys, from those of the closest keys to those of distant ones."""
        apart = self.lows[1:] ^ self.lows[:-1]
        # Without its second bit, a number is not rounded up to the next power of two.
        n_bits = np.frexp((apart & ~(apart >> 1)).astype(np.float64))[1]
        # Later keys may equal the lowest key of a merged bin, or lie within it.
        n_bits = np.maximum(n_bits, np.maximum(self.levels[1:], self.levels[:-1]))
        levels, n_pairs = np.unique(n_bits[apart >= 0], return_counts=True)
        n_waiting = 0
        for level, n in zip(levels.tolist(), n_pairs.tolist(), strict=True):
            n_waiting += n
            # A pass for few bins is not worth its time.
            if n_waiting > _FEW * len(self.lows) or level == levels[-1]:
                self._merge(level, self._fraction)
                n_waiting = 0

    def _merge(self, level: int, fraction: float) -> None:
        """Merge bins whose keys differ in their last bits only, where they count few keys."""
        inside = np.flatnonzero(self.levels <= level)
        starts = _starts(self.lows[inside] >> level)
        sizes = np.diff(starts, append=len(inside))
        sums = np.add.reduceat(self.sums[:, inside], starts, axis=1)
        first = inside[starts]
        n_upwards = np.cumsum(self.sums[0, ::-1])[::-1]
        limits = fraction * np.minimum(n_upwards[first], _TOP * n_upwards[0])
        chosen = (sizes > 1) & (sums[0] <= limits)
        if not chosen.any():
            return
        highs = np.maximum.reduceat(self.highs[inside], starts)
        targets = first[chosen]
        # Arrays may be shared with the caller.
        self.highs, self.levels = self.highs.copy(), self.levels.copy()
        self.highs[targets], self.levels[targets] = highs[chosen], level
        self.sums[:, targets] = sums[:, chosen]
        is_kept = np.ones(len(self.lows), dtype=bool)
        is_kept[inside[np.repeat(chosen, sizes)]] = False
        is_kept[targets] = True
        self.lows, self.highs = self.lows[is_kept], self.highs[is_kept]
        self.levels, self.sums = self.levels[is_kept], self.sums[:, is_kept]


def _sum_equal(sorted_keys: Keys, sums: Floats) -> tuple[Keys, Floats]:
    starts = _starts(sorted_keys)
    return sorted_keys[starts], np.add.reduceat(sums, starts, axis=1)


def _starts(sorted_keys: Keys) -> NDArray[np.intp]:
    """Return the first index of each distinct key."""
    return np.flatnonzero(np.diff(sorted_keys, prepend=sorted_keys[:1] - 1))
