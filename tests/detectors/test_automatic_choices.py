"""Automatic choices of steps, augmentation and held-out images."""

import warnings

import numpy as np
import pytest
import torch
from synthetic_images import lit_parts
from torch import nn

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
        # 300 passes over the training images in batches of 16, counted twice for each symmetry.
        (100, None, 300 * 80 / 16),
        (64, ("flip_horizontal",), 300 * 44 * 2 / 16),
        (64, ("flip_horizontal", "mixup"), 300 * 44 * 2 / 16),
        (40, ("flip_horizontal", "rotate"), 300 * 27 * 4 / 16),
        (64, None, 1000),
        (12, None, 1000),
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


ALL = ("flip_horizontal", "flip_vertical", "rotate")


@pytest.mark.parametrize(
    ("shape", "augmentation", "crop", "crops_per_image"),
    [
        ((128, 128), ALL, (64, 64), 4),
        ((128, 200), (*ALL, "mixup"), (64, 64), 4),
        ((192, 192), ALL, (96, 96), 2),
        ((256, 256), ALL, (128, 128), 1),
        ((600, 600), ALL, (128, 128), 1),
        ((127, 200), ALL, None, 1),
        ((256, 256), ALL[:2], None, 1),
        ((256, 256), None, None, 1),
    ],
)
def test_images_without_orientation_are_trained_on_in_crops(
    shape, augmentation, crop, crops_per_image
):
    images = np.random.default_rng(0).integers(256, size=(3, *shape), dtype=np.uint8)
    found = plan(images, augmentation=augmentation)
    assert (found.crop, found.crops_per_image) == (crop, crops_per_image)
    assert found.window == (crop or shape)
    given = plan(images, augmentation=augmentation, crop_size=50)
    assert (given.crop, given.crops_per_image) == ((50, 50), 1)
    assert plan(images, augmentation=augmentation, crop_size=None).crop is None


def test_parts_at_any_angle_are_trained_on_in_crops_although_light_shows_their_angle():
    parts = lit_parts(60, 128)
    found = plan(parts)
    assert not set(ALL) <= set(found.augmentation)
    assert (found.crop, found.crops_per_image) == ((64, 64), 4)
    assert plan(parts, augmentation=None).crop is None
    assert plan(parts, crop_size=None).crop is None
    assert plan(lit_parts(60, 128, turned=False)).crop is None


def test_textures_with_a_direction_are_trained_on_in_crops():
    brick = make_textured_surfaces("brick", image_size=128, n_train=40, random_state=0).X_train
    assert "rotate" not in plan(brick).augmentation
    assert plan(brick).crop == (64, 64)


class Recorder(nn.Conv2d):
    """A convolution that notes the shapes that it was trained on."""

    def __init__(self, image_shape):
        super().__init__(image_shape[2], image_shape[2], 3, padding=1)
        self.shapes = set()

    def forward(self, images):
        if self.training:
            self.shapes.add((len(images), *images.shape[2:]))
        return super().forward(images)


class OneSizeRecorder(Recorder):
    """The same, for images of one size."""

    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.offset = nn.Parameter(torch.zeros(image_shape[:2]))

    def forward(self, images):
        return super().forward(images) + self.offset


@pytest.mark.parametrize(
    ("network", "trained_on"), [(Recorder, (64, 65, 65)), (OneSizeRecorder, (16, 130, 140))]
)
def test_only_networks_that_accept_crops_get_them(network, trained_on):
    images = np.random.default_rng(0).integers(256, size=(20, 130, 140), dtype=np.uint8)
    detector = DenoisingAE(network=network, max_iter=2, augmentation=ALL, **OPTIONS).fit(images)
    assert detector.network_.shapes == {trained_on}
    assert detector.anomaly_map(images[:1]).shape == (1, 130, 140)


def test_rows_have_no_crops():
    assert plan(np.random.default_rng(0).random((30, 9))).crop is None


def test_crops_have_the_height_and_width_given():
    images = np.random.default_rng(0).integers(256, size=(20, 60, 64), dtype=np.uint8)
    detector = DenoisingAE(crop_size=(20, 50), augmentation=None, random_state=0)
    plan = make_plan(detector, images, continued=False)
    assert plan.crop == plan.window == (20, 50)
