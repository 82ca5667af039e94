"""Deviations from the reconstruction are amplified before the map is computed."""

import joblib
import numpy as np
import pytest
import torch
from synthetic_images import make_images
from torch import nn

import skanomaly
from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.metrics import image_report

IMAGES = make_images(30)
OPTIONS = dict(max_iter=5, batch_size=4, random_state=0, device="cpu", precision="float32")


class Mean(nn.Module):
    """The orthogonal projection onto images whose squares of 4 × 4 pixels have one value each."""

    reach, stride = 4, 4

    def __init__(self, shape):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        mean = nn.functional.avg_pool2d(images, 4)
        return nn.functional.interpolate(mean, scale_factor=4) + 0 * self.unused


def fitted(images=IMAGES, **parameters):
    return SelfSupervisedAutoencoderDetector(**{**OPTIONS, **parameters}).fit(images)


def test_a_projection_gives_the_same_scores():
    detectors = [fitted(network=Mean, contrast_size=None, amplification=a) for a in (0, 1, 3)]
    unusual = np.concatenate([IMAGES, np.roll(IMAGES[:3], 2, axis=1), 0 * IMAGES[:1]])
    maps = [detector.anomaly_map(unusual) for detector in detectors]
    expected = [float(detector.expected_map_[0, 0, 0]) for detector in detectors]
    np.testing.assert_allclose(expected, np.array([1, 4, 16]) * expected[0], rtol=1e-4)
    assert maps[0].std() > 0.1
    for detector, other in zip(detectors, maps, strict=True):
        np.testing.assert_allclose(other, maps[0], rtol=1e-3, atol=1e-6)
        assert detector.offset_ == pytest.approx(detectors[0].offset_, rel=1e-4)


def test_a_faint_deviation_is_repaired_once_it_is_amplified():
    class Shrinks(Mean):
        """Repairs four fifths of small deviations, and all of large ones."""

        def forward(self, images):
            mean = super().forward(images)
            kept = torch.where((images - mean).abs() > 2, 0.0, 0.8)
            return mean + kept * (images - mean)

    model = fitted(network=Shrinks, contrast_size=None).model_
    spot = torch.zeros(1, 1, 32, 32)
    spot[0, 0, 9, 9] = 2.0
    with torch.no_grad():
        once, repaired = model.repair(spot)
    assert (once - repaired)[0, 0, 9, 9] == pytest.approx(0.2 * 1.875)
    with torch.no_grad():
        amplified, repaired = model.repair(spot, 1.0)
    assert amplified[0, 0, 9, 9] == pytest.approx(2 + 0.2 * 1.875)
    assert (amplified - repaired)[0, 0, 9, 9] > 2


def test_training_makes_faint_defects_clearer():
    """Of a trained network, the maps of amplified images rank the pixels of defects higher."""
    data = make_textured_surfaces("brick", image_size=32, n_train=60, random_state=0)
    detector = fitted(data.X_train, max_iter=60, batch_size=16)
    precision = []
    for amplification in (0, 1):
        detector.set_params(amplification=amplification).calibrate(data.X_train)
        report = image_report(data.masks_test, detector.anomaly_map(data.X_test))
        precision.append(report["pixel_average_precision"])
    assert precision[1] > precision[0] + 0.01, precision


def test_it_acts_in_fit_and_calibrate_only():
    detector = fitted()
    before = detector.anomaly_map(IMAGES)
    detector.set_params(amplification=0)
    np.testing.assert_array_equal(detector.anomaly_map(IMAGES), before)
    single = detector.calibrate(IMAGES).anomaly_map(IMAGES)
    assert not np.allclose(single, before, rtol=0.01)
    one_pass = fitted(amplification=0).calibrate(IMAGES)
    np.testing.assert_array_equal(one_pass.anomaly_map(IMAGES), single)


def test_reconstructions_are_of_the_image_itself():
    np.testing.assert_array_equal(
        fitted().reconstruct(IMAGES), fitted(amplification=0).reconstruct(IMAGES)
    )


def test_vectors_and_baselines_take_one_pass():
    rows = np.random.default_rng(0).normal(size=(40, 6))
    one, other = (fitted(rows, amplification=a) for a in (0, 1))
    np.testing.assert_array_equal(one.score_samples(rows), other.score_samples(rows))
    assert other.model_.amplification == 0
    assert "amplification" not in DenoisingAE().get_params()


def test_files_and_pickles_hold_it(tmp_path):
    detector = fitted(amplification=0.5)
    detector.save(tmp_path / "model")
    joblib.dump(detector, tmp_path / "pickle")
    for loaded in (skanomaly.load(tmp_path / "model"), joblib.load(tmp_path / "pickle")):
        assert loaded.amplification == loaded.model_.amplification == 0.5
        np.testing.assert_array_equal(loaded.anomaly_map(IMAGES), detector.anomaly_map(IMAGES))


def test_a_pickle_without_it_scores_as_before():
    state = fitted(amplification=0).__getstate__()
    del state["amplification"]
    del vars(state["model_"])["amplification"]
    old = SelfSupervisedAutoencoderDetector.__new__(SelfSupervisedAutoencoderDetector)
    old.__setstate__(state)
    assert old.amplification == 0
    scores = fitted(amplification=0).score_samples(IMAGES)
    np.testing.assert_array_equal(old.score_samples(IMAGES), scores)
