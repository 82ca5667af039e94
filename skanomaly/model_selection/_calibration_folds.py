"""Which images to train on and which to calibrate on."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def hold_out(count: int, size: float | int, random_state: Any) -> Fold:
    """Draw images to calibrate on.

    Parameters
    ----------
    count : int
        Number of images.
    size : float or int
        Share, rounded up, or number of images to calibrate on.
    random_state : int, RandomState instance or None

    Returns
    -------
    training, calibration : ndarray of int
        In ascending order.

    Raises
    ------
    ValueError
        If none are left to train on.
    """
    held_out = int(size) if isinstance(size, Integral) else math.ceil(size * count)
    if held_out >= count:
        raise ValueError(f"calibration_size={size} of {count} sample(s) leaves none to train on.")
    shuffled = check_random_state(random_state).permutation(count)
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])


def split_in_folds(count: int, cv: Any, random_state: Any) -> list[Fold]:
    """Put each image into one calibration fold.

    Parameters
    ----------
    count : int
        Number of images.
    cv : int, splitter or iterable
        A number is that of the folds of a shuffled KFold.
    random_state : int, RandomState instance or None
        Seed of the shuffling.

    Returns
    -------
    list of (training, calibration)
        Indices, ndarrays of int.

    Raises
    ------
    ValueError
        If an image is not in exactly one calibration fold, or in the training fold beside it.
    """
    if isinstance(cv, Integral):
        splitter = KFold(int(cv), shuffle=True, random_state=random_state)
    else:
        splitter = check_cv(cv)
    indices = np.arange(count)
    folds = [(np.asarray(train), np.asarray(test)) for train, test in splitter.split(indices)]
    tested = np.sort(np.concatenate([test for _, test in folds]))
    overlap = any(len(np.intersect1d(train, test)) for train, test in folds)
    if overlap or not np.array_equal(tested, indices):
        raise ValueError(
            "cv must put each image into exactly one test fold, and not into the training fold "
            f"beside it, got cv={cv!r}."
        )
    return folds
