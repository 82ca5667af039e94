"""Scores, decisions, maps and masks from one pass through the network."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces

METHODS = ("score_samples", "decision_function", "predict", "anomaly_map", "predict_mask")


@pytest.fixture(scope="module")
def gravel():
    return make_textured_surfaces("gravel", image_size=32, random_state=0)


@pytest.fixture(scope="module")
def detectors(gravel):
    rows = np.random.default_rng(0).normal(size=(60, 5))
    options = dict(max_iter=5, random_state=0)
    return {
        "images": (SelfSupervisedAutoencoderDetector(**options).fit(gravel.X_train), gravel.X_test),
        "rows": (DenoisingAE(**options).fit(rows), 2 * rows),
    }


def count_images(detector, monkeypatch):
    passed = []
    forward = detector.network_.forward
    monkeypatch.setattr(
        detector.network_, "forward", lambda batch: (passed.append(len(batch)), forward(batch))[1]
    )
    return passed


@pytest.mark.parametrize("kind", ["images", "rows"])
def test_detect_gives_what_each_method_gives(detectors, kind):
    detector, X = detectors[kind]
    result = detector.detect(X)
    assert set(result) == set(METHODS)
    for method in METHODS:
        expected = getattr(detector, method)(X)
        assert result[method].dtype == expected.dtype
        np.testing.assert_array_equal(result[method], expected)


def test_each_image_passes_the_network_once(detectors, monkeypatch):
    detector, X = detectors["images"]
    passed = count_images(detector, monkeypatch)
    detector.detect(X)
    assert sum(passed) == len(X)
    assert len(list(detector.detect_batches(X[:7]))) == 1
    assert sum(passed) == len(X) + 7


def test_batches_are_those_of_the_whole(detectors, monkeypatch):
    from skanomaly.detectors import _inference

    detector, X = detectors["images"]
    whole = detector.detect(X)
    monkeypatch.setattr(_inference, "_CHUNK_PIXELS", 32 * 32 * 10)
    monkeypatch.setattr(_inference, "_ACCELERATOR_CHUNK_PIXELS", 32 * 32 * 10)
    batches = list(detector.detect_batches(X))
    assert [len(batch.predict) for batch in batches[:2]] == [10, 10]
    for method in METHODS:
        joined = np.concatenate([batch[method] for batch in batches])
        np.testing.assert_allclose(joined, whole[method], rtol=1e-5)


def test_input_is_checked_before_the_first_batch_is_asked_for(detectors):
    with pytest.raises(NotFittedError):
        DenoisingAE().detect_batches(np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="channel"):
        detectors["images"][0].detect_batches(np.zeros((2, 32, 32, 3)))
