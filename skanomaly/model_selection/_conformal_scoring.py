"""Scores, p-values, maps and decisions of a fitted ConformalDetector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._arrays import refuse_streams
from .._estimators import detect, detect_batches, find_method, join
from ._calibration import check_scores, compute_scores
from ._conformal_threshold import ConformalThreshold


def _has_anomaly_map(self: ConformalScoring) -> bool:
    fitted = getattr(self, "detectors_", [self.detector])
    return find_method(fitted[0], "anomaly_map") is not None


class ConformalScoring(OutlierMixin, BaseEstimator):
    """Methods of a ConformalDetector that compare new images with the calibration images."""

    detector: Any
    detectors_: list[Any]
    map_threshold_: float
    _score_threshold: ConformalThreshold
    _map_threshold: ConformalThreshold | None = None

    def p_values(self, X: Any) -> NDArray[np.float64]:
        """Compute how unusual images are among normal ones.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            Multiples of 1 / (number of calibration images + 1), at most 1. Small values are
            anomalous.
        """
        scores = self._score_by_each(X)
        return self._score_threshold.p_values(scores)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Score images; higher is more normal.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            The detector's own scores. With `cv`, ``decision_function(X) + offset_``, or what that
            is for a rank of 1 if there are too few calibration images for finite thresholds.
        """
        scores = self._score_by_each(X)
        return self._score_threshold.compare(scores).shifted

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute the signed distance of scores from the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``. With `cv`, the k-th largest difference between the
            image's score and that of a calibration image, both by the detector that was not
            trained on the calibration image. It is below 0 exactly where the p-value is at most
            `alpha`.
        """
        scores = self._score_by_each(X)
        return self._score_threshold.compare(scores).margin

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Classify images as normal or anomalous.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), int64
            -1 (anomalous) where the p-value is at most the `alpha` of the fit, else 1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(_has_anomaly_map)
    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Compute anomaly maps.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            The detector's own maps; higher is more anomalous. With `cv`, at each pixel
            ``map_threshold_`` plus the k-th smallest difference between the map and the largest
            value of a calibration image's map, both by the detector that was not trained on the
            calibration image.
        """
        self._check(X)
        if len(self.detectors_) == 1:
            maps = detect(self.detectors_[0], X, "anomaly_map").anomaly_map
            return maps.astype(np.float64, copy=False)
        return join(self._compare(X, "anomaly_map")).anomaly_map

    @available_if(_has_anomaly_map)
    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Mark the anomalous pixels of each image.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Where the anomaly map exceeds ``map_threshold_``. A new normal image has a marked pixel
            with a probability of at most ``false_alarm_bound_``.
        """
        self._check(X)
        if len(self.detectors_) == 1:
            return ~(self.anomaly_map(X) <= self.map_threshold_)  # NaN is anomalous
        return join(self._compare(X, "anomaly_map")).predict_mask

    def detect(self, X: Any) -> Bunch:
        """Compute scores, decisions, p-values, maps and masks in one pass of each detector.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        Bunch
            The results of ``score_samples``, ``decision_function``, ``predict``, ``p_values`` and,
            if the detector makes maps, ``anomaly_map`` and ``predict_mask``.
        """
        return join(self.detect_batches(X))

    def detect_batches(self, X: Any) -> Iterator[Bunch]:
        """Compute the results of `detect` batch by batch, in constant memory.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Yields
        ------
        Bunch
            The results of `detect` for the next images, in the order of X.
        """
        return self._compare(X, "score_samples", "anomaly_map")

    @property
    def n_features_in_(self) -> int:
        """Values in one image, or features in one row, as the detector has it."""
        return self.detectors_[0].n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns, as the detector has them."""
        return self.detectors_[0].feature_names_in_

    def _check(self, X: Any) -> None:
        check_is_fitted(self)
        refuse_streams(X)

    def _score_by_each(self, X: Any) -> NDArray[np.float64]:
        """Scores by each of K detectors, of shape (K, n)."""
        self._check(X)
        return np.stack([compute_scores(detector, X) for detector in self.detectors_])

    def _compare(self, X: Any, *names: str) -> Iterator[Bunch]:
        """Compare scores, maps or both with those of the calibration images, batch by batch."""
        self._check(X)
        streams = [detect_batches(detector, X, *names) for detector in self.detectors_]
        return self._compare_batches(zip(*streams, strict=True))

    def _compare_batches(self, stream: Iterator[tuple[Bunch, ...]]) -> Iterator[Bunch]:
        for batches in stream:
            result = Bunch()
            if "score_samples" in batches[0]:
                pairs = zip(batches, self.detectors_, strict=True)
                scores = np.stack([check_scores(batch.score_samples, by) for batch, by in pairs])
                margin, shifted = self._score_threshold.compare(scores)
                result.update(
                    score_samples=shifted,
                    decision_function=margin,
                    predict=np.where(margin < 0, -1, 1),
                    p_values=self._score_threshold.p_values(scores),
                )
            if "anomaly_map" in batches[0] and self._map_threshold is not None:
                # Maps are high for anomalies: negated, they compare like scores.
                maps = np.stack([batch.anomaly_map for batch in batches])
                margin, shifted = self._map_threshold.compare(-maps)
                result.update(anomaly_map=-shifted, predict_mask=~(margin >= 0))
            yield result
