"""Detectors trained on some of the normal images, and their values on the others."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._estimators import detect_batches, find_method, find_parameter
from .._logging import log_progress
from ._calibration_folds import Fold


class Calibration(NamedTuple):
    """A detector, with the calibration images and their scores and maxima of maps."""

    detector: Any
    indices: NDArray[np.intp]
    scores: NDArray[np.float64]
    map_maxima: NDArray[np.float64] | None


def calibrate(detector: Any, X: Any, folds: list[Fold], random_state: Any) -> list[Calibration]:
    """Train a clone of the detector on each fold, and compute the values for the thresholds.

    Parameters
    ----------
    detector : estimator
        Not trained where the training fold is None; it must be fitted then.
    X : array-like, data frame or ImageSequence of length n
    folds : list of (training, calibration)
    random_state : int, RandomState instance or None
        Seed of detectors without one.

    Raises
    ------
    ValueError
        If values of calibration images are not finite.
    """
    generator = None if random_state is None else check_random_state(random_state)
    verbose = find_parameter(detector, "verbose") or 0
    results = []
    for number, (training, held_out) in enumerate(folds, start=1):
        name = f"detector {number}/{len(folds)}"
        fitted = clone(detector)
        if training is None:
            check_is_fitted(fitted)
        else:
            _seed(fitted, generator)
            log_progress(f"{name}: training on {len(training)} images", verbose=verbose)
            fitted.fit(_safe_indexing(X, training))
        log_progress(f"{name}: calibration on {len(held_out)} images", verbose=verbose)
        values = _compute_values(fitted, _safe_indexing(X, held_out))
        results.append(Calibration(fitted, held_out, *values))
    return results


def compute_scores(detector: Any, X: Any) -> NDArray[np.float64]:
    """Score images; refuse NaN, which compares with no threshold."""
    return check_scores(detector.score_samples(X), detector)


def check_scores(scores: Any, detector: Any) -> NDArray[np.float64]:
    """Bring scores to float64, and refuse NaN."""
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"score_samples of {detector!r} gave NaN.")
    return scores


def _compute_values(
    detector: Any, X: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Scores of images, and the largest values of their maps where there are maps."""
    if find_method(detector, "anomaly_map") is None:
        return _check_finite(compute_scores(detector, X), "score_samples", detector), None
    parts, maxima = [], []
    for batch in detect_batches(detector, X, "score_samples", "anomaly_map"):
        parts.append(check_scores(batch.score_samples, detector))
        maps = batch.anomaly_map.astype(np.float64, copy=False)
        maxima.append(maps.reshape(len(maps), -1).max(axis=1))
    scores = _check_finite(np.concatenate(parts), "score_samples", detector)
    return scores, _check_finite(np.concatenate(maxima), "anomaly_map", detector)


def _check_finite(values: NDArray[np.float64], method: str, detector: Any) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{method} of {detector!r} gave NaN or infinity on normal images. Thresholds need "
            "finite values."
        )
    return values


def _seed(detector: Any, generator: np.random.RandomState | None) -> None:
    """Set each random_state that is None."""
    if generator is None:
        return
    for name, value in sorted(detector.get_params().items(), key=lambda item: item[0]):
        if value is None and name.split("__")[-1] == "random_state":
            detector.set_params(**{name: generator.randint(2**31 - 1)})
