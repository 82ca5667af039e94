"""CorruptionDisplay: clean, corrupted and mask, as the corruption gives them."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from synthetic_images import make_images

from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.corruption import PatchCorruption
from skanomaly.inspection import CorruptionDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("count", [1, 4])
def test_what_is_drawn(channels, count):
    images = (255 * make_images(count, channels=channels)).astype(np.uint8)
    corruption = PatchCorruption(radius=0.3, random_state=0)
    display = CorruptionDisplay.from_corruption(corruption, images, names=range(count))
    corrupted, masks = corruption(images)
    assert display.axes_.shape == (count, 3)
    for index, panels in enumerate(display.axes_):
        expected = images[index] / 255, corrupted[index] / 255, masks[index]
        for panel, values in zip(panels, expected, strict=True):
            np.testing.assert_array_equal(panel.images[0].get_array(), values)
            assert panel.images[0].get_clim() == (0, 1)
        assert panels[0].get_title() == str(index)
    assert [panel.get_ylabel() for panel in display.axes_[0]] == ["clean", "corrupted", "mask"]
    assert (masks > 0).any() and (masks == 0).any()


def test_one_scale_for_clean_and_corrupted():
    images = 100 + 50 * make_images(2)
    display = CorruptionDisplay.from_corruption(PatchCorruption(random_state=0), images)
    untouched = display.masks == 0
    assert untouched.any()
    np.testing.assert_array_equal(display.images[untouched], display.corrupted[untouched])


def test_a_detector_shows_its_own_corruption_and_is_left_alone():
    images = make_images(3)
    corruption = PatchCorruption(radius=0.4, opacity=1, random_state=None)
    detector = SelfSupervisedAutoencoderDetector(corruption=corruption, random_state=5)
    display = CorruptionDisplay.from_estimator(detector, images)
    corrupted, masks = PatchCorruption(radius=0.4, opacity=1, random_state=5)(images)
    np.testing.assert_array_equal(display.masks, masks)
    np.testing.assert_array_equal(display.corrupted, corrupted)
    assert corruption.random_state is None and not hasattr(detector, "network_")
    steps = make_pipeline(FunctionTransformer(), SelfSupervisedAutoencoderDetector(random_state=1))
    default = CorruptionDisplay.from_estimator(steps, images)
    np.testing.assert_array_equal(default.masks, PatchCorruption(random_state=1)(images)[1])


def test_flattened_rows():
    images = make_images(3, size=(16, 20))
    detector = SelfSupervisedAutoencoderDetector(image_shape=(16, 20), random_state=0)
    display = CorruptionDisplay.from_estimator(detector, images.reshape(3, -1))
    np.testing.assert_array_equal(display.images, images)
    assert display.masks.shape == (3, 16, 20)


def test_inside_other_axes():
    figure, axes = plt.subplots(1, 2)
    display = CorruptionDisplay.from_corruption(PatchCorruption(), make_images(2), ax=axes[0])
    assert display.figure_ is figure and not axes[0].axison
    assert all(ax.get_position().x1 < 0.5 for ax in display.axes_.flat)


def test_errors():
    images = make_images(2)
    with pytest.raises(ValueError, match="trained on a corruption.*got DenoisingAE"):
        CorruptionDisplay.from_estimator(DenoisingAE(), images)
    with pytest.raises(ValueError, match="must be callable"):
        CorruptionDisplay.from_corruption("patches", images)
    with pytest.raises(ValueError, match="must hold images"):
        CorruptionDisplay.from_corruption(PatchCorruption(), np.zeros((4, 30)))
    with pytest.raises(ValueError, match="'names' has 1"):
        CorruptionDisplay.from_corruption(PatchCorruption(), images, names=["a"])
