"""Thresholds from the scores of normal images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUTO_CONTAMINATION = 0.01


def score_offset(scores: NDArray[np.float64], contamination: str | float) -> float:
    """Score below which an image counts as anomalous.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of the training images, higher is more normal.
    contamination : "auto" or float
        Share of the training images to fall below; "auto" is 0.01.

    Returns
    -------
    float
        A percentile of the scores, interpolated, as in scikit-learn's outlier detectors.
    """
    share = AUTO_CONTAMINATION if contamination == "auto" else float(contamination)
    return float(np.percentile(scores, 100.0 * share))


def map_threshold(maxima: NDArray[np.float64], contamination: str | float) -> float:
    """Value of a map above which a place counts as anomalous.

    Parameters
    ----------
    maxima : ndarray of shape (n,)
        Largest value of each training image's anomaly map.
    contamination : "auto" or float
        Share of the training images that may exceed the threshold somewhere.

    Returns
    -------
    float
    """
    return -score_offset(-maxima, contamination)
