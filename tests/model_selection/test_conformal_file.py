"""A ConformalDetector in a model file: what comes back, what is refused, and hostile files."""

import json
import os
import random
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hostile_files import assert_refused, damage, forge, load_bytes, put_together, take_apart
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic_images import make_images

import skanomaly
from skanomaly import (
    ContractiveAE,
    DenoisingAE,
    ModelFileError,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly.model_selection import ConformalDetector
from skanomaly.networks import ConvolutionalAutoencoder

ROWS = make_images(40, size=(2, 3)).reshape(40, 6)
IMAGES = (255 * make_images(30, size=(12, 12))).astype(np.uint8)
SMALL = partial(ConvolutionalAutoencoder, width=4, n_blocks=1)
FEW = dict(max_iter=3, batch_size=4)
FOLDS = [(np.arange(15, 30), np.arange(15)), (np.arange(15), np.arange(15, 30))]
CASES = {
    "held out": (DenoisingAE(network="linear", **FEW), ROWS, dict(calibration_size=0.5)),
    "folds": (ContractiveAE(network="linear", **FEW), ROWS, dict(cv=3)),
    "frozen": (
        FrozenEstimator(DenoisingAE(network="linear", random_state=0, **FEW).fit(ROWS[:15])),
        ROWS,
        dict(),
    ),
    "images": (
        SelfSupervisedAutoencoderDetector(corruption=PatchCorruption(n_patches=2), **FEW),
        IMAGES,
        dict(calibration_size=12),
    ),
    "lists of folds": (SelfSupervisedAutoencoderDetector(**FEW), IMAGES, dict(cv=FOLDS)),
}


def make(case):
    detector, X, options = CASES[case]
    return ConformalDetector(clone(detector), alpha=0.2, random_state=0, **options).fit(X), X


def assert_equal(loaded, conformal, X):
    results = conformal.detect(X)
    assert set(results.predict) == {1, -1} and results.predict_mask.any()
    for name, value in loaded.detect(X).items():
        np.testing.assert_array_equal(value, results[name])
        np.testing.assert_array_equal(getattr(loaded, name)(X), value)
    for name in ("offset_", "map_threshold_", "false_alarm_bound_", "n_features_in_"):
        assert getattr(loaded, name) == getattr(conformal, name)
    for name in ("calibration_scores_", "calibration_indices_"):
        for one, other in zip(getattr(loaded, name), getattr(conformal, name), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_detector_does_the_same(case, tmp_path):
    conformal, X = make(case)
    conformal.save(tmp_path / "model")
    loaded = skanomaly.load(str(tmp_path / "model"))
    assert type(loaded) is ConformalDetector
    assert_equal(loaded, conformal, X)
    # The parameters are those that were given, without seeds that fit drew for its clones.
    assert repr(loaded) == repr(conformal)
    parameters = [each.get_params() for each in (loaded, conformal)]
    assert repr(parameters[0]) == repr(parameters[1])
    assert [type(each) for each in loaded.detectors_] == [type(e) for e in conformal.detectors_]
    assert_equal(loaded.fit(X), conformal, X)


def test_it_is_saved_again_to_the_same_bytes(tmp_path):
    for case in ("held out", "folds", "frozen"):
        make(case)[0].save(tmp_path / "one")
        skanomaly.load(tmp_path / "one").save(tmp_path / "other")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_columns_have_names(tmp_path):
    frame = pd.DataFrame(ROWS, columns=list("abcdef"))
    conformal = ConformalDetector(DenoisingAE(**FEW), 0.2, random_state=0).fit(frame)
    conformal.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(loaded.p_values(frame), conformal.p_values(frame))


def test_infinite_thresholds_come_back(tmp_path):
    conformal = ConformalDetector(DenoisingAE(**FEW), alpha=0.01, random_state=0)
    with pytest.warns(UserWarning, match="images to calibrate on"):
        conformal.fit(ROWS)
    conformal.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert (loaded.offset_, loaded.map_threshold_) == (-np.inf, np.inf)
    np.testing.assert_array_equal(loaded.p_values(ROWS), conformal.p_values(ROWS))


def test_thresholds_stay_those_of_the_fit(tmp_path):
    """A parameter that is set after the fit is kept, and has no effect before the next one."""
    conformal, X = make("held out")
    conformal.set_params(alpha=0.5, detector__max_iter=7)
    conformal.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model")
    assert (loaded.alpha, loaded.detector.max_iter) == (0.5, 7)
    assert loaded.detectors_[0].max_iter == 3
    assert_equal(loaded, conformal, X)


class Scratches(PatchCorruption):
    pass


class Calibrated(ConformalDetector):
    pass


def test_code_of_ones_own_is_named_by_the_loading_side(tmp_path):
    detector = SelfSupervisedAutoencoderDetector(network=SMALL, corruption=Scratches(), **FEW)
    path = tmp_path / "model"
    conformal = Calibrated(detector, 0.2, cv=2, random_state=0).fit(IMAGES)
    conformal.save(path)
    with pytest.raises(ModelFileError, match=r"unknown class.*load\(path, classes="):
        skanomaly.load(path, network=SMALL)
    with pytest.raises(ModelFileError, match=r"load\(path, network=...\)"):
        skanomaly.load(path, classes=[Scratches, Calibrated])
    loaded = skanomaly.load(path, classes=[Scratches, Calibrated], network=SMALL)
    assert type(loaded) is Calibrated and type(loaded.detector.corruption) is Scratches
    assert loaded.detector.network is SMALL
    assert_equal(loaded, conformal, IMAGES)


def test_the_checkpoint_is_not_stored(tmp_path):
    detector = DenoisingAE(checkpoint=tmp_path / "training.pt", **FEW)
    conformal = ConformalDetector(detector, 0.2, random_state=0).fit(ROWS)
    conformal.save(tmp_path / "model")
    assert b"training.pt" not in (tmp_path / "model").read_bytes()
    loaded = skanomaly.load(tmp_path / "model")
    assert loaded.detector.checkpoint is loaded.detectors_[0].checkpoint is None
    np.testing.assert_array_equal(loaded.p_values(ROWS), conformal.p_values(ROWS))


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=5),
        make_pipeline(StandardScaler(), DenoisingAE(**FEW)),
        FrozenEstimator(IsolationForest(n_estimators=5).fit(ROWS)),
        ConformalDetector(DenoisingAE(**FEW), 0.2),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_other_detectors_are_refused(detector, tmp_path):
    conformal = ConformalDetector(detector, 0.2, random_state=0).fit(ROWS)
    is_frozen = isinstance(detector, FrozenEstimator)
    name = type(detector.estimator if is_frozen else detector).__name__
    with pytest.raises(TypeError, match=f"got one around {name} instead.*pickle, joblib or skops"):
        conformal.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_stored(tmp_path):
    with pytest.raises(NotFittedError):
        ConformalDetector(DenoisingAE()).save(tmp_path / "model")
    conformal = ConformalDetector(DenoisingAE(**FEW), 0.2, cv=KFold(2)).fit(ROWS)
    with pytest.raises(TypeError, match=r"cv=KFold.*set_params"):
        conformal.save(tmp_path / "model")
    conformal.set_params(cv=2).save(tmp_path / "model")
    assert skanomaly.load(tmp_path / "model").cv == 2
    with pytest.raises(FileNotFoundError, match="no such folder"):
        conformal.save(tmp_path / "missing" / "model")
    conformal.set_params(random_state=np.random.RandomState(0))
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(TypeError, match="random_state="):
        conformal.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before and os.listdir(tmp_path) == ["model"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    conformal, _ = make("held out")
    conformal.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="could not be written: No space left"):
        conformal.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before and os.listdir(tmp_path) == ["model"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of one detector, of two, and of a frozen one."""
    path = tmp_path_factory.mktemp("models") / "model"
    contents = []
    for case in ("held out", "folds", "frozen"):
        conformal, X = make(case)
        conformal.save(path)
        # What is imported at the first time is not the file's doing.
        repr(skanomaly.load(path).detect(X))
        contents.append(path.read_bytes())
    return contents


def change_data(change, content):
    """Change what the file says by a function, under a right checksum."""
    header, data = take_apart(content)
    detector = json.loads(header["__metadata__"]["detector"])
    change(header, detector)
    header["__metadata__"]["detector"] = json.dumps(detector)
    return put_together(header, data)


def set_data(**values):
    return lambda header, data: data.update(values)


def set_parameter(name, value, part=lambda data: data):
    return lambda header, data: part(data)["parameters"].update({name: value})


def inner(data):
    return data["detector"]


def trained(data):
    return data["detectors"][0]


def rename(old, new):
    def change(header, data):
        items = [(new if name == old else name, value) for name, value in header.items()]
        header.clear()
        header.update(items)

    return change


def as_dtype(name, dtype):
    return lambda header, data: header[name].update(dtype=dtype)


FORGERIES = {
    "rank": (set_data(rank=21), "calibration values"),
    "negative rank": (set_data(rank=-1), "calibration values"),
    "no number": (set_data(rank=True), "calibration values"),
    "text": (set_data(rank="1"), "calibration values"),
    "none": (set_data(detectors=[]), "calibration values"),
    "number": (set_data(detectors=2**60), "is invalid"),
    "class": (set_data(**{"class": "os.system"}), "unknown class"),
    "other class": (set_data(**{"class": "DenoisingAE"}), "is invalid"),
    "alpha": (set_parameter("alpha", 2), "alpha"),
    "cv": (set_parameter("cv", "../../x"), "cv"),
    "detector": (set_parameter("detector", None), "is invalid"),
    "unknown": (set_parameter("__class__", 1), "is invalid"),
    "checkpoint": (set_parameter("checkpoint", "../../x", inner), "checkpoint"),
    "checkpoint of a clone": (set_parameter("checkpoint", "../../x", trained), "checkpoint"),
    "filter": (set_parameter("smoothing_size", 2**60 + 1, inner), "smoothing_size"),
    "inner class": (
        lambda header, data: inner(data).update({"class": "ConformalDetector"}),
        "is invalid",
    ),
    "clone's class": (
        lambda header, data: trained(data).update({"class": "ContractiveAE"}),
        "is invalid",
    ),
    "not an index": (as_dtype("0.calibration.indices", "F64"), "calibration values"),
    "not a score": (as_dtype("0.calibration.scores", "I64"), "calibration values"),
    "no scores": (rename("0.calibration.scores", "0.calibration.other"), "is invalid"),
    "unused": (rename("0.calibration.scores", "7.calibration.scores"), "is invalid"),
    "frozen": (set_data(detector=0), "is invalid"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_refused(name, whole, tmp_path):
    change, match = FORGERIES[name]
    assert_refused(change_data(change, whole[0]), tmp_path / "model", match)


def test_detectors_go_together(whole, tmp_path):
    def swap(header, data):
        data["detectors"][0]["class"] = "DenoisingAE"
        data["detectors"][0]["parameters"] = {"network": "linear"}

    assert_refused(change_data(swap, whole[1]), tmp_path / "model", "calibration values")
    # A frozen detector is one.
    change = set_data(detector=None)
    assert type(load_bytes(change_data(change, whole[0]), tmp_path / "model")) is ConformalDetector
    assert_refused(change_data(change, whole[1]), tmp_path / "model", "is invalid")


def test_values_that_are_not_finite_are_refused(whole, tmp_path):
    header, data = take_apart(whole[0])
    for name in ("scores", "map_maxima"):
        first = header[f"0.calibration.{name}"]["data_offsets"][0]
        for bad in (np.nan, -np.inf):
            changed = data[:first] + np.float64(bad).tobytes() + data[first + 8 :]
            content = put_together(header, changed)
            assert_refused(content, tmp_path / "model", "calibration values")


def test_each_byte_counts(whole, tmp_path):
    content = whole[0]
    for place in range(0, len(content), max(1, len(content) // 200)):
        flipped = bytes([content[place] ^ 1 << place % 8])
        assert_refused(content[:place] + flipped + content[place + 1 :], tmp_path / "model")
        assert_refused(content[:place], tmp_path / "model")


def test_random_damage_and_forgery_run_nothing(whole, tmp_path):
    source = random.Random(0)
    for _ in range(150):
        content = source.choice(whole)
        assert_refused(damage(content, source), tmp_path / "model")
        try:
            loaded = load_bytes(forge(content, source), tmp_path / "model")
        except ModelFileError:
            continue
        assert isinstance(loaded, ConformalDetector)


def test_older_and_newer_versions(whole, tmp_path):
    """Detectors alone are written in the format that older releases read."""
    versions = []
    for content in whole:
        versions.append(take_apart(content)[0]["__metadata__"]["format_version"])
    DenoisingAE(**FEW).fit(ROWS).save(tmp_path / "model")
    header, _ = take_apart((tmp_path / "model").read_bytes())
    assert versions == ["4"] * 3 and header["__metadata__"]["format_version"] == "3"


def test_it_computes_whatever_state_torch_is_in(tmp_path):
    conformal, X = make("folds")
    with torch.inference_mode():
        conformal.save(tmp_path / "model")
        loaded = skanomaly.load(tmp_path / "model")
    assert_equal(loaded, conformal, X)
