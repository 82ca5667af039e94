"""How many images pass through the network: each once, whatever is wanted of it."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from synthetic_images import make_images

from skanomaly import DenoisingAE
from skanomaly.inspection import AnomalyMapDisplay, ScoreHistogramDisplay, write_html_report
from skanomaly.model_selection import ConformalDetector, SyntheticDefectScorer


@pytest.fixture(scope="module")
def fitted():
    detector = DenoisingAE(network="plain", max_iter=2, random_state=0)
    return detector.fit(make_images(20, size=(16, 16)))


@pytest.fixture(scope="module")
def images():
    return make_images(5, size=(16, 16), seed=1)


@pytest.fixture(scope="module")
def calibration_images():
    return make_images(39, size=(16, 16), seed=2)


def around(detector, wrapper, calibration_images):
    if wrapper == "pipeline":
        return make_pipeline(FunctionTransformer(), FrozenEstimator(detector))
    if wrapper == "search":
        step = make_pipeline(FunctionTransformer(), FrozenEstimator(detector))
        return GridSearchCV(step, {}, scoring=lambda *_: 0.0, cv=2).fit(calibration_images)
    if wrapper == "conformal":
        return ConformalDetector(FrozenEstimator(detector), alpha=0.1).fit(calibration_images)
    return detector


class count_images:
    """Counts the images that pass through a network while it is open."""

    def __init__(self, detector):
        self._network = detector.network_
        self.count = 0

    def __enter__(self):
        self._hook = self._network.register_forward_pre_hook(self._add)
        return self

    def __exit__(self, *_):
        self._hook.remove()
        plt.close("all")

    def _add(self, _, arguments):
        self.count += len(arguments[0])


WRAPPERS = ["alone", "pipeline", "search", "conformal"]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_report_and_displays(fitted, images, calibration_images, wrapper, tmp_path):
    estimator = around(fitted, wrapper, calibration_images)
    with count_images(fitted) as report:
        write_html_report(estimator, images, tmp_path / "a.html")
    assert report.count == len(images)
    # The page has maps.
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count('alt="anomaly map"') == 5
    with count_images(fitted) as display:
        AnomalyMapDisplay.from_estimator(estimator, images)
    assert display.count == len(images)
    with count_images(fitted) as histogram:
        ScoreHistogramDisplay.from_estimator(estimator, images)
    assert histogram.count == len(images)


@pytest.mark.parametrize("metric", ["roc_auc", "pixel_roc_auc", "mean_roc_auc"])
def test_synthetic_defect_scorer(fitted, images, metric):
    scorer = SyntheticDefectScorer(metric=metric, n_defects=10)
    with count_images(fitted) as scoring:
        scorer(fitted, images)
    assert scoring.count == len(images) + 10


def test_conformal_detector(fitted, images, calibration_images):
    conformal = ConformalDetector(FrozenEstimator(fitted), alpha=0.1)
    with count_images(fitted) as calibration:
        conformal.fit(calibration_images)
    assert calibration.count == len(calibration_images)
    with count_images(fitted) as detection:
        found = conformal.detect(images)
    assert detection.count == len(images)
    assert len(found) == 6
    for name, values in found.items():
        np.testing.assert_array_equal(values, getattr(conformal, name)(images), err_msg=name)
        assert values.dtype == getattr(conformal, name)(images).dtype
    batches = list(conformal.detect_batches(images))
    for name, values in found.items():
        np.testing.assert_array_equal(np.concatenate([b[name] for b in batches]), values)


def test_several_conformal_detectors(images):
    detector = DenoisingAE(network="plain", max_iter=2, random_state=0)
    conformal = ConformalDetector(detector, alpha=0.2, cv=2, random_state=0)
    conformal.fit(make_images(40, size=(16, 16)))
    found = conformal.detect(images)
    for name, values in found.items():
        np.testing.assert_allclose(values, getattr(conformal, name)(images), rtol=1e-6)
