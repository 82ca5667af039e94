"""Thresholds and p-values from held-out normal images, for any outlier detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._calibration_folds import hold_out, split_in_folds
from ._conformal_threshold import (
    ConformalThreshold,
    bound_false_alarms,
    critical_rank,
    fewest_calibration_values,
    to_float64,
)
from ._detector_values import (
    AnomalyMap,
    check_calibration,
    compute_map_maxima,
    compute_scores,
    find_anomaly_map,
    iterate_batches,
    seed_detector,
)


def _has_anomaly_map(self: ConformalDetector) -> bool:
    fitted = getattr(self, "detectors_", [self.detector])
    return find_anomaly_map(fitted[0]) is not None


class ConformalDetector(OutlierMixin, BaseEstimator):
    r"""Set a detector's thresholds on held-out normal images, with a bound on false alarms.

    A part of the normal images is kept from training, and a new image is compared with their
    scores. Its p-value is the share of them that look as anomalous as it does, itself counted
    among them; it is flagged if that share is at most `alpha`. Whatever the detector and the
    images' distribution, the chance that a new normal image is flagged is then at most `alpha`, in
    finite samples: all that is asked for is that held-out and new normal images are exchangeable
    (Vovk, Gammerman and Shafer [1]_; for anomalies Laxhammar and Falkman [2]_, Bates et al. [3]_).
    If `cv` is given the guarantee is a weaker one, which the notes state.

    Parameters
    ----------
    detector : estimator
        Any outlier detector with `fit` and `score_samples`, higher for more normal: those of this
        library, those of scikit-learn (:class:`sklearn.neighbors.LocalOutlierFactor` with
        ``novelty=True``), or a :class:`sklearn.pipeline.Pipeline` that ends in one. It is cloned.
        One that is fitted already, wrapped as ``FrozenEstimator(detector)``
        (:class:`sklearn.frozen.FrozenEstimator`), is kept as it is, and `fit` then calibrates on
        all of X, which must hold none of the images that it was trained on.
    alpha : float, default=0.05
        Chance of a false alarm that is allowed, between 0 and 1. Calibration takes at least
        1 / alpha - 1 images.
    calibration_size : float or int, default=0.2
        Share or number of the images to hold out, drawn at random. Without effect if `cv` is given
        or the detector is frozen.
    cv : int, splitter or iterable, default=None
        None holds out one part of the images, once: split conformal. A number of folds (of a
        shuffled :class:`sklearn.model_selection.KFold`), a splitter of scikit-learn or an iterable
        of (train, test) indices makes it cross-conformal: for each fold a detector is trained
        without it, so that all images serve to train and to calibrate. See the notes for what is
        guaranteed then.
    random_state : int, RandomState instance or None, default=None
        Seed of the images held out, or of the folds if `cv` is a number; and, unless it is None, of
        the detector where its own is None.

    Attributes
    ----------
    detectors_ : list of estimators
        The fitted detectors: one, or one for each fold.
    calibration_indices_ : list of ndarray of int
        For each detector the images of X that it was calibrated on.
    calibration_scores_ : list of ndarray of float64
        Their scores.
    offset_ : float
        What `score_samples` of a flagged image is below: among the n scores of all calibration
        images the k-th smallest, where k is the largest integer not above alpha (n + 1).
    map_threshold_ : float
        What the anomaly map exceeds where it is flagged: the k-th largest of the maxima of the
        calibration images' maps. Only for detectors with `anomaly_map`, and pipelines that end in
        one.
    false_alarm_bound_ : float
        What is guaranteed: the chance that a new normal image is flagged is at most this. k / (n +
        1), which is not above `alpha`; if `cv` is given, as in the notes.
    n_features_in_ : int
        That of the detector, where it has one.
    feature_names_in_ : ndarray of shape (n_features,)
        Those of the detector, where it has them.

    See Also
    --------
    skanomaly.SelfSupervisedAutoencoderDetector : A detector with anomaly maps.
    NormalOnlySplit : Cross-validation with labelled anomalies.

    Notes
    -----
    With the score s, higher for more normal, and the n calibration images :math:`x_i`,

    .. math:: p(x) = \frac{1 + \#\{i : s(x_i) \le s(x)\}}{n + 1}.

    The chance that :math:`p(x) \le \alpha` for a new normal x is at most :math:`k / (n + 1)`,
    :math:`k = \lfloor \alpha (n + 1) \rfloor`, and equal to it if there are no ties. It is a
    chance over the drawing of the calibration images too: given those, the rate of false alarms
    follows the distribution Beta(k, n + 1 - k) if there are no ties [3]_, whose deviation is about
    :math:`\sqrt{\alpha (1 - \alpha) / n}`. With few images to calibrate on, one fitted detector
    may well have a rate above alpha.

    `predict_mask` has the same guarantee for the whole image: the chance that anything at all is
    marked on a new normal image is at most `alpha`. That it is either flagged or marked is another
    matter, unless the score is the map's largest value.

    With `cv`, K detectors with the scores :math:`s_j` stand for one, and each calibration image is
    compared by the one that was not trained on it (Vovk [4]_):

    .. math:: p(x) = \frac{1 + \sum_j \#\{i \in \text{fold}_j : s_j(x_i) \le s_j(x)\}}{n + 1}.

    The rate of false alarms, and that of images with anything marked, is then near or below `alpha`
    as a rule, but what is guaranteed is that it is at most

    .. math:: 2 \frac{k + K - 1}{n + K} \le 2\alpha + 2(1 - \alpha)\frac{K - 1}{n + K}

    for any detector, because twice a mean of p-values is a p-value (Gasparin and Ramdas [5]_; this
    is ``false_alarm_bound_``), and at most :math:`2\alpha` with ``cv=LeaveOneOut()`` for a detector
    that treats its training images alike (Barber et al. [6]_, theorem 1). Where `alpha` must be
    kept to, leave `cv` at None.

    The guarantee is lost where calibration images differ from new normal ones in any way that the
    score shows: if they were trained on, come from another camera or another day, are of another
    size, or are crops of pictures of which other crops were trained on. In the last case, calibrate
    a frozen detector on one crop of each of some further pictures. Anomalies among the calibration
    images raise no false alarms, but hide anomalies. Steps that learn from images, such as scaling,
    belong in a pipeline inside this detector, not before it.

    Without `cv`, p-values of many new images at once can go through
    :func:`scipy.stats.false_discovery_control`: where it gives at most q, the share of false alarms
    among the images so flagged is at most q on average, although the p-values depend on each other
    through the calibration images [3]_.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", Springer,
       2005.
    .. [2] R. Laxhammar, G. Falkman, "Inductive conformal anomaly detection for sequential detection
       of anomalous sub-trajectories", Annals of Mathematics and Artificial Intelligence 74, 2015.
    .. [3] S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with conformal
       p-values", Annals of Statistics 51(1), 2023.
    .. [4] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence
       74, 2015.
    .. [5] M. Gasparin, A. Ramdas, "Improving the statistical efficiency of cross-conformal
       prediction", arXiv 2503.01495, 2025.
    .. [6] R. F. Barber, E. Candès, A. Ramdas, R. Tibshirani, "Predictive inference with the
       jackknife+", Annals of Statistics 49(1), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skanomaly.model_selection import ConformalDetector
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> detector = ConformalDetector(IsolationForest(random_state=0), alpha=0.1, random_state=0)
    >>> detector.fit(X).predict([[0.0, 0.1], [5.0, 5.0]])
    array([ 1, -1])
    >>> detector.p_values([[0.0, 0.1], [5.0, 5.0]]).round(3)
    array([1.   , 0.024])

    A detector that is fitted already, calibrated on images of its own:

    >>> from sklearn.frozen import FrozenEstimator
    >>> forest = IsolationForest(random_state=0).fit(X[:150])
    >>> detector = ConformalDetector(FrozenEstimator(forest), alpha=0.1).fit(X[150:])
    >>> len(detector.calibration_scores_[0])
    50
    """

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/"
        "skanomaly.model_selection.{estimator_name}.html"
    )

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "calibration_size": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector: Any,
        alpha: float = 0.05,
        *,
        calibration_size: float | int = 0.2,
        cv: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.detector = detector
        self.alpha = alpha
        self.calibration_size = calibration_size
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the detector on a part of the images, and set the thresholds on the others.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Normal images or rows, in any form that the detector takes.
        y : Ignored
            Present for scikit-learn's sake. Anomalies are not left out: pass ``X[y == 1]``.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, before any training; or if the detector scores
            normal images with NaN or infinity. Nothing that was learned before is changed then.

        Warns
        -----
        UserWarning
            Before any training, if there are too few images to calibrate on for anything ever to be
            flagged at the level `alpha`. Thresholds are then infinite; p-values mean what they
            always do.
        """
        self._validate_params()
        (X,) = indexable(X)
        n_images = _num_samples(X)
        if isinstance(self.detector, FrozenEstimator):
            folds: Sequence[tuple[Any, Any]] = [(None, np.arange(n_images))]
        elif self.cv is None:
            folds = [hold_out(n_images, self.calibration_size, self.random_state)]
        else:
            folds = split_in_folds(n_images, self.cv, self.random_state)
        count = sum(len(held_out) for _, held_out in folds)
        alpha = to_float64(self.alpha)
        rank = critical_rank(alpha, count)
        if rank == 0:
            _warn_of_too_few(alpha, count, n_images)

        generator = None if self.random_state is None else check_random_state(self.random_state)
        detectors, scores, maxima = [], [], []
        for training, held_out in folds:
            detector = clone(self.detector)
            if training is None:
                check_is_fitted(detector)
            else:
                seed_detector(detector, generator)
                detector.fit(_safe_indexing(X, training))
            calibration = _safe_indexing(X, held_out)
            detectors.append(detector)
            values = compute_scores(detector, calibration)
            scores.append(check_calibration(values, "score_samples", detector))
            if anomaly_map := find_anomaly_map(detector):
                values = compute_map_maxima(anomaly_map, calibration)
                maxima.append(check_calibration(values, "anomaly_map", detector))

        self.detectors_ = detectors
        self.calibration_indices_ = [held_out for _, held_out in folds]
        self.calibration_scores_ = scores
        self.false_alarm_bound_ = bound_false_alarms(rank, count, len(folds))
        self._score_threshold = ConformalThreshold(scores, rank)
        self.offset_ = self._score_threshold.value
        self.__dict__.pop("map_threshold_", None)
        if maxima:
            # Maps are high for anomalies: turned around, they are treated as scores are.
            self._map_threshold = ConformalThreshold([-values for values in maxima], rank)
            self.map_threshold_ = -self._map_threshold.value
        return self

    def p_values(self, X: Any) -> NDArray[np.float64]:
        """Compute how unusual images are among normal ones.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            Conformal p-values, multiples of 1 / (calibration images + 1), above 0 and at most 1;
            small for anomalous images.
        """
        scores = self._score_all(X)
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
            The detector's own scores. If `cv` is given, ``decision_function(X) + offset_``.
        """
        scores = self._score_all(X)
        return self._score_threshold.shifted_margin(scores)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Score images against the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``. If `cv` is given, the k-th largest of the differences
            between the image's score and that of each calibration image, both by the detector that
            was not trained on that one; it is below 0 exactly where the p-value is at most `alpha`.
        """
        scores = self._score_all(X)
        return self._score_threshold.margin(scores)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Tell normal images from anomalous ones.

        The guarantee is for new images: those that X of `fit` held are not new.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), int64
            -1, anomalous, where the p-value is at most the `alpha` of the fit, else 1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(_has_anomaly_map)
    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Show where each image is anomalous.

        Only for detectors with `anomaly_map`, and pipelines that end in one.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            The detector's own maps, higher is more anomalous. If `cv` is given, at each place
            ``map_threshold_`` plus the k-th smallest of the differences between the map there and
            the largest value of each calibration image's map, both by the detector that was not
            trained on that one.
        """
        make_maps = self._find_anomaly_maps()
        if len(make_maps) == 1:
            return make_maps[0](X)
        return -self._compare_maps(X, self._map_threshold.shifted_margin)

    @available_if(_has_anomaly_map)
    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Mark the anomalous places of each image.

        Only for detectors with `anomaly_map`, and pipelines that end in one.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Where the anomaly map exceeds ``map_threshold_``. The chance that a new normal image is
            marked anywhere is at most ``false_alarm_bound_``.
        """
        make_maps = self._find_anomaly_maps()
        if len(make_maps) == 1:
            return make_maps[0](X) > self.map_threshold_
        return self._compare_maps(X, self._map_threshold.margin) < 0

    @property
    def n_features_in_(self) -> int:
        """Values in one image, or features in one row, as the detector has it."""
        return self.detectors_[0].n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns, as the detector has them."""
        return self.detectors_[0].feature_names_in_

    def _score_all(self, X: Any) -> NDArray[np.float64]:
        """Scores by each detector, of shape (K, n)."""
        check_is_fitted(self)
        return np.stack([compute_scores(detector, X) for detector in self.detectors_])

    def _find_anomaly_maps(self) -> list[AnomalyMap]:
        check_is_fitted(self)
        return [m for m in map(find_anomaly_map, self.detectors_) if m is not None]

    def _compare_maps(
        self, X: Any, compare: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Compare each place of the maps, turned around, with the calibration images."""
        compared = []
        for batch in iterate_batches(X):
            maps = np.stack([anomaly_map(batch) for anomaly_map in self._find_anomaly_maps()])
            compared.append(compare(-maps.reshape(len(maps), -1)).reshape(maps.shape[1:]))
        return np.concatenate(compared)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.detector).input_tags
        return tags


def _warn_of_too_few(alpha: float, count: int, available: int) -> None:
    warnings.warn(
        f"alpha={alpha} needs at least {fewest_calibration_values(alpha)} images to "
        f"calibrate on, and got {count}, of the {available} in X: no image will ever be "
        "flagged, and nothing marked. Pass more images, a larger calibration_size or a larger "
        "alpha; or cv, with which all images are calibrated on.",
        UserWarning,
        stacklevel=3,
    )
