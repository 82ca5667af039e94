"""Data frames, tensors, and scikit-learn's tools for fitted estimators."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import skanomaly
from skanomaly import ContractiveAE, DenoisingAE, PatchCorruption, SelfSupervisedAutoencoderDetector
from skanomaly._validation import validate_input
from skanomaly.model_selection import ConformalDetector

NAMES = ["height", "width", "weight"]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture(scope="module")
def detector(rows):
    return DenoisingAE(max_iter=100, random_state=0).fit(rows)


def make_frame(library, rows, names):
    frames = pytest.importorskip(library)
    return frames.DataFrame({name: rows[:, i] for i, name in enumerate(names)})


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_of_rows_is_the_array_of_its_values(library, rows, detector):
    frame = make_frame(library, rows, NAMES)
    fitted = DenoisingAE(max_iter=100, random_state=0).fit(frame)
    assert list(fitted.feature_names_in_) == NAMES
    np.testing.assert_array_equal(fitted.score_samples(frame), detector.score_samples(rows))
    np.testing.assert_array_equal(fitted.reconstruct(frame), detector.reconstruct(rows))
    with pytest.raises(ValueError, match="feature names"):
        fitted.score_samples(make_frame(library, rows, NAMES[::-1]))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_of_flattened_images_is_read_as_images(library):
    images = np.random.default_rng(0).random((4, 16, 16))
    frame = make_frame(library, images.reshape(4, -1), [f"pixel{i}" for i in range(256)])
    detector = DenoisingAE(image_shape=(16, 16), max_iter=1, random_state=0).fit(frame)
    maps = detector.anomaly_map(frame)
    assert maps.shape == (4, 16, 16)
    as_images = DenoisingAE(max_iter=1, random_state=0).fit(images)
    np.testing.assert_array_equal(maps, as_images.anomaly_map(images))


def test_frames_of_a_transformer_reach_the_detector(rows):
    pytest.importorskip("pandas")
    pipeline = make_pipeline(StandardScaler(), DenoisingAE(max_iter=1))
    pipeline.set_output(transform="pandas").fit(make_frame("pandas", rows, NAMES))
    assert list(pipeline[-1].feature_names_in_) == NAMES


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(4, 16, 16),
        torch.rand(4, 16, 16, 3, requires_grad=True),
        torch.rand(4, 3, 16, 16).permute(0, 2, 3, 1),
        torch.zeros(4, 16, 16, dtype=torch.uint8),
        torch.rand(4, 5),
        torch.rand(4, 5, dtype=torch.float64),
    ],
    ids=["grey", "requires grad", "channels first, turned", "uint8", "rows", "float64 rows"],
)
def test_a_tensor_on_the_cpu_is_not_copied(tensor):
    checked = validate_input(DenoisingAE(), tensor, image_shape=None, reset=True)
    assert np.shares_memory(checked.source, tensor.detach().numpy())


@pytest.mark.parametrize(
    "estimator",
    [
        SelfSupervisedAutoencoderDetector(),
        DenoisingAE(),
        ContractiveAE(),
        ConformalDetector(DenoisingAE()),
        PatchCorruption(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_diagram_of_an_estimator_links_to_its_page(estimator):
    name = type(estimator).__name__
    links = re.findall(r'href="([^"#]+)', estimator_html_repr(estimator))
    page = next(link for link in links if link.endswith(f".{name}.html"))
    module = re.search(r"/api/generated/(skanomaly[a-z_.]*)\.\w+\.html$", page).group(1)
    public = skanomaly if module == "skanomaly" else getattr(skanomaly, module.split(".")[1])
    assert getattr(public, name) is type(estimator)
    listed = Path(__file__).parents[1] / "docs" / "api.rst"
    if listed.exists():
        page_name = f"skanomaly.{name}" if module == "skanomaly" else module
        assert f"   {page_name}\n" in listed.read_text("utf-8")


def test_permutation_importance_finds_the_feature_that_gives_anomalies_away(rows, detector):
    odd = rows[:20].copy()
    odd[:, 1] += 20
    X, y = np.concatenate([rows, odd]), np.repeat([1, -1], [60, 20])
    found = permutation_importance(
        detector, X, y, scoring="roc_auc", n_repeats=2, random_state=0
    ).importances_mean
    assert found.argmax() == 1
    assert found[1] > 0.1


def test_decision_boundary_display_shows_the_detectors_own_values(rows):
    pytest.importorskip("matplotlib")
    detector = DenoisingAE(max_iter=20, random_state=0).fit(rows[:, :2])
    for method in ("decision_function", "score_samples", "predict"):
        display = DecisionBoundaryDisplay.from_estimator(
            detector, rows[:, :2], grid_resolution=5, response_method=method
        )
        grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
        np.testing.assert_array_equal(display.response.ravel(), getattr(detector, method)(grid))
