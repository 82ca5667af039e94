"""The artificial defects: what they change, what they keep, and what they depend on."""

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_images import make_images

from skanomaly.datasets import ImageSequence
from skanomaly.model_selection import SyntheticDefectScorer, _synthetic_defect_scorer
from skanomaly.model_selection._synthetic_defects import DEFECTS


@pytest.fixture(scope="module")
def images():
    return make_images(6)


def changed_pixels(images, defects):
    """Where any channel differs from the image it is a copy of."""
    difference = defects.images != images[defects.indices]
    return difference.any(axis=-1) if difference.ndim == 4 else difference


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("channels", [None, 1, 2, 5])
def test_each_kind_changes_its_region_and_nothing_else(kind, channels):
    images = make_images(6, channels=channels)
    defects = SyntheticDefectScorer(kinds=kind, n_defects=20).make_defects(images)
    assert defects.images.shape == (20, *images.shape[1:])
    assert defects.masks.shape == (20, 32, 32)
    assert set(defects.kinds) == {kind}
    changed = changed_pixels(images, defects)
    assert not (changed & ~defects.masks).any()
    fractions = changed.sum(axis=(1, 2)) / defects.masks.sum(axis=(1, 2))
    assert fractions.min() > 0.5
    assert np.median(fractions) > 0.9


@pytest.mark.parametrize("kind", DEFECTS)
def test_masks_are_of_many_sizes_and_positions(kind):
    images = make_images(10, size=(48, 80))
    masks = SyntheticDefectScorer(kinds=kind, n_defects=60).make_defects(images).masks
    areas = masks.mean(axis=(1, 2))
    assert areas.max() < 0.3
    assert areas.max() > 2 * areas.min()
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in masks])
    assert (np.ptp(centres, axis=0) > 0.3 * np.array([48, 80])).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.uint8, 0, 255),
        (np.uint16, 0, 65535),
        (np.int16, -300, 200),
        (np.float32, 0, 1),
        (np.float64, -5, 1000),
    ],
)
def test_dtype_and_range_are_kept(images, dtype, low, high):
    values = (low + images * (high - low)).astype(dtype)
    defects = SyntheticDefectScorer(n_defects=70, strength=1.0).make_defects(values)
    assert defects.images.dtype == dtype
    assert values.min() <= defects.images.min()
    assert defects.images.max() <= values.max()
    assert (changed_pixels(values, defects).sum(axis=(1, 2)) > 0).all()


def test_each_channel_keeps_its_own_range():
    images = make_images(6, channels=3) * [1, 100, 0] + [0, 1000, 7]
    damaged = SyntheticDefectScorer(n_defects=70, strength=1.0).make_defects(images).images
    assert (images.min(axis=(0, 1, 2)) <= damaged.min(axis=(0, 1, 2))).all()
    assert (damaged.max(axis=(0, 1, 2)) <= images.max(axis=(0, 1, 2))).all()


def test_the_same_images_get_the_same_defects_in_each_form(tmp_path):
    images = (make_images(5) * 255).astype(np.uint8)
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    scorer = SyntheticDefectScorer(n_defects=12)
    expected = scorer.make_defects(images)
    rows = SyntheticDefectScorer(n_defects=12, image_shape=(32, 32)).make_defects(
        images.reshape(5, -1)
    )
    np.testing.assert_array_equal(rows.images, expected.images.reshape(12, -1))
    np.testing.assert_array_equal(rows.masks, expected.masks)
    with_channel = scorer.make_defects(images[..., np.newaxis])
    np.testing.assert_array_equal(with_channel.images, expected.images[..., np.newaxis])
    for form in (list(images), torch.from_numpy(images), ImageSequence(paths)):
        np.testing.assert_array_equal(scorer.make_defects(form).images, expected.images)
    floats = scorer.make_defects(images / 255)
    np.testing.assert_array_equal(floats.masks, expected.masks)
    np.testing.assert_allclose(255 * floats.images, expected.images, atol=0.5 + 1e-6)


def test_a_seed_fixes_the_defects(images):
    first, again, other = (
        SyntheticDefectScorer(n_defects=20, random_state=seed).make_defects(images)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.indices != other.indices).any()
    for mask, other_mask in zip(first.masks, other.masks, strict=True):
        assert (mask != other_mask).any()


def test_more_defects_go_on_where_fewer_end(images):
    few = SyntheticDefectScorer(n_defects=6).make_defects(images)
    many = SyntheticDefectScorer(n_defects=12).make_defects(images)
    np.testing.assert_array_equal(few.masks, many.masks[:6])


def test_images_and_kinds_take_turns(images):
    defects = SyntheticDefectScorer(n_defects=42).make_defects(images)
    assert list(np.bincount(defects.indices)) == [7] * 6
    names, counts = np.unique(defects.kinds, return_counts=True)
    assert set(names) == set(DEFECTS)
    assert counts.min() == counts.max() == 6
    pairs = set(zip(defects.indices, defects.kinds, strict=True))
    assert len(pairs) > 20


def test_stronger_defects_change_more(images):
    changes = []
    for strength in (0.1, 0.5, 1.0):
        scorer = SyntheticDefectScorer(n_defects=30, strength=strength, kinds=["crack", "blob"])
        defects = scorer.make_defects(images)
        difference = np.abs(defects.images - images[defects.indices])
        changes.append(difference[defects.masks].mean())
    assert changes[1] > 3 * changes[0]
    assert changes[2] > 1.5 * changes[1]


def test_a_blob_of_full_strength_is_dark_or_bright():
    images = np.full((2, 32, 32), 0.5)
    images[:, 0, :2] = [0.0, 1.0]
    scorer = SyntheticDefectScorer(n_defects=10, strength=1.0, kinds="blob")
    defects = scorer.make_defects(images)
    for image, mask in zip(defects.images, defects.masks, strict=True):
        assert np.abs(image[mask] - 0.5).max() > 0.25


def test_a_kind_that_cannot_show_gives_way_to_another():
    images = np.full((3, 24, 24), 0.5)
    images[:, 0, :2] = [0.0, 1.0]
    flat = np.concatenate([images, np.full((3, 24, 24), 0.5)])
    defects = SyntheticDefectScorer(n_defects=30, kinds=["smear", "color"]).make_defects(flat)
    assert set(defects.kinds[defects.indices >= 3]) == {"color"}
    assert changed_pixels(flat, defects).any(axis=(1, 2)).all()


def test_constant_images_are_refused():
    with pytest.raises(ValueError, match="shows on the image"):
        SyntheticDefectScorer().make_defects(np.ones((3, 16, 16)))


@pytest.mark.parametrize("size", [(8, 8), (4, 40), (9, 5)])
def test_small_and_narrow_images(size):
    images = make_images(4, size=size)
    defects = SyntheticDefectScorer(n_defects=28).make_defects(images)
    assert defects.masks.any(axis=(1, 2)).all()
    assert not (changed_pixels(images, defects) & ~defects.masks).any()


def test_one_image_is_enough(images):
    defects = SyntheticDefectScorer(n_defects=14).make_defects(images[:1])
    assert set(defects.indices) == {0}


def test_blobs_are_dark_and_bright():
    images = np.full((2, 32, 32), 0.5)
    images[:, 0, :2] = [0.0, 1.0]
    scorer = SyntheticDefectScorer(n_defects=20, strength=1.0, kinds="blob")
    defects = scorer.make_defects(images)
    values = [image[mask] for image, mask in zip(defects.images, defects.masks, strict=True)]
    assert any(inside.min() < 0.25 for inside in values)
    assert any(inside.max() > 0.75 for inside in values)


@pytest.mark.parametrize(("kind", "shows_other"), [("texture", True), ("doubled", False)])
def test_parts_of_other_images(kind, shows_other):
    """ "texture" shows stripes or a part of another image, and "doubled" the same image."""
    images = np.random.default_rng(0).random((2, 32, 32)) / 10
    images[1] += 0.9
    scorer = SyntheticDefectScorer(n_defects=40, strength=1.0, kinds=kind)
    defects = scorer.make_defects(images)
    found = [
        abs(image[mask] - images[index].mean()).max() > 0.7
        for image, mask, index in zip(defects.images, defects.masks, defects.indices, strict=True)
    ]
    assert any(found) == shows_other and not all(found)


def test_what_is_missing_leaves_no_trace():
    image = np.random.default_rng(0).random((32, 32, 1))
    support, content = DEFECTS["missing"](image, image, np.random.RandomState(0))
    inside = support > 0
    image[inside] = 1.0
    _, again = DEFECTS["missing"](image, image, np.random.RandomState(0))
    assert inside.any()
    np.testing.assert_allclose(again[inside], content[inside], atol=1e-3)


def test_color_changes_brightness_and_hue():
    images = np.repeat(np.random.default_rng(0).uniform(0.4, 0.6, (4, 32, 32, 1)), 3, axis=3)
    images[:, 0, :2] = [[0.0], [1.0]]
    defects = SyntheticDefectScorer(n_defects=30, strength=1.0, kinds="color").make_defects(images)
    difference = defects.images - images[defects.indices]
    shifts = np.array([d[m].mean(axis=0) for d, m in zip(difference, defects.masks, strict=True)])
    assert (shifts.mean(axis=1) > 0).any() and (shifts.mean(axis=1) < 0).any()
    assert np.ptp(shifts, axis=1).max() > 0.1


def test_defects_cover_up_to_a_sixth():
    images = np.random.default_rng(0).random((4, 64, 64))
    kinds = [kind for kind in DEFECTS if kind not in ("crack", "smear")]
    masks = SyntheticDefectScorer(n_defects=100, kinds=kinds).make_defects(images).masks
    areas = masks.mean(axis=(1, 2))
    assert areas.min() < 0.01 and 0.1 < areas.max() < 0.18


@pytest.mark.parametrize("kind", ["smear", "missing"])
def test_defects_that_hardly_show_are_drawn_again(kind):
    images = np.full((3, 48, 48), 0.5)
    images[:, 18:30, 18:30] += np.random.default_rng(0).uniform(-0.5, 0.5, (3, 12, 12))
    scorer = SyntheticDefectScorer(n_defects=60, kinds=[kind, "blob"], strength=0.3)
    defects = scorer.make_defects(images)
    difference = np.abs(defects.images - images[defects.indices])
    changes = [d[mask].mean() for d, mask in zip(difference, defects.masks, strict=True)]
    # Eight draws do not always suffice. With one draw there are 12.
    assert np.sum(np.array(changes) < 0.01 * np.ptp(images)) <= 2


def test_the_other_image_is_another_one(images, monkeypatch):
    pairs = []

    def add_defect(image, other, *arguments):
        pairs.append((image, other))
        return image, np.ones(image.shape[:2], dtype=bool)

    monkeypatch.setattr(_synthetic_defect_scorer, "add_defect", add_defect)
    SyntheticDefectScorer(n_defects=60).make_defects(images)
    assert len(pairs) == 60
    assert not any(np.array_equal(image, other) for image, other in pairs)


def test_each_round_is_in_another_order(images):
    indices = SyntheticDefectScorer(n_defects=24).make_defects(images).indices.reshape(4, 6)
    assert (np.sort(indices) == np.arange(6)).all()
    assert len({tuple(row) for row in indices.tolist()}) == 4


def test_the_last_kind_gives_way_to_the_first():
    flat = np.full((2, 24, 24), 0.5)
    # The range of values comes from one image, which the others are drawn within.
    images = np.concatenate([flat, flat])
    images[0, 0, :2] = [0.0, 1.0]
    defects = SyntheticDefectScorer(n_defects=8, kinds=["color", "smear"]).make_defects(images)
    assert set(defects.kinds[defects.indices > 0]) == {"color"}
