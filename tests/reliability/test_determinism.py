"""Equal seeds give equal weights, scores and maps in any process or thread."""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from synthetic_images import make_images

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector

TESTS = Path(__file__).parents[1]
IMAGES = make_images(8, size=(16, 16))
OPTIONS = dict(max_iter=8, batch_size=4, random_state=3, device="cpu")
DETECTORS = [
    SelfSupervisedAutoencoderDetector(augmentation="rotate", crop_size=12, **OPTIONS),
    DenoisingAE(**OPTIONS),
    ContractiveAE(**OPTIONS),
]
SCRIPT = """
import sys, joblib, torch
sys.path[:0] = sys.argv[3:]
torch.set_num_threads(int(sys.argv[2]))
detector, images = joblib.load(sys.argv[1])
torch.rand(5)
joblib.dump(detector.fit(images), sys.argv[1])
"""


def assert_same(first, second):
    weights = zip(
        first.network_.state_dict().items(), second.network_.state_dict().items(), strict=True
    )
    for (name, value), (other_name, other) in weights:
        assert name == other_name and torch.equal(value, other)
    assert first.loss_curve_ == second.loss_curve_
    assert (first.offset_, first.map_threshold_) == (second.offset_, second.map_threshold_)
    np.testing.assert_array_equal(first.score_samples(IMAGES), second.score_samples(IMAGES))
    np.testing.assert_array_equal(first.anomaly_map(IMAGES), second.anomaly_map(IMAGES))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: type(d).__name__)
def test_a_clone_and_a_refit_are_the_same(detector):
    first = clone(detector).fit(IMAGES)
    torch.manual_seed(99)
    second = clone(first).fit(IMAGES)
    assert_same(first, second)
    assert_same(first, second.fit(IMAGES))
    other = clone(detector).set_params(random_state=4).fit(IMAGES)
    assert (other.score_samples(IMAGES) != first.score_samples(IMAGES)).any()


@pytest.mark.slow
def test_a_fresh_process_is_the_same(tmp_path):
    path = tmp_path / "detector.joblib"
    joblib.dump((DETECTORS[0], IMAGES), path)
    threads = str(torch.get_num_threads())
    places = [str(TESTS), str(TESTS.parent)]
    subprocess.run([sys.executable, "-c", SCRIPT, path, threads, *places], check=True, timeout=120)
    assert_same(joblib.load(path), clone(DETECTORS[0]).fit(IMAGES))


@pytest.mark.slow
def test_the_workers_of_a_search_give_the_same_scores():
    def scores(n_jobs):
        search = GridSearchCV(
            DETECTORS[0],
            {"mask_weight": [0.1, 0.5]},
            scoring=mean_score,
            cv=2,
            n_jobs=n_jobs,
            refit=False,
        )
        with joblib.parallel_config("loky", inner_max_num_threads=torch.get_num_threads()):
            return search.fit(IMAGES).cv_results_["mean_test_score"]

    np.testing.assert_array_equal(scores(1), scores(2))


def mean_score(detector, X, y=None):
    return float(detector.score_samples(X).mean())
