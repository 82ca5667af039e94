"""How well scores separate anomalous from normal images."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d

from .._arrays import check_unmasked
from .._logging import warn

# A useless detector is seldom this far below one half.
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
    """Highest F1 score over all thresholds.

    **Both arguments follow the sign convention of scikit-learn's outlier detectors**: `y_true` is 1
    for normal and -1 for anomalous, and `scores` are higher for more normal images, as returned by
    `score_samples` and `decision_function`. Anomalous images are the positive class. Negate an
    anomaly score that is higher for more anomalous images.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 for normal, -1 for anomalous images. Both must occur.
    scores : array-like of shape (n,)
        Finite; higher is more normal.
    return_threshold : bool, default=False
        Whether to return the threshold, too.

    Returns
    -------
    f1 : float
        Above 0, at most 1.
    threshold : float
        Only if `return_threshold` is True. Images with a score *below* it are anomalous, as with a
        detector's ``offset_``: it is the lowest score counted as normal, or infinity if there is
        none. Of several thresholds with the same F1, the lowest.

    Raises
    ------
    ValueError
        If `y_true` does not hold both 1 and -1 and nothing else, `scores` holds NaN or infinity, or
        the two differ in length.

    Warns
    -----
    UserWarning
        If the area under the ROC curve is below 0.25: the sign of `scores` is probably wrong.

    See Also
    --------
    image_report : All usual metrics at once.

    Notes
    -----
    The threshold is chosen with the labels. F1 on new images will be lower.

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
    """Return the highest F1 and the lowest score counted as normal at that threshold."""
    order = np.argsort(scores)
    ordered = scores[order]
    # Tied scores are all anomalous or all normal.
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
        hint = f" If 1 stands for defects and 0 for good, pass np.where({name} == 1, -1, 1)."
        hint = hint if np.array_equal(classes, [0, 1]) else ""
        raise ValueError(
            f"'{name}' must hold 1 for normal and -1 for anomalous images, both at least once. Got "
            f"the values [{shown}] instead.{hint}"
        )
    return y_true == -1


def check_scores(scores: Any) -> NDArray[np.float64]:
    """Return the scores as float64 (n,)."""
    check_unmasked(scores, "'scores'")
    scores = column_or_1d(scores).astype(np.float64)
    assert_all_finite(scores, input_name="scores")
    return scores


def image_roc_auc(anomalous: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve; warn if the scores seem to have the wrong sign."""
    area = float(roc_auc_score(anomalous, -scores))
    if area < _LIKELY_REVERSED:
        warn(
            "Anomalous images have higher 'scores' than normal ones: the area under the ROC curve "
            f"is {area:.3g}. Higher must be more normal, as in score_samples. For scores that are "
            "higher for more anomalous images, pass the negative.",
        )
    return area
