"""make_pixel_scorer in cross-validation, grid search and pipelines, with routed masks."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline

from skanomaly.metrics import (
    make_pixel_scorer,
    per_region_overlap_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)
from skanomaly.model_selection import NormalOnlySplit


class DifferenceDetector(OutlierMixin, BaseEstimator):
    """Compares with the mean image; `sign=-1` gets all wrong."""

    def __init__(self, sign=1):
        self.sign = sign

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        return self

    def anomaly_map(self, X):
        return self.sign * np.abs(X - self.mean_)

    def decision_function(self, X):
        return -self.anomaly_map(X).max(axis=(1, 2))


class Scale(TransformerMixin, BaseEstimator):
    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def transform(self, X):
        return self.factor * X


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(18, 6, 6))
    y = np.tile([1, 1, -1], 6)
    masks = np.zeros(X.shape, dtype=bool)
    masks[y == -1, 2:4, 2:4] = True
    X[masks] += 20
    return X, y, masks


scorer = make_pixel_scorer(pixel_roc_auc_score)


def test_called_directly(case):
    X, y, masks = case
    detector = DifferenceDetector().fit(X[y == 1])
    expected = pixel_roc_auc_score(masks, detector.anomaly_map(X))
    assert scorer(detector, X, y, masks=masks) == expected
    assert scorer(detector, X, masks=list(masks)) == expected


def test_arguments_of_the_metric(case):
    X, _, masks = case

    def fraction_above(masks, maps, threshold, *, scale=1):
        return float(np.mean(scale * maps > threshold))

    score = make_pixel_scorer(fraction_above, threshold=10, scale=0)
    assert score(DifferenceDetector().fit(X), X, masks=masks) == 0.0
    assert repr(score) == "make_pixel_scorer(fraction_above, threshold=10, scale=0)"
    assert repr(scorer) == "make_pixel_scorer(pixel_roc_auc_score)"


def test_pickle(case):
    X, _, masks = case
    detector = DifferenceDetector().fit(X)
    loaded = pickle.loads(pickle.dumps(scorer))
    assert loaded(detector, X, masks=masks) == scorer(detector, X, masks=masks)
    assert repr(loaded) == repr(scorer)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("as_list", [False, True])
def test_grid_search(routing, case, n_jobs, as_list):
    X, y, masks = case
    search = GridSearchCV(
        DifferenceDetector(),
        {"sign": [-1, 1]},
        scoring=scorer,
        cv=NormalOnlySplit(3),
        error_score="raise",
        n_jobs=n_jobs,
        return_train_score=False,
    )
    search.fit(X, y, masks=list(masks) if as_list else masks)
    assert search.best_params_ == {"sign": 1}
    assert search.best_score_ > 0.99
    assert search.cv_results_["mean_test_score"][0] < 0.01
    assert search.score(X, y, masks=masks) > 0.9


def test_grid_search_with_several_metrics(routing, case):
    X, y, masks = case
    search = GridSearchCV(
        DifferenceDetector(),
        {"sign": [-1, 1]},
        scoring={
            "image": "roc_auc",
            "pixel": scorer,
            "precision": make_pixel_scorer(pixel_average_precision_score),
            "overlap": make_pixel_scorer(per_region_overlap_score, max_fpr=0.05, max_bins=1000),
        },
        refit="pixel",
        cv=NormalOnlySplit(3),
        error_score="raise",
    ).fit(X, y, masks=masks)
    assert search.best_params_ == {"sign": 1}
    for name in ("image", "pixel", "precision", "overlap"):
        assert search.cv_results_[f"mean_test_{name}"][1] > 0.9


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_grid_search_over_a_pipeline(routing, case, n_steps):
    X, y, masks = case
    steps = [Scale(factor) for factor in (3.0, 0.5)][: n_steps - 1]
    search = GridSearchCV(
        make_pipeline(*steps, DifferenceDetector()),
        {"differencedetector__sign": [-1, 1]},
        scoring=scorer,
        cv=NormalOnlySplit(3),
        error_score="raise",
    ).fit(X, y, masks=masks)
    assert search.best_params_ == {"differencedetector__sign": 1}


def test_pipeline_goes_through_the_earlier_steps(case):
    X, _, masks = case
    pipeline = make_pipeline(Scale(5.0), "passthrough", DifferenceDetector()).fit(X)
    seen = []
    make_pixel_scorer(lambda masks, maps: seen.append(maps) or 0.0)(pipeline, X, masks=masks)
    np.testing.assert_allclose(seen[0], pipeline[-1].anomaly_map(5.0 * X))
    nested = Pipeline([("scale", Scale(1.0)), ("inner", pipeline)]).fit(X)
    assert scorer(nested, X, masks=masks) == scorer(pipeline, X, masks=masks)


def test_nested_cross_validation(routing, case):
    X, y, masks = case
    search = GridSearchCV(
        DifferenceDetector(), {"sign": [-1, 1]}, scoring=scorer, cv=NormalOnlySplit(2)
    ).fit(X, y, masks=masks)
    assert scorer(search, X, masks=masks) == scorer(search.best_estimator_, X, masks=masks)


def test_cross_validate(routing, case):
    X, y, masks = case
    result = cross_validate(
        DifferenceDetector(),
        X,
        y,
        scoring=scorer,
        cv=NormalOnlySplit(3),
        params={"masks": masks},
        error_score="raise",
    )
    assert result["test_score"].min() > 0.99


def test_masks_under_another_name(routing, case):
    X, y, masks = case
    renamed = make_pixel_scorer(pixel_roc_auc_score).set_score_request(masks="truth")
    search = GridSearchCV(
        DifferenceDetector(),
        {"sign": [-1, 1]},
        scoring=renamed,
        cv=NormalOnlySplit(3),
        error_score="raise",
    ).fit(X, y, truth=masks)
    assert search.best_params_ == {"sign": 1}


def test_without_masks(case):
    X, y, _ = case
    with pytest.raises(ValueError, match=r"needs 'masks'.*enable_metadata_routing=True"):
        scorer(DifferenceDetector().fit(X), X, y)


def test_without_routing(case):
    X, y, _ = case
    search = GridSearchCV(
        DifferenceDetector(),
        {"sign": [1]},
        scoring=scorer,
        cv=NormalOnlySplit(3),
        error_score="raise",
    )
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        search.fit(X, y)


def test_estimator_without_a_map(case):
    X, _, masks = case
    with pytest.raises(AttributeError, match=r"Scale has none of the following.*anomaly_map"):
        scorer(Scale(), X, masks=masks)
    with pytest.raises(AttributeError, match=r"Pipeline has none of the following.*anomaly_map"):
        scorer(make_pipeline(Scale(), Scale()).fit(X), X, masks=masks)


@pytest.mark.parametrize("score_func", ["roc_auc", None, 3])
def test_score_func_of_wrong_type(score_func):
    with pytest.raises(TypeError, match="'score_func' parameter must be a callable"):
        make_pixel_scorer(score_func)
