"""Iterators and bins: the same values, errors within the stated bound, memory that stays."""

import itertools
import tracemalloc
import warnings
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


def mixed(first, second):
    """Values of one or the other, pixel by pixel."""
    return np.where(np.random.default_rng(9).random(first.shape) < 0.5, first, second)


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
    "close around one": lambda maps: 1 + 0.01 * maps,
    "probabilities": lambda maps: 1 / (1 + np.exp(-3 * maps)),
    "near zero": lambda maps: 1 / (1 + np.exp(6 - 4 * maps)),
    "in the middle": lambda maps: 0.3 + 0.002 * maps,
    "from 1000 to 1001": lambda maps: 1000 + 1 / (1 + np.exp(-maps)),
    "heavy tails": lambda maps: maps**2 * maps * np.exp(np.abs(maps)),
    "two clusters": lambda maps: mixed(1 - np.exp(-maps - 8), np.exp(4 * maps - 12)),
    "wide and narrow": lambda maps: mixed(np.exp(8 * maps), 1000 + 1e-3 * maps),
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


@pytest.mark.parametrize(("n_normal", "n_defective"), [(800, 800), (100, 2000), (2000, 100)])
def test_bound_is_reached(n_normal, n_defective):
    metrics = [
        lambda ranking: ranking.roc_auc(),
        lambda ranking: ranking.average_precision(),
        lambda ranking: ranking.per_region_overlap(0.3),
        lambda ranking: ranking.per_region_overlap(1.0),
    ]
    errors, bounds = [], set()
    # Either class first, in one bin for each class: their ranges share all but the last values.
    for sides in ([1.2, 1.6], [1.6, 1.2]):
        pixels, bins = [], []
        for is_defective, count in enumerate((n_normal, n_defective)):
            values = sides[is_defective] + np.linspace(0, 0.1, count - 2)
            values = np.concatenate([values, [1.0 + is_defective / 100, 2.0 - is_defective / 100]])
            histogram = _histogram.Histogram(n_weights=is_defective)
            histogram.add(_histogram.ordered_keys(values), *[np.ones(count)] * is_defective)
            histogram.fold(None)
            histogram._merge(63, np.inf)
            assert len(histogram.lows) == 1
            bins.append(histogram)
            pixels.append((np.full((1, count), bool(is_defective)), values[np.newaxis]))
        exact = _ranking.rank_pixels(pixels, max_bins=None)
        binned = _ranking.rank(*bins)
        errors.append([abs(compute(binned).value - compute(exact).value) for compute in metrics])
        bounds.add(tuple(compute(binned).error for compute in metrics))
    (bound,) = bounds
    assert bound[0] == pytest.approx(0.5)
    reached = np.max(errors, axis=0) / bound
    assert np.all((reached > 0.94) & (reached <= 1)), reached


def test_bound_holds_for_every_order_of_values():
    # Two normal pixels lie far from all others.
    mask = np.array([[1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    for values in itertools.permutations([1.0, 1.1, 1.2, 1.3, 1.4]):
        pixels = [(mask, np.array([[*values, 1e-300, -1.0]]))]
        exact = _ranking.rank_pixels(pixels, max_bins=None, regions=True)
        binned = _ranking.rank_pixels(pixels, max_bins=2, regions=True)
        for compute in (
            lambda ranking: ranking.roc_auc(),
            lambda ranking: ranking.average_precision(),
            lambda ranking: ranking.per_region_overlap(0.3),
        ):
            value, error = compute(binned)
            assert abs(value - compute(exact).value) <= error + 1e-12


@pytest.mark.parametrize(("max_bins", "largest"), [(2, 0.05), (3, 2e-4), (4, 5e-5)])
def test_bound_where_the_value_is_too_high(max_bins, largest):
    # Below a hundred false alarms, ten defective pixels have a normal one above them.
    normal, defective = [4.0] * 100 + [1.95, 1e-300, -1.0], np.linspace(1.0, 1.9, 10)
    mask = np.array([[0] * len(normal) + [1] * len(defective)], dtype=bool)
    pixels = [(mask, np.array([[*normal, *defective]]))]
    exact = _ranking.rank_pixels(pixels, max_bins=None).average_precision().value
    value, error = _ranking.rank_pixels(pixels, max_bins=max_bins).average_precision()
    assert exact == pytest.approx(np.mean([j / (101 + j) for j in range(1, 11)]))
    assert 0 < value - exact <= min(error, largest)


@few_bins
@distributions
def test_bins_count_what_lies_in_them(distribution):
    values = DISTRIBUTIONS[distribution](make_case()[1]).astype(float)
    histogram = _histogram.Histogram(n_weights=1)
    for image in values:
        keys = _histogram.ordered_keys(image.ravel())
        in_order = keys[np.argsort(image, axis=None)]
        assert (in_order[1:] >= in_order[:-1]).all()
        histogram.add(keys, keys % 7)
        histogram.fold(100)
    keys = np.sort(_histogram.ordered_keys(values.ravel()))
    lows, highs, levels = histogram.lows, histogram.highs, histogram.levels
    assert len(lows) <= 100 and (lows[1:] >= lows[:-1]).all() and (highs >= lows).all()
    np.testing.assert_array_equal(lows >> levels, highs >> levels)
    np.testing.assert_array_equal(histogram.sums.sum(axis=1), [len(keys), (keys % 7).sum()])
    assert np.isin(lows, keys).all() and np.isin(highs, keys).all()
    # As many keys as are counted may lie up to any place.
    for place in keys[::50]:
        counted = [histogram.sums[0, ends <= place].sum() for ends in (highs, lows)]
        assert counted[0] <= np.searchsorted(keys, place, side="right") <= counted[1]


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
@pytest.mark.parametrize(("max_bins", "largest"), [(50, 0.1), (200, 0.02), (500, 0.005)])
def test_chunks_and_order_hardly_matter(max_bins, largest, monkeypatch):
    masks, maps = make_case(n_images=12)
    # Images of one scale, of rising values, and one of another scale.
    for shift, scale in ((0, 1), (1, 1), (0, 1e9)):
        shifted = maps + shift * np.arange(12)[:, np.newaxis, np.newaxis]
        shifted[0] *= scale
        exact = image_report(masks, shifted)
        by_size = np.argsort(masks.sum(axis=(1, 2)), kind="stable")
        for chunk in (700, 2**20):
            monkeypatch.setattr(_ranking, "_CHUNK", chunk)
            for order in (slice(None), slice(None, None, -1), by_size, by_size[::-1]):
                report = image_report(pairs(masks[order], shifted[order]), max_bins=max_bins)
                assert report["pixel_error"] < largest
                for name in PIXEL_NAMES:
                    error = abs(report[name] - exact[name])
                    assert error <= report["pixel_error"] and error < 0.2 * largest


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
@distributions
def test_bins_follow_the_data(distribution):
    masks, maps = make_case(n_images=40)
    maps = DISTRIBUTIONS[distribution](maps)
    exact = image_report(masks, maps)
    report = image_report(masks, maps, max_bins=1000)
    assert report["pixel_error"] < 2e-3
    for name in PIXEL_NAMES:
        assert abs(report[name] - exact[name]) < 2e-4


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


@pytest.mark.parametrize(
    ("max_bins", "first", "second"),
    [(2, [-1, 1, 1.5, 1], [-1, 1]), (3, [-1.5, -1, 1, 1], [-1.5, 1])],
)
def test_few_bins_hold_keys_that_come_again(max_bins, first, second):
    """A later key may equal the lowest one of a merged bin."""
    histogram = _histogram.Histogram(0)
    for values in (first, second):
        histogram.add(_histogram.ordered_keys(np.repeat(np.float64(values), 1000)))
        histogram.fold(max_bins)
    assert len(histogram.lows) <= max_bins
    assert histogram.sums[0].sum() == 1000 * (len(first) + len(second))


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


def test_errors_above_a_thousandth_are_warned_of():
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 24, 24), dtype=bool)
    masks[::2, 4:9, 6:12] = True
    maps = rng.normal(size=masks.shape) + 2 * masks
    errors = []
    for max_bins in (50, 100, 200, 400, 800, 4000):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            error = image_report(masks, maps, max_bins=max_bins)["pixel_error"]
        assert bool(caught) == (error > 1e-3)
        errors.append(error)
    assert any(0.001 < error < 0.01 for error in errors) and errors[-1] == 0
