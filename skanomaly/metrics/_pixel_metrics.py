"""Ranking metrics over the pooled pixels of all images."""

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
    """Area under the ROC curve over the pixels of all images.

    The pixels of all images are pooled [1]_. The value is the probability that a defective pixel
    has a higher value than a normal one; ties count half.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        True where an image is defective; or numbers, which are defective above one half, or above
        127.5 if any value in `masks` exceeds 1. If `maps` is None, an iterable of tuples
        (mask, map). Masked arrays must not have masked entries; this holds for `maps`, too.
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images in a list or iterator can differ in size.
    max_bins : int, default=None
        None computes the exact value and holds all pixels in memory. A number, at least 2, bounds
        the memory: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; 0.5 for a random map, 1 for a perfect one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or the pixels are all normal or all defective.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the error of the value can exceed 0.001.

    See Also
    --------
    pixel_average_precision_score : More informative if defects are small.
    per_region_overlap_score : Weights small and large defects equally.

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
    """Average precision over the pixels of all images.

    The pixels of all images are pooled. Unlike the area under the ROC curve, the value is not
    raised by the many normal pixels around a small defect.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        True where an image is defective; or numbers, which are defective above one half, or above
        127.5 if any value in `masks` exceeds 1. If `maps` is None, an iterable of tuples
        (mask, map). Masked arrays must not have masked entries; this holds for `maps`, too.
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images in a list or iterator can differ in size.
    max_bins : int, default=None
        None computes the exact value and holds all pixels in memory. A number, at least 2, bounds
        the memory: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; the fraction of defective pixels for a random map, 1 for a perfect one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or the pixels are all normal or all defective.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the error of the value can exceed 0.001.

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
    """Area under the per-region-overlap curve (AUPRO), up to a false-positive rate.

    A region is a connected set of defective pixels of one image; diagonal neighbours are connected.
    At each threshold, the fraction of a region at or above the threshold is averaged over the
    regions of all images, so that small and large defects have the same weight [1]_. This mean
    overlap is integrated over the false-positive rate, the fraction of all normal pixels at or
    above the threshold, from 0 to `max_fpr`, with linear interpolation between thresholds, and
    divided by `max_fpr`.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        True where an image is defective; or numbers, which are defective above one half, or above
        127.5 if any value in `masks` exceeds 1. If `maps` is None, an iterable of tuples
        (mask, map). Masked arrays must not have masked entries; this holds for `maps`, too.
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images in a list or iterator can differ in size.
    max_fpr : float, default=0.3
        False-positive rate to integrate up to, above 0 and at most 1.
    max_bins : int, default=None
        None computes the exact value and holds all pixels in memory. A number, at least 2, bounds
        the memory: see :func:`image_report`.

    Returns
    -------
    float
        From 0 to 1; `max_fpr` / 2 for a random map, 1 for a perfect one.

    Raises
    ------
    ValueError
        As in :func:`pixel_roc_auc_score`; also if `masks` and `maps` are not images, or `max_fpr`
        is out of range.

    Warns
    -----
    UserWarning
        If `max_bins` is so low that the error of the value can exceed 0.001.

    See Also
    --------
    pixel_roc_auc_score : Weights all defective pixels equally.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger, "The MVTec Anomaly
       Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection",
       International Journal of Computer Vision 129, 2021, section on metrics.

    Examples
    --------
    One of two regions ranks first, the other below one normal pixel of five.

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
