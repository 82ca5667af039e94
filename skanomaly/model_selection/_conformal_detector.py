"""Thresholds and p-values from held-out normal images, for any outlier detector."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Bunch, Tags, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._estimators import detect, find_method, join
from .._validation import warn_of_anomalies
from ._calibration import calibrate
from ._calibration_folds import make_folds
from ._conformal_detection import compare_batches, score_by_each
from ._conformal_threshold import (
    ConformalThreshold,
    bound_false_alarms,
    critical_rank,
    to_float64,
    warn_of_too_few,
)


def _has_anomaly_map(self: ConformalDetector) -> bool:
    fitted = getattr(self, "detectors_", [self.detector])
    return find_method(fitted[0], "anomaly_map") is not None


class ConformalDetector(OutlierMixin, BaseEstimator):
    r"""Set a detector's thresholds on held-out normal images, with a bound on false alarms.

    A part of the normal images is kept from training. The p-value of a new image is the fraction of
    their scores that are at most its own, itself counted among them; it is flagged if that is at
    most `alpha`. Whatever the detector and the distribution of the images, the chance that a new
    normal image is flagged is then at most `alpha`, in finite samples, provided that held-out and
    new normal images are exchangeable ([1]_; for anomalies [2]_ and [3]_). With `cv`, the guarantee
    is weaker: see the notes.

    Parameters
    ----------
    detector : estimator
        Any outlier detector with `fit` and `score_samples`, higher for more normal, of this library
        or of scikit-learn, or a :class:`sklearn.pipeline.Pipeline` that ends in one. It is cloned.
        One that is fitted already, wrapped as a :class:`sklearn.frozen.FrozenEstimator`, is kept as
        it is, and `fit` calibrates on all of X, which must hold none of its training images.
    alpha : float, default=0.05
        Chance of a false alarm that is allowed, between 0 and 1. Calibration takes at least
        1 / alpha - 1 images.
    calibration_size : float or int, default=0.2
        Fraction or number of the images to hold out, drawn at random. Without effect with `cv` or
        a frozen detector.
    cv : int, splitter or iterable, default=None
        None holds out one part of the images: split conformal. A number of folds (of a shuffled
        :class:`sklearn.model_selection.KFold`), a splitter or an iterable of (train, test) indices
        makes it cross-conformal: for each fold a detector is trained without it, so that all images
        serve to train and to calibrate.
    random_state : int, RandomState instance or None, default=None
        Seed of the images held out or of the folds, and of the detector where its own is None.

    Attributes
    ----------
    detectors_ : list of estimators
        One, or one for each fold.
    calibration_indices_ : list of ndarray of int
        For each detector the images of X that it was calibrated on.
    calibration_scores_ : list of ndarray of float64
        Their scores.
    offset_ : float
        What `score_samples` of a flagged image is below: among the n scores of all calibration
        images the k-th smallest, where k is the largest integer not above alpha (n + 1).
    map_threshold_ : float
        What the anomaly map exceeds where it is flagged: the k-th largest of the maxima of the
        calibration images' maps. Only for detectors with `anomaly_map`.
    false_alarm_bound_ : float
        The chance that a new normal image is flagged is at most this: k / (n + 1), which is not
        above `alpha`, or with `cv` as in the notes.
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
    :math:`k = \lfloor \alpha (n + 1) \rfloor`, and equal to it without ties. It is a chance over
    the drawing of the calibration images too: given those, the rate of false alarms follows the
    distribution Beta(k, n + 1 - k) without ties [3]_, of a standard deviation of about
    :math:`\sqrt{\alpha (1 - \alpha) / n}`. With few of them it may well be above alpha.

    With `cv`, K detectors with the scores :math:`s_j` stand for one, and each calibration image is
    compared by the one that was not trained on it [4]_:

    .. math:: p(x) = \frac{1 + \sum_j \#\{i \in \text{fold}_j : s_j(x_i) \le s_j(x)\}}{n + 1}.

    The rate of false alarms, and that of images with any pixel marked, is then near or below
    `alpha` as a rule. Guaranteed is ``false_alarm_bound_``, :math:`2 (k + K - 1) / (n + K)`, for
    any detector, because twice a mean of p-values is a p-value [5]_, and :math:`2\alpha` with
    ``cv=LeaveOneOut()`` for a detector that treats its training images alike ([6]_, theorem 1).

    The guarantee is lost where the score tells calibration images from new normal ones: if they
    were trained on, come from another camera or another day, are of another size, or are crops of
    images of which other crops were trained on (calibrate a frozen detector on one crop of each of
    some further images then). Anomalies among the calibration images raise no false alarms, but
    hide anomalies. Steps that learn from images belong in a pipeline inside this detector.
    Without `cv`, :func:`scipy.stats.false_discovery_control` of p-values of many new images bounds
    the mean fraction of false alarms among those flagged [3]_.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005.
    .. [2] R. Laxhammar, G. Falkman, "Inductive conformal anomaly detection for sequential detection
       of anomalous sub-trajectories", Annals of Mathematics and Artificial Intelligence 74, 2015.
    .. [3] S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with conformal
       p-values", Annals of Statistics 51(1), 2023.
    .. [4] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and AI 74, 2015.
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
            Anomalies are not left out: pass ``X[y == 1]``.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, before any training; or if the detector scores
            normal images with NaN or infinity. Nothing learned before is changed then.

        Warns
        -----
        UserWarning
            Before any training, if there are too few images to calibrate on for any to be flagged
            at the level `alpha`. Thresholds are then infinite. So too if `y` calls some of the
            images anomalous.
        """
        self._validate_params()
        (X,) = indexable(X)
        n_images = _num_samples(X)
        warn_of_anomalies(y, n_images)
        folds = make_folds(self, n_images)
        count = sum(len(held_out) for _, held_out in folds)
        alpha = to_float64(self.alpha)
        rank = critical_rank(alpha, count)
        if rank == 0:
            warn_of_too_few(alpha, count, n_images)
        calibrations = calibrate(self.detector, X, folds, self.random_state)
        self.detectors_ = [calibration.detector for calibration in calibrations]
        self.calibration_indices_ = [held_out for _, held_out in folds]
        self.calibration_scores_ = [calibration.scores for calibration in calibrations]
        self.false_alarm_bound_ = bound_false_alarms(rank, count, len(folds))
        self._score_threshold = ConformalThreshold(self.calibration_scores_, rank)
        self.offset_ = self._score_threshold.value
        for name in ("map_threshold_", "_map_threshold"):
            self.__dict__.pop(name, None)
        maxima = [c.map_maxima for c in calibrations if c.map_maxima is not None]
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
            Multiples of 1 / (calibration images + 1) up to 1, small for anomalous images.
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
        return self._score_threshold.compare(scores).shifted

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Score images against the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``. If `cv` is given, the k-th largest difference between
            the score and that of a calibration image, by the detector not trained on that one; it
            is below 0 exactly where the p-value is at most `alpha`.
        """
        scores = self._score_all(X)
        return self._score_threshold.compare(scores).margin

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Tell normal images from anomalous ones.

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

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            The detector's own maps, higher is more anomalous. If `cv` is given, at each pixel
            ``map_threshold_`` plus the k-th smallest difference between the map there and the
            largest value of a calibration image's map, by the detector not trained on that one.
        """
        check_is_fitted(self)
        if len(self.detectors_) == 1:
            return detect(self.detectors_[0], X, "anomaly_map").anomaly_map
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
            Where the anomaly map exceeds ``map_threshold_``. The chance that a new normal image is
            marked anywhere is at most ``false_alarm_bound_``.
        """
        check_is_fitted(self)
        if len(self.detectors_) == 1:
            return self.anomaly_map(X) > self.map_threshold_
        return join(self._compare(X, "anomaly_map")).predict_mask

    def detect(self, X: Any) -> Bunch:
        """Compute scores, decisions, p-values, maps and masks from one pass by each detector.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Returns
        -------
        Bunch
            What ``score_samples``, ``decision_function``, ``predict``, ``p_values`` and, where the
            detector makes maps, ``anomaly_map`` and ``predict_mask`` return.
        """
        return join(self.detect_batches(X))

    def detect_batches(self, X: Any) -> Iterator[Bunch]:
        """Compute what `detect` does batch by batch, in constant memory.

        Parameters
        ----------
        X : array-like, data frame or ImageSequence of length n
            Images or rows as in `fit`.

        Yields
        ------
        Bunch
            What `detect` returns, of the next images in the order of X.
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

    def _score_all(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        return score_by_each(self.detectors_, X)

    def _compare(self, X: Any, *names: str) -> Iterator[Bunch]:
        check_is_fitted(self)
        thresholds = self._score_threshold, getattr(self, "_map_threshold", None)
        return compare_batches(self.detectors_, X, *thresholds, *names)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.detector).input_tags
        return tags
