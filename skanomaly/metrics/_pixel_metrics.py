"""Ranking metrics over the pixels of all images together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score


def pixel_roc_auc_score(
    masks: ArrayLike | Sequence[ArrayLike], maps: ArrayLike | Sequence[ArrayLike]
) -> float:
    """Area under the ROC curve of all pixels of all images.

    The pixels of all images are pooled, as in [1]_: this is the chance that a defective pixel has a
    higher value than a normal one.

    Parameters
    ----------
    masks : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half: of 255 if any value in `masks` is above 1, else of 1.
    maps : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. In lists, images can differ in size.

    Returns
    -------
    float
        From 0 to 1; 0.5 for a map that knows nothing, 1 for a perfect one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or all pixels are normal, or all defective.

    See Also
    --------
    pixel_average_precision_score : Tells more where defects are small.

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
    """
    defective, values = _check_pixels(masks, maps)
    return float(roc_auc_score(defective, values))


def pixel_average_precision_score(
    masks: ArrayLike | Sequence[ArrayLike], maps: ArrayLike | Sequence[ArrayLike]
) -> float:
    """Average precision of all pixels of all images.

    The pixels of all images are pooled. Unlike the area under the ROC curve, it is not flattered by
    the many normal pixels that surround a small defect.

    Parameters
    ----------
    masks : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half: of 255 if any value in `masks` is above 1, else of 1.
    maps : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. In lists, images can differ in size.

    Returns
    -------
    float
        From 0 to 1; the share of defective pixels for a map that knows nothing, 1 for a perfect
        one.

    Raises
    ------
    ValueError
        If `masks` and `maps` differ in number or shape, `maps` holds NaN or infinity, `masks` holds
        anything but bool or numbers from 0 to 255, or all pixels are normal, or all defective.

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
    defective, values = _check_pixels(masks, maps)
    return float(average_precision_score(defective, values))


def _check_pixels(masks: Any, maps: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels are defective, and their values, both flat."""
    mask_images = _check_images(masks, "masks")
    map_images = _check_images(maps, "maps")
    if len(mask_images) != len(map_images):
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: 'masks' has "
            f"{len(mask_images)} images, 'maps' has {len(map_images)}."
        )
    for index, (mask, anomaly_map) in enumerate(zip(mask_images, map_images, strict=True)):
        if mask.shape != anomaly_map.shape:
            raise ValueError(
                f"Each mask must have the shape of its map. At index {index}, the mask has shape "
                f"{mask.shape} and the map has shape {anomaly_map.shape}."
            )
    values = np.concatenate([image.ravel() for image in map_images])
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
        raise ValueError(f"Input contains {what}: 'maps' must be made of finite numbers.")
    defective = _binarise(mask_images)
    if defective.all() or not defective.any():
        which = "normal" if defective.any() else "defective"
        raise ValueError(
            f"There is no {which} pixel in 'masks', so that no ranking can be scored. Masks must "
            "be bool, or numbers from 0 to 1 or from 0 to 255, with some pixels above half and "
            "some not."
        )
    return defective, values


def _check_images(images: Any, name: str) -> list[np.ndarray]:
    if not isinstance(images, (list, tuple)):
        images = np.asarray(images)
        if images.ndim == 0:
            raise ValueError(
                f"'{name}' must have shape (n, h, w), or be a list of images. Got "
                f"{images!r} instead."
            )
    arrays = [np.asarray(image) for image in images]
    if not arrays:
        raise ValueError(f"Found array with 0 sample(s) in '{name}': 1 image is required.")
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"'{name}' must be made of images of bool or real numbers. Got dtype {array.dtype}."
            )
        if array.ndim not in (1, 2):
            raise ValueError(
                f"'{name}' must have shape (n, h, w), or be a list of images of shape (h, w). "
                f"Got an image of shape {array.shape} instead."
            )
    return arrays


def _binarise(masks: list[np.ndarray]) -> np.ndarray:
    """Return the pixels of all masks, flat, as bool."""
    numbers = [mask for mask in masks if mask.dtype != bool and mask.size]
    lowest = min((mask.min() for mask in numbers), default=0)
    highest = max((mask.max() for mask in numbers), default=0)
    # Python's min and max pass over NaN.
    has_nan = any(np.isnan(mask).any() for mask in numbers)
    if has_nan or lowest < 0 or highest > 255:
        got = "NaN" if has_nan else f"values from {lowest} to {highest}"
        raise ValueError(
            f"'masks' must be bool, or numbers from 0 to 1 or from 0 to 255. Got {got} instead."
        )
    half = 127.5 if highest > 1 else 0.5
    return np.concatenate(
        [mask.ravel() if mask.dtype == bool else mask.ravel() > half for mask in masks]
    )
