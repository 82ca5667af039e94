"""How well scores tell anomalous images from normal ones, at the best threshold."""

from __future__ import annotations

import warnings
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d

# A detector that is of no use is seldom as far below one half as this.
_LIKELY_REVERSED = 0.25


@overload
def f1_max_score(
    y_true: ArrayLike, scores: ArrayLike, *, return_threshold: Literal[False] = False
) -> float: ...
@overload
def f1_max_score(
    y_true: ArrayLike, scores: ArrayLike, *, return_threshold: Literal[True]
) -> tuple[float, float]: ...
def f1_max_score(
    y_true: ArrayLike, scores: ArrayLike, *, return_threshold: bool = False
) -> float | tuple[float, float]:
    """F1 of finding the anomalous images, at the threshold where it is highest.

    **Signs are those of scikit-learn's outlier detectors, for both arguments**: `y_true` is 1 for
    normal and -1 for anomalous, and `scores` are higher for more normal images, as
    `score_samples` and `decision_function` give them. Anomalous images are the positive class.
    Of an anomaly score, which is higher for more anomalous images, pass the negative.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 for normal, -1 for anomalous images, both at least once.
    scores : array-like of shape (n,)
        Finite; higher is more normal.
    return_threshold : bool, default=False
        Whether to give the threshold too.

    Returns
    -------
    f1 : float
        Above 0, at most 1.
    threshold : float
        Only if `return_threshold` is True. Images with a score *below* it are called anomalous, as
        with a detector's ``offset_``: it is the lowest score that is called normal, or infinity if
        none is. Of several thresholds with the same F1, the lowest.

    Raises
    ------
    ValueError
        If `y_true` is not made of 1 and -1, both present, if `scores` holds NaN or infinity, or if
        the two differ in length.

    Warns
    -----
    UserWarning
        If an anomalous image has the higher score in more than three of four pairs with a normal
        one: the sign of `scores` is likely to be wrong.

    See Also
    --------
    image_report : This and other metrics at once.

    Notes
    -----
    The threshold is chosen with the labels in hand. F1 on new images will be lower.

    Examples
    --------
    >>> from skanomaly.metrics import f1_max_score
    >>> y_true = [1, 1, -1, 1, -1]
    >>> scores = [-0.1, -0.2, -0.9, -0.5, -0.4]
    >>> f1_max_score(y_true, scores)
    0.8
    >>> f1_max_score(y_true, scores, return_threshold=True)
    (0.8, -0.2)
    """
    anomalous, values = check_labels(y_true), check_scores(scores)
    check_consistent_length(anomalous, values)
    image_roc_auc(anomalous, values)
    f1, threshold = best_f1(anomalous, values)
    return (f1, threshold) if return_threshold else f1


def best_f1(anomalous: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the highest F1 and the lowest score that is then called normal."""
    order = np.argsort(scores)
    ordered = scores[order]
    # All up to a score are called anomalous, or none that ties with it.
    last_of_ties = np.flatnonzero(np.append(ordered[1:] > ordered[:-1], True))
    n_found = np.cumsum(anomalous[order])[last_of_ties]
    f1 = 2 * n_found / (last_of_ties + 1 + anomalous.sum())
    best = int(np.argmax(f1))
    first_normal = last_of_ties[best] + 1
    threshold = ordered[first_normal] if first_normal < len(ordered) else np.inf
    return float(f1[best]), float(threshold)


def check_labels(y_true: Any, name: str = "y_true") -> NDArray[np.bool_]:
    """Return which images are anomalous."""
    y_true = column_or_1d(y_true)
    classes = np.unique(y_true)
    if not np.array_equal(classes, [-1, 1]):
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        hint = ""
        if np.array_equal(classes, [0, 1]):
            hint = f" If 1 stands for defects and 0 for good, pass np.where({name} == 1, -1, 1)."
        raise ValueError(
            f"'{name}' must hold 1 for normal and -1 for anomalous images, both at least once. Got "
            f"the values [{shown}] instead.{hint}"
        )
    return y_true == -1


def check_scores(scores: Any) -> NDArray[np.float64]:
    """Return the scores as float64 (n,)."""
    scores = column_or_1d(scores).astype(np.float64)
    assert_all_finite(scores, input_name="scores")
    return scores


def image_roc_auc(anomalous: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve; warn of scores that look as if they had the wrong sign."""
    area = float(roc_auc_score(anomalous, -scores))
    if area < _LIKELY_REVERSED:
        warnings.warn(
            "Anomalous images have higher 'scores' than normal ones: the area under the ROC curve "
            f"is {area:.3g}. Higher must be more normal, as from score_samples. If yours are "
            "higher for more anomalous images, pass the negative.",
            stacklevel=3,
        )
    return area
