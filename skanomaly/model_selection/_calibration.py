"""Detectors trained on one part of normal images, and their values on another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._estimators import detect_batches, find_method
from ._calibration_folds import Fold


class Calibration(NamedTuple):
    """A detector, with scores and largest values of maps of images that it was not trained on."""

    detector: Any
    scores: NDArray[np.float64]
    map_maxima: NDArray[np.float64] | None


def calibrate(detector: Any, X: Any, folds: list[Fold], random_state: Any) -> list[Calibration]:
    """Train a copy of the detector on each fold, and compute what thresholds are set on.

    Parameters
    ----------
    detector : estimator
        One that is fitted stays as it is where the training fold is None.
    X : array-like, data frame or ImageSequence of length n
    folds : list of (training, calibration)
    random_state : int, RandomState instance or None
        Seed of detectors that have none of their own.

    Raises
    ------
    ValueError
        If values of calibration images are not finite.
    """
    generator = None if random_state is None else check_random_state(random_state)
    results = []
    for training, held_out in folds:
        fitted = clone(detector)
        if training is None:
            check_is_fitted(fitted)
        else:
            _seed(fitted, generator)
            fitted.fit(_safe_indexing(X, training))
        results.append(_compute_values(fitted, _safe_indexing(X, held_out)))
    return results


def compute_scores(detector: Any, X: Any) -> NDArray[np.float64]:
    """Score images; refuse NaN, which no threshold could be compared with."""
    return check_scores(detector.score_samples(X), detector)


def check_scores(scores: Any, detector: Any) -> NDArray[np.float64]:
    """Bring scores to float64, and refuse NaN."""
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"score_samples of {detector!r} gave NaN.")
    return scores


def _compute_values(detector: Any, X: Any) -> Calibration:
    if find_method(detector, "anomaly_map") is None:
        scores = compute_scores(detector, X)
        return Calibration(detector, _check_finite(scores, "score_samples", detector), None)
    parts, maxima = [], []
    for batch in detect_batches(detector, X, "score_samples", "anomaly_map"):
        parts.append(check_scores(batch.score_samples, detector))
        maps = batch.anomaly_map.astype(np.float64, copy=False)
        maxima.append(maps.reshape(len(maps), -1).max(axis=1))
    scores = _check_finite(np.concatenate(parts), "score_samples", detector)
    map_maxima = _check_finite(np.concatenate(maxima), "anomaly_map", detector)
    return Calibration(detector, scores, map_maxima)


def _check_finite(values: NDArray[np.float64], method: str, detector: Any) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{method} of {detector!r} gave NaN or infinity on normal images: no threshold can be "
            "set."
        )
    return values


def _seed(detector: Any, generator: np.random.RandomState | None) -> None:
    """Seed what has no seed of its own."""
    if generator is None:
        return
    for name, value in sorted(detector.get_params().items(), key=lambda item: item[0]):
        if value is None and name.split("__")[-1] == "random_state":
            detector.set_params(**{name: generator.randint(2**31 - 1)})
