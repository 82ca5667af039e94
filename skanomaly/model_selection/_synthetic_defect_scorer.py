"""Score detectors without labels, by artificial defects on held-out normal images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch, _safe_indexing, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions

from .._estimators import detect_batches, find_method, find_parameter
from .._validation import ValidatedInput
from ..metrics import pixel_roc_auc_score
from ._calibration import compute_scores
from ._images import validate_images
from ._synthetic_defects import DEFECTS, ValueRange, add_defect

# Distinct values of maps that are kept apart, so that no more than a batch of maps is in memory.
_MAX_BINS = 100_000


class SyntheticDefectScorer(BaseEstimator):
    """Score a detector on held-out normal images with artificial defects: no label is needed.

    A scorer for :class:`sklearn.model_selection.GridSearchCV` and the like, where there are normal
    images alone. It damages copies of the images that a detector was not trained on, and returns
    how well the detector tells them from the images as they are. The defects are drawn by code and
    from random numbers of their own. They do not depend on the detector, so that all candidates are
    measured by the same defects, and no candidate can win by training on just these.

    What comes out is good for ranking settings of one family of detectors. It is no estimate of how
    well real defects are found: see the notes.

    Parameters
    ----------
    metric : {"roc_auc", "pixel_roc_auc", "mean_roc_auc"}, default="roc_auc"
        Area under the ROC curve of images, by `score_samples`; of the pixels of all images, by
        `anomaly_map`; or the mean of both. The default was chosen on images of magnetic tiles,
        where it agreed best with true labels of images, by a margin within chance: see
        :ref:`label_free_selection`.
    n_defects : int, default=200
        Number of damaged copies, whichever the number of images, which take turns. The time is
        that of scoring as many images and the clean ones.
    kinds : str or sequence of str, default=None
        Kinds of defects, which take turns; None is all of them:

        - "crack": a thin dark or bright line along a random walk, with a branch at times;
        - "blob": a blotch of a dark or bright colour;
        - "smear": a turned rectangle blurred along one direction;
        - "missing": a polygon filled smoothly with what is around it;
        - "doubled": a polygon that shows another part of the image;
        - "color": a region brighter, darker or of another hue, its texture kept;
        - "texture": a polygon of stripes and grain, or of a part of another image.
    strength : float or (float, float), default=(0.15, 1.0)
        Weight with which a defect is mixed into the image, above 0 and up to 1, where the image is
        hidden; uniform. The range should hold what is hard: where every candidate finds every
        defect there is nothing to rank by.
    image_shape : tuple of int, default=None
        Shape (h, w) or (h, w, c) of images that come as flattened rows; None takes the parameter of
        this name of the detector, or of a pipeline's last step.
    random_state : int, default=0
        Seed of the defects. Only an int will do: each candidate must get the same ones.

    See Also
    --------
    NormalOnlySplit : Cross-validation with a few labelled anomalies, where there are some.
    skanomaly.corruption.PatchCorruption : What detectors train on, which has no part in this.

    Notes
    -----
    In ``GridSearchCV(detector, grid, scoring=SyntheticDefectScorer()).fit(X)``, X is normal images
    and y is left out. Each fold trains on its part and is scored on the rest. The same images get
    the same defects on each call: draws depend on the seed, the number of the image in X and the
    values of X alone. Defects stay within the smallest and largest value that each channel has in
    X, cover from a dot to about an eighth of the image (cracks and smears apart), and are drawn
    again if the image does not change by at least a hundredth of that range on average.

    That artificial anomalies can serve to select detectors was shown by Fung et al. [1]_, with
    pasted patches and with images from a generative model. Criteria that look at the scores alone,
    without any anomalies, select no better than chance (Ma et al. [2]_).

    It is not good for

    - an estimate of accuracy: real defects may be much easier or harder, and a value here has no
      meaning but by comparison on the same images with the same parameters;
    - choices that these defects do not probe: they are local changes of how a region looks. Whether
      a part is missing where it belongs, of the wrong type, or one too many (logical anomalies), or
      whether a whole image is too dark, it says nothing of;
    - "doubled", and pieces of other images, on surfaces where each region may look like any other:
      gravel on gravel is normal. Leave such kinds out there;
    - choices between detectors that are blind to different things: the mixture of kinds then
      decides, and it is nobody's knowledge of the defects to come. Name those that you expect in
      `kinds`;
    - small differences: with few images two settings that differ by a hundredth are equal.
      Compare with the spread over folds, or over seeds;
    - thresholds: see :class:`ConformalDetector`.

    Nor should a detector be trained on the defects of this class and then be scored by it.

    References
    ----------
    .. [1] C. Fung, C. Qiu, A. Li, M. Rudolph, "Model Selection of Anomaly Detectors in the Absence
       of Labeled Validation Data", arXiv 2310.10461, 2023.
    .. [2] M. Q. Ma, Y. Zhao, X. Zhang, L. Akoglu, "A Large-scale Study on Unsupervised Outlier
       Model Selection: Do Internal Strategies Suffice?", arXiv 2104.01422, 2021.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> from skanomaly.model_selection import SyntheticDefectScorer
    >>> X = make_textured_surfaces("brick", image_size=32, n_train=40, random_state=0).X_train
    >>> detector = SelfSupervisedAutoencoderDetector(max_iter=10, crop_size=16, random_state=0)
    >>> grid = {"corruption__radius": [(0.01, 0.02), (0.1, 0.3)]}
    >>> scorer = SyntheticDefectScorer(n_defects=50, random_state=0)
    >>> search = GridSearchCV(detector, grid, scoring=scorer, cv=2).fit(X)
    >>> search.cv_results_["mean_test_score"].shape
    (2,)

    Look at the defects before you trust them:

    >>> defects = scorer.make_defects(X)
    >>> defects.images.shape, defects.masks.dtype, str(defects.kinds[0])
    ((50, 32, 32), dtype('bool'), 'crack')
    """

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/"
        "skanomaly.model_selection.{estimator_name}.html"
    )

    _parameter_constraints: dict[str, list[Any]] = {
        "metric": [StrOptions({"roc_auc", "pixel_roc_auc", "mean_roc_auc"})],
        "n_defects": [Interval(Integral, 1, None, closed="left")],
        "kinds": [None, StrOptions(set(DEFECTS)), "array-like"],
        "strength": [Interval(Real, 0, 1, closed="right"), tuple, list],
        "image_shape": [None, tuple, list],
        # Anything that changes from call to call would give each candidate other defects.
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    }

    def __init__(
        self,
        *,
        metric: str = "roc_auc",
        n_defects: int = 200,
        kinds: str | Sequence[str] | None = None,
        strength: float | tuple[float, float] = (0.15, 1.0),
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
    ) -> None:
        self.metric = metric
        self.n_defects = n_defects
        self.kinds = kinds
        self.strength = strength
        self.image_shape = image_shape
        self.random_state = random_state

    def __call__(self, estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
        """Score a fitted detector on normal images and damaged copies of them.

        Parameters
        ----------
        estimator : estimator
            A fitted detector with `score_samples`, higher for more normal, and with `anomaly_map`
            if the metric is of pixels; or a pipeline or search that ends in one.
        X : array-like of shape (n, h, w) or (n, h, w, c), tensor or ImageSequence, or rows
            Normal images that the detector was not trained on, of any real dtype. Rows of shape
            (n, h * w * c) need `image_shape`, here or in the detector.
        y : array-like of shape (n,), default=None
            None, or 1 for normal images and -1 for others, which are left out.

        Returns
        -------
        float
            The metric, higher is better.

        Raises
        ------
        ValueError, TypeError
            If X holds plain vectors, NaN or no normal image, if nothing can be drawn on an image,
            or if a parameter is not as described.
        AttributeError
            If the metric needs an `anomaly_map` and the detector has none.
        """
        self._check_parameters()
        anomaly_map = find_method(estimator, "anomaly_map")
        if self.metric != "roc_auc" and anomaly_map is None:
            raise AttributeError(
                f"{type(estimator).__name__} has none of the following attributes: anomaly_map. "
                f"metric={self.metric!r} needs it, metric='roc_auc' does not."
            )
        shape = self.image_shape
        if shape is None:
            shape = find_parameter(estimator, "image_shape")
        X = _take_normal(X, y)
        images = validate_images(X, shape, self)
        defects = self._draw(images, X)
        parts = X, defects.images
        areas, scores = [], []
        if self.metric == "roc_auc":
            scores = [compute_scores(estimator, part) for part in parts]
        else:
            wanted = ["anomaly_map"] + ["score_samples"] * (self.metric == "mean_roc_auc")

            def maps(part: Any) -> Iterator[NDArray[np.float64]]:
                for batch in detect_batches(estimator, part, *wanted):
                    scores.append(batch.get("score_samples", []))
                    yield from batch.anomaly_map

            no_defect = np.zeros((len(images), *images.shape[:2]), dtype=bool)
            pairs = (
                zip(masks, maps(part), strict=True)
                for masks, part in zip((no_defect, defects.masks), parts, strict=True)
            )
            areas.append(pixel_roc_auc_score(chain.from_iterable(pairs), max_bins=_MAX_BINS))
        if self.metric != "pixel_roc_auc":
            values = np.concatenate(scores)
            areas.append(roc_auc_score(np.arange(len(values)) < len(images), values))
        return float(np.mean(areas))

    def make_defects(self, X: Any) -> Bunch:
        """Draw the defects that detectors are scored on, to look at them.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c), tensor or ImageSequence, or rows
            Normal images. Rows need the parameter `image_shape`.

        Returns
        -------
        Bunch
            With the fields

            images : ndarray of shape (n_defects, ...)
                Damaged copies, in the shape and dtype of X, and within its smallest and largest
                value of each channel.
            masks : ndarray of shape (n_defects, h, w), dtype bool
                The regions of the defects. Outside of them nothing is changed.
            kinds : ndarray of shape (n_defects,), dtype str
                Kinds of the defects.
            indices : ndarray of shape (n_defects,), dtype int64
                Which image of X each is a copy of.

        Raises
        ------
        ValueError, TypeError
            As when called.
        """
        self._check_parameters()
        return self._draw(validate_images(X, self.image_shape, self), X)

    def _check_parameters(self) -> None:
        self._validate_params()
        low, high = self._strength_range()
        if not 0 < low <= high <= 1:
            raise ValueError(
                "strength must be a number above 0 and at most 1, or a pair (low, high) of such, "
                f"got {self.strength!r}."
            )
        kinds = self._chosen_kinds()
        if not kinds or not set(kinds) <= set(DEFECTS):
            raise ValueError(f"kinds must be None or some of {list(DEFECTS)}, got {self.kinds!r}.")

    def _strength_range(self) -> tuple[float, float]:
        pair: Any = self.strength
        if isinstance(pair, Real):
            pair = (pair, pair)
        if len(pair) != 2 or not all(isinstance(value, Real) for value in pair):
            raise ValueError(f"strength must be a number or a pair of two, got {self.strength!r}.")
        return float(pair[0]), float(pair[1])

    def _chosen_kinds(self) -> list[str]:
        if self.kinds is None:
            return list(DEFECTS)
        return [self.kinds] if isinstance(self.kinds, str) else list(self.kinds)

    def _draw(self, images: ValidatedInput, X: Any) -> Bunch:
        """Damage images in shuffled turns, with kinds in turns, and give them in the form of X."""
        value_range = _find_value_range(images)
        random = np.random.RandomState(self.random_state)
        n_rounds = -(-self.n_defects // len(images))
        rounds = [random.permutation(len(images)) for _ in range(n_rounds)]
        indices = np.concatenate(rounds)[: self.n_defects]
        kinds = self._chosen_kinds()
        damaged, masks, drawn = [], [], []
        for number, index in enumerate(indices):
            turn = number % len(kinds)
            # A state for each defect: how many numbers one draws changes no other.
            state = np.random.RandomState([self.random_state, number])
            image, other = _read(images, index), _read(images, _another(index, len(images), state))
            for kind in kinds[turn:] + kinds[:turn]:
                defect = add_defect(image, other, kind, self._strength_range(), value_range, state)
                if defect is not None:
                    break
            else:
                raise ValueError(
                    f"None of the kinds {kinds} of defects shows on the image {index} of X. "
                    "Is it constant, or very small?"
                )
            damaged.append(defect[0])
            masks.append(defect[1])
            drawn.append(kind)
        shape = X.shape if hasattr(X, "shape") else np.shape(X)
        return Bunch(
            # With the dtype named, since NumPy would turn the byte order to the machine's.
            images=np.array(damaged, damaged[0].dtype).reshape(self.n_defects, *shape[1:]),
            masks=np.stack(masks),
            kinds=np.array(drawn),
            indices=indices.astype(np.int64),
        )


def _take_normal(X: Any, y: ArrayLike | None) -> Any:
    """Leave out what is labelled -1."""
    if y is None:
        return X
    labels = column_or_1d(y)
    if not set(np.unique(labels)) <= {1, -1}:
        raise ValueError(
            "y must be None, or hold 1 for normal and -1 for anomalous images, got the values "
            f"{np.unique(labels)[:5]}."
        )
    if not (labels == 1).any():
        raise ValueError("There is no normal image (y = 1) to draw defects on.")
    return X if (labels == 1).all() else _safe_indexing(X, np.flatnonzero(labels == 1))


def _read(images: ValidatedInput, index: int) -> NDArray[Any]:
    return images.load(np.array([index]))[0]


def _find_value_range(images: ValidatedInput) -> ValueRange:
    low, high = np.inf, -np.inf
    for index in range(len(images)):
        image = _read(images, index).astype(np.float64)
        low, high = np.minimum(low, image.min((0, 1))), np.maximum(high, image.max((0, 1)))
    return ValueRange(np.asarray(low), np.asarray(high))


def _another(index: int, count: int, random_state: np.random.RandomState) -> int:
    return (index + random_state.randint(1, count)) % count if count > 1 else index
