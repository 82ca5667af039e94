"""overlay_anomaly_map: what is coloured, what stays, and its errors."""

import numpy as np
import pytest

from skanomaly.inspection import overlay_anomaly_map


@pytest.fixture
def bump():
    """A map with a smooth bump of height 10 in the middle."""
    rows, columns = np.indices((32, 40))
    return 10 * np.exp(-((rows - 16) ** 2 + (columns - 20) ** 2) / 50)


def test_only_what_exceeds_the_threshold_is_coloured(bump):
    image = np.full((32, 40), 90, dtype=np.uint8)
    overlay = overlay_anomaly_map(image, bump, threshold=2.0)
    assert overlay.shape == (32, 40, 3)
    assert overlay.dtype == np.uint8
    colored = (overlay != 90).any(axis=2)
    assert colored[bump > 2].all()
    # The outline lies just outside.
    is_outline = (overlay == (0, 255, 255)).all(axis=2)
    assert is_outline.any()
    np.testing.assert_array_equal(colored, (bump > 2) | is_outline)
    assert not colored[bump < 1].any()


def test_a_map_below_the_threshold_changes_nothing(bump):
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    overlay = overlay_anomaly_map(image, bump, threshold=10.5)
    np.testing.assert_array_equal(overlay, image)
    assert not np.shares_memory(overlay, image)


def test_colours_get_brighter_and_saturate():
    image = np.zeros((3, 30), dtype=np.uint8)
    values = np.tile(np.geomspace(1.01, 16, 30), (3, 1))
    brightness = overlay_anomaly_map(image, values, threshold=1.0).astype(int).sum(axis=2)[1]
    assert (np.diff(brightness) >= 0).all()
    assert brightness[0] < brightness[15] < brightness[22]
    assert brightness[-1] == brightness[-3]


def test_one_colour_means_one_value_in_all_images(bump):
    image = np.full((32, 40), 90, dtype=np.uint8)
    half = overlay_anomaly_map(image, np.where(bump > 5, 5.0, 0.0), threshold=2.0)
    more = np.where(bump > 5, 5.0, 0.0)
    more[0, 0] = 100.0
    np.testing.assert_array_equal(
        overlay_anomaly_map(image, more, threshold=2.0)[16, 20], half[16, 20]
    )


def test_a_map_of_another_size_is_brought_to_the_images(bump):
    image = np.full((128, 160), 90, dtype=np.uint8)
    overlay = overlay_anomaly_map(image, bump, threshold=2.0)
    assert overlay.shape == (128, 160, 3)
    colored = (overlay != 90).any(axis=2)
    rows, columns = np.nonzero(colored)
    assert abs(rows.mean() - 66) < 2 and abs(columns.mean() - 82) < 2
    assert colored.mean() == pytest.approx((bump > 2).mean(), rel=0.2)


@pytest.mark.parametrize("shape", [(25, 30), (25, 1200), (1500, 30)])
def test_small_defects_stay_visible_on_smaller_images(shape):
    for row, column in ((0, 0), (3, 7), (501, 702), (999, 899)):
        values = np.zeros((1000, 900))
        values[row, column] = 9.0
        overlay = overlay_anomaly_map(np.full(shape, 90, np.uint8), values, threshold=1.0)
        colored = (overlay != 90).any(axis=2)
        assert colored[row * shape[0] // 1000, column * shape[1] // 900]
        assert colored.mean() < 0.1


def test_outlines_of_large_images_are_wider(bump):
    def outline(side):
        overlay = overlay_anomaly_map(np.full((side, side), 90, np.uint8), bump, threshold=2.0)
        return (overlay == (0, 255, 255)).all(axis=2).sum()

    assert outline(800) > 2.5 * outline(400)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_depths_are_stretched(dtype):
    image = np.linspace(100, 3000, 12).astype(dtype).reshape(3, 4)
    overlay = overlay_anomaly_map(image, np.zeros((3, 4)), threshold=1.0)
    assert overlay.min() == 0 and overlay.max() == 255
    flat = overlay_anomaly_map(np.full((3, 4), 7, dtype), np.zeros((3, 4)), threshold=1.0)
    assert (flat == 0).all()


@pytest.mark.parametrize(
    ("image", "anomaly_map", "options", "part"),
    [
        (np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4)), {}, "'image'"),
        (np.zeros(4, np.uint8), np.zeros((4, 4)), {}, "'image'"),
        (np.zeros((4, 4), np.uint8), np.zeros(4), {}, "'anomaly_map'"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), {"threshold": 0}, "'threshold'"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), {"saturation": 1}, "'saturation'"),
    ],
)
def test_errors(image, anomaly_map, options, part):
    with pytest.raises(ValueError, match=part):
        overlay_anomaly_map(image, anomaly_map, **{"threshold": 1.0, **options})


def test_outlines_of_wide_images_are_wider():
    """By the longer side, 1100 pixels: two more pixels on either side."""
    values = np.zeros((40, 1100))
    values[15:25, 500:520] = 9.0
    overlay = overlay_anomaly_map(np.full((40, 1100), 90, np.uint8), values, threshold=1.0)
    is_outline = (overlay == (0, 255, 255)).all(axis=2)
    assert np.flatnonzero(is_outline[20]).tolist() == [*range(497, 502), *range(518, 523)]


def test_colours_range_from_dark_violet_to_pale_yellow():
    values = np.full((9, 30), 1.0001)
    values[:, 15:] = 8.0
    overlay = overlay_anomaly_map(np.zeros((9, 30), np.uint8), values, threshold=1.0)
    # The ends of the scale, with an opacity of 0.35 and 0.6, on black.
    np.testing.assert_allclose(overlay[4, 4], 0.35 * np.array([59, 15, 112]), atol=1)
    np.testing.assert_allclose(overlay[4, 25], 0.6 * np.array([252, 255, 164]), atol=1)
