"""SyntheticDefectScorer as a scikit-learn scorer, and what it says of detectors."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from small_networks import SMALL
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.corruption import PatchCorruption
from skanomaly.metrics import pixel_roc_auc_score
from skanomaly.model_selection import NormalOnlySplit, SyntheticDefectScorer

METRICS = ["roc_auc", "pixel_roc_auc", "mean_roc_auc"]


class TemplateDetector(OutlierMixin, BaseEstimator):
    """The difference to the mean of the training images, with some noise if asked for."""

    def __init__(self, noise=0.0, image_shape=None):
        self.noise = noise
        self.image_shape = image_shape

    def fit(self, X, y=None):
        self.mean_ = np.mean(np.asarray(X), axis=0, dtype=float)
        return self

    def anomaly_map(self, X):
        difference = np.abs(np.asarray(X) - self.mean_)
        # The same for an image whatever stands beside it.
        noise = [
            np.random.default_rng(int(1e6 * image.sum())).normal(size=image.shape)
            for image in difference
        ]
        maps = difference + self.noise * np.abs(noise)
        if self.image_shape is not None:
            maps = maps.reshape(-1, *self.image_shape)
        return maps if maps.ndim == 3 else maps.mean(axis=-1)

    def score_samples(self, X):
        return -self.anomaly_map(X).max(axis=(1, 2))


def make_alike(count, seed=0):
    """Images that differ by noise alone, so that a template serves."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, 32, 32))
    return (make_images(1)[0] + noise).clip(0, 1)


@pytest.fixture(scope="module")
def images():
    return make_alike(24)


@pytest.fixture(scope="module")
def fitted(images):
    return TemplateDetector().fit(images)


def test_lists_of_tensors_and_columns_of_images(images):
    detector = SelfSupervisedAutoencoderDetector(network=SMALL, max_iter=2, random_state=0)
    detector.fit(images)
    scorer = SyntheticDefectScorer(n_defects=6)
    # Rounding to bfloat16 moves ranks.
    wanted = pytest.approx(scorer(detector, images.astype(np.float32)), abs=0.05)
    low = [torch.from_numpy(image).bfloat16() for image in images]
    with_gradients = [torch.from_numpy(image).requires_grad_() for image in images]
    for X in (low, with_gradients, pd.Series(list(images))):
        assert scorer(detector, X) == wanted
        assert scorer.make_defects(X).images.shape == (6, 32, 32)


@pytest.mark.parametrize("metric", METRICS)
def test_the_score_is_the_metric_of_clean_and_damaged_images(images, fitted, metric):
    held_out = make_alike(10, seed=1)
    scorer = SyntheticDefectScorer(metric=metric, n_defects=7)
    defects = scorer.make_defects(held_out)
    together = np.concatenate([held_out, defects.images])
    image_area = roc_auc_score(np.arange(17) < 10, fitted.score_samples(together))
    masks = np.concatenate([np.zeros((10, 32, 32), dtype=bool), defects.masks])
    pixel_area = pixel_roc_auc_score(masks, fitted.anomaly_map(together))
    assert image_area > 0.6
    assert pixel_area > 0.6
    expected = {"roc_auc": image_area, "pixel_roc_auc": pixel_area}
    expected["mean_roc_auc"] = (image_area + pixel_area) / 2
    assert scorer(fitted, held_out) == pytest.approx(expected[metric], abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_a_noisier_detector_scores_less(images, metric):
    held_out = make_alike(30, seed=1)
    scores = [
        SyntheticDefectScorer(metric=metric)(TemplateDetector(noise).fit(images), held_out)
        for noise in (0.0, 0.1, 0.3, 10.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.65
    assert abs(scores[3] - 0.5) < 0.1


def test_calls_repeat_and_seeds_differ(images, fitted):
    first, again, other = (
        SyntheticDefectScorer(random_state=seed, n_defects=40)(fitted, images) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_all_candidates_get_the_same_defects_and_no_two_folds_do(images):
    seen = []

    class Recorder(TemplateDetector):
        def score_samples(self, X):
            seen.append(np.asarray(X))
            return super().score_samples(X)

    scorer = SyntheticDefectScorer(n_defects=9)
    search = GridSearchCV(Recorder(), {"noise": [0.0, 1.0]}, scoring=scorer, cv=2, refit=False)
    search.fit(images)
    clean, damaged = seen[::2], seen[1::2]
    assert [len(part) for part in damaged] == [9] * 4
    # Candidates are the outer loop.
    for fold in (0, 1):
        np.testing.assert_array_equal(clean[fold], clean[fold + 2])
        np.testing.assert_array_equal(damaged[fold], damaged[fold + 2])
    assert not np.array_equal(damaged[0], damaged[1])


def test_the_training_corruption_has_no_part(images, monkeypatch):
    detector = SelfSupervisedAutoencoderDetector(
        network=SMALL, corruption=PatchCorruption(radius=0.2), max_iter=3, random_state=0
    ).fit(images)
    expected = SyntheticDefectScorer(n_defects=20)(detector, images)

    def refuse(*args, **kwargs):
        raise AssertionError("the scorer must not corrupt images as training does")

    monkeypatch.setattr(PatchCorruption, "corrupt", refuse)
    monkeypatch.setattr(PatchCorruption, "__call__", refuse)
    assert SyntheticDefectScorer(n_defects=20)(detector, images) == expected
    # Nor does torch's global generator: it is neither read nor moved.
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert SyntheticDefectScorer(n_defects=20)(detector, images) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_it_ranks_a_trained_detector_over_an_untrained_one():
    images = make_images(40, seed=0)
    held_out = make_images(20, seed=1)
    untrained, trained = (
        SelfSupervisedAutoencoderDetector(
            max_iter=steps, learning_rate=5e-3, crop_size=16, random_state=0
        ).fit(images)
        for steps in (1, 60)
    )
    for metric in METRICS:
        scorer = SyntheticDefectScorer(metric=metric)
        assert scorer(trained, held_out) > scorer(untrained, held_out) + 0.05


def test_grid_search_without_labels_in_parallel(images):
    grid = {"noise": [0.0, 0.2, 5.0]}
    searches = [
        GridSearchCV(
            TemplateDetector(), grid, scoring=SyntheticDefectScorer(), cv=3, n_jobs=n_jobs
        ).fit(images)
        for n_jobs in (None, 2)
    ]
    for search in searches:
        assert search.best_params_ == {"noise": 0.0}
        assert list(search.cv_results_["rank_test_score"]) == [1, 2, 3]
    np.testing.assert_array_equal(
        searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"]
    )


def test_grid_search_over_the_corruption_of_a_detector(images):
    detector = SelfSupervisedAutoencoderDetector(
        network=SMALL, max_iter=2, crop_size=16, random_state=0
    )
    search = GridSearchCV(
        detector,
        {"corruption__radius": [0.05, 0.2]},
        scoring=SyntheticDefectScorer(n_defects=10),
        cv=2,
    ).fit(images[:8])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert 0 <= SyntheticDefectScorer(metric="mean_roc_auc")(search, images[8:]) <= 1


@pytest.mark.parametrize("metric", METRICS)
def test_data_frames_stay_data_frames(metric, images, recwarn):
    frame = pd.DataFrame(images.reshape(len(images), -1)).add_prefix("pixel")
    shape = images.shape[1:]
    by_name = ColumnTransformer([("all", StandardScaler(), list(frame.columns))])
    detector = make_pipeline(by_name, TemplateDetector(image_shape=shape)).fit(frame)
    scorer = SyntheticDefectScorer(metric=metric, n_defects=6, image_shape=shape)
    same = make_pipeline(StandardScaler(), TemplateDetector(image_shape=shape))
    rows = images.reshape(len(images), -1)
    assert scorer(detector, frame) == pytest.approx(scorer(same.fit(rows), rows))
    assert [str(each.message) for each in recwarn] == []


def test_labels_have_the_length_of_x(images):
    scorer = SyntheticDefectScorer(n_defects=4)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        scorer(TemplateDetector().fit(images), images, y=[1, 1])


def test_several_metrics_and_metadata_routing(images):
    scoring = {metric: SyntheticDefectScorer(metric=metric, n_defects=20) for metric in METRICS}
    results = cross_validate(TemplateDetector(), images, scoring=scoring, cv=2)
    mean = (results["test_roc_auc"] + results["test_pixel_roc_auc"]) / 2
    np.testing.assert_allclose(results["test_mean_roc_auc"], mean)
    with config_context(enable_metadata_routing=True):
        routed = cross_validate(TemplateDetector(), images, scoring=scoring, cv=2)
    np.testing.assert_array_equal(routed["test_roc_auc"], results["test_roc_auc"])


def test_labelled_anomalies_are_left_out(images, fitted):
    y = np.array([1, 1, -1] * 8)
    scorer = SyntheticDefectScorer(n_defects=20)
    anomalous = images.copy()
    anomalous[y == -1] = np.nan
    assert scorer(fitted, anomalous, y) == scorer(fitted, images[y == 1])
    X, labels = np.concatenate([images, images[:6]]), np.repeat([1, -1], [24, 6])
    scores = cross_val_score(TemplateDetector(), X, labels, scoring=scorer, cv=NormalOnlySplit(2))
    assert np.isfinite(scores).all()


def test_flattened_rows_score_as_images(images, fitted):
    scorer = SyntheticDefectScorer(metric="mean_roc_auc", n_defects=30)
    rows = images.reshape(24, -1)
    by_rows = TemplateDetector(image_shape=(32, 32)).fit(rows)
    assert scorer(by_rows, rows) == scorer(fitted, images)
    wrapped = FrozenEstimator(by_rows)
    assert scorer(wrapped, rows) == scorer(fitted, images)


def test_a_pipeline_is_damaged_before_its_first_step(images):
    def halve(X):
        return X / 2

    pipeline = make_pipeline(FunctionTransformer(halve), TemplateDetector()).fit(images)
    scorer = SyntheticDefectScorer(metric="mean_roc_auc", n_defects=30)
    plain = TemplateDetector().fit(images)
    assert scorer(pipeline, images) == pytest.approx(scorer(plain, images), abs=1e-4)

    scaled = make_pipeline(StandardScaler(), TemplateDetector(image_shape=(32, 32)))
    rows = images.reshape(24, -1)
    assert 0.5 < scorer(scaled.fit(rows), rows) <= 1


def test_any_outlier_detector_on_rows_of_images(images):
    rows = images.reshape(24, -1)
    detector = make_pipeline(PCA(5), IsolationForest(random_state=0)).fit(rows)
    scorer = SyntheticDefectScorer(image_shape=(32, 32), n_defects=30)
    assert 0 <= scorer(detector, rows) <= 1
    with pytest.raises(AttributeError, match="anomaly_map"):
        clone(scorer).set_params(metric="mean_roc_auc")(detector, rows)


def test_it_is_pickled_cloned_and_shown(images, fitted):
    scorer = SyntheticDefectScorer(metric="mean_roc_auc", kinds=["crack"], random_state=3)
    assert repr(scorer) == (
        "SyntheticDefectScorer(kinds=['crack'], metric='mean_roc_auc', random_state=3)"
    )
    score = scorer(fitted, images)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer)):
        assert copy.get_params() == scorer.get_params()
        assert copy(fitted, images) == score


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"metric": "accuracy"}, "metric"),
        ({"n_defects": 0}, "n_defects"),
        ({"kinds": ["dent"]}, "'crack'"),
        ({"kinds": "dent"}, "kinds"),
        ({"kinds": []}, "kinds must be"),
        ({"kinds": [["crack"]]}, "kinds must be"),
        ({"strength": 0}, "strength"),
        ({"strength": (0.5, 0.1)}, "strength must be"),
        ({"strength": (0.5, 1.5)}, "strength must be"),
        ({"strength": (0.0, 0.5)}, "strength must be"),
        ({"strength": (0.1, 0.2, 0.3)}, "strength must be"),
        ({"strength": (0.1, "1")}, "strength must be"),
        ({"random_state": None}, "random_state"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": np.random.RandomState(0)}, "random_state"),
    ],
)
def test_bad_parameters(images, fitted, params, message):
    scorer = SyntheticDefectScorer(**params)
    with pytest.raises(ValueError, match=message):
        scorer(fitted, images)
    with pytest.raises(ValueError, match=message):
        scorer.make_defects(images)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((5, 20)), None, "Plain vectors have no pixels"),
        (np.zeros(5), None, "got shape"),
        (np.zeros((5, 2, 2, 1, 1)), None, "got shape"),
        (np.zeros((0, 8, 8)), None, "minimum of 1"),
        (np.full((3, 8, 8), np.nan), None, "Input contains NaN"),
        ([np.zeros((8, 8)), np.zeros((9, 8))], None, "images of one shape"),
        (np.zeros((3, 8, 8)), [0, 1, 0], "1 for normal"),
        (np.zeros((3, 8, 8)), [-1, -1, -1], "no normal image"),
    ],
)
def test_bad_input(fitted, X, y, message):
    with pytest.raises(ValueError, match=message):
        SyntheticDefectScorer()(fitted, X, y)


def test_rows_of_another_length_than_the_image_shape(fitted):
    with pytest.raises(ValueError, match="makes 64"):
        SyntheticDefectScorer(image_shape=(8, 8))(fitted, np.zeros((3, 65)))
