"""Folds of images to train on and to calibrate on."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state

Fold = tuple[NDArray[np.intp] | None, NDArray[np.intp]]


def make_folds(conformal: Any, count: int) -> list[Fold]:
    """Split the indices of images into (training, calibration) folds.

    Parameters
    ----------
    conformal : ConformalDetector
        Its parameters decide. With a frozen detector, training is None and all images calibrate.
    count : int
        Number of images.

    Raises
    ------
    ValueError
        If no image is left to train on, or `cv` does not put each image into one calibration fold.
    """
    if isinstance(conformal.detector, FrozenEstimator):
        return [(None, np.arange(count))]
    if conformal.cv is None:
        return [_hold_out(count, conformal.calibration_size, conformal.random_state)]
    return _split(count, conformal.cv, conformal.random_state)


def _hold_out(count: int, size: float | int, random_state: Any) -> Fold:
    """Draw a number or a fraction (rounded up) of the images to calibrate on, sorted."""
    held_out = int(size) if isinstance(size, Integral) else math.ceil(size * count)
    if held_out >= count:
        raise ValueError(
            f"calibration_size={size} of {count} sample(s) leaves none to train on. Pass more "
            "images or a smaller calibration_size."
        )
    shuffled = check_random_state(random_state).permutation(count)
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])


def _split(count: int, cv: Any, random_state: Any) -> list[Fold]:
    """Put each image into one calibration fold; a number is that of a shuffled KFold."""
    if isinstance(cv, Integral):
        splitter = KFold(int(cv), shuffle=True, random_state=random_state)
    else:
        splitter = check_cv(cv)
    indices = np.arange(count)
    # Splitters may also give negative indices, or masks.
    folds = [(indices[train], indices[test]) for train, test in splitter.split(indices)]
    tested = np.sort(np.concatenate([test for _, test in folds]))
    overlap = any(len(np.intersect1d(train, test)) for train, test in folds)
    if overlap or not np.array_equal(tested, indices):
        raise ValueError(
            "cv must put each image into exactly one test fold, and not into the training fold "
            f"of the same split, got cv={cv!r} instead."
        )
    return [*folds]
