"""Iterators and bins: the same values, errors within the stated bound, memory that stays."""

import itertools
import tracemalloc
from functools import partial

import numpy as np
import pytest

from skanomaly.metrics import (
    _histogram,
    _ranking,
    image_report,
    per_region_overlap_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)

METRICS = [pixel_roc_auc_score, pixel_average_precision_score, per_region_overlap_score]
PIXEL_NAMES = ["pixel_roc_auc", "pixel_average_precision", "per_region_overlap"]
pairs = partial(zip, strict=True)
each = pytest.mark.parametrize("metric", METRICS)
# Bins that are too few are warned of, and that is tested by itself.
few_bins = pytest.mark.filterwarnings("ignore:With so few bins")


def make_case(seed=0, n_images=6):
    rng = np.random.default_rng(seed)
    masks = np.zeros((n_images, 24, 24), dtype=bool)
    for mask in masks[::2]:
        for _ in range(3):
            row, column = rng.integers(0, 20, 2)
            mask[row : row + rng.integers(1, 5), column : column + rng.integers(1, 5)] = True
    return masks, rng.normal(size=masks.shape) + 2 * masks


DISTRIBUTIONS = {
    "normal": lambda maps: maps,
    "all negative": lambda maps: -np.exp(-maps),
    "many scales": lambda maps: np.exp(8 * maps),
    "far from zero": lambda maps: 1e6 + 1e-3 * maps,
    "ties": lambda maps: np.round(4 * maps),
    "two values": lambda maps: (maps > 2).astype(float),
    "tiny": lambda maps: 1e-310 * np.round(1e8 * maps),
    "huge": lambda maps: 1e305 * maps,
    "near one": lambda maps: 1 - np.exp(-maps - 8),
    "around one": lambda maps: 1 + 1e-9 * maps,
    "probabilities": lambda maps: 1 / (1 + np.exp(-3 * maps)),
}
distributions = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


@each
def test_forms_of_input(metric):
    masks, maps = make_case()
    expected = metric(masks, maps)
    assert metric(pairs(masks, maps)) == expected
    assert metric([(mask, image) for mask, image in pairs(masks, maps)]) == expected
    assert metric((255 * mask.astype(np.uint8), image) for mask, image in pairs(masks, maps)) == (
        expected
    )
    assert metric(masks, (image for image in maps)) == expected
    assert metric((mask for mask in masks), list(maps)) == expected
    assert metric(iter(masks * 1.0), iter(maps)) == expected
    sizes = [
        (mask[: 10 + i], image[: 10 + i]) for i, (mask, image) in enumerate(pairs(masks, maps))
    ]
    assert metric(iter(sizes)) == metric([mask for mask, _ in sizes], [image for _, image in sizes])


@few_bins
@distributions
@pytest.mark.parametrize("max_bins", [2, 5, 16, 64, 300])
@pytest.mark.parametrize("seed", range(3))
def test_error_is_within_the_bound(distribution, max_bins, seed):
    masks, maps = make_case(seed)
    maps = DISTRIBUTIONS[distribution](maps)
    for max_fpr in (0.02, 0.3, 1.0):
        exact = image_report(masks, maps, max_fpr=max_fpr)
        binned = image_report(masks, maps, max_fpr=max_fpr, max_bins=max_bins)
        assert exact["pixel_error"] == 0.0
        for name in PIXEL_NAMES:
            assert abs(binned[name] - exact[name]) <= binned["pixel_error"] + 1e-12
        assert [binned[name] for name in binned if name.startswith("image")] == [
            exact[name] for name in exact if name.startswith("image")
        ]


@few_bins
@distributions
def test_bound_holds_for_each_metric(distribution):
    masks, maps = make_case(1)
    maps = DISTRIBUTIONS[distribution](maps)
    pixels = list(pairs(masks, maps.astype(float)))
    for max_bins in (2, 10, 40):
        exact = _ranking.rank_pixels(pixels, max_bins=None, regions=True)
        binned = _ranking.rank_pixels(pixels, max_bins=max_bins, regions=True)
        for compute in (
            lambda ranking: ranking.roc_auc(),
            lambda ranking: ranking.average_precision(),
            lambda ranking: ranking.per_region_overlap(0.3),
            lambda ranking: ranking.per_region_overlap(0.01),
        ):
            value, error = compute(binned)
            assert abs(value - compute(exact).value) <= error + 1e-12


def test_bound_is_reached():
    # Two normal pixels lie so far apart that all others, of either class, must share one bin.
    mask = np.array([[1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    metrics = [
        lambda ranking: ranking.roc_auc(),
        lambda ranking: ranking.average_precision(),
        lambda ranking: ranking.per_region_overlap(0.3),
        lambda ranking: ranking.per_region_overlap(1.0),
    ]
    largest, bounds = np.zeros(len(metrics)), set()
    for values in itertools.permutations([1.0, 1.1, 1.2, 1.3, 1.4]):
        pixels = [(mask, np.array([[*values, 1e-300, -1.0]]))]
        exact = _ranking.rank_pixels(pixels, max_bins=None, regions=True)
        binned = _ranking.rank_pixels(pixels, max_bins=2, regions=True)
        errors = [abs(compute(binned).value - compute(exact).value) for compute in metrics]
        largest = np.maximum(largest, errors)
        bounds.add(tuple(compute(binned).error for compute in metrics))
    (bound,) = bounds
    np.testing.assert_allclose(largest, bound, rtol=1e-12)
    assert bound[0] == pytest.approx(4 * 2 / (2 * 5 * 2))


def test_bound_where_the_value_is_too_high():
    # Below a hundred false alarms, ten defective pixels share a bin with a normal one above them.
    normal, defective = [4.0] * 100 + [1.95, 1e-300, -1.0], np.linspace(1.0, 1.9, 10)
    mask = np.array([[0] * len(normal) + [1] * len(defective)], dtype=bool)
    pixels = [(mask, np.array([[*normal, *defective]]))]
    exact = _ranking.rank_pixels(pixels, max_bins=None).average_precision().value
    value, error = _ranking.rank_pixels(pixels, max_bins=3).average_precision()
    assert exact == pytest.approx(np.mean([j / (101 + j) for j in range(1, 11)]))
    assert error / 1.2 < value - exact <= error


@each
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_exact_while_values_fit(metric, dtype):
    masks, maps = make_case()
    maps = np.clip(np.round(20 * maps) + 100, 0, 255).astype(dtype)
    n_values = len(np.unique(maps[~masks]))
    assert metric(masks, maps, max_bins=n_values) == metric(masks, maps)
    report = image_report(masks, maps, max_bins=n_values)
    assert report == image_report(masks, maps)
    assert report["pixel_error"] == 0.0


@few_bins
def test_chunks_and_order_do_not_matter(monkeypatch):
    masks, maps = make_case(n_images=12)
    at_once = image_report(masks, maps, max_bins=50)
    monkeypatch.setattr(_ranking, "_CHUNK", 700)
    for order in (slice(None), slice(None, None, -1)):
        report = image_report(pairs(masks[order], maps[order]), max_bins=50)
        assert report == pytest.approx(at_once, rel=1e-12)
    # Wide images first or last: bins have widened already, or widen late.
    maps[0] = 1e9 * maps[0]
    forward = image_report(pairs(masks, maps), max_bins=50)
    backward = image_report(pairs(masks[::-1], maps[::-1]), max_bins=50)
    assert forward == pytest.approx(backward, rel=1e-12)


@few_bins
@pytest.mark.filterwarnings("ignore:Anomalous images have higher")
@pytest.mark.parametrize("scale", [1e-20, 1.0, -1.0, 1e20])
def test_no_range_need_be_known(scale):
    masks, maps = make_case()
    maps = scale * np.exp(maps)
    for metric in METRICS:
        assert metric(masks, maps, max_bins=2000) == pytest.approx(metric(masks, maps), abs=2e-3)
    assert image_report(masks, maps, max_bins=2000)["pixel_error"] < 1e-2


@few_bins
@each
def test_bins_follow_probabilities(metric):
    masks, maps = make_case(n_images=40)
    for crowded in (1 / (1 + np.exp(-3 * maps)), 1 - np.exp(-5 - maps), 1 - np.exp(-15 - maps)):
        assert crowded.min() > 0 and crowded.max() < 1
        exact = metric(masks, crowded)
        assert metric(masks, crowded, max_bins=2000) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_nested_and_keeps_order(dtype):
    rng = np.random.default_rng(0)
    near = np.concatenate(
        [[0.0, 0.5, 1.0, 2.0], rng.random(2000), 1 - 10 ** rng.uniform(-16, 0, 2000)]
    )
    values = np.sort(np.concatenate([near, -near, 1 + near, rng.normal(size=2000)])).astype(dtype)
    keys = _histogram.ordered_keys(values.astype(np.float64))
    before = keys
    for n_dropped_bits in range(64):
        found = _histogram.rounded(keys, n_dropped_bits)
        assert (found[1:] >= found[:-1]).all()
        np.testing.assert_array_equal(_histogram.rounded(before, n_dropped_bits), found)
        before = found


@few_bins
@each
def test_memory_does_not_grow(metric, monkeypatch):
    monkeypatch.setattr(_ranking, "_CHUNK", 2**15)

    def stream(n_images):
        rng = np.random.default_rng(0)
        mask = np.zeros((64, 64), dtype=bool)
        mask[10:20, 10:20] = True
        for _ in range(n_images):
            yield mask, rng.normal(size=mask.shape) + mask

    def peak(n_images):
        tracemalloc.start()
        try:
            metric(stream(n_images), max_bins=4000)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    assert peak(200) < 1.1 * peak(50)


@each
def test_too_few_bins_are_warned_of(metric, recwarn):
    masks, maps = make_case(n_images=60)
    metric(masks, maps, max_bins=20000)
    assert not recwarn
    with pytest.warns(UserWarning, match="from the exact one. Raise 'max_bins'"):
        metric(masks, maps, max_bins=4)


@each
def test_signed_zeros_are_ties(metric):
    masks, maps = [[[1, 0, 0, 0]]], [[[-0.0, 0.0, 0.0, -1.0]]]
    assert metric(masks, maps) == metric(masks, [[[0.0, 0.0, 0.0, -1.0]]])
    assert metric(masks, maps) < 1.0


@each
@pytest.mark.parametrize(
    ("max_bins", "error"), [(1, ValueError), (0, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_wrong_number_of_bins(metric, max_bins, error):
    with pytest.raises(error, match=rf"'max_bins' must be.* Got {max_bins} instead"):
        metric(*make_case(), max_bins=max_bins)


@each
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (lambda masks, maps: (masks, None), r"iterable of tuples .*index 0.* shape \(24, 24\)"),
        (lambda masks, maps: (masks[:, :2], None), r"iterable of tuples .* shape \(2, 24\)"),
        (lambda masks, maps: (masks.tolist(), None), "index 0, got list instead"),
        (lambda masks, maps: (iter([]), None), r"0 sample\(s\)"),
        (lambda masks, maps: (5, None), r"an iterable of pairs \(mask, map\)\. Got 5"),
        (lambda masks, maps: (pairs(masks, maps, maps), None), "tuples .* got tuple of length 3"),
        (lambda masks, maps: (iter(masks), iter(maps[:4])), "'maps' has 4 images, .* more"),
        (lambda masks, maps: (iter(masks[:4]), iter(maps)), "'masks' has 4 images, .* more"),
        (lambda masks, maps: (pairs([masks], [maps]), None), r"shape \(6, 24, 24\) at index 0"),
        (lambda masks, maps: (pairs(masks[1::2], maps[1::2]), None), "no defective pixel"),
        (lambda masks, maps: (pairs(masks, maps * np.nan), None), "NaN: 'maps'.* index 0"),
    ],
)
def test_wrong_iterators(metric, images, message):
    with pytest.raises(ValueError, match=message):
        metric(*images(*make_case()))


@each
def test_range_of_masks_in_an_iterator(metric):
    masks, maps = make_case()
    expected = metric(masks, maps)
    coded = [255 * mask.astype(np.uint8) for mask in masks]
    assert not coded[1].any()
    assert metric(pairs(coded, maps)) == expected
    # A mask of zeros and ones tells no range of 255, and cannot be read again when one follows.
    mixed = [masks[0].astype(np.uint8), *coded[1:]]
    with pytest.raises(ValueError, match="At index 2, a mask holds values up to 255"):
        metric(pairs(mixed, maps))
    with pytest.raises(ValueError, match="At index 2, a mask holds values up to 1"):
        metric(pairs([coded[0], coded[1], *masks[2:].astype(np.uint8)], maps))
