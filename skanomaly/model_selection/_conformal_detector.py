"""Thresholds and p-values from held-out normal images, for any outlier detector."""

from __future__ import annotations

from numbers import Integral, Real
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn.utils import Tags, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt
from sklearn.utils.validation import _num_samples

from .._arrays import refuse_streams
from .._estimators import find_parameter
from .._validation import warn_of_anomalies
from ._calibration import Calibration, calibrate
from ._calibration_folds import make_folds
from ._conformal_file import save_conformal
from ._conformal_scoring import ConformalScoring
from ._conformal_threshold import (
    ConformalThreshold,
    bound_false_alarms,
    critical_rank,
    to_float64,
    warn_of_too_few,
)


class ConformalDetector(ConformalScoring):
    r"""Set a detector's thresholds on held-out normal images, with a bound on false alarms.

    Some of the normal images are held out from training. The p-value of a new image is the fraction
    of their scores that are at most its own score, which counts as one of them. The image is
    flagged if its p-value is at most `alpha`. The probability that a new normal image is flagged is
    then at most `alpha`, in finite samples, for any detector and any distribution of the images,
    provided that held-out and new normal images are exchangeable ([1]_; for anomalies [2]_ and
    [3]_). With `cv`, the guarantee is weaker: see the notes.

    Parameters
    ----------
    detector : estimator
        Any outlier detector with `fit` and `score_samples` (higher is more normal), of this library
        or of scikit-learn, or a :class:`sklearn.pipeline.Pipeline` that ends in one. It is cloned.
        A fitted detector, wrapped as a :class:`sklearn.frozen.FrozenEstimator`, is not trained
        again: `fit` calibrates on all of X, which must hold none of its training images.
    alpha : float, default=0.05
        Accepted probability of a false alarm, between 0 and 1. Calibration needs at least
        1 / alpha - 1 images.
    calibration_size : float or int, default=0.2
        Fraction or number of the images to hold out, drawn at random. Ignored with `cv` or a frozen
        detector.
    cv : int, splitter or iterable, default=None
        None holds out one part of the images (split conformal). A number of folds (of a shuffled
        :class:`sklearn.model_selection.KFold`), a splitter or an iterable of (train, test) indices
        is cross-conformal: for each fold a detector is trained on the other folds, so that all
        images serve for training and for calibration.
    random_state : int, RandomState instance or None, default=None
        Seed of the images held out or of the folds, and of the detector if its own is None.

    Attributes
    ----------
    detectors_ : list of estimators
        One, or one for each fold.
    calibration_indices_ : list of ndarray of int
        For each detector, the indices in X of the images that it was calibrated on.
    calibration_scores_ : list of ndarray of float64
        Their scores.
    offset_ : float
        Score threshold; images with lower scores are flagged. It is the k-th smallest of the n
        calibration scores, where k is the largest integer not above alpha (n + 1).
    map_threshold_ : float
        Threshold of the anomaly map; pixels with higher values are marked. It is the k-th largest
        of the maxima of the calibration images' maps. Only for detectors with `anomaly_map`.
    false_alarm_bound_ : float
        Upper bound of the probability that a new normal image is flagged: k / (n + 1), which is at
        most `alpha`, or with `cv` as in the notes.
    n_features_in_ : int
        Number of features of the detector, if it has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features of the detector, if it has them.

    See Also
    --------
    skanomaly.SelfSupervisedAutoencoderDetector : A detector with anomaly maps.
    skanomaly.load : Reads a detector that `save` wrote.
    NormalOnlySplit : Cross-validation with labelled anomalies.

    Notes
    -----
    With the score s, higher for more normal, and the n calibration images :math:`x_i`,

    .. math:: p(x) = \frac{1 + \#\{i : s(x_i) \le s(x)\}}{n + 1}.

    The probability that :math:`p(x) \le \alpha` for a new normal x is at most
    :math:`k / (n + 1)`, :math:`k = \lfloor \alpha (n + 1) \rfloor`, and equal to it without
    ties. It is taken over the drawing of the calibration images too. Given those, the rate of false
    alarms follows the distribution Beta(k, n + 1 - k) without ties [3]_, with a standard deviation
    of about :math:`\sqrt{\alpha (1 - \alpha) / n}`. With few of them it may be well above alpha.

    With `cv`, there are K detectors with the scores :math:`s_j`, and each calibration image is
    compared by the one that was not trained on it [4]_:

    .. math:: p(x) = \frac{1 + \sum_j \#\{i \in \text{fold}_j : s_j(x_i) \le s_j(x)\}}{n + 1}.

    The rate of false alarms, and that of images with any marked pixel, is then usually near or
    below `alpha`. Guaranteed is ``false_alarm_bound_``, :math:`2 (k + K - 1) / (n + K)`, for
    any detector, because twice a mean of p-values is a p-value [5]_, and :math:`2\alpha` with
    ``cv=LeaveOneOut()`` for a detector that does not depend on the order of its training images
    ([6]_, theorem 1).

    The guarantee does not hold if the score can tell calibration images from new normal ones: if
    the detector was trained on them, if they come from another camera or another day, have another
    size, or are crops of images of which other crops were trained on (then calibrate a frozen
    detector on one crop of each of some further images). Anomalies among the calibration images
    raise no false alarms, but hide anomalies. Steps that learn from images belong in a pipeline
    inside this detector. Without `cv`, :func:`scipy.stats.false_discovery_control` of the p-values
    of many new images bounds the mean fraction of false alarms among the flagged images [3]_.

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

    A fitted detector, calibrated on further images:

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
        """Train the detector on some of the images, and set the thresholds on the others.

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
            If a parameter is invalid, before any training, such as a detector with a
            ``checkpoint`` and `cv`, whose folds would share the file; or if the detector scores
            normal images with NaN or infinity. A failed fit changes nothing.

        Warns
        -----
        UserWarning
            Before any training, if there are too few calibration images for any image to be flagged
            at the level `alpha`. Thresholds are then infinite. Also if `y` labels some of the
            images as anomalous.
        """
        self._validate_params()
        refuse_streams(X)
        (X,) = indexable(X)
        n_images = _num_samples(X)
        warn_of_anomalies(y, n_images)
        folds = make_folds(self, n_images)
        checkpoint = find_parameter(self.detector, "checkpoint")
        if len(folds) > 1 and checkpoint is not None:
            raise ValueError(
                "checkpoint must be None in a ConformalDetector with cv, whose detectors would "
                f"share the file, got checkpoint={str(checkpoint)!r} instead."
            )
        count = sum(len(held_out) for _, held_out in folds)
        alpha = to_float64(self.alpha)
        rank = critical_rank(alpha, count)
        if rank == 0:
            warn_of_too_few(alpha, count, n_images)
        self._set_thresholds(calibrate(self.detector, X, folds, self.random_state), rank)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted detector to a file that `skanomaly.load` reads without running code.

        The file holds parameters, weights and calibration values of a detector of this library, in
        the layout of :meth:`skanomaly.SelfSupervisedAutoencoderDetector.save`. An existing file is
        replaced only once all is written.

        Parameters
        ----------
        path : str or path
            File in a folder that exists.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        TypeError
            If the detector inside is a pipeline or not of this library, or a parameter cannot be
            stored as data, such as a splitter as `cv`.
        ValueError
            If the file would be larger than 2 GiB, or its parameters than 4 MiB.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import skanomaly
        >>> from skanomaly.model_selection import ConformalDetector
        >>> X = np.random.default_rng(0).random((60, 5))
        >>> detector = skanomaly.DenoisingAE(max_iter=10, random_state=0)
        >>> calibrated = ConformalDetector(detector, alpha=0.1, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "calibrated.safetensors")
        ...     calibrated.save(path)
        ...     loaded = skanomaly.load(path)
        >>> bool((loaded.p_values(X) == calibrated.p_values(X)).all())
        True
        """
        save_conformal(self, path)

    def _set_thresholds(self, calibrations: list[Calibration], rank: int) -> None:
        """Take over fitted detectors and their calibration values."""
        self.detectors_ = [calibration.detector for calibration in calibrations]
        self.calibration_indices_ = [calibration.indices for calibration in calibrations]
        self.calibration_scores_ = [calibration.scores for calibration in calibrations]
        count = sum(map(len, self.calibration_scores_))
        self.false_alarm_bound_ = bound_false_alarms(rank, count, len(calibrations))
        self._score_threshold = ConformalThreshold(self.calibration_scores_, rank)
        self.offset_ = self._score_threshold.value
        maxima = [c.map_maxima for c in calibrations if c.map_maxima is not None]
        if maxima:
            # Maps are high for anomalies: negated, they compare like scores.
            self._map_threshold = ConformalThreshold([-values for values in maxima], rank)
            self.map_threshold_ = -self._map_threshold.value
        else:
            self._map_threshold = None
            self.__dict__.pop("map_threshold_", None)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.detector).input_tags
        return tags
