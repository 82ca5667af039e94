"""ConformalDetector: p-values, thresholds, every kind of X and detector, and errors."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, ShuffleSplit
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import OneClassSVM
from small_networks import NARROW
from synthetic_images import make_images, plant_defects

from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import ImageSequence
from skanomaly.model_selection import ConformalDetector, NormalOnlySplit
from skanomaly.model_selection._conformal_threshold import (
    ConformalThreshold,
    bound_false_alarms,
    critical_rank,
)


class DistanceToMean(OutlierMixin, BaseEstimator):
    """Compares with the mean image; `digits` makes ties."""

    def __init__(self, digits=9):
        self.digits = digits

    def fit(self, X, y=None):
        assert y is None
        self.mean_ = np.mean(np.asarray(X), axis=0)
        self.n_seen_ = len(X)
        return self

    def anomaly_map(self, X):
        return np.abs(np.asarray(X) - self.mean_).round(self.digits)

    def score_samples(self, X):
        return -self.anomaly_map(X).reshape(len(X), -1).max(axis=1)


class ScoresAlone(OutlierMixin, BaseEstimator):
    """Has scores and nothing else, and takes what comes; `value` replaces a score."""

    def __init__(self, value=None):
        self.value = value

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        scores = np.asarray(X, dtype=np.float32)[:, 0]
        return scores if self.value is None else np.where(scores > 0, self.value, scores)


def quadruple(X):
    return 4 * X


def no_score(estimator, X):
    return 0.0


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture
def new():
    """Normal rows, and some further and further away."""
    rows = np.random.default_rng(1).normal(size=(80, 3))
    return rows * np.linspace(0.2, 4, 80)[:, None]


MODES = {
    "split": dict(calibration_size=0.5),
    "count": dict(calibration_size=25),
    "cross": dict(cv=4),
    "splitter": dict(cv=KFold(3)),
    "unequal": dict(cv=[(np.r_[20:60], np.r_[:20]), (np.r_[:20], np.r_[20:60])]),
    "one out": dict(cv=LeaveOneOut()),
}


def count_p_values(detector, X, new):
    """By the definition, image by image."""
    p_values = []
    for row in new:
        count = total = 0
        for fitted, held_out in zip(
            detector.detectors_, detector.calibration_indices_, strict=True
        ):
            known = fitted.score_samples(X[held_out])
            count += sum(score <= fitted.score_samples(row[None])[0] for score in known)
            total += len(held_out)
        p_values.append((1 + count) / (total + 1))
    return np.array(p_values)


@pytest.mark.parametrize("digits", [0, 9])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 10 / 31, 0.9])
@pytest.mark.parametrize("mode", MODES)
def test_p_values_and_all_that_follows_from_them(X, new, mode, alpha, digits):
    detector = ConformalDetector(DistanceToMean(digits), alpha, random_state=0, **MODES[mode])
    detector.fit(X)
    p_values = detector.p_values(new)
    np.testing.assert_array_equal(p_values, count_p_values(detector, X, new))
    flagged = p_values <= alpha
    assert 0 < flagged.sum() < len(new)
    np.testing.assert_array_equal(detector.predict(new), np.where(flagged, -1, 1))
    decision = detector.decision_function(new)
    np.testing.assert_array_equal(decision < 0, flagged)
    np.testing.assert_allclose(detector.score_samples(new) - detector.offset_, decision, atol=1e-12)
    # The score is the map's largest value, so that a mask and a flag are the same with one
    # detector. With several, each pixel compares with the images by itself.
    maps, masks = detector.anomaly_map(new), detector.predict_mask(new)
    np.testing.assert_array_equal(masks, maps > detector.map_threshold_)
    assert not (masks.any(axis=1) & ~flagged).any()
    if "cv" not in MODES[mode]:
        np.testing.assert_array_equal(masks.any(axis=1), flagged)
        np.testing.assert_array_equal(maps, detector.detectors_[0].anomaly_map(new))
        np.testing.assert_array_equal(
            detector.score_samples(new), detector.detectors_[0].score_samples(new)
        )
    else:
        assert masks.any()


@pytest.mark.parametrize("mode", ["cross", "unequal", "one out"])
def test_maps_of_several_detectors_pixel_by_pixel(X, new, mode):
    detector = ConformalDetector(DistanceToMean(), 0.2, random_state=0, **MODES[mode]).fit(X)
    count = np.zeros(new.shape)
    maxima = []
    for fitted, held_out in zip(detector.detectors_, detector.calibration_indices_, strict=True):
        maxima.append(fitted.anomaly_map(X[held_out]).max(axis=1))
        count += (maxima[-1][:, None, None] >= fitted.anomaly_map(new)).sum(axis=0)
    np.testing.assert_array_equal(detector.predict_mask(new), (1 + count) / 61 <= 0.2)
    # 12 of 61 p-values are at most 0.2.
    assert detector.map_threshold_ == np.sort(np.concatenate(maxima))[-12]
    assert detector.map_threshold_ == -detector.offset_
    # Among detectors that hardly differ the map is about that of each.
    alike = np.mean([fitted.anomaly_map(new) for fitted in detector.detectors_], axis=0)
    np.testing.assert_allclose(detector.anomaly_map(new), alike, atol=0.3)


def test_what_is_learned(X):
    detector = ConformalDetector(DistanceToMean(), 0.1, calibration_size=0.3, random_state=0)
    assert detector.fit(X) is detector
    (fitted,), (held_out,) = detector.detectors_, detector.calibration_indices_
    assert len(held_out) == len(set(held_out)) == 18 and fitted.n_seen_ == 42
    training = np.setdiff1d(np.arange(60), held_out)
    np.testing.assert_allclose(fitted.mean_, X[training].mean(axis=0))
    np.testing.assert_array_equal(
        detector.calibration_scores_[0], fitted.score_samples(X[held_out])
    )
    # floor(0.1 (18 + 1)) = 1: the lowest score.
    assert detector.offset_ == detector.calibration_scores_[0].min()
    assert detector.map_threshold_ == fitted.anomaly_map(X[held_out]).max()
    assert detector.false_alarm_bound_ == 1 / 19
    assert not hasattr(detector.detector, "mean_")


def test_what_is_learned_with_folds(X):
    detector = ConformalDetector(DistanceToMean(), 0.1, cv=4, random_state=0).fit(X)
    assert [fitted.n_seen_ for fitted in detector.detectors_] == [45] * 4
    held_out = np.concatenate(detector.calibration_indices_)
    assert sorted(held_out) == list(range(60)) != held_out.tolist()
    # 6 of 61 p-values are at most 0.1.
    assert detector.offset_ == np.sort(np.concatenate(detector.calibration_scores_))[5]
    assert detector.false_alarm_bound_ == pytest.approx(2 * (6 + 4 - 1) / (60 + 4))


@pytest.mark.parametrize("mode", [dict(), dict(cv=4)])
def test_random_state(X, mode):
    first, again, other = (
        ConformalDetector(DistanceToMean(), 0.1, random_state=seed, **mode).fit(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.calibration_indices_[0], again.calibration_indices_[0])
    assert set(first.calibration_indices_[0]) != set(other.calibration_indices_[0])


def test_random_state_of_the_detector(X):
    """One seed is enough, but one that the detector has is kept."""
    forest = make_pipeline(StandardScaler(), IsolationForest(n_estimators=2))
    detector = ConformalDetector(forest, 0.1, cv=2, random_state=0).fit(X)
    p_values = detector.p_values(X)
    np.testing.assert_array_equal(clone(detector).fit(X).p_values(X), p_values)
    seeds = [fitted[-1].random_state for fitted in detector.detectors_]
    assert None not in seeds and len(set(seeds)) == 2
    assert forest[-1].random_state is None
    other = clone(detector).set_params(random_state=1).fit(X)
    assert other.detectors_[0][-1].random_state not in seeds
    unseeded = clone(detector).set_params(random_state=None).fit(X)
    assert unseeded.detectors_[0][-1].random_state is None
    forest.set_params(isolationforest__random_state=7)
    kept = ConformalDetector(forest, 0.1, random_state=0, calibration_size=0.5).fit(X)
    assert kept.detectors_[0][-1].random_state == 7


@pytest.mark.parametrize("count", [1, 9, 19, 20, 48, 99, 100, 999])
def test_critical_rank_agrees_with_comparing_p_values(count):
    p_values = np.arange(1, count + 2) / (count + 1)
    levels = np.r_[p_values[:-1], np.nextafter(p_values, 0)[:-1], 0.05, 0.1, 0.29, 0.57, 0.999]
    for alpha in levels:
        assert critical_rank(alpha, count) == np.sum(p_values <= alpha)
    assert critical_rank(0.29, 99) == 29


def test_a_threshold_of_many_values_is_found_in_parts(monkeypatch):
    from skanomaly.model_selection import _conformal_threshold

    rng = np.random.default_rng(0)
    threshold = ConformalThreshold([rng.random(30), rng.random(20)], rank=7)
    values = rng.random((2, 1000))
    whole = threshold.compare(values).margin
    monkeypatch.setattr(_conformal_threshold, "_CHUNK_VALUES", 100)
    np.testing.assert_array_equal(threshold.compare(values).margin, whole)
    np.testing.assert_array_equal(whole < 0, threshold.p_values(values) <= 7 / 51)


@pytest.mark.parametrize("mode", [dict(), dict(cv=3)])
def test_too_few_images_to_calibrate_on(X, new, mode):
    detector = ConformalDetector(DistanceToMean(), alpha=0.01, random_state=0, **mode)
    n_calibration = 60 if mode else 12
    got = f"got {n_calibration} of the 60 in X instead"
    message = f"alpha=0.01 needs at least 99 images.*{got}.*flagged"
    with pytest.warns(UserWarning, match=message) as caught:
        detector.fit(X)
    assert caught[0].filename == __file__
    assert detector.offset_ == -np.inf and detector.map_threshold_ == np.inf
    assert detector.false_alarm_bound_ == 0
    assert np.all(detector.predict(new * 100) == 1) and not detector.predict_mask(new).any()
    assert np.all(detector.decision_function(new) == np.inf)
    for finite in (detector.score_samples(new), detector.anomaly_map(new)):
        assert np.isfinite(finite).all() and len(np.unique(finite)) > 60
    assert detector.p_values(new).min() == 1 / (n_calibration + 1)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.07, 1 / 3, 0.5, 0.6, 1 / 49, 0.001])
def test_the_number_of_images_that_the_warning_asks_for_is_right(alpha):
    detector = ConformalDetector(FrozenEstimator(ScoresAlone().fit(None)), alpha=alpha)
    enough = 1
    while critical_rank(alpha, enough) == 0:
        enough += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.fit(np.zeros((enough, 1)))
    if enough > 1:
        with pytest.warns(UserWarning, match=f"needs at least {enough} images"):
            detector.fit(np.zeros((enough - 1, 1)))


@pytest.mark.parametrize(
    ("alpha", "count"), [(np.float32(0.01), 99), (np.float32(0.3), 9), (np.float16(0.1), 9)]
)
def test_alpha_of_few_digits_means_the_number_that_it_prints(alpha, count):
    rows = np.arange(float(count)).reshape(-1, 1)
    frozen = FrozenEstimator(ScoresAlone().fit(None))
    expected = ConformalDetector(frozen, alpha=float(str(alpha))).fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = ConformalDetector(frozen, alpha=alpha).fit(rows)
    assert detector.offset_ == expected.offset_ > -np.inf
    assert detector.false_alarm_bound_ == expected.false_alarm_bound_


def test_a_detector_that_is_fitted_already(X, new):
    fitted = DistanceToMean().fit(X[:20])
    for options in (dict(), dict(cv=3), dict(calibration_size=5)):
        detector = ConformalDetector(FrozenEstimator(fitted), alpha=0.1, **options).fit(X[20:])
        assert detector.detectors_[0].estimator is fitted and fitted.n_seen_ == 20
        assert len(detector.detectors_) == 1
        scores = fitted.score_samples(X[20:])
        np.testing.assert_array_equal(detector.calibration_scores_[0], scores)
        assert detector.offset_ == np.sort(scores)[3]
        np.testing.assert_array_equal(detector.anomaly_map(new), fitted.anomaly_map(new))
        assert detector.predict_mask(new).any()
    assert not hasattr(
        ConformalDetector(FrozenEstimator(IsolationForest().fit(X))).fit(X), "predict_mask"
    )
    for unfitted in (IsolationForest(), DistanceToMean()):
        with pytest.raises(NotFittedError):
            ConformalDetector(FrozenEstimator(unfitted)).fit(X)


@pytest.mark.parametrize("mode", [dict(), dict(cv=2)], ids=str)
@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=20, random_state=0),
        LocalOutlierFactor(n_neighbors=10, novelty=True),
        OneClassSVM(gamma=0.1),
        EllipticEnvelope(support_fraction=1.0, random_state=0),
        make_pipeline(StandardScaler(), OneClassSVM(gamma=0.1)),
        GridSearchCV(OneClassSVM(), {"gamma": [0.1]}, scoring=no_score, cv=2),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_detectors_of_scikit_learn(X, detector, mode):
    conformal = ConformalDetector(detector, alpha=0.1, random_state=0, **mode).fit(X)
    np.testing.assert_array_equal(conformal.predict([[0, 0, 0], [9, 9, -9]]), [1, -1])
    assert conformal.p_values([[9, 9, -9]])[0] == 1 / (
        1 + sum(map(len, conformal.calibration_scores_))
    )
    assert conformal.n_features_in_ == 3
    assert not hasattr(conformal, "anomaly_map") and not hasattr(conformal, "map_threshold_")
    loaded = pickle.loads(pickle.dumps(conformal))
    np.testing.assert_array_equal(loaded.p_values(X), conformal.p_values(X))


@pytest.mark.parametrize("mode", [dict(), dict(cv=2)], ids=str)
def test_every_kind_of_images(mode, tmp_path):
    images = (255 * make_images(40, size=(16, 12))).astype(np.uint8)
    new = plant_defects((255 * make_images(6, size=(16, 12), seed=1)).astype(np.uint8))[0]
    detector = ConformalDetector(DistanceToMean(), alpha=0.2, random_state=0, **mode).fit(images)
    p_values, maps = detector.p_values(new), detector.anomaly_map(new)
    assert maps.shape == (6, 16, 12) and detector.predict_mask(new).shape == (6, 16, 12)
    for same, same_new in (
        (torch.from_numpy(images), torch.from_numpy(new)),
        (list(images), list(new)),
        (save(images, tmp_path, "old"), save(new, tmp_path, "new")),
    ):
        other = clone(detector).fit(same)
        np.testing.assert_array_equal(other.p_values(same_new), p_values)
        np.testing.assert_array_equal(other.anomaly_map(same_new), maps)


@pytest.mark.parametrize("mode", [dict(), dict(cv=2)], ids=str)
def test_the_autoencoder(mode, tmp_path):
    images = (255 * make_images(40, size=(16, 16))).astype(np.uint8)
    new, defects = plant_defects((255 * make_images(6, size=(16, 16), seed=1)).astype(np.uint8))
    # The defects cover a fifth of these small images: a wide mean would mark all around them.
    autoencoder = SelfSupervisedAutoencoderDetector(
        network=NARROW,
        max_iter=25,
        smoothing_passes=0,
        region_size=None,
        score_aggregation="max",
        random_state=0,
    )
    detector = ConformalDetector(autoencoder, alpha=0.2, random_state=0, **mode)
    detector.fit(save(images, tmp_path, "old"))
    maps, masks = detector.anomaly_map(new), detector.predict_mask(new)
    assert maps.shape == (6, 16, 16)
    np.testing.assert_array_equal(masks, maps > detector.map_threshold_)
    assert masks[defects].mean() > 2 * masks[~defects].mean()
    # Its score is the largest value of its map.
    assert detector.map_threshold_ == -detector.offset_
    flagged, marked = detector.predict(new) == -1, masks.any(axis=(1, 2))
    assert not (marked & ~flagged).any()
    if not mode:
        np.testing.assert_array_equal(marked, flagged)
    assert detector.n_features_in_ == 256


def save(images, folder, name):
    paths = [folder / f"{name}{index:03}.png" for index in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    return ImageSequence(paths)


class SpottedMaps(DistanceToMean):
    """Its maps have NaN where the images are at their highest value, 99."""

    def anomaly_map(self, X):
        maps = super().anomaly_map(X)
        return np.where(np.asarray(X) == 99, np.nan, maps)

    def score_samples(self, X):
        return -np.nanmax(self.anomaly_map(X), axis=1)


@pytest.mark.parametrize("alpha", [0.2, 1e-4])
@pytest.mark.parametrize("mode", [{"calibration_size": 0.5}, {"cv": 3}])
@pytest.mark.filterwarnings("ignore:.*alpha:UserWarning")
def test_a_pixel_without_a_value_is_never_normal(X, new, mode, alpha):
    detector = ConformalDetector(SpottedMaps(), alpha=alpha, random_state=0, **mode).fit(X)
    spotted = new.copy()
    spotted[2, 0] = 99
    for masks in (detector.predict_mask(spotted), detector.detect(spotted).predict_mask):
        assert masks[2, 0]
        np.testing.assert_array_equal(masks[:2], detector.predict_mask(new)[:2])


def test_maps_of_many_images_are_made_batch_by_batch():
    """The largest value of each of 70 calibration images counts, and no other."""
    rng = np.random.default_rng(0)
    images = rng.random((140, 4, 5))
    sizes = []

    class Counted(DistanceToMean):
        def anomaly_map(self, X):
            sizes.append(len(X))
            return super().anomaly_map(X)

    detector = ConformalDetector(Counted(), 0.05, calibration_size=70, random_state=0).fit(images)
    (fitted,), (held_out,) = detector.detectors_, detector.calibration_indices_
    assert detector.map_threshold_ == np.sort(fitted.anomaly_map(images[held_out]).max((1, 2)))[-3]
    assert max(sizes[1:-1]) < 70
    crossed = ConformalDetector(Counted(), 0.05, cv=2, random_state=0).fit(images)
    apart = [crossed.anomaly_map(images[i : i + 1])[0] for i in range(len(images))]
    np.testing.assert_array_equal(crossed.anomaly_map(images), apart)
    assert crossed.anomaly_map(images[:0]).shape == (0, 4, 5)


@pytest.mark.parametrize("mode", [dict(), dict(cv=2)], ids=str)
def test_maps_of_pipelines(X, new, mode):
    """A pipeline has no maps of its own: they are those of its last step."""
    expected = ConformalDetector(DistanceToMean(), 0.2, random_state=0, **mode).fit(4 * X)
    pipeline = make_pipeline(FunctionTransformer(quadruple), DistanceToMean())
    for detector in (pipeline, make_pipeline("passthrough", pipeline), make_pipeline(pipeline)):
        conformal = ConformalDetector(detector, 0.2, random_state=0, **mode).fit(X)
        assert conformal.map_threshold_ == expected.map_threshold_
        np.testing.assert_array_equal(conformal.anomaly_map(new), expected.anomaly_map(4 * new))
        np.testing.assert_array_equal(conformal.predict_mask(new), expected.predict_mask(4 * new))
    frozen = ConformalDetector(FrozenEstimator(pipeline.fit(X)), 0.2).fit(X)
    np.testing.assert_array_equal(frozen.anomaly_map(new), pipeline[-1].anomaly_map(4 * new))


def test_data_frames_and_sparse_rows(X, new):
    expected = ConformalDetector(OneClassSVM(), 0.1, random_state=0).fit(X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(60)[::-1])
    detector = clone(expected).fit(frame)
    assert detector.feature_names_in_.tolist() == ["a", "b", "c"]
    named = pd.DataFrame(new, columns=["a", "b", "c"])
    np.testing.assert_array_equal(detector.p_values(named), expected.p_values(new))
    assert not hasattr(expected, "feature_names_in_")
    for matrix in (sparse.csr_matrix, sparse.coo_array):
        p_values = clone(expected).fit(matrix(X)).p_values(matrix(new))
        np.testing.assert_allclose(p_values, expected.p_values(new))


def test_anything_that_turns_into_an_array(X, new):
    class Wrapped:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

        def __len__(self):
            return len(self.array)

    expected = ConformalDetector(DistanceToMean(), 0.1, cv=2, random_state=0).fit(X)
    detector = clone(expected).fit(Wrapped(X))
    np.testing.assert_array_equal(detector.predict(Wrapped(new)), expected.predict(new))
    np.testing.assert_array_equal(detector.predict_mask(Wrapped(new)), expected.predict_mask(new))


class Rows(torch.utils.data.Dataset):
    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.X[index]


@pytest.mark.parametrize("mode", [dict(), dict(cv=2)], ids=str)
@pytest.mark.parametrize("inner", [ScoresAlone(), OneClassSVM(), DenoisingAE(max_iter=2)], ids=str)
def test_streams_are_refused_as_by_detectors(X, inner, mode):
    detector = ConformalDetector(inner, 0.2, random_state=0, **mode)
    fitted = clone(detector).fit(X)
    streams = {
        "generator": lambda: (row for row in X),
        "Rows": lambda: Rows(X),
        "DataLoader": lambda: torch.utils.data.DataLoader(Rows(X)),
    }
    names = ("p_values", "score_samples", "decision_function", "predict", "detect", "anomaly_map")
    methods = [getattr(fitted, name) for name in names if hasattr(fitted, name)]
    for name, make in streams.items():
        with pytest.raises(TypeError) as expected:
            DenoisingAE(max_iter=2).fit(make())
        assert f"got {name} instead" in str(expected.value)
        for method in (detector.fit, *methods):
            with pytest.raises(TypeError) as caught:
                method(make())
            assert str(caught.value) == str(expected.value)


def test_a_checkpoint_serves_one_training(X, tmp_path):
    """With folds, a checkpoint is refused before the first of them has trained for hours."""
    path = tmp_path / "training.pt"
    autoencoder = DenoisingAE(max_iter=2, checkpoint=path, random_state=0)
    for inner in (autoencoder, make_pipeline(StandardScaler(), autoencoder)):
        crossed = ConformalDetector(inner, 0.2, cv=2, random_state=0)
        with pytest.raises(ValueError, match=r"checkpoint must be None .* cv.*training\.pt"):
            crossed.fit(X)
    assert not path.exists()
    ConformalDetector(autoencoder, 0.2, random_state=0).fit(X)
    assert path.exists()
    fitted = FrozenEstimator(autoencoder.set_params(checkpoint=None).fit(X[:30]))
    fitted.estimator.set_params(checkpoint=path)
    ConformalDetector(fitted, 0.2, cv=2).fit(X[30:])


def test_y_is_ignored(X):
    y = np.r_[-np.ones(10), np.ones(50)]
    detector = ConformalDetector(DistanceToMean(), 0.1, random_state=0)
    assert clone(detector).fit(X, y).offset_ == detector.fit(X).offset_


def test_fit_predict(X):
    detector = ConformalDetector(DistanceToMean(), alpha=0.2, random_state=0)
    np.testing.assert_array_equal(detector.fit_predict(X), clone(detector).fit(X).predict(X))


def test_grid_search_over_alpha_and_the_detector(X):
    y = np.r_[np.ones(60), -np.ones(12)].astype(int)
    mixed = np.concatenate([X, X[:12] + 6])
    search = GridSearchCV(
        ConformalDetector(OneClassSVM(), calibration_size=20, random_state=0),
        {"alpha": [0.1, 0.3], "detector__gamma": [0.1, 0.2]},
        scoring={"area": "roc_auc", "found": "balanced_accuracy"},
        cv=NormalOnlySplit(3),
        refit=False,
        error_score="raise",
    ).fit(mixed, y)
    results = pd.DataFrame(search.cv_results_)
    assert len(results) == 4 and results["mean_test_area"].min() > 0.95
    # The threshold is another one with another alpha; the scores are not.
    assert results.groupby("param_detector__gamma")["mean_test_area"].nunique().eq(1).all()
    assert results.groupby("param_detector__gamma")["mean_test_found"].nunique().eq(2).all()


def test_nested_parameters():
    detector = ConformalDetector(DistanceToMean(), 0.1)
    assert detector.set_params(detector__digits=2, alpha=0.2).detector.digits == 2
    assert clone(detector).get_params()["detector__digits"] == 2
    assert detector.get_params()["alpha"] == 0.2
    assert "model_selection.ConformalDetector.html" in detector._repr_html_()


def test_a_new_fit_leaves_nothing_of_the_last(X):
    detector = ConformalDetector(DistanceToMean(), 0.1, random_state=0).fit(X)
    assert hasattr(detector, "map_threshold_") and hasattr(detector, "predict_mask")
    detector.set_params(detector=OneClassSVM()).fit(X)
    assert not hasattr(detector, "map_threshold_") and not hasattr(detector, "predict_mask")


def test_a_fit_that_fails_leaves_all_as_it_was(X):
    detector = ConformalDetector(DistanceToMean(), 0.1, random_state=0).fit(X)
    before = dict(vars(detector))
    for bad in (dict(detector=ScoresAlone(np.nan)), dict(alpha=2), dict(calibration_size=60)):
        with pytest.raises(ValueError):
            detector.set_params(**bad).fit(X)
        detector.set_params(**{name: before[name] for name in bad})
    assert vars(detector) == before


@pytest.mark.parametrize("method", ["p_values", "score_samples", "predict", "decision_function"])
def test_before_fit(X, method):
    with pytest.raises(NotFittedError):
        getattr(ConformalDetector(OneClassSVM()), method)(X)


@pytest.mark.parametrize("method", ["anomaly_map", "predict_mask"])
def test_maps_before_fit_and_of_detectors_without(X, method):
    with pytest.raises(NotFittedError):
        getattr(ConformalDetector(DistanceToMean()), method)(X)
    without = ConformalDetector(OneClassSVM(), 0.1)
    for detector in (without, clone(without).fit(X)):
        with pytest.raises(AttributeError, match=method):
            getattr(detector, method)(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(detector=LocalOutlierFactor()), "'fit' and 'score_samples'"),
        (dict(detector=None), "'fit' and 'score_samples'"),
        (dict(alpha=0), "'alpha' parameter"),
        (dict(alpha=1.0), "'alpha' parameter"),
        (dict(calibration_size=1.0), "'calibration_size' parameter"),
        (dict(calibration_size=0), "'calibration_size' parameter"),
        (dict(cv=1), "'cv' parameter"),
        (dict(cv="split"), "'cv' parameter"),
        (dict(random_state="a"), "'random_state' parameter"),
        (dict(calibration_size=60), r"calibration_size=60 of 60 sample\(s\) leaves none"),
        (dict(calibration_size=0.999), r"calibration_size=0\.999 of 60 sample\(s\) leaves none"),
        (dict(cv=61), "greater than the number of samples"),
        (dict(cv=ShuffleSplit(3)), r"exactly one test fold.*ShuffleSplit"),
        (dict(cv=[(np.r_[:60], np.r_[:60])]), "not into the training fold"),
        (dict(cv=[(np.r_[-60:0], np.r_[:60])]), "not into the training fold"),
        (dict(cv=[(np.r_[:30], np.r_[30:60])]), "exactly one test fold"),
        (dict(detector=ScoresAlone(np.nan)), r"score_samples of ScoresAlone\(.*gave NaN"),
        (dict(detector=ScoresAlone(np.inf)), "NaN or infinity on normal images"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_bad_parameters(X, parameters, message):
    detector = ConformalDetector(ScoresAlone(), alpha=0.2).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        detector.fit(X)
    assert not [name for name in vars(detector) if name.endswith("_")]


def test_scores_that_are_not_numbers(X):
    detector = ConformalDetector(ScoresAlone(), alpha=0.2).fit(X)
    with pytest.raises(ValueError, match="gave NaN"):
        detector.predict(np.array([[np.nan, 0, 0]]))
    np.testing.assert_array_equal(
        detector.predict(np.array([[np.inf, 0, 0], [-np.inf, 0, 0]])), [1, -1]
    )
    assert detector.score_samples(X).dtype == np.float64


class InfiniteMaps(ScoresAlone):
    def anomaly_map(self, X):
        return np.where(np.asarray(X) > 2, np.inf, 0.0)


def test_infinite_maps_of_normal_images_are_refused():
    rows = np.arange(40.0)[:, None] % 5
    detector = ConformalDetector(InfiniteMaps(), 0.2, random_state=0)
    with pytest.raises(ValueError, match="anomaly_map of InfiniteMaps.* NaN or infinity"):
        detector.fit(rows)


def test_the_bound_of_false_alarms_is_a_rate():
    assert bound_false_alarms(54, 60, 60) == 1.0
    assert bound_false_alarms(0, 60, 60) == 0.0
