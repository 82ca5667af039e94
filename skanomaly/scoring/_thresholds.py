"""Thresholds from the scores of normal images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AUTO_CONTAMINATION = 0.01
# Held-out images from which on their spread is heeded.
_FEWEST = 3
# Scores below this fraction of the usual one are as good as that.
_LEAST_FRACTION = 1e-3
_LEAST_OF_NEW = 0.1


def score_offset(
    scores: NDArray[np.float64],
    contamination: str | float,
    held_out: NDArray[np.bool_] | None = None,
) -> float:
    r"""Score below which an image counts as anomalous.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of normal images, at most 0, higher is more normal.
    contamination : "auto" or float
        Fraction of the images to fall below: a percentile of the scores, interpolated, as in
        scikit-learn's outlier detectors. "auto" is a fraction of 0.01 of *new* normal images: the
        percentile of the images trained on, in logarithms, moved by the difference of means and
        stretched by the ratio of standard deviations, from the images trained on to those held
        out. As in a prediction limit, the stretch is larger where few are held out: by the ratio
        of Student's quantile to the normal one, and by :math:`\sqrt{1 + 1/k}` for k of them.
        It is never looser than for the images trained on. If all are held out, and fewer than a
        hundred, it is a prediction limit of their logarithms, or their percentile if that is lower.
        This library's own.
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
    if held_out is None or not held_out.any():
        return float(np.percentile(scores, 100.0 * AUTO_CONTAMINATION))
    if held_out.all():
        return _offset_of_new_images(scores)
    trained, new = -scores[~held_out], -scores[held_out]
    limit = float(np.percentile(trained, 100.0 * (1.0 - AUTO_CONTAMINATION)))
    floor = _LEAST_FRACTION * float(np.median(trained))
    if floor == 0:
        return -limit
    # Scores are of one sign and skewed: what training takes off them are factors and powers.
    trained = np.log(trained.clip(min=floor))
    # An image that is reconstructed far better than the others says nothing of worse ones.
    new = np.log(new.clip(min=max(floor, _LEAST_OF_NEW * float(np.median(new)))))
    usual, spread = trained.mean(), trained.std()
    stretch = 1.0
    if len(new) >= _FEWEST and spread > 0:
        normal = stats.norm.isf(AUTO_CONTAMINATION)
        student = stats.t.isf(AUTO_CONTAMINATION, len(new) - 1)
        stretch = student / normal * np.sqrt(1 + 1 / len(new)) * new.std(ddof=1) / spread
    beyond = float(np.exp(new.mean() + stretch * (np.log(limit) - usual)))
    return -max(limit, beyond)


def _offset_of_new_images(scores: NDArray[np.float64]) -> float:
    limit = float(np.percentile(-scores, 100.0 * (1.0 - AUTO_CONTAMINATION)))
    count = len(scores)
    if not _FEWEST <= count < 1 / AUTO_CONTAMINATION or np.median(scores) == 0:
        return -limit
    logs = np.log((-scores).clip(min=_LEAST_OF_NEW * float(np.median(-scores))))
    student = stats.t.isf(AUTO_CONTAMINATION, count - 1)
    beyond = np.exp(logs.mean() + student * logs.std(ddof=1) * np.sqrt(1 + 1 / count))
    return -max(limit, float(beyond))


def map_threshold(
    maxima: NDArray[np.float64],
    contamination: str | float,
    held_out: NDArray[np.bool_] | None = None,
) -> float:
    """Value of a map above which a pixel counts as anomalous.

    Parameters
    ----------
    maxima : ndarray of shape (n,)
        Largest value of each normal image's anomaly map.
    contamination, held_out
        As in `score_offset`: the fraction of the images that may exceed the threshold somewhere.

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
