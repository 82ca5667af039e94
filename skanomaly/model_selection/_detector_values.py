"""What fitted detectors say of images, checked and in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples

AnomalyMap = Callable[[Any], NDArray[np.float64]]

# Images whose maps are held in memory at once, where there is no need to keep them.
_BATCH_SIZE = 32


def compute_scores(detector: Any, X: Any) -> NDArray[np.float64]:
    """Score images, without NaN, which no threshold could be compared with.

    Parameters
    ----------
    detector : estimator
        Fitted, with `score_samples`.
    X : array-like, data frame or ImageSequence of length n

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    scores = np.asarray(detector.score_samples(X), dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"score_samples of {detector!r} gave NaN.")
    return scores


def find_anomaly_map(detector: Any) -> AnomalyMap | None:
    """Find what makes anomaly maps.

    Parameters
    ----------
    detector : estimator
        A pipeline, which has no maps of its own, makes those of its last step, from what the steps
        before make of X.

    Returns
    -------
    callable or None
        Makes maps of X; None if the detector has none.
    """
    if isinstance(detector, FrozenEstimator):
        return find_anomaly_map(detector.estimator)
    if not isinstance(detector, Pipeline):
        return getattr(detector, "anomaly_map", None)
    last = find_anomaly_map(detector[-1])
    if last is None or len(detector) == 1:
        return last
    return lambda X: last(detector[:-1].transform(X))


def compute_map_maxima(anomaly_map: AnomalyMap, X: Any) -> NDArray[np.float64]:
    """Compute the largest value of each image's anomaly map.

    Parameters
    ----------
    anomaly_map : callable
        Makes maps of images.
    X : array-like, data frame or ImageSequence of length n

    Returns
    -------
    ndarray of shape (n,)
    """
    maxima = []
    for batch in iterate_batches(X):
        maps = np.asarray(anomaly_map(batch), dtype=np.float64)
        maxima.append(maps.reshape(len(maps), -1).max(axis=1))
    return np.concatenate(maxima)


def check_calibration(
    values: NDArray[np.float64], method: str, detector: Any
) -> NDArray[np.float64]:
    """Refuse values of normal images that are not finite; return them else."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"{method} of {detector!r} gave NaN or infinity on normal images: no threshold can be "
            "set."
        )
    return values


def iterate_batches(X: Any) -> Iterator[Any]:
    """Give a few images at a time."""
    (X,) = indexable(X)
    # One batch at least, so that the detector gets to complain of none.
    for start in range(0, max(1, _num_samples(X)), _BATCH_SIZE):
        yield _safe_indexing(X, slice(start, start + _BATCH_SIZE))


def seed_detector(detector: Any, generator: np.random.RandomState | None) -> None:
    """Seed what has no seed of its own."""
    if generator is None:
        return
    for name, value in sorted(detector.get_params().items(), key=lambda item: item[0]):
        if value is None and name.split("__")[-1] == "random_state":
            detector.set_params(**{name: generator.randint(2**31 - 1)})
