"""Automatic choices of steps, augmentation and held-out images."""

import warnings

import numpy as np
import pytest

from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.detectors._fitting import make_plan

OPTIONS = dict(batch_size=16, precision="float32", device="cpu", random_state=0)


def plan(X, **parameters):
    detector = SelfSupervisedAutoencoderDetector(**{**OPTIONS, **parameters})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_plan(detector, X, continued=False)


@pytest.fixture(scope="module")
def gravel():
    return make_textured_surfaces("gravel", image_size=32, n_train=64, random_state=0).X_train


@pytest.mark.parametrize(
    "count, augmentation, steps",
    [
        # 150 passes over the training images in batches of 16, counted twice for each symmetry.
        (64, None, 150 * 44 / 16),
        (64, ("flip_horizontal",), 150 * 44 * 2 / 16),
        (64, ("flip_horizontal", "mixup"), 150 * 44 * 2 / 16),
        (64, ("flip_horizontal", "rotate"), 150 * 44 * 4 / 16),
        (12, None, 300),
        (600, ("flip_horizontal", "rotate"), 3000),
    ],
)
def test_few_images_are_trained_on_for_fewer_steps(gravel, count, augmentation, steps):
    images = np.resize(gravel, (count, 32, 32))
    assert plan(images, augmentation=augmentation).max_iter == round(steps)
    assert plan(images, max_iter=7).max_iter == 7


def test_rows_are_trained_on_for_as_long_as_ever():
    assert plan(np.random.default_rng(0).normal(size=(30, 4))).max_iter == 3000


@pytest.mark.parametrize("count, held_out", [(9, 3), (30, 10), (64, 20), (300, 30)])
def test_enough_images_are_held_out_to_tell_their_spread(gravel, count, held_out):
    images = np.resize(gravel, (count, 32, 32))
    assert plan(images).held_out.sum() == held_out
    assert plan(images, contamination=0.1).held_out.sum() == 0
    stopping = plan(images, contamination=0.1, early_stopping=True)
    assert stopping.held_out.sum() == max(1, round(0.1 * count))


def test_the_augmentation_that_is_found_is_used(gravel):
    assert set(plan(gravel).augmentation) >= {"flip_horizontal", "flip_vertical", "mixup"}
    assert plan(gravel, augmentation=None).augmentation == ()
    edge = np.linspace(0, 1, 32) + 0.1 * np.random.default_rng(0).random((40, 32, 32))
    assert "flip_horizontal" not in plan(edge).augmentation
    assert "mixup" in plan(edge).augmentation
    assert plan(np.random.default_rng(0).random((40, 9))).augmentation == ()
    # The baselines do not use mixup.
    baseline = make_plan(DenoisingAE(**OPTIONS), gravel, continued=False)
    assert "mixup" not in baseline.augmentation and "flip_vertical" in baseline.augmentation


def test_too_few_images_for_a_threshold_are_named(gravel):
    options = {**OPTIONS, "max_iter": 2}
    with pytest.warns(UserWarning, match="X holds 12 images, which are too few to set thresholds"):
        DenoisingAE(**options).fit(gravel[:12])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DenoisingAE(**options).fit(gravel[:20])
        DenoisingAE(contamination=0.1, **options).fit(gravel[:12])
        DenoisingAE(**options).fit(np.random.default_rng(0).random((12, 5)))


def test_maps_are_in_multiples_of_what_held_out_images_show(gravel):
    """Training images are reconstructed better than new ones."""
    options = dict(max_iter=30, region_size=None, smoothing_passes=0, **OPTIONS)
    detector = SelfSupervisedAutoencoderDetector(augmentation=None, **options)
    held_out = make_plan(detector, gravel, continued=False).held_out
    detector.fit(gravel)
    assert detector.expected_map_.shape == (2, 1, 1)
    # Ten more images with the same mean do not change the mean over all pixels.
    assert detector.anomaly_map(gravel[held_out]).mean() == pytest.approx(1, rel=1e-4)
