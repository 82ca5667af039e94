import copy
import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from small_networks import SMALL
from synthetic_images import make_images, plant_defects

from skanomaly import (
    ContractiveAE,
    DenoisingAE,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly.metrics import make_pixel_scorer, pixel_roc_auc_score
from skanomaly.model_selection import NormalOnlySplit
from skanomaly.networks import ConvolutionalAutoencoder

DETECTOR = SelfSupervisedAutoencoderDetector(
    network=SMALL, max_iter=8, batch_size=4, random_state=0
)
IMAGES = make_images(12, size=(16, 16))


@pytest.fixture(scope="module")
def labelled():
    good = make_images(24, size=(24, 24))
    bad, _ = plant_defects(make_images(12, size=(24, 24), seed=1))
    return np.concatenate([good, bad]), np.repeat([1, -1], [24, 12])


def test_grid_search_over_the_corruption(labelled):
    """Also for the default corruption, which is None in the constructor."""
    X, y = labelled
    search = GridSearchCV(
        clone(DETECTOR).set_params(max_iter=40, batch_size=8),
        {"corruption__radius": [0.05, (0.1, 0.3)], "corruption__opacity": [(0.5, 1.0)]},
        scoring="roc_auc",
        cv=NormalOnlySplit(2),
        n_jobs=2,
    ).fit(X, y)
    assert search.best_estimator_.corruption.radius == search.best_params_["corruption__radius"]
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 2 and scores.max() > 0.9


@pytest.mark.parametrize(
    ("detector", "grid"),
    [
        (DenoisingAE(network=SMALL), {"noise": [0.3, 1.0], "noise_type": ["gaussian", "masking"]}),
        (
            ContractiveAE(network=partial(SMALL, convex=False)),
            {"penalty": ["encoder", "reconstruction"], "penalty_weight": [0.01, 1]},
        ),
    ],
    ids=["denoising", "contractive"],
)
def test_grid_search_over_the_baselines(detector, grid, labelled):
    """With the same splitter and scorers as for the main detector."""
    X, y = labelled
    masks = np.zeros(X.shape, dtype=bool)
    masks[y == -1] = plant_defects(make_images(12, size=(24, 24), seed=1))[1]
    search = GridSearchCV(
        detector.set_params(max_iter=40, batch_size=8, random_state=0),
        grid,
        scoring={"image": "roc_auc", "pixel": make_pixel_scorer(pixel_roc_auc_score)},
        refit="image",
        cv=NormalOnlySplit(2),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search.fit(X, y, masks=masks)
    for name in ("image", "pixel"):
        scores = search.cv_results_[f"mean_test_{name}"]
        assert len(scores) == 4 and scores.max() > 0.9
    assert len(np.unique(search.cv_results_["mean_test_pixel"])) > 1
    for name, value in search.best_params_.items():
        assert getattr(search.best_estimator_, name) == value


def test_nested_parameters_of_the_corruption():
    detector = clone(DETECTOR)
    assert detector.corruption is None
    detector.set_params(corruption__radius=0.2, max_iter=5)
    assert detector.corruption.radius == 0.2 and detector.max_iter == 5
    assert detector.get_params()["corruption__radius"] == 0.2
    other = clone(detector).set_params(corruption__radius=0.1)
    assert detector.corruption.radius == 0.2 and other.corruption.radius == 0.1
    given = PatchCorruption(opacity=0.5)
    detector.set_params(corruption=given, corruption__radius=0.3)
    assert detector.corruption is given and given.radius == 0.3
    with pytest.raises(ValueError, match="Invalid parameter 'size'"):
        detector.set_params(corruption__size=1)


def test_cross_validation(labelled):
    X, y = labelled
    scores = cross_val_score(DETECTOR, X, y, scoring="roc_auc", cv=NormalOnlySplit(3))
    assert scores.shape == (3,) and np.isfinite(scores).all()


class Invert(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 1.0 - X

    def __sklearn_is_fitted__(self):
        return True


def test_pipelines_of_images_and_of_rows():
    pipeline = Pipeline([("invert", Invert()), ("detector", clone(DETECTOR))])
    pipeline.set_params(detector__corruption__opacity=0.5).fit(IMAGES)
    expected = clone(DETECTOR).set_params(corruption__opacity=0.5).fit(1.0 - IMAGES)
    np.testing.assert_array_equal(pipeline.predict(IMAGES), expected.predict(1.0 - IMAGES))
    np.testing.assert_array_equal(
        pipeline.score_samples(IMAGES), expected.score_samples(1.0 - IMAGES)
    )
    rows = IMAGES.reshape(12, -1)
    scaled = make_pipeline(StandardScaler(), clone(DETECTOR).set_params(network="auto")).fit(rows)
    assert scaled.decision_function(rows).shape == (12,)


def test_clone_and_refit_give_the_same():
    first = clone(DETECTOR).fit(IMAGES)
    second = clone(first)
    assert not hasattr(second, "network_")
    scores = first.score_samples(IMAGES)
    np.testing.assert_array_equal(second.fit(IMAGES).score_samples(IMAGES), scores)
    np.testing.assert_array_equal(first.fit(IMAGES).score_samples(IMAGES), scores)
    other = clone(DETECTOR).set_params(random_state=1).fit(IMAGES)
    assert (other.score_samples(IMAGES) != scores).all()


def test_the_global_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    clone(DETECTOR).fit(IMAGES).predict(IMAGES)
    assert bool((torch.get_rng_state() == before[0]).all())
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("rows", [False, True])
def test_pickle_joblib_and_deepcopy_round_trips(rows, tmp_path):
    X = IMAGES.reshape(12, -1) if rows else IMAGES
    fitted = clone(DETECTOR).set_params(network="auto" if rows else SMALL).fit(X)
    scores, maps = fitted.score_samples(X), fitted.anomaly_map(X)
    joblib.dump(fitted, tmp_path / "detector.joblib")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
        joblib.load(tmp_path / "detector.joblib"),
    ]
    for loaded in copies:
        np.testing.assert_array_equal(loaded.score_samples(X), scores)
        np.testing.assert_array_equal(loaded.anomaly_map(X), maps)
        assert loaded.offset_ == fitted.offset_ and loaded.device_ == fitted.device_
        loaded.partial_fit(X)
    np.testing.assert_array_equal(fitted.score_samples(X), scores)


def test_a_detector_of_a_missing_device_is_read_on_the_cpu():
    fitted = clone(DETECTOR).fit(IMAGES)
    # As if it was fitted on a machine with a hundred GPUs.
    fitted.device, fitted.device_ = "cuda:99", torch.device("cuda:99")
    loaded = pickle.loads(pickle.dumps(fitted))
    assert loaded.device_ == torch.device("cpu")
    assert np.isfinite(loaded.score_samples(IMAGES)).all()


def test_a_pickle_is_read_in_a_fresh_process(tmp_path):
    fitted = clone(DETECTOR).fit(IMAGES)
    joblib.dump((fitted, IMAGES), tmp_path / "both.joblib")
    code = (
        "import joblib, sys; d, X = joblib.load(sys.argv[1]); "
        "print(*(s.hex() for s in d.score_samples(X)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "both.joblib")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    loaded = [float.fromhex(score) for score in out.split()]
    np.testing.assert_allclose(loaded, fitted.score_samples(IMAGES), rtol=1e-5)


def test_a_network_of_ones_own():
    network = partial(ConvolutionalAutoencoder, width=8, n_blocks=1)
    fitted = clone(DETECTOR).set_params(network=network).fit(IMAGES)
    assert fitted.network_.blocks[0].mix.out_channels == 16
    fitted = clone(DETECTOR).set_params(
        network=lambda shape: torch.nn.Conv2d(shape[2], shape[2], 1)
    )
    assert fitted.fit(IMAGES).anomaly_map(IMAGES).shape == IMAGES.shape


def test_partial_fit_trains_further(images):
    detector = clone(DETECTOR).set_params(max_iter=30, batch_size=8)
    detector.partial_fit(images)
    # One pass over those that are not held out for the threshold.
    assert detector.n_iter_ == -(-(len(images) - len(images) // 3) // 8)
    first = np.mean(detector.loss_curve_)
    for _ in range(12):
        detector.partial_fit(images)
    assert np.mean(detector.loss_curve_) < 0.9 * first
    detector.partial_fit(make_images(9, size=(20, 24)))
    assert detector.image_shape_ == (32, 32, 1)
    with pytest.raises(ValueError, match=r"3 channel\(s\)"):
        detector.partial_fit(make_images(4, channels=3))


def test_warm_start_goes_on_from_the_weights(images):
    cold = clone(DETECTOR).set_params(max_iter=40, batch_size=16).fit(images)
    warm = clone(cold).set_params(warm_start=True).fit(images)
    np.testing.assert_array_equal(warm.score_samples(images), cold.score_samples(images))
    first = np.mean(warm.loss_curve_[:3])
    warm.fit(images)
    assert np.mean(warm.loss_curve_[:3]) < 0.7 * first


@pytest.mark.parametrize("cls", [DenoisingAE, ContractiveAE])
def test_early_stopping_of_the_baselines(cls, images):
    """The contractive loss needs gradients where the others need none."""
    options = dict(early_stopping=True, n_iter_no_change=20, network=SMALL)
    detector = cls(max_iter=60, random_state=0, **options)
    losses = [loss for _, loss in detector.fit(images).validation_curve_]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_early_stopping_ends_training(images):
    options = dict(early_stopping=True, network=SMALL, random_state=0)
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=100, n_iter_no_change=10, learning_rate=1e-9, **options
    ).fit(images)
    # At such a learning rate, the loss does not improve much.
    steps = [step for step, _ in detector.validation_curve_]
    assert steps[:2] == [10, 20] and detector.n_iter_ <= 100
    patient = SelfSupervisedAutoencoderDetector(max_iter=60, n_iter_no_change=1000, **options).fit(
        images
    )
    losses = [loss for _, loss in patient.validation_curve_]
    assert len(losses) == 2 and losses[-1] < losses[0] and patient.n_iter_ == 60


def test_checkpoint_takes_up_an_interrupted_fit(images, tmp_path):
    options = dict(network=SMALL, max_iter=230, batch_size=2, crop_size=8)
    options.update(precision="float32", random_state=0)
    straight = SelfSupervisedAutoencoderDetector(**options).fit(images)
    path = tmp_path / "state.pt"

    class Interrupt(ProgressBar):
        def on_fit_task_end(self, estimator, context):
            if context.task_id == 90 and context.task_name == "gradient steps":
                raise KeyboardInterrupt

    interrupted = SelfSupervisedAutoencoderDetector(checkpoint=path, **options)
    with pytest.raises(KeyboardInterrupt):
        interrupted.set_callbacks(Interrupt()).fit(images)
    assert path.exists()
    resumed = SelfSupervisedAutoencoderDetector(checkpoint=path, **options).fit(images)
    np.testing.assert_array_equal(resumed.score_samples(images), straight.score_samples(images))
    assert resumed.loss_curve_ == straight.loss_curve_
    # Parameters of the maps do not change training.
    options["region_size"] = None
    other = SelfSupervisedAutoencoderDetector(checkpoint=path, **options).fit(images)
    assert other.loss_curve_ == straight.loss_curve_
    with pytest.raises(ValueError, match="other parameters or other data"):
        SelfSupervisedAutoencoderDetector(checkpoint=path, **options).fit(images[::-1].copy())
    with pytest.raises(ValueError, match="other parameters or other data"):
        SelfSupervisedAutoencoderDetector(checkpoint=path, **{**options, "mask_weight": 0.9}).fit(
            images
        )


def test_callbacks_see_the_training(capsys):
    seen = []

    class Watch:
        def setup(self, estimator, context):
            seen.append("setup")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            if context.task_name == "gradient steps":
                assert X is IMAGES and y is None
                assert not hasattr(estimator, "network_")
                seen.append(fitted_estimator.n_iter_)
                assert fitted_estimator.predict(IMAGES).shape == (12,)

        def teardown(self, estimator, context):
            seen.append("teardown")

    clone(DETECTOR).set_callbacks(Watch()).fit(IMAGES)
    assert seen[0] == "setup" and seen[-1] == "teardown"
    assert seen[1:-1] == list(range(1, 9))


def test_a_scoring_monitor_watches_detection(labelled):
    X, y = labelled
    monitor = ScoringMonitor(scoring="roc_auc")
    detector = clone(DETECTOR).set_params(max_iter=40, batch_size=8)
    detector.set_callbacks(monitor).fit(X, y)
    scores = [row["roc_auc"] for row in monitor.get_logs().data]
    assert len(scores) == 40 and scores[-1] > scores[0]


def test_a_progress_bar_shows_fit_and_grid_search(labelled, capsys):
    pytest.importorskip("rich")
    clone(DETECTOR).set_callbacks(ProgressBar()).fit(IMAGES)
    assert "SelfSupervisedAutoencoderDetector" in capsys.readouterr().out
    X, y = labelled
    search = GridSearchCV(
        clone(DETECTOR).set_params(max_iter=2),
        {"corruption__radius": [0.1, 0.2]},
        scoring="roc_auc",
        cv=NormalOnlySplit(2),
    ).set_callbacks(ProgressBar())
    search.fit(X, y)
    out = capsys.readouterr().out
    assert "GridSearchCV" in out and "SelfSupervisedAutoencoderDetector" in out


def test_the_html_repr_links_to_the_documentation():
    detector = clone(DETECTOR).set_params(corruption=PatchCorruption())
    assert "skanomaly.SelfSupervisedAutoencoderDetector.html" in detector._repr_html_()
    assert "skanomaly.corruption.PatchCorruption.html" in detector.corruption._repr_html_()


def test_augmentation_and_crops_are_used(images):
    plain = clone(DETECTOR).fit(images)
    for options in (dict(augmentation="rotate"), dict(crop_size=16), dict(crop_size=(8, 24))):
        varied = clone(DETECTOR).set_params(**options).fit(images)
        assert varied.anomaly_map(images).shape == images.shape
        assert varied.loss_curve_ != plain.loss_curve_


def test_precision_and_float64_scores(images):
    exact = clone(DETECTOR).set_params(max_iter=60, precision="float32").fit(images)
    rough = clone(DETECTOR).set_params(max_iter=60, precision="bfloat16").fit(images)
    assert exact.loss_curve_ != rough.loss_curve_
    assert exact.score_samples(images).dtype == rough.score_samples(images).dtype == np.float64
    # Training in bfloat16 learns as well.
    assert np.mean(rough.loss_curve_[-20:]) < 1.2 * np.mean(exact.loss_curve_[-20:])


def test_a_subclass_may_fix_parameters():
    class Short(DenoisingAE):
        def __init__(self, noise=0.5, random_state=None):
            super().__init__(noise=noise, max_iter=2, random_state=random_state)

    images = make_images(8, size=(16, 16))
    fixed = Short(random_state=0).fit(images)
    whole = DenoisingAE(noise=0.5, max_iter=2, random_state=0).fit(images)
    np.testing.assert_array_equal(fixed.score_samples(images), whole.score_samples(images))


def test_callbacks_see_a_network_that_is_not_in_training():
    images = make_images(12, size=(16, 16))
    seen = []

    class Watch:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            if context.task_name == "gradient steps":
                alone = fitted_estimator.score_samples(images[:1])
                seen.append((alone[0], fitted_estimator.score_samples(images)[0]))

        def teardown(self, estimator, context):
            pass

    detector = SelfSupervisedAutoencoderDetector(max_iter=3, batch_size=4, random_state=0)
    detector.set_callbacks(Watch()).fit(images)
    assert len(seen) == 3
    np.testing.assert_allclose(*zip(*seen, strict=True), rtol=1e-5)
