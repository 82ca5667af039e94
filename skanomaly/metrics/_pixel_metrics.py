"""Ranking metrics over the pixels of all images together."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from ._pixels import iterate_pixels
from ._ranking import rank_pixels, warn_of_error


def pixel_roc_auc_score(
    masks: ArrayLike | Iterable[Any],
    maps: ArrayLike | Iterable[Any] | None = None,
    *,
    max_bins: int | None = None,
) -> float:
    """Area under the ROC curve of all pixels of all images.

    The pixels of all images are pooled, as in [1]_: this is the chance that a defective pixel has a
    higher value than a normal one, where ties count half.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half, soft rims too: of 255 if any value in `masks` is above 1, else
        of 1. Without `maps`, an iterable of tuples (mask, map).
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images can differ in size, but in an array.
    max_bins : int, default=None
        None is exact, and holds all pixels. A number, at least 2, gives memory that does not grow
        with the number of images: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; 0.5 for a map that knows nothing, 1 for a perfect one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or all pixels are normal, or all defective.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the value can be more than 0.001 from the exact one.

    See Also
    --------
    pixel_average_precision_score : Tells more where defects are small.
    per_region_overlap_score : Counts small defects as much as large ones.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger, "The MVTec Anomaly
       Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection",
       International Journal of Computer Vision 129, 2021.

    Examples
    --------
    >>> from skanomaly.metrics import pixel_roc_auc_score
    >>> masks = [[[0, 0], [0, 1]], [[0, 0], [0, 0]]]
    >>> maps = [[[0.1, 0.2], [0.1, 0.6]], [[0.3, 0.1], [0.7, 0.2]]]
    >>> round(pixel_roc_auc_score(masks, maps), 3)
    0.857
    >>> round(pixel_roc_auc_score(zip(masks, maps)), 3)
    0.857
    """
    result = rank_pixels(iterate_pixels(masks, maps), max_bins=max_bins).roc_auc()
    warn_of_error(result)
    return result.value


def pixel_average_precision_score(
    masks: ArrayLike | Iterable[Any],
    maps: ArrayLike | Iterable[Any] | None = None,
    *,
    max_bins: int | None = None,
) -> float:
    """Average precision of all pixels of all images.

    The pixels of all images are pooled. Unlike the area under the ROC curve, it is not flattered by
    the many normal pixels that surround a small defect.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half, soft rims too: of 255 if any value in `masks` is above 1, else
        of 1. Without `maps`, an iterable of tuples (mask, map).
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images can differ in size, but in an array.
    max_bins : int, default=None
        None is exact, and holds all pixels. A number, at least 2, gives memory that does not grow
        with the number of images: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; the fraction of defective pixels for a map that knows nothing, 1 for a perfect
        one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or all pixels are normal, or all defective.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the value can be more than 0.001 from the exact one.

    See Also
    --------
    pixel_roc_auc_score : Area under the ROC curve.

    Examples
    --------
    >>> from skanomaly.metrics import pixel_average_precision_score
    >>> masks = [[[0, 0], [0, 1]], [[0, 0], [0, 0]]]
    >>> maps = [[[0.1, 0.2], [0.1, 0.6]], [[0.3, 0.1], [0.7, 0.2]]]
    >>> pixel_average_precision_score(masks, maps)
    0.5
    """
    result = rank_pixels(iterate_pixels(masks, maps), max_bins=max_bins).average_precision()
    warn_of_error(result)
    return result.value


def per_region_overlap_score(
    masks: ArrayLike | Iterable[Any],
    maps: ArrayLike | Iterable[Any] | None = None,
    *,
    max_fpr: float = 0.3,
    max_bins: int | None = None,
) -> float:
    """Area under the per-region overlap (AUPRO), up to a false-positive rate.

    A region is a set of defective pixels of one image that are connected, diagonally too. At each
    threshold, the fraction of a region that lies at or above it is averaged over the regions of all
    images, so that a small defect counts as much as a large one [1]_. This mean overlap is
    integrated against the fraction of all normal pixels that lie there, from 0 to `max_fpr`, along
    straight lines between the thresholds, and divided by `max_fpr`.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half, soft rims too: of 255 if any value in `masks` is above 1, else
        of 1. Without `maps`, an iterable of tuples (mask, map).
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images can differ in size, but in an array.
    max_fpr : float, default=0.3
        False-positive rate to integrate up to, above 0 and at most 1.
    max_bins : int, default=None
        None is exact, and holds all pixels. A number, at least 2, gives memory that does not grow
        with the number of images: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; `max_fpr` / 2 for a map that knows nothing, 1 for a perfect one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, or are not images; `maps` holds NaN or
        infinity, `masks` holds anything but bool or numbers from 0 to 255, all pixels are normal,
        or all defective, or `max_fpr` is out of range.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the value can be more than 0.001 from the exact one.

    See Also
    --------
    pixel_roc_auc_score : Counts each defective pixel the same.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger, "The MVTec Anomaly
       Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection",
       International Journal of Computer Vision 129, 2021, section on metrics.

    Examples
    --------
    One of two regions is found at once, the other after one normal pixel of five.

    >>> from skanomaly.metrics import per_region_overlap_score
    >>> masks = [[[1, 1, 0, 0], [0, 0, 0, 1]]]
    >>> maps = [[[9, 9, 0, 0], [5, 0, 0, 3]]]
    >>> per_region_overlap_score(masks, maps, max_fpr=0.4)
    0.75
    """
    check_max_fpr(max_fpr)
    ranking = rank_pixels(iterate_pixels(masks, maps), max_bins=max_bins, regions=True)
    result = ranking.per_region_overlap(max_fpr)
    warn_of_error(result)
    return result.value


def check_max_fpr(max_fpr: float) -> None:
    """Raise unless `max_fpr` is a number above 0 and at most 1."""
    if not isinstance(max_fpr, numbers.Real) or not 0 < max_fpr <= 1:
        raise ValueError(f"'max_fpr' must be above 0 and at most 1. Got {max_fpr!r} instead.")
