"""image_report against the metrics it is made of, its defaults, and contradictions."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from skanomaly.metrics import (
    f1_max_score,
    image_report,
    per_region_overlap_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    masks = np.zeros((9, 10, 12), dtype=bool)
    masks[4:, 2:5, 3:6] = masks[5, 8, 8:10] = True
    return masks, rng.normal(size=masks.shape) + 1.5 * masks


@pytest.mark.parametrize("max_bins", [None, 10_000])
def test_all_metrics(case, max_bins):
    masks, maps = case
    y_true = np.repeat([1, -1], [4, 5])
    scores = -maps.mean(axis=(1, 2))
    report = image_report(masks, maps, y_true=y_true, scores=scores, max_fpr=0.1, max_bins=max_bins)
    f1, threshold = f1_max_score(y_true, scores, return_threshold=True)
    assert report == {
        "image_roc_auc": pytest.approx(roc_auc_score(y_true, scores), abs=1e-12),
        "image_average_precision": pytest.approx(
            average_precision_score(y_true, -scores, pos_label=-1), abs=1e-12
        ),
        "image_f1_max": f1,
        "image_f1_max_threshold": threshold,
        "pixel_roc_auc": pixel_roc_auc_score(masks, maps),
        "pixel_average_precision": pixel_average_precision_score(masks, maps),
        "per_region_overlap": per_region_overlap_score(masks, maps, max_fpr=0.1),
        "pixel_error": 0.0,
    }
    assert all(type(value) is float for value in report.values())


def test_labels_and_scores_from_masks_and_maps(case):
    masks, maps = case
    y_true = np.where(masks.any(axis=(1, 2)), -1, 1)
    expected = image_report(masks, maps, y_true=y_true, scores=-maps.max(axis=(1, 2)))
    assert image_report(masks, maps) == expected
    assert image_report(255 * masks.astype(np.uint8), list(maps)) == expected
    assert 0.5 < expected["image_roc_auc"] < 1.0


def test_reads_an_iterator_once(case):
    masks, maps = case
    n_read = 0

    def measure():
        nonlocal n_read
        for mask, anomaly_map in zip(masks, maps, strict=True):
            n_read += 1
            yield mask, anomaly_map

    assert image_report(measure()) == image_report(masks, maps)
    assert n_read == len(masks)


def test_images_of_several_sizes(case):
    masks, maps = case
    masks = [mask[: 6 + index] for index, mask in enumerate(masks)]
    maps = [image[: 6 + index] for index, image in enumerate(maps)]
    report = image_report(masks, maps)
    assert report["per_region_overlap"] == per_region_overlap_score(masks, maps)
    assert report["pixel_roc_auc"] == pixel_roc_auc_score(masks, maps)


def test_an_anomaly_without_a_mask_is_no_contradiction(case):
    masks, maps = case
    y_true = np.repeat([1, -1], [2, 7])
    assert image_report(masks, maps, y_true=y_true)["image_f1_max"] > 0


def test_swapped_labels(case):
    masks, maps = case
    with pytest.raises(ValueError, match="calls 5 images normal that have .* at index 4"):
        image_report(masks, maps, y_true=np.repeat([-1, 1], [4, 5]))


def test_scores_of_wrong_sign_are_warned_of(case):
    masks, maps = case
    with pytest.warns(UserWarning, match="pass the negative"):
        image_report(masks, maps, scores=masks.sum(axis=(1, 2)))


def test_too_few_bins_are_warned_of_in_the_report(case):
    with pytest.warns(UserWarning, match="Raise 'max_bins'"):
        report = image_report(*case, max_bins=8)
    assert report["pixel_error"] > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": np.repeat([0, 1], [4, 5])}, r"'y_true' must hold 1 .*np\.where"),
        ({"y_true": np.repeat([1, -1], [4, 4])}, "'y_true' has 8 values, for 9 images"),
        ({"scores": np.arange(10)}, "'scores' has 10 values, for 9 images"),
        ({"scores": np.full(9, np.nan)}, "Input scores contains NaN"),
        ({"max_fpr": 0}, "'max_fpr'"),
        ({"max_bins": 1}, "'max_bins'"),
    ],
)
def test_errors(case, arguments, message):
    with pytest.raises(ValueError, match=message):
        image_report(*case, **arguments)


def test_arguments_are_checked_before_any_map_is_made():
    def measure():
        raise AssertionError("made a map")
        yield

    for wrong in ({"y_true": [0, 1]}, {"scores": [np.nan]}, {"max_fpr": 2}, {"max_bins": 0}):
        with pytest.raises(ValueError):
            image_report(measure(), **wrong)


def test_needs_normal_and_anomalous_images(case):
    masks, maps = case
    with pytest.raises(ValueError, match="no normal image"):
        image_report(masks[4:], maps[4:])
    with pytest.raises(ValueError, match="no defective pixel"):
        image_report(masks[:4], maps[:4])
