"""New expected map and thresholds without training."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skanomaly
from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces

OPTIONS = dict(max_iter=20, random_state=0)


@pytest.fixture(scope="module")
def gravel():
    return make_textured_surfaces("gravel", image_size=32, n_train=80, random_state=0)


@pytest.fixture(scope="module")
def fitted(gravel):
    return SelfSupervisedAutoencoderDetector(**OPTIONS).fit(gravel.X_train[:40])


@pytest.fixture
def detector(fitted):
    """A copy to calibrate."""
    return copy.deepcopy(fitted)


def test_the_threshold_follows_the_images(detector, gravel):
    """Noise of a new camera: all good images are flagged until the detector is calibrated."""
    noise = np.random.default_rng(0).normal(0, 90, gravel.X_train.shape)
    noisy = (gravel.X_train + noise).clip(0, 255).astype(np.uint8)
    before = (detector.predict(noisy[60:]) == -1).mean()
    weights = {name: value.clone() for name, value in detector.network_.state_dict().items()}
    assert detector.calibrate(noisy[40:60]) is detector
    after = (detector.predict(noisy[60:]) == -1).mean()
    assert before > 0.5 > 0.2 > after
    for name, value in detector.network_.state_dict().items():
        assert bool((value == weights[name]).all())


def test_parameters_of_maps_and_scores_take_effect_together_with_thresholds(detector, gravel):
    scores, masks = detector.score_samples(gravel.X_test), detector.predict_mask(gravel.X_test)
    changes = dict(score_aggregation="mean", region_size=None, smoothing_size=3, contamination=0.1)
    detector.set_params(**changes)
    np.testing.assert_array_equal(detector.score_samples(gravel.X_test), scores)
    np.testing.assert_array_equal(detector.predict_mask(gravel.X_test), masks)
    calibrated = detector.calibrate(gravel.X_train)
    fitted = SelfSupervisedAutoencoderDetector(**OPTIONS, **changes)
    assert not np.array_equal(calibrated.score_samples(gravel.X_test), scores)
    assert (calibrated.predict(gravel.X_train) == -1).sum() == 8
    maps = calibrated.anomaly_map(gravel.X_test)
    np.testing.assert_allclose(calibrated.score_samples(gravel.X_test), -maps.mean((1, 2)))
    assert repr(fitted) == repr(clone(calibrated))


def test_few_new_images_get_a_wider_margin(detector, gravel):
    detector.calibrate(gravel.X_train[40:50])
    few = -detector.offset_
    new = -detector.score_samples(gravel.X_train[40:50])
    logs = np.log(new)
    # Student's quantile of 9 degrees of freedom at 0.01 is 2.82.
    limit = np.exp(logs.mean() + 2.8214 * logs.std(ddof=1) * np.sqrt(1.1))
    assert few == pytest.approx(max(limit, np.percentile(new, 99)), rel=1e-4)


def test_rows_are_calibrated_too():
    rng = np.random.default_rng(0)
    detector = DenoisingAE(**OPTIONS).fit(rng.normal(size=(60, 5)))
    shifted = 4 + 3 * rng.normal(size=(400, 5))
    before = (detector.predict(shifted[200:]) == -1).mean()
    after = (detector.calibrate(shifted[:200]).predict(shifted[200:]) == -1).mean()
    assert before > 0.5 and after < 0.1


def test_images_of_another_size(detector):
    large = np.random.default_rng(0).integers(0, 255, (20, 48, 40), dtype=np.uint8)
    assert (detector.calibrate(large).predict(large) == 1).mean() > 0.9


def test_what_is_refused_changes_nothing(detector, gravel):
    offset = detector.offset_
    with pytest.raises(NotFittedError):
        DenoisingAE().calibrate(gravel.X_train)
    with pytest.raises(ValueError, match="minimum of 2"):
        detector.calibrate(gravel.X_train[:1])
    with pytest.raises(ValueError, match="score_aggregation"):
        detector.set_params(score_aggregation="median").calibrate(gravel.X_train)
    assert detector.offset_ == offset


def test_at_most_two_passes(gravel, monkeypatch):
    detector = DenoisingAE(**OPTIONS)
    passed = []
    repair = "skanomaly.detectors._model.DetectorModel.repair"
    from skanomaly.detectors._model import DetectorModel

    original = DetectorModel.repair
    monkeypatch.setattr(
        repair, lambda self, batch: (passed.append(len(batch)), original(self, batch))[1]
    )
    detector.fit(gravel.X_train)
    # The 20 held-out images for the expected map, then all.
    assert sum(passed) == len(gravel.X_train) + 20
    passed.clear()
    detector.calibrate(gravel.X_train)
    assert sum(passed) == 2 * len(gravel.X_train)


def test_thresholds_can_be_set_by_hand(detector, gravel):
    scores = detector.score_samples(gravel.X_test)
    detector.offset_ = np.sort(scores)[10] + 1e-9
    assert (detector.predict(gravel.X_test) == -1).sum() == 11
    detector.map_threshold_ = 0
    assert detector.predict_mask(gravel.X_test).all()


def test_the_module_computes_what_the_methods_return(detector, gravel):
    values = torch.from_numpy(gravel.X_test / 255.0).float().unsqueeze(1)
    with torch.no_grad():
        maps, scores = (each.cpu() for each in detector.model_(values.to(detector.device_)))
    np.testing.assert_allclose(maps, detector.anomaly_map(gravel.X_test), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores, detector.score_samples(gravel.X_test), rtol=1e-4)


def test_partial_fit_is_one_pass(gravel, monkeypatch):
    from skanomaly.detectors import _fitting

    seen = []
    original = _fitting._standardize
    monkeypatch.setattr(
        _fitting,
        "_standardize",
        lambda plan, images: (seen.append(images), original(plan, images))[1],
    )
    detector = DenoisingAE(contamination=0.1, early_stopping=True, batch_size=16, **OPTIONS)
    detector.partial_fit(gravel.X_train[:41])
    assert detector.n_iter_ == 3 and [len(batch) for batch in seen] == [14, 14, 13]
    images = np.concatenate(seen)[..., 0]
    order = np.lexsort(images.reshape(41, -1).T)
    expected = gravel.X_train[:41]
    np.testing.assert_array_equal(images[order], expected[np.lexsort(expected.reshape(41, -1).T)])


@pytest.mark.parametrize("method", ["calibrate", "partial_fit", "warm_start"])
def test_images_of_another_size_change_no_window_of_the_map(method, gravel, tmp_path):
    """Windows are in pixels of the training images, and the detector can be saved."""
    detector = SelfSupervisedAutoencoderDetector(max_iter=2, random_state=0)
    detector.fit(gravel.X_train[:20, :16, :16])
    before = detector.model_.steps[1].size
    if method == "warm_start":
        detector.set_params(warm_start=True).fit(gravel.X_train[:20])
    else:
        getattr(detector, method)(gravel.X_train[:20])
    assert detector.model_.steps[1].size == before
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.score_samples(gravel.X_test), detector.score_samples(gravel.X_test)
    )
