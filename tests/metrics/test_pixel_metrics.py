"""Pixel metrics against scikit-learn's own on pooled pixels, codings of masks, and errors."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from skanomaly.metrics import pixel_average_precision_score, pixel_roc_auc_score

METRICS = [
    (pixel_roc_auc_score, roc_auc_score),
    (pixel_average_precision_score, average_precision_score),
]
both = pytest.mark.parametrize("metric", [pixel_roc_auc_score, pixel_average_precision_score])


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    masks = rng.uniform(size=(5, 8, 9)) < 0.1
    return masks, rng.normal(size=masks.shape) + 2 * masks


@pytest.mark.parametrize(("metric", "reference"), METRICS)
def test_pools_all_pixels(case, metric, reference):
    masks, maps = case
    score = metric(masks, maps)
    assert isinstance(score, float)
    assert score == pytest.approx(reference(masks.ravel(), maps.ravel()))


@pytest.mark.parametrize(("metric", "reference"), METRICS)
@pytest.mark.parametrize("digits", [0, 1, 3, 12])
@pytest.mark.parametrize("fraction", [0.0005, 0.05, 0.9])
def test_agrees_with_scikit_learn_on_ties(metric, reference, digits, fraction):
    rng = np.random.default_rng(1)
    masks = rng.random((3, 100, 120)) < fraction
    maps = np.round(rng.normal(size=masks.shape) + masks, digits)
    expected = reference(masks.ravel(), maps.ravel())
    assert metric(masks, maps) == pytest.approx(expected, abs=1e-12)


@both
def test_perfect_and_reversed(case, metric):
    masks, _ = case
    assert metric(masks, masks.astype(float)) == 1.0
    assert metric(masks, -masks.astype(float)) < 0.2


def test_constant_map_scores_chance(case):
    masks, maps = case
    assert pixel_roc_auc_score(masks, np.ones_like(maps)) == 0.5
    precision = pixel_average_precision_score(masks, np.ones_like(maps))
    assert precision == pytest.approx(masks.mean())


@both
@pytest.mark.parametrize(
    "code",
    [
        lambda masks: masks.astype(np.uint8),
        lambda masks: masks.astype(np.int64),
        lambda masks: 255 * masks.astype(np.uint8),
        lambda masks: 255 * masks.astype(np.int64),
        lambda masks: masks.astype(float),
        lambda masks: 255.0 * masks,
        lambda masks: np.where(masks, 0.51, 0.5),
        lambda masks: np.where(masks, 128, 127).astype(np.uint8),
        lambda masks: masks.tolist(),
        lambda masks: list(masks),
    ],
)
def test_mask_codings(case, metric, code):
    masks, maps = case
    assert metric(code(masks), maps) == metric(masks, maps)


@both
def test_coding_is_decided_over_all_masks(case, metric):
    masks, maps = case
    # The value 1 is black in the coding 0 to 255, even in an image that has nothing brighter.
    coded = [255 * mask.astype(np.uint8) for mask in masks]
    coded[0] = np.where(masks[0], 0, 1).astype(np.uint8)
    expected = masks.copy()
    expected[0] = False
    assert metric(coded, maps) == metric(expected, maps)
    mixed = [masks[0], *(255 * mask.astype(np.uint8) for mask in masks[1:])]
    assert metric(mixed, maps) == metric(masks, maps)


@both
def test_images_of_several_sizes(metric):
    masks = [np.array([[0, 1]]), np.array([[0, 0], [1, 0]])]
    maps = [np.array([[0.1, 0.9]]), np.array([[0.2, 0.3], [0.8, 0.95]])]
    together = np.array([0, 1, 0, 0, 1, 0]), np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.95])
    assert metric(masks, maps) == metric(together[0].reshape(1, 2, 3), together[1].reshape(1, 2, 3))


@both
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_map_dtypes(case, metric, dtype):
    masks, maps = case
    coarse = np.rint(20 * (maps - maps.min()))
    assert metric(masks, coarse.astype(dtype)) == metric(masks, coarse)


@both
def test_vectors(metric):
    assert metric([[0, 1, 0], [0, 0, 1]], [[0.1, 0.9, 0.2], [0.3, 0.1, 0.8]]) == 1.0


@both
@pytest.mark.parametrize(
    ("masks", "maps", "message"),
    [
        (np.ones((2, 3, 3)), np.ones((3, 3, 3)), "inconsistent numbers.* 2 images.* 3"),
        (np.ones((2, 3, 3)), np.ones((2, 3, 4)), r"index 0.*\(3, 3\).*\(3, 4\)"),
        ([np.ones((3, 3)), np.ones((2, 2))], np.ones((2, 3, 3)), "index 1"),
        ([], [], r"0 sample\(s\) in 'masks'"),
        (np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)), r"\(n, h, w\)"),
        (None, np.ones((1, 2, 2)), "'masks'"),
        (np.eye(2)[None], 3.0, "'maps'"),
        (np.eye(2)[None], np.full((1, 2, 2), "a"), "'maps'.*dtype"),
        (np.eye(2)[None], np.array([[[0, 1], [np.nan, 1]]]), "Input contains NaN: 'maps'"),
        (np.eye(2)[None], np.array([[[0, 1], [np.inf, 1]]]), "Input contains infinity: 'maps'"),
        (np.zeros((2, 3, 3)), np.ones((2, 3, 3)), "no defective pixel"),
        (np.ones((2, 3, 3)), np.ones((2, 3, 3)), "no normal pixel"),
        (np.array([[[0, 2], [1, 0]]]), np.ones((1, 2, 2)), "no defective pixel"),
        (np.array([[[0, -1], [1, 0]]]), np.ones((1, 2, 2)), "from -1 to 1"),
        (np.array([[[0, 256], [1, 0]]]), np.ones((1, 2, 2)), "from 0 to 256"),
        (np.array([[[0, np.nan], [1, 0]]]), np.ones((1, 2, 2)), "'masks'.*NaN"),
    ],
)
def test_errors(metric, masks, maps, message):
    with pytest.raises(ValueError, match=message):
        metric(masks, maps)


@both
@pytest.mark.parametrize("name", ["masks", "maps"])
@pytest.mark.parametrize("form", [lambda images: images, list, iter])
def test_masked_arrays_are_refused(case, metric, name, form):
    images = dict(zip(("masks", "maps"), case, strict=True))
    expected = metric(**images)
    # A masked array without masked entries loses nothing.
    images[name] = np.ma.MaskedArray(images[name], mask=np.zeros(case[0].shape, dtype=bool))
    assert metric(**images) == expected
    images[name][2, 3, :4] = np.ma.masked
    images[name] = form(images[name])
    with pytest.raises(ValueError, match=rf"'{name}' must hold no masked values, got 4.*filled"):
        metric(**images)
