"""New images against the calibration images, by all detectors of a ConformalDetector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .._estimators import detect_batches
from ._calibration import check_scores, compute_scores
from ._conformal_threshold import ConformalThreshold


def score_by_each(detectors: list[Any], X: Any) -> NDArray[np.float64]:
    """Scores by each of K detectors, of shape (K, n)."""
    return np.stack([compute_scores(detector, X) for detector in detectors])


def compare_batches(
    detectors: list[Any],
    X: Any,
    score_threshold: ConformalThreshold,
    map_threshold: ConformalThreshold | None,
    *names: str,
) -> Iterator[Bunch]:
    """Compare scores and maps, or one of both, with those of the calibration images.

    Parameters
    ----------
    detectors : list of K estimators
    X : array-like, data frame or ImageSequence
    score_threshold, map_threshold : ConformalThreshold
    *names : {"score_samples", "anomaly_map"}
        What to compare, where the detectors have it.

    Yields
    ------
    Bunch
        As of `ConformalDetector.detect`.
    """
    streams = [detect_batches(detector, X, *names) for detector in detectors]
    for batches in zip(*streams, strict=True):
        result = Bunch()
        if "score_samples" in batches[0]:
            pairs = zip(batches, detectors, strict=True)
            scores = np.stack([check_scores(batch.score_samples, by) for batch, by in pairs])
            margin, shifted = score_threshold.compare(scores)
            result.update(
                score_samples=shifted,
                decision_function=margin,
                predict=np.where(margin < 0, -1, 1),
                p_values=score_threshold.p_values(scores),
            )
        if "anomaly_map" in batches[0] and map_threshold is not None:
            # Maps are high for anomalies: turned around, they are treated as scores are.
            maps = np.stack([batch.anomaly_map for batch in batches])
            margin, shifted = map_threshold.compare(-maps)
            result.update(anomaly_map=-shifted, predict_mask=margin < 0)
        yield result
