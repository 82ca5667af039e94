"""The usual metrics of visual anomaly detection, from one pass over the maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from ._image_metrics import best_f1, check_labels, check_scores, image_roc_auc
from ._pixel_metrics import check_max_fpr
from ._pixels import Pixels, iterate_pixels
from ._ranking import rank_pixels, warn_of_error


def image_report(
    masks: ArrayLike | Iterable[Any],
    maps: ArrayLike | Iterable[Any] | None = None,
    *,
    y_true: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    max_fpr: float = 0.3,
    max_bins: int | None = None,
) -> dict[str, float]:
    """Measure how well images are told apart and defects are found, in one pass over the maps.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Where the images are defective: bool, or numbers from 0 to 1 or from 0 to 255. Numbers are
        binarised at more than half, soft rims too: of 255 if any value in `masks` is above 1, else
        of 1. Without `maps`, an iterable of tuples (mask, map).
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images can differ in size, but in an array.
    y_true : array-like of shape (n,), default=None
        1 for normal, -1 for anomalous images. None takes those for anomalous that have a defective
        pixel.
    scores : array-like of shape (n,), default=None
        **Higher is more normal**, as `score_samples` gives them. None takes the negative of the
        largest value of each map.
    max_fpr : float, default=0.3
        As in :func:`per_region_overlap_score`.
    max_bins : int, default=None
        None is exact, and holds all pixels. A number, at least 2, is for many large maps: see
        Notes.

    Returns
    -------
    dict of str to float
        - "image_roc_auc", "image_average_precision" and "image_f1_max", with anomalous images as
          the positive class, and "image_f1_max_threshold", below which a score is then anomalous;
        - "pixel_roc_auc", "pixel_average_precision" and "per_region_overlap";
        - "pixel_error", the most that any of these last three can be from its exact value: 0.0
          unless `max_bins` made bins.

    Raises
    ------
    ValueError
        If the input is not as described, holds NaN or infinity, or if there is not both a normal
        and an anomalous image, and a normal and a defective pixel; if `y_true` calls an image
        normal that has a defective pixel.

    Warns
    -----
    UserWarning
        If scores look as if they had the wrong sign, as in :func:`f1_max_score`; if `max_bins` is
        so low that a pixel metric can be more than 0.001 from the exact one.

    See Also
    --------
    f1_max_score : The image metric alone.
    pixel_roc_auc_score, pixel_average_precision_score, per_region_overlap_score : The pixel
        metrics alone.

    Notes
    -----
    With `max_bins`, one map is held at a time, beside counts of at most `max_bins` distinct values
    each of normal and of defective pixels. Up to so many values, nothing is lost. With more, all
    values are rounded to fewer binary digits, by as few as it takes. A bin is then as wide as a
    fixed fraction of the values in it, no range need be known beforehand, and the order of images
    does not matter. Pixels in one bin count as ties. How far that can be from the exact value
    follows from the counts: for the area under the ROC curve, it is half the fraction of the pairs
    of a defective and a normal pixel that fall into the same bin; for the other two, the distance
    to the value with the best and with the worst order in each bin. With 100000 bins it is seldom
    above 0.0001, in about 50 MB; ``docs/streaming_metrics.py`` measures both.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.metrics import image_report
    >>> masks = np.zeros((4, 8, 8), dtype=bool)
    >>> masks[2:, 2:4, 2:5] = True
    >>> maps = np.random.default_rng(0).random(masks.shape) + 0.8 * masks
    >>> for name, value in image_report(masks, maps).items():
    ...     print(f"{name} {value:.3f}")
    image_roc_auc 1.000
    image_average_precision 1.000
    image_f1_max 1.000
    image_f1_max_threshold -0.997
    pixel_roc_auc 0.964
    pixel_average_precision 0.826
    per_region_overlap 0.879
    pixel_error 0.000

    Maps that are made and measured one by one, in little memory:

    >>> def measure_one_by_one():
    ...     for mask, anomaly_map in zip(masks, maps):
    ...         yield mask, anomaly_map
    >>> round(image_report(measure_one_by_one(), max_bins=100_000)["pixel_roc_auc"], 3)
    0.964
    """
    check_max_fpr(max_fpr)
    anomalous = None if y_true is None else check_labels(y_true)
    values = None if scores is None else check_scores(scores)
    has_defect: list[bool] = []
    largest: list[float] = []

    def watch(pixels: Iterator[Pixels]) -> Iterator[Pixels]:
        for mask, anomaly_map in pixels:
            has_defect.append(bool(mask.any()))
            largest.append(float(anomaly_map.max()))
            yield mask, anomaly_map

    ranking = rank_pixels(watch(iterate_pixels(masks, maps)), max_bins=max_bins, regions=True)
    if anomalous is None:
        anomalous = _check_both(np.array(has_defect))
    if values is None:
        values = -np.array(largest)
    for name, given in (("y_true", anomalous), ("scores", values)):
        if len(given) != len(has_defect):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: '{name}' has "
                f"{len(given)} values, for {len(has_defect)} images."
            )
    contradictions = np.flatnonzero(has_defect & ~anomalous)
    if len(contradictions):
        raise ValueError(
            f"'y_true' calls {len(contradictions)} images normal that have defective pixels in "
            f"'masks', the first at index {contradictions[0]}. 1 stands for normal, and -1 for "
            "anomalous images."
        )
    pixel_metrics = {
        "pixel_roc_auc": ranking.roc_auc(),
        "pixel_average_precision": ranking.average_precision(),
        "per_region_overlap": ranking.per_region_overlap(max_fpr),
    }
    warn_of_error(*pixel_metrics.values())
    f1, threshold = best_f1(anomalous, values)
    return {
        "image_roc_auc": image_roc_auc(anomalous, values),
        "image_average_precision": float(average_precision_score(anomalous, -values)),
        "image_f1_max": f1,
        "image_f1_max_threshold": threshold,
        **{name: result.value for name, result in pixel_metrics.items()},
        "pixel_error": max(result.error for result in pixel_metrics.values()),
    }


def _check_both(has_defect: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if has_defect.all():
        raise ValueError(
            "Every mask has a defective pixel, so that there is no normal image to tell anomalous "
            "ones from. Pixel metrics alone need none."
        )
    return has_defect
