"""Score detectors without labels, on held-out normal images with artificial defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch, _safe_indexing, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions

from .._arrays import open_container
from .._estimators import detect_batches, find_method, find_parameter
from .._validation import ValidatedInput
from ..datasets import ImageSequence
from ..metrics import pixel_roc_auc_score
from ._calibration import compute_scores
from ._images import validate_images
from ._synthetic_defects import DEFECTS, ValueRange, add_defect

# Histogram bins of map values, so that only a batch of maps is in memory.
_MAX_BINS = 100_000


class SyntheticDefectScorer(BaseEstimator):
    """Score a detector on held-out normal images with artificial defects, without labels.

    A scorer for :class:`sklearn.model_selection.GridSearchCV` and similar tools, for data sets of
    normal images alone. It draws defects on copies of held-out images, and returns how well the
    detector separates the copies from the originals. The defects do not depend on the detector:
    all candidates are scored on the same defects, which differ from the corruptions that detectors
    train on.

    The score serves to rank settings of one family of detectors. It is not an estimate of the
    accuracy on real defects: see the notes.

    Parameters
    ----------
    metric : {"roc_auc", "pixel_roc_auc", "mean_roc_auc"}, default="roc_auc"
        Area under the ROC curve of images, by `score_samples`; of the pixels of all images, by
        `anomaly_map`; or the mean of both. For a comparison with true labels see
        :ref:`label_free_selection`.
    n_defects : int, default=200
        Number of damaged copies, for any number of images, which are used in turn. The damaged and
        the clean images are all scored.
    kinds : str or sequence of str, default=None
        Kinds of defects, which are used in turn; None is all of them:

        - "crack": a thin dark or bright line along a random walk, with a branch at times;
        - "blob": a blotch of a dark or bright colour;
        - "smear": a turned rectangle blurred along one direction;
        - "missing": a polygon filled smoothly from its surroundings;
        - "doubled": a polygon that shows another part of the image;
        - "color": a region made brighter, darker or of another hue, with its texture;
        - "texture": a polygon of stripes and grain, or of a part of another image.
    strength : float or (float, float), default=(0.15, 1.0)
        Weight of a defect that is mixed into the image, above 0 and at most 1, which hides the
        image; drawn uniformly from a range. The range should include weak defects: if every
        candidate finds every defect, there is nothing to rank.
    image_shape : tuple of int, default=None
        Shape (h, w) or (h, w, c) of flattened images. None takes the parameter `image_shape` of the
        detector, or of a pipeline's last step.
    random_state : int, default=0
        Seed of the defects. It must be an int, so that all candidates get the same defects.

    See Also
    --------
    NormalOnlySplit : Cross-validation with labelled anomalies.
    skanomaly.corruption.PatchCorruption : The corruption that detectors train on, which is not used
        here.

    Notes
    -----
    In ``GridSearchCV(detector, grid, scoring=SyntheticDefectScorer()).fit(X)``, X holds normal
    images and there is no y. The same images get the same defects on each call: they depend on the
    seed, the index of the image in X and the values of X alone. Defects stay within the smallest
    and largest value of each channel in X, cover from a dot to about a sixth of the image, less of
    oblong ones (cracks and smears excepted), and are drawn again if the mean change of the image's
    values inside is less than a hundredth of that range.

    Fung et al. [1]_ showed that artificial anomalies can serve to select detectors, with pasted
    patches and with images from a generative model. Criteria based on the scores of images without
    any anomalies select no better than chance (Ma et al. [2]_).

    Limitations:

    - The score is not an estimate of accuracy. Real defects may be much easier or harder, and only
      scores for the same images and the same parameters are comparable.
    - The defects are local changes of appearance. The score tells nothing about logical anomalies,
      such as a part that is missing, wrong or superfluous, or about images that are too dark as a
      whole.
    - Where regions of an image are interchangeable, such as on gravel, "doubled" and pieces of
      other images are normal. Leave these kinds out.
    - Between detectors that miss different kinds of defects, the mixture of kinds decides. Set
      `kinds` to those that you expect.
    - With few images, differences of a hundredth are noise. Compare them with the spread over folds
      or seeds.
    - It sets no thresholds: see :class:`ConformalDetector`.

    A detector that was trained on defects of this class must not be scored by it.

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

    The defects can be inspected:

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
        # A seed that changes between calls would give each candidate other defects.
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
            if the metric needs pixels; or a pipeline or search that ends in one.
        X : array-like of shape (n, h, w) or (n, h, w, c), tensor or ImageSequence, or rows
            Normal images that the detector was not trained on, of any real dtype. Rows of shape
            (n, h * w * c) need `image_shape`, here or in the detector.
        y : array-like of shape (n,), default=None
            1 for normal images and -1 for anomalous ones, which are dropped. None is all normal.

        Returns
        -------
        float
            The metric, higher is better.

        Raises
        ------
        ValueError, TypeError
            If X holds plain vectors, NaN or no normal image, if no defect is visible on an image,
            or if a parameter is invalid.
        AttributeError
            If the metric needs an `anomaly_map` and the detector has none.
        """
        self._check_parameters()
        anomaly_map = find_method(estimator, "anomaly_map")
        if self.metric != "roc_auc" and anomaly_map is None:
            raise AttributeError(
                f"{type(estimator).__name__} has none of the following attributes: anomaly_map. "
                f"metric={self.metric!r} needs it. Use metric='roc_auc' instead."
            )
        shape = self.image_shape
        if shape is None:
            shape = find_parameter(estimator, "image_shape")
        X = _take_normal(X, y)
        # A copy, since the names of columns concern the detector alone.
        images = validate_images(X, shape, clone(self))
        defects = self._draw(images, _shape(X))
        parts = X, _in_columns(defects.images, X)
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
        """Draw the defects that detectors are scored on.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c), tensor or ImageSequence, or rows
            Normal images. Flattened images need the parameter `image_shape`.

        Returns
        -------
        Bunch
            With the fields

            images : ndarray of shape (n_defects, ...)
                Damaged copies, in the shape and dtype of X, and within its smallest and largest
                value of each channel.
            masks : ndarray of shape (n_defects, h, w), dtype bool
                The regions of the defects. Pixels outside are unchanged.
            kinds : ndarray of shape (n_defects,), dtype str
                Kinds of the defects.
            indices : ndarray of shape (n_defects,), dtype int64
                Indices in X of the originals.

        Raises
        ------
        ValueError, TypeError
            As when called.
        """
        self._check_parameters()
        return self._draw(validate_images(X, self.image_shape, clone(self)), _shape(X))

    def _check_parameters(self) -> None:
        self._validate_params()
        low, high = self._strength_range()
        if not 0 < low <= high <= 1:
            raise ValueError(
                "strength must be a number above 0 and at most 1, or a pair (low, high) of such "
                f"numbers, got {self.strength!r} instead."
            )
        kinds = self._chosen_kinds()
        if not kinds or any(kind not in tuple(DEFECTS) for kind in kinds):
            raise ValueError(
                f"kinds must be None or some of {list(DEFECTS)}, got {self.kinds!r} instead."
            )

    def _strength_range(self) -> tuple[float, float]:
        pair: Any = self.strength
        if isinstance(pair, Real):
            pair = (pair, pair)
        if len(pair) != 2 or not all(isinstance(value, Real) for value in pair):
            raise ValueError(
                f"strength must be a number or a pair of numbers, got {self.strength!r} instead."
            )
        return float(pair[0]), float(pair[1])

    def _chosen_kinds(self) -> list[str]:
        if self.kinds is None:
            return list(DEFECTS)
        return [self.kinds] if isinstance(self.kinds, str) else list(self.kinds)

    def _draw(self, images: ValidatedInput, shape: tuple[int, ...]) -> Bunch:
        """Draw defects on shuffled images, with kinds in turn, in the layout of X of this shape."""
        value_range = _find_value_range(images)
        random = np.random.RandomState(self.random_state)
        n_rounds = -(-self.n_defects // len(images))
        rounds = [random.permutation(len(images)) for _ in range(n_rounds)]
        indices = np.concatenate(rounds)[: self.n_defects]
        kinds = self._chosen_kinds()
        damaged, masks, drawn = [], [], []
        for number, index in enumerate(indices):
            turn = number % len(kinds)
            # With a state for each defect, the draws of one do not affect the others.
            state = np.random.RandomState([self.random_state, number])
            image, other = _read(images, index), _read(images, _another(index, len(images), state))
            for kind in kinds[turn:] + kinds[:turn]:
                defect = add_defect(image, other, kind, self._strength_range(), value_range, state)
                if defect is not None:
                    break
            else:
                raise ValueError(
                    f"None of the kinds {kinds} of defects shows on the image {index} of X. It may "
                    "be constant or too small."
                )
            damaged.append(defect[0])
            masks.append(defect[1])
            drawn.append(kind)
        return Bunch(
            # An explicit dtype keeps the byte order.
            images=np.array(damaged, damaged[0].dtype).reshape(self.n_defects, *shape[1:]),
            masks=np.stack(masks),
            kinds=np.array(drawn),
            indices=indices.astype(np.int64),
        )


def _shape(X: Any) -> tuple[int, ...]:
    return tuple(X.shape if isinstance(X, ImageSequence) else open_container(X).shape)


def _take_normal(X: Any, y: ArrayLike | None) -> Any:
    """Drop images that are labelled -1."""
    if y is None:
        return X
    labels = column_or_1d(y)
    check_consistent_length(X, labels)
    if not set(np.unique(labels)) <= {1, -1}:
        raise ValueError(
            "y must be None, or hold 1 for normal and -1 for anomalous images, got the values "
            f"{np.unique(labels)[:5]} instead."
        )
    if not (labels == 1).any():
        raise ValueError("There is no normal image (y = 1) to draw defects on.")
    return X if (labels == 1).all() else _safe_indexing(X, np.flatnonzero(labels == 1))


def _in_columns(rows: NDArray[Any], X: Any) -> Any:
    """Return rows as a data frame of the type and with the columns of X, if it is one."""
    if not (hasattr(X, "columns") and hasattr(X, "dtypes")):
        return rows
    return type(X)(dict(zip(X.columns, rows.T, strict=True)))


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
