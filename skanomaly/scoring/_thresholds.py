"""Thresholds from the scores of normal images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUTO_CONTAMINATION = 0.01


def score_offset(
    scores: NDArray[np.float64],
    contamination: str | float,
    held_out: NDArray[np.bool_] | None = None,
) -> float:
    """Score below which an image counts as anomalous.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of normal images, at most 0, higher is more normal.
    contamination : "auto" or float
        Share of the images to fall below: a percentile of the scores, interpolated, as in
        scikit-learn's outlier detectors. "auto" is a share of 0.01 of *new* normal images: the
        percentile of the images trained on, moved by as much as held-out images score lower.
    held_out : ndarray of shape (n,), bool, or None
        Which images were not trained on.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.scoring import score_offset
    >>> score_offset(-np.arange(101.0), contamination=0.05)
    -95.0
    """
    if contamination != "auto":
        return float(np.percentile(scores, 100.0 * float(contamination)))
    if held_out is None or not held_out.any() or held_out.all():
        return float(np.percentile(scores, 100.0 * AUTO_CONTAMINATION))
    offset = float(np.percentile(scores[~held_out], 100.0 * AUTO_CONTAMINATION))
    # Scores are of one sign and skewed: what training takes off them is a factor.
    usual, new = np.median(scores[~held_out]), np.median(scores[held_out])
    return offset * max(1.0, float(new / usual)) if usual < 0 else offset


def map_threshold(
    maxima: NDArray[np.float64],
    contamination: str | float,
    held_out: NDArray[np.bool_] | None = None,
) -> float:
    """Value of a map above which a place counts as anomalous.

    Parameters
    ----------
    maxima : ndarray of shape (n,)
        Largest value of each normal image's anomaly map.
    contamination, held_out
        As in `score_offset`: the share of the images that may exceed the threshold somewhere.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.scoring import map_threshold
    >>> map_threshold(np.arange(101.0), contamination=0.05)
    95.0
    """
    return -score_offset(-maxima, contamination, held_out)
