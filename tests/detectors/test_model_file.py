"""Saving and loading of detectors without code."""

import copy
import errno
import json
import os
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from synthetic_images import make_images

import skanomaly
from skanomaly import (
    ContractiveAE,
    DenoisingAE,
    ModelFileError,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly.networks import ConvolutionalAutoencoder

IMAGES = make_images(8, size=(16, 20))
COLOR = make_images(8, size=(16, 16), channels=3)
ROWS = make_images(12, size=(4, 3)).reshape(12, 12)
SMALL = partial(ConvolutionalAutoencoder, width=4, n_blocks=1)
FEW = dict(max_iter=3, batch_size=4, random_state=0)

CORRUPTION = PatchCorruption(
    n_patches=2,
    radius=(0.1, 0.2),
    texture={"image": 1, "noise": 0.5},
    texture_images=IMAGES[:2],
    random_state=3,
)
CASES = {
    "default": (SelfSupervisedAutoencoderDetector(), IMAGES),
    "color": (SelfSupervisedAutoencoderDetector(network="plain", region_size=None), COLOR),
    "rows": (SelfSupervisedAutoencoderDetector(corruption=PatchCorruption()), ROWS),
    "flat images": (DenoisingAE(image_shape=(16, 20)), IMAGES.reshape(8, -1)),
    "corruption": (SelfSupervisedAutoencoderDetector(corruption=CORRUPTION), IMAGES),
    "texture": (
        SelfSupervisedAutoencoderDetector(
            corruption=PatchCorruption(texture="blur"),
            augmentation=("rotate", "flip_vertical"),
            crop_size=(8, 12),
            score_aggregation=0.1,
            contamination=0.25,
            device=torch.device("cpu"),
        ),
        COLOR,
    ),
    "no maps": (DenoisingAE(normalize_map=False, contrast_size=None, network="sdc"), IMAGES),
    "noise": (DenoisingAE(noise=0.2, noise_type="masking", network="linear"), ROWS),
    "encoder": (ContractiveAE(penalty="encoder", standardization="dataset"), COLOR),
    "early": (ContractiveAE(early_stopping=True, n_iter_no_change=1, n_probes=2), ROWS),
}


@pytest.fixture(scope="module", params=CASES)
def fitted(request):
    detector, X = CASES[request.param]
    return clone(detector).set_params(**FEW).fit(X), X


def test_a_loaded_detector_does_the_same(fitted, tmp_path):
    detector, X = fitted
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(str(tmp_path / "model"))
    assert type(loaded) is type(detector)
    for method in ("score_samples", "decision_function", "predict", "anomaly_map", "reconstruct"):
        got, expected = getattr(loaded, method)(X), getattr(detector, method)(X)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    # All parameters, with their types, and fitted attributes are restored.
    assert repr(loaded.get_params()) == repr(clone(detector).get_params())
    learned = {name for name in vars(detector) if name.endswith("_")}
    assert learned <= vars(loaded).keys()
    for name in learned - {"model_"}:
        assert getattr(loaded, name) == getattr(detector, name), name
    for name in ("offset_", "map_threshold_"):
        assert getattr(loaded, name) == getattr(detector, name), name
    assert loaded.model_.config() == detector.model_.config()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_loaded_detector_is_trained_further_as_the_stored_one(fitted, tmp_path):
    detector, X = fitted
    detector.save(tmp_path / "model")
    first, second = (skanomaly.load(tmp_path / "model").partial_fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))
    assert not np.array_equal(first.score_samples(X), detector.score_samples(X))


def test_other_sizes_and_names_of_columns(tmp_path):
    detector = SelfSupervisedAutoencoderDetector(**FEW).fit(IMAGES)
    detector.save(tmp_path / "model")
    large = make_images(2, size=(40, 24))
    loaded = skanomaly.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.anomaly_map(large), detector.anomaly_map(large))

    frame = pd.DataFrame(ROWS, columns=[f"ü {index}" for index in range(12)])
    detector = DenoisingAE(**FEW).fit(frame)
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[frame.columns[::-1]])


def test_numbers_of_numpy_become_those_of_python(tmp_path):
    corruption = PatchCorruption(radius=(np.float64(0.1), 0.2), n_patches=np.int64(2))
    detector = SelfSupervisedAutoencoderDetector(corruption=corruption, **FEW)
    detector.set_params(contamination=np.float32(0.25)).fit(ROWS).save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert repr((loaded.corruption.radius, loaded.contamination)) == "((0.1, 0.2), 0.25)"
    assert loaded.fit(ROWS).loss_curve_ == detector.loss_curve_


def test_a_network_of_ones_own_needs_its_code_again(tmp_path):
    detector = DenoisingAE(network=SMALL, **FEW).fit(IMAGES)
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model", network=SMALL)
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), detector.score_samples(IMAGES))
    assert loaded.network is SMALL
    with pytest.raises(ModelFileError, match=r"network of its own.*ConvolutionalAutoencoder.*code"):
        skanomaly.load(tmp_path / "model")
    with pytest.raises(ModelFileError, match="do not fit"):
        skanomaly.load(tmp_path / "model", network=ConvolutionalAutoencoder)
    DenoisingAE(**FEW).fit(ROWS).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="leave network out"):
        skanomaly.load(tmp_path / "model", network=SMALL)


def test_the_checkpoint_stays_with_the_machine(tmp_path):
    detector = DenoisingAE(checkpoint=tmp_path / "state", **FEW).fit(ROWS)
    detector.save(tmp_path / "model")
    assert skanomaly.load(tmp_path / "model").checkpoint is None
    assert str(tmp_path).encode() not in (tmp_path / "model").read_bytes()


def test_a_missing_device_is_the_cpu(tmp_path):
    detector = DenoisingAE(**FEW).fit(ROWS).set_params(device="cuda:99")
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert loaded.device_ == torch.device("cpu") and loaded.device == "cuda:99"


class Own(DenoisingAE):
    pass


class OwnCorruption(PatchCorruption):
    pass


class Stranger:
    """Has no parameters to store."""

    def corrupt(self, images, generator):
        return images, torch.ones_like(images)

    def set_params(self, **parameters):
        return self

    def get_params(self, deep=True):
        return {"state": object()}


@pytest.mark.parametrize(
    "detector, own",
    [
        (Own(noise=0.5), Own),
        (SelfSupervisedAutoencoderDetector(corruption=OwnCorruption(radius=0.2)), OwnCorruption),
    ],
)
def test_classes_of_ones_own_are_named_by_who_loads(detector, own, tmp_path):
    detector.set_params(**FEW).fit(IMAGES).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match=rf"unknown class, '{own.__module__}.{own.__name__}'"):
        skanomaly.load(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model", classes=[own])
    assert type(loaded) is type(detector) and repr(loaded) == repr(clone(detector))
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), detector.score_samples(IMAGES))


@pytest.mark.parametrize(
    "detector, message",
    [
        (SelfSupervisedAutoencoderDetector(corruption=Stranger()), "state=.*set_params"),
        (DenoisingAE(random_state=np.random.RandomState(0)), "random_state=.*set_params"),
    ],
)
def test_what_is_more_than_data_is_refused(detector, message, tmp_path):
    (tmp_path / "model").write_text("before")
    detector.set_params(**{"random_state": 0} | detector.get_params(deep=False) | {"max_iter": 2})
    with pytest.raises(TypeError, match=message):
        detector.fit(ROWS).save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "before"


def test_what_could_not_be_read_is_not_written(tmp_path):
    detector = DenoisingAE(**FEW).fit(ROWS)
    detector.offset_ = np.nan
    with pytest.raises(ValueError, match="cannot be stored"):
        detector.save(tmp_path / "model")
    with pytest.raises(ValueError, match="smoothing_passes"):
        DenoisingAE(**FEW).fit(ROWS).set_params(smoothing_passes=10**9).save(tmp_path / "model")
    with pytest.raises(NotFittedError):
        DenoisingAE().save(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        DenoisingAE(**FEW).fit(ROWS).save(tmp_path / "none" / "model")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_model_before(tmp_path, monkeypatch):
    detector = DenoisingAE(**FEW).fit(ROWS)
    detector.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="model could not be written: No space left.*model"):
        detector.partial_fit(ROWS).save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        skanomaly.load(tmp_path / "model")
    with pytest.raises(ModelFileError, match="not a file"):
        skanomaly.load(tmp_path)


def test_the_layout_is_that_of_safetensors(tmp_path):
    detector = DenoisingAE(**FEW).fit(ROWS)
    detector.save(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
        for name, weights in detector.model_.state_dict().items():
            assert bool((file.get_tensor(name) == weights.cpu()).all())
    assert metadata["format"] == "skanomaly model" and metadata["format_version"] == "3"
    assert metadata["skanomaly_version"] == skanomaly.__version__
    assert json.loads(metadata["detector"])["parameters"]["max_iter"] == 3


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    detector = DenoisingAE(**FEW, checkpoint="~/training").fit(ROWS)
    detector.save("~/model")
    assert {path.name for path in tmp_path.iterdir()} >= {"model", "training"}
    np.testing.assert_array_equal(skanomaly.load("~/model").predict(ROWS), detector.predict(ROWS))


def test_parameters_may_be_numbers_of_numpy(tmp_path):
    """As a search over an array of values sets them."""
    images = make_images(8, size=(16, 16))
    detector = DenoisingAE(max_iter=1, contrast_size=np.int64(5), random_state=0).fit(images)
    detector.save(tmp_path / "a")
    shape = tuple(np.array([16, 16]))
    detector = DenoisingAE(max_iter=1, image_shape=shape, random_state=0)
    detector.fit(images.reshape(8, -1)).save(tmp_path / "b")
    assert skanomaly.load(tmp_path / "b").image_shape_ == (16, 16, 1)


def test_what_was_changed_after_fit_is_named(tmp_path):
    detector = DenoisingAE(max_iter=1, random_state=0).fit(make_images(8, size=(16, 16)))
    offset, detector.offset_ = detector.offset_, -np.inf
    with pytest.raises(ValueError, match="offset_ and map_threshold_ must be finite, got -inf"):
        detector.save(tmp_path / "a")
    detector.offset_ = offset
    with pytest.raises(ValueError, match="Fit the detector again if parameters were changed"):
        detector.set_params(network="sdc").save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


class WithEmptyBuffer(ConvolutionalAutoencoder):
    def __init__(self, shape):
        super().__init__(shape, width=4, n_blocks=1)
        self.register_buffer("nothing", torch.empty(0))


def test_empty_arrays(tmp_path):
    """As of a training whose first loss is not finite."""
    detector = DenoisingAE(network=WithEmptyBuffer, **FEW).fit(IMAGES)
    detector.loss_curve_ = []
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model", network=WithEmptyBuffer)
    assert loaded.loss_curve_ == []
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), detector.score_samples(IMAGES))


def test_a_shallow_copy_has_thresholds_of_its_own():
    detector = DenoisingAE(**FEW).fit(ROWS)
    before = detector.offset_, detector.map_threshold_
    stricter = copy.copy(detector)
    stricter.offset_, stricter.map_threshold_ = 1.0, 0.0
    assert (detector.offset_, detector.map_threshold_) == before
    assert stricter.network_ is detector.network_
    assert (stricter.predict(ROWS) == -1).all()
