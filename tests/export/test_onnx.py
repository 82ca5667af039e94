"""to_onnx: what onnxruntime makes of the file, against the detector."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from synthetic_images import make_images
from torch import nn

import skanomaly
from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import load_mvtec_ad, make_textured_surfaces
from skanomaly.export import to_onnx
from skanomaly.model_selection import ConformalDetector

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

OUTPUTS = {"anomaly_map", "predict_mask", "score_samples", "decision_function", "predict"}

# Between them all estimators, networks and aggregations; with and without surroundings, local
# contrast and division; grey, colour and flattened images.
DETECTORS = {
    "sdcc": SelfSupervisedAutoencoderDetector(network="sdcc"),
    "sdc": DenoisingAE(network="sdc", score_aggregation=0.03, region_size=0.3, smoothing_passes=1),
    "plain": ContractiveAE(
        network="plain",
        image_shape=(32, 32),
        score_aggregation="mean",
        standardization="dataset",
        contrast_size=None,
        normalize_map=False,
    ),
}
IN_COLOUR = "sdc"


class Exported:
    """A detector, its file and a session that runs it."""

    def __init__(self, detector, path, **parameters):
        to_onnx(detector, path, **parameters)
        self.detector, self.path = detector, path
        self.session = onnxruntime.InferenceSession(path)

    def run(self, X):
        (given,) = self.session.get_inputs()
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, {given.name: X}), strict=True))

    def check(self, X):
        """Assert that all outputs for X are those of the detector's methods."""
        got, detector = self.run(X), self.detector
        assert got.keys() == OUTPUTS
        maps, scores = detector.anomaly_map(X), detector.score_samples(X)
        # Far below 1, the usual difference, the detector's own rounding shows.
        np.testing.assert_allclose(got["anomaly_map"], maps, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got["score_samples"], scores, rtol=1e-4)
        decisions = detector.decision_function(X)
        near = 1e-4 * np.abs(scores)
        assert np.all(np.abs(got["decision_function"] - decisions) <= near)
        sure = np.abs(decisions) > near
        np.testing.assert_array_equal(got["predict"][sure], detector.predict(X)[sure])
        sure = np.abs(maps - detector.map_threshold_) > 1e-4 * detector.map_threshold_
        np.testing.assert_array_equal(got["predict_mask"][sure], detector.predict_mask(X)[sure])
        return got


@pytest.fixture(scope="module")
def surfaces():
    return make_textured_surfaces("brick", image_size=32, n_train=30, n_defects=20, random_state=0)


def in_colour(images):
    return np.stack([images, 255 - images // 2, images // 3 + 40], axis=-1)


def small_network(shape):
    return nn.Sequential(nn.Conv2d(shape[2], 4, 3, padding=1), nn.Conv2d(4, shape[2], 1))


def train(detector, X):
    """A short training, and thresholds that half of X exceeds."""
    detector = clone(detector).set_params(max_iter=8, random_state=0, device="cpu").fit(X)
    detector.offset_ = float(np.median(detector.score_samples(X)))
    detector.map_threshold_ = float(np.median(detector.anomaly_map(X)))
    return detector


@pytest.fixture(scope="module")
def exported(request, surfaces, tmp_path_factory):
    """One of DETECTORS, for images of any size."""
    X, detector = surfaces.X_train, DETECTORS[request.param]
    X = in_colour(X) if request.param == IN_COLOUR else X
    X = X.reshape(len(X), -1) if detector.image_shape else X
    path = tmp_path_factory.mktemp(request.param) / "detector.onnx"
    exported = Exported(train(detector, X), path)
    # The graph reads other shapes; now the detector does too.
    exported.detector.set_params(image_shape=None)
    return exported


@pytest.mark.parametrize("exported", DETECTORS, indirect=True)
def test_images_of_any_number_and_size(exported, surfaces):
    images = surfaces.X_test
    images = in_colour(images) if exported.detector.image_shape_[2] == 3 else images
    got = exported.check(images[::9])
    assert {name: array.dtype.name for name, array in got.items()} == {
        "anomaly_map": "float32",
        "predict_mask": "bool",
        "score_samples": "float32",
        "decision_function": "float32",
        "predict": "int64",
    }
    assert set(got["predict"]) == {-1, 1}
    assert 0.05 < got["predict_mask"].mean() < 0.95
    exported.check(images[:1])
    exported.check(images[-2:, :27, 2:23])
    exported.check(images[:1, :3, :5])
    row = np.concatenate(images[:6], axis=1)
    exported.check(np.stack([np.concatenate([row, row[::-1]])[:61, :185]]))


@pytest.mark.parametrize("exported", ["sdcc"], indirect=True)
def test_magnetic_tiles(exported, magnetic_tile):
    for size, places in (((103, 222), [0, 200, 300, 400, 500]), ((512, 390), [450])):
        tiles = load_mvtec_ad(magnetic_tile, size=size).X_test
        exported.check(tiles.read(np.array(places)))


@pytest.mark.parametrize("exported", ["sdcc"], indirect=True)
def test_flat_images(exported):
    exported.check(np.repeat(np.array([0, 255], np.uint8), 32 * 32).reshape(2, 32, 32))


@pytest.mark.parametrize("exported", ["sdcc"], indirect=True)
def test_the_file_says_whose_it_is_and_not_where_it_was_made(exported):
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("skanomaly", skanomaly.__version__)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["detector"] == "SelfSupervisedAutoencoderDetector"
    assert properties["image_shape"] == "(32, 32, 1)"
    assert float(properties["offset"]) == exported.detector.offset_
    assert float(properties["map_threshold"]) == exported.detector.map_threshold_
    assert os.listdir(exported.path.parent) == [exported.path.name]
    content = exported.path.read_bytes()
    assert str(Path(skanomaly.__file__).parent).encode() not in content
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes["images"] == shapes["anomaly_map"] == ["n", "height", "width"]
    assert shapes["score_samples"] == ["n"]


# Quick to export: the fewest things to do.
BARE = {"contrast_size": None, "region_size": None, "smoothing_passes": 0}
WIDE = {"contrast_size": 17, "smoothing_size": 17, "score_aggregation": 0.1}


@pytest.mark.parametrize(
    ("dtype", "white", "parameters"), [("uint16", 65535, BARE), ("float32", 1.0, WIDE)]
)
def test_one_size_and_other_numbers(dtype, white, parameters, surfaces, tmp_path):
    detector = SelfSupervisedAutoencoderDetector(network=small_network, **parameters)
    detector = train(detector, surfaces.X_train)
    path = tmp_path / "detector.onnx"
    exported = Exported(detector, path, image_size=(20, 29), input_dtype=dtype)
    images = (surfaces.X_test[:5, 3:23, :29] / 255 * white).astype(dtype)
    exported.check(images)
    exported.check(images[:1])
    with pytest.raises(Exception, match="invalid dimensions"):
        exported.run(images[:, 1:])


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(3, [1, 2, 3, 4, 5, 6], (60, 6))


@pytest.mark.parametrize("network", ["dense", "linear"])
def test_rows(network, rows, tmp_path):
    detector = train(DenoisingAE(network=network, score_aggregation=0.4), rows)
    exported = Exported(detector, tmp_path / "rows.onnx")
    got = exported.check(rows)
    exported.check(rows[:1])
    np.testing.assert_allclose(got["anomaly_map"], detector.anomaly_map(rows), rtol=1e-6)


def test_nothing_else_is_changed_or_said(rows, tmp_path, capfd, recwarn):
    detector = train(SelfSupervisedAutoencoderDetector(), rows.astype(np.float32))
    network, before = detector.network_, detector.score_samples(rows)
    random_numbers = torch.get_rng_state()
    path = tmp_path / "rows.onnx"
    path.write_text("what was there before")
    capfd.readouterr()
    exported = Exported(detector, str(path), input_dtype="float32")
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
    exported.check(rows.astype(np.float32))
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert detector.network_ is network
    weights = list(network.parameters())
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in weights)
    np.testing.assert_array_equal(detector.score_samples(rows), before)


class Branching(nn.Module):
    """A network that does one thing or another, by what it reads."""

    def __init__(self, shape):
        super().__init__()
        self.network = small_network(shape)

    def forward(self, images):
        twice = self.asks(images)
        return 2 * self.network(images) if twice else self.network(images)


class AsksForValues(Branching):
    def asks(self, images):
        return images.mean() > 1


class AsksForSize(Branching):
    def asks(self, images):
        return images.shape[2] < 32


def test_a_network_that_torch_cannot_export(surfaces, tmp_path, capfd):
    detector = SelfSupervisedAutoencoderDetector(network=AsksForValues, max_iter=2)
    detector.fit(surfaces.X_train)
    path = tmp_path / "detector.onnx"
    path.write_text("what was there before")
    capfd.readouterr()
    with pytest.raises(ValueError, match="torch could not export network=.*AsksForV") as raised:
        to_onnx(detector, path)
    assert isinstance(raised.value.__cause__, Exception)
    assert capfd.readouterr() == ("", "")
    assert path.read_text() == "what was there before"
    assert os.listdir(tmp_path) == [path.name]


class ConvolutionOfRows(nn.Conv1d):
    """What onnxruntime computes in float32 only, and rows are computed in float64."""

    def __init__(self, n_features):
        super().__init__(1, 1, 3, padding=1)

    def forward(self, rows):
        return super().forward(rows.unsqueeze(1)).squeeze(1)


def test_a_network_that_onnxruntime_cannot_run(rows, tmp_path, capfd):
    detector = SelfSupervisedAutoencoderDetector(network=ConvolutionOfRows, max_iter=2).fit(rows)
    capfd.readouterr()
    with pytest.raises(ValueError, match="onnxruntime cannot run network=.*ConvolutionOfRows"):
        to_onnx(detector, tmp_path / "detector.onnx")
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_a_graph_that_is_wrong_for_other_sizes_is_not_written(surfaces, tmp_path):
    detector = SelfSupervisedAutoencoderDetector(network=AsksForSize, **BARE)
    detector = train(detector, surfaces.X_train)
    with pytest.raises(ValueError, match=r"input of shape \(3, 29, 27\) differ.*Pass image_size"):
        to_onnx(detector, tmp_path / "detector.onnx")
    assert os.listdir(tmp_path) == []
    exported = Exported(detector, tmp_path / "detector.onnx", image_size=(40, 32))
    exported.check(np.pad(surfaces.X_test[:3], ((0, 0), (4, 4), (0, 0)), mode="wrap"))


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_calibrated_detector_keeps_its_thresholds(is_frozen, surfaces, tmp_path):
    inner = SelfSupervisedAutoencoderDetector(network=small_network, **BARE, device="cpu")
    inner.set_params(max_iter=8, random_state=0)
    X = surfaces.X_train
    if is_frozen:
        inner, X = FrozenEstimator(inner.fit(X[:15])), X[15:]
        before = inner.estimator.offset_, inner.estimator.map_threshold_
    # With a level that flags many images and marks many pixels.
    conformal = ConformalDetector(inner, 0.6, calibration_size=15, random_state=0).fit(X)
    exported = Exported(conformal, tmp_path / "detector.onnx", image_size=(32, 32))
    got = exported.check(surfaces.X_test)
    assert set(got["predict"]) == {-1, 1} and 0 < got["predict_mask"].mean() < 1
    properties = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    assert properties["detector"] == "SelfSupervisedAutoencoderDetector"
    assert float(properties["offset"]) == conformal.offset_
    assert float(properties["map_threshold"]) == conformal.map_threshold_
    if is_frozen:
        assert (inner.estimator.offset_, inner.estimator.map_threshold_) == before


def test_infinite_thresholds_flag_nothing_but_what_is_not_finite(rows, tmp_path):
    with pytest.warns(UserWarning, match="images to calibrate on"):
        conformal = ConformalDetector(DenoisingAE(max_iter=2), 0.01, random_state=0).fit(rows)
    exported = Exported(conformal, tmp_path / "rows.onnx")
    damaged = np.concatenate([rows * 100, rows[:1]])
    damaged[-1, 2] = np.nan
    got = exported.run(damaged)
    np.testing.assert_array_equal(got["predict"], [*conformal.predict(damaged[:-1]), -1])
    assert not got["predict_mask"][:-1].any() and got["predict_mask"][-1].all()
    assert np.all(got["decision_function"][:-1] == np.inf)


def test_calibrated_detectors_that_are_no_single_graph(rows, tmp_path):
    conformal = ConformalDetector(DenoisingAE(max_iter=2), 0.2, cv=3, random_state=0)
    with pytest.raises(NotFittedError):
        to_onnx(conformal, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match=r"must hold one detector.*with 3 of them, from cv=3"):
        to_onnx(conformal.fit(rows), tmp_path / "x.onnx")
    forest = ConformalDetector(IsolationForest(n_estimators=5), 0.2, random_state=0).fit(rows)
    with pytest.raises(TypeError, match=r"ConformalDetector, got IsolationForest instead"):
        to_onnx(forest, tmp_path / "x.onnx")
    assert os.listdir(tmp_path) == []


def test_what_is_no_fitted_detector(tmp_path):
    unfitted = SelfSupervisedAutoencoderDetector()
    with pytest.raises(NotFittedError):
        to_onnx(unfitted, tmp_path / "x.onnx")
    for other in (make_pipeline(unfitted), IsolationForest(), None):
        with pytest.raises(TypeError, match=f"DenoisingAE.*got {type(other).__name__}"):
            to_onnx(other, tmp_path / "x.onnx")


@pytest.fixture(scope="module")
def fitted(surfaces, rows):
    return {
        "images": DenoisingAE(network=small_network, max_iter=1, **BARE).fit(surfaces.X_train),
        "rows": DenoisingAE(max_iter=1).fit(rows),
    }


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("images", {"input_dtype": "float64"}, r"\['uint8', 'uint16', 'float32'\].*'float64'"),
        ("rows", {"input_dtype": "uint8"}, r"\['float64', 'float32'\] for a detector of rows"),
        ("rows", {"image_size": (32, 32)}, "image_size must be None for a detector of rows"),
        ("images", {"image_size": 32}, "two positive integers, got 32"),
        ("images", {"image_size": (32, 0)}, r"two positive integers, got \(32, 0\)"),
        ("images", {"image_size": (32, 32, 1)}, "two positive integers"),
    ],
)
def test_parameters(kind, parameters, message, fitted, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_onnx(fitted[kind], tmp_path / "x.onnx", **parameters)


@pytest.mark.parametrize("dtype", [np.uint16, np.dtype("<u2"), np.dtype(">u2"), ">u2"])
def test_a_dtype_may_be_given_in_any_form(dtype, fitted, tmp_path):
    to_onnx(fitted["images"], tmp_path / "a.onnx", input_dtype=dtype, image_size=(16, 16))
    (given,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").get_inputs()
    assert given.type == "tensor(uint16)"


def test_paths(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    to_onnx(fitted["rows"], "~/rows.onnx")
    assert (tmp_path / "rows.onnx").exists()
    with pytest.raises(ValueError, match="must lie in a folder that exists"):
        to_onnx(fitted["images"], tmp_path / "missing" / "x.onnx")
    with pytest.raises(ValueError, match="is a folder"):
        to_onnx(fitted["images"], tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package(package, fitted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install \"skanomaly\[onnx\]\""):
        to_onnx(fitted["images"], tmp_path / "x.onnx")


@pytest.mark.parametrize(("standardization", "parameters"), [("image", {}), ("dataset", BARE)])
def test_what_is_not_finite_is_never_normal(standardization, parameters, tmp_path):
    images = make_images(8).astype(np.float32)
    detector = DenoisingAE(network=small_network, standardization=standardization, **parameters)
    detector.set_params(max_iter=3, random_state=0).fit(images)
    to_onnx(detector, tmp_path / "graph.onnx", input_dtype="float32", image_size=images.shape[1:])
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    names = ["predict", "predict_mask", "decision_function"]
    # The detector refuses values beyond 1e10, which may overflow.
    for value in (np.nan, np.inf, -np.inf, 1e11, -3e38):
        damaged = images[:3].copy()
        damaged[1, 4, 5] = value
        predicted, masks, decisions = session.run(names, {"images": damaged})
        assert predicted[1] == -1 and masks[1].all() and decisions[1] == -np.inf
        np.testing.assert_array_equal(predicted[::2], detector.predict(images[:3:2]))


def test_narrow_images_are_not_read_as_channels(tmp_path, recwarn):
    images = make_images(8, size=(16, 8))
    detector = DenoisingAE(network=small_network, max_iter=1, random_state=0, **BARE).fit(images)
    recwarn.clear()
    to_onnx(detector, tmp_path / "graph.onnx")
    assert [str(warning.message) for warning in recwarn] == []
