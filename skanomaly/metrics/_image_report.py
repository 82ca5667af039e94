"""The usual metrics of visual anomaly detection, computed in one pass over the maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
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
    """Compute image and pixel metrics in one pass over the maps.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        True where an image is defective; or numbers, which are defective above one half, or above
        127.5 if any value in `masks` exceeds 1. If `maps` is None, an iterable of tuples
        (mask, map). Masked arrays must not have masked entries; this holds for `maps`, too.
    maps : array-like of shape (n, h, w), or list or iterator of n array-likes of shape (h, w)
        Anomaly maps; higher is more anomalous. Images in a list or iterator can differ in size.
    y_true : array-like of shape (n,), default=None
        1 for normal, -1 for anomalous images. None means that images with a defective pixel are
        anomalous.
    scores : array-like of shape (n,), default=None
        **Higher is more normal**, as in `score_samples`. None means the negative of the largest
        value of each map.
    max_fpr : float, default=0.3
        As in :func:`per_region_overlap_score`.
    max_bins : int, default=None
        None computes exact values and holds all pixels in memory. A number, at least 2, bounds the
        memory: see Notes.

    Returns
    -------
    dict of str to float
        - "image_roc_auc", "image_average_precision" and "image_f1_max", with anomalous images as
          the positive class, and "image_f1_max_threshold", the score below which an image is
          anomalous at the highest F1;
        - "pixel_roc_auc", "pixel_average_precision" and "per_region_overlap";
        - "pixel_error", an upper bound on the error of these three metrics: 0.0 unless values were
          binned because of `max_bins`.

    Raises
    ------
    ValueError
        If the input is not as described or holds NaN or infinity, if there are not both normal and
        anomalous images and both normal and defective pixels, or if `y_true` is 1 for an image with
        a defective pixel.

    Warns
    -----
    UserWarning
        If the scores seem to have the wrong sign, as in :func:`f1_max_score`, or `max_bins` is so
        low that the error of a pixel metric can exceed 0.001.

    See Also
    --------
    f1_max_score : Only the F1 score of images.
    pixel_roc_auc_score, pixel_average_precision_score, per_region_overlap_score : Single pixel
        metrics.

    Notes
    -----
    With `max_bins`, memory holds about a million pixels, and two histograms of at most `max_bins`
    bins each, for normal and for defective pixels. Up to that many distinct values, metrics are
    exact. With more, bins are merged where they count few pixels: bins are narrow where values
    crowd and at the high end, and no range need be known in advance. The order of images can change
    the values within the error bound, which follows from the counts. For the area under the ROC
    curve, it is half the fraction of pairs of a defective and a normal pixel in bins of overlapping
    ranges; for the other two metrics, it is the distance to the values with the best and the worst
    order within bins. With 100000 bins, it is seldom above 0.0001, and memory rises by about 70 MB
    for maps of 256 x 256 pixels; ``docs/streaming_metrics.py`` measures both.

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

    Maps that are computed and measured one by one, in little memory:

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
        anomalous = np.array(has_defect)
        if anomalous.all():
            raise ValueError(
                "Every mask has a defective pixel, so that there is no normal image. The functions "
                "for single pixel metrics need none."
            )
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
            f"'masks', the first at index {contradictions[0]}. It must be -1 for anomalous images."
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
