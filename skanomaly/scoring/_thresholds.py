"""Thresholds from the scores of normal images."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AUTO_CONTAMINATION = 0.01
# With fewer held-out images, their standard deviation is not used.
_FEWEST = 3
# Scores are clipped to these fractions of the median, over the images trained on and held out.
_LEAST_FRACTION = 1e-3
_LEAST_OF_NEW = 0.1


def score_offset(
    scores: NDArray[np.float64],
    contamination: str | float,
    held_out: NDArray[np.bool_] | None = None,
) -> float:
    r"""Score below which an image is anomalous.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of normal images, at most 0, higher is more normal.
    contamination : "auto" or float
        Fraction of the images below the threshold: an interpolated percentile of the scores, as in
        scikit-learn's outlier detectors. "auto" aims at a fraction of 0.01 of *new* normal images.
        The logarithm of the percentile over the images trained on is shifted by the difference of
        the means, and scaled by the ratio of the standard deviations, of the logarithms of the
        scores of the images held out and trained on. As in a prediction limit, the scale is
        multiplied by the quantile of Student's t and by :math:`\sqrt{1 + 1/k}` for k images held
        out. It is divided by the percentile, in standard deviations, of as many normally
        distributed values as there are images trained on, from their expected order statistics
        [1]_. The threshold is never above the percentile of the images trained on. If all images
        are held out, it is a prediction limit of the logarithms, or the percentile if that is
        lower; from a hundred images on, it is the percentile of a new image, at position
        :math:`0.01 (n + 1)` of the sorted scores. This is a method of this library.
    held_out : ndarray of shape (n,), bool, or None
        Which images were not trained on.

    Returns
    -------
    float

    References
    ----------
    .. [1] G. Blom, *Statistical Estimates and Transformed Beta-Variables*, Wiley, 1958.

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
    new = -scores[held_out]
    trained = new if held_out.all() else -scores[~held_out]
    limit = float(np.percentile(trained, 100.0 * (1.0 - AUTO_CONTAMINATION)))
    floor = _LEAST_FRACTION * float(np.median(trained))
    if floor == 0:
        return -limit
    # Scores are positive and skewed, and training changes them by factors and powers. Images that
    # are reconstructed far better than the others must not widen the spread of the logarithms.
    new = np.log(new.clip(min=max(floor, _LEAST_OF_NEW * float(np.median(new)))))
    count = len(new)
    # Distance of the prediction limit from the mean.
    distance = None
    if count >= _FEWEST:
        student = stats.t.isf(AUTO_CONTAMINATION, count - 1)
        distance = student * np.sqrt(1 + 1 / count) * new.std(ddof=1)
    if held_out.all():
        if count * AUTO_CONTAMINATION >= 1:
            # The interpolated percentile of 100 scores lets 2 of 100 new images exceed it.
            return float(np.quantile(scores, AUTO_CONTAMINATION, method="weibull"))
        if distance is None:
            return -limit
        beyond = new.mean() + distance
    else:
        trained = np.log(trained.clip(min=floor))
        stretch = 1.0
        if distance is not None and trained.std() > 0:
            stretch = distance / (_normal_percentile(len(trained)) * trained.std())
        beyond = new.mean() + stretch * (np.log(limit) - trained.mean())
    return -max(limit, float(np.exp(beyond)))


def _normal_percentile(count: int) -> float:
    """Percentile, in standard deviations, of the expected order statistics of normal values.

    It increases with their number, as the percentile of a sample does.
    """
    ranks = np.arange(1, count + 1)
    expected = stats.norm.ppf((ranks - 0.375) / (count + 0.25))
    return float(np.percentile(expected, 100.0 * (1.0 - AUTO_CONTAMINATION)) / expected.std())
