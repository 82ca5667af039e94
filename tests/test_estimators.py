"""Attributes and methods of detectors in nested pipelines, searches and wrappers."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import OneClassSVM
from sklearn.utils import Bunch

from skanomaly._estimators import (
    detect,
    detect_batches,
    find_attribute,
    find_method,
    find_parameter,
)
from skanomaly.model_selection import ConformalDetector


class Distance(OutlierMixin, BaseEstimator):
    """Distance of each value from the mean image; counts what it computes."""

    def __init__(self, image_shape=(2, 2), offset=0.0):
        self.image_shape = image_shape
        self.offset = offset

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        self.map_threshold_ = 7.0 + self.offset
        self.calls_ = []
        return self

    def anomaly_map(self, X):
        self.calls_.append(("anomaly_map", len(X)))
        return np.abs(X - self.mean_)

    def score_samples(self, X):
        self.calls_.append(("score_samples", len(X)))
        return -np.abs(X - self.mean_).max(axis=1)


class OnePass(Distance):
    """Has `detect_batches`, with three images in a batch."""

    def detect_batches(self, X):
        self.calls_.append(("detect_batches", len(X)))
        for start in range(0, len(X), 3):
            maps = np.abs(X[start : start + 3] - self.mean_)
            yield Bunch(score_samples=-maps.max(axis=1), anomaly_map=maps)


def first_score(estimator, X, y=None):
    return 0.0


def double(X):
    return 2 * X


def search(estimator):
    return GridSearchCV(estimator, {}, scoring=first_score, cv=2)


def doubled(estimator):
    return make_pipeline(FunctionTransformer(double), estimator)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, 4))


NESTS = {
    "alone": (lambda detector: detector, 1),
    "pipeline": (doubled, 2),
    "pipeline of one step": (lambda detector: make_pipeline(detector), 1),
    "passthrough": (lambda detector: make_pipeline("passthrough", detector), 1),
    "pipeline of pipeline": (lambda detector: doubled(doubled(detector)), 4),
    "search": (search, 1),
    "search of pipeline": (lambda detector: search(doubled(detector)), 2),
    "pipeline of search": (lambda detector: doubled(search(detector)), 2),
    "pipeline of search of pipeline": (lambda detector: doubled(search(doubled(detector))), 4),
}


@pytest.mark.parametrize("kind", [Distance, OnePass])
@pytest.mark.parametrize("nest", NESTS)
def test_nested_detectors(X, nest, kind):
    wrap, factor = NESTS[nest]
    fitted = wrap(kind()).fit(X)
    plain = kind().fit(factor * X)
    for estimator in (fitted, FrozenEstimator(fitted)):
        maps = find_method(estimator, "anomaly_map")(X)
        np.testing.assert_allclose(maps, plain.anomaly_map(factor * X))
        assert find_attribute(estimator, "map_threshold_") == 7.0
        assert find_attribute(estimator, "offset_") is None
        assert find_parameter(estimator, "image_shape") == (2, 2)
        assert find_method(estimator, "reconstruct") is None
        found = detect(estimator, X, "score_samples", "anomaly_map", "reconstruct")
        assert set(found) == {"score_samples", "anomaly_map"}
        np.testing.assert_allclose(found.score_samples, plain.score_samples(factor * X))
        np.testing.assert_allclose(found.anomaly_map, maps)


@pytest.mark.parametrize("kind", [Distance, OnePass])
def test_a_search_of_a_pipeline_of_a_conformal_detector(X, kind):
    inner = doubled(kind(image_shape=(4, 1)))
    conformal = ConformalDetector(inner, alpha=0.2, calibration_size=10, random_state=0)
    fitted = search(doubled(conformal)).fit(X)
    calibrated = fitted.best_estimator_[-1]
    assert find_attribute(fitted, "map_threshold_") == calibrated.map_threshold_ != 7.0
    assert find_attribute(fitted, "offset_") == calibrated.offset_
    assert find_parameter(fitted, "image_shape") == (4, 1)
    found = detect(fitted, X, "score_samples", "predict", "anomaly_map", "predict_mask", "p_values")
    for name, values in found.items():
        np.testing.assert_array_equal(values, getattr(calibrated, name)(2 * X), err_msg=name)
    assert found.predict_mask.any()


def test_what_is_not_there(X):
    svm = make_pipeline(OneClassSVM()).fit(X)
    assert find_method(svm, "anomaly_map") is None and find_parameter(svm, "image_shape") is None
    assert set(detect(svm, X, "score_samples", "anomaly_map")) == {"score_samples"}
    unfitted = search(doubled(Distance()))
    assert find_method(unfitted, "anomaly_map") is None
    conformal = ConformalDetector(OneClassSVM(), alpha=0.2).fit(X)
    assert set(conformal.detect(X)) == {"score_samples", "decision_function", "predict", "p_values"}


def test_one_pass_where_it_is_offered(X):
    detector = OnePass().fit(X)
    detect(doubled(FrozenEstimator(detector)), X, "score_samples", "anomaly_map")
    # `detect_batches` is not needed for one method.
    detect(detector, X, "score_samples")
    assert [len(batch.anomaly_map) for batch in detect_batches(detector, X[:7], "anomaly_map")] == [
        7
    ]
    sizes = [
        len(b.score_samples)
        for b in detect_batches(detector, X[:7], "score_samples", "anomaly_map")
    ]
    assert sizes == [3, 3, 1]
    assert detector.calls_ == [
        ("detect_batches", 50),
        ("score_samples", 50),
        ("anomaly_map", 7),
        ("detect_batches", 7),
    ]
    other = Distance().fit(X)
    batches = list(detect_batches(other, X, "score_samples", "anomaly_map"))
    assert [len(batch.anomaly_map) for batch in batches] == [32, 18]
    assert {name for batch in batches for name in batch} == {"score_samples", "anomaly_map"}
