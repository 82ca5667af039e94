"""ConformalDetector: the rate of false alarms over many draws of the calibration images."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import LeaveOneOut
from sklearn.svm import OneClassSVM

from skanomaly.model_selection import ConformalDetector


class Brightness(OutlierMixin, BaseEstimator):
    """Learns nothing; dark images are anomalous, and bright pixels of the map."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return np.asarray(X).reshape(len(X), -1)[:, 0]

    def anomaly_map(self, X):
        return np.asarray(X)


class NearestTrainingImage(OutlierMixin, BaseEstimator):
    """Remembers its training images, which all score 0: a threshold from them flags all others."""

    def fit(self, X, y=None):
        self.known_ = np.asarray(X)
        return self

    def anomaly_map(self, X):
        differences = np.abs(np.asarray(X)[:, None] - self.known_)
        nearest = differences.max(axis=2).argmin(axis=1)
        return differences[np.arange(len(X)), nearest]

    def score_samples(self, X):
        return -self.anomaly_map(X).max(axis=1)


def standard_error(rates):
    return np.std(rates) / np.sqrt(len(rates))


def assert_mean(rates, expected, n_calibration=19):
    """Agrees within four standard errors, which are too few for the next possible rate."""
    error = 4 * standard_error(rates)
    assert error < 0.5 / (n_calibration + 1)
    assert np.mean(rates) == pytest.approx(expected, abs=error)


def rates_of_false_alarms(detector, *, n_fit, n_new, repeats, seed, n_features=1):
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(repeats):
        detector.fit(rng.random((n_fit, n_features)))
        rates.append(np.mean(detector.predict(rng.random((n_new, n_features))) == -1))
    return np.array(rates)


def test_rate_given_the_calibration_images_follows_the_beta_distribution():
    """Scores are uniform on [0, 1], so that the rate of a threshold is the threshold itself."""
    rng = np.random.default_rng(0)
    detector = ConformalDetector(FrozenEstimator(Brightness().fit(None)), alpha=0.1)
    rates = [detector.fit(rng.random((19, 1))).offset_ for _ in range(1500)]
    assert detector.false_alarm_bound_ == 2 / 20
    assert_mean(rates, 2 / 20)
    assert stats.kstest(rates, stats.beta(2, 18).cdf).pvalue > 0.01
    # What a quantile that is off by one gives would be seen.
    for off_by_one in (stats.beta(1, 19), stats.beta(3, 17)):
        assert stats.kstest(rates, off_by_one.cdf).pvalue < 1e-3


@pytest.mark.parametrize(
    ("alpha", "n_calibration", "expected"),
    [(0.1, 19, 2 / 20), (0.1, 9, 1 / 10), (0.25, 10, 2 / 11), (0.29, 19, 5 / 20), (0.5, 4, 2 / 5)],
)
def test_rate_of_false_alarms_is_the_largest_possible_one(alpha, n_calibration, expected):
    detector = ConformalDetector(
        Brightness(), alpha, calibration_size=n_calibration, random_state=0
    )
    rates = rates_of_false_alarms(detector, n_fit=n_calibration + 3, n_new=20, repeats=1000, seed=1)
    assert detector.false_alarm_bound_ == expected <= alpha
    assert_mean(rates, expected, n_calibration)


def test_p_values_are_uniform_over_their_possible_values():
    rng = np.random.default_rng(2)
    detector = ConformalDetector(Brightness(), alpha=0.5, calibration_size=9, random_state=0)
    ranks = [
        10 * detector.fit(rng.random((11, 1))).p_values(rng.random((1, 1)))[0] for _ in range(1500)
    ]
    counts = np.bincount(np.rint(ranks).astype(int), minlength=11)
    np.testing.assert_allclose(ranks, np.rint(ranks))
    assert counts[0] == 0 and len(counts) == 11
    assert stats.chisquare(counts[1:]).pvalue > 0.01


def test_ties_raise_no_false_alarms():
    """A camera of three grey values: the threshold lies on many of the scores."""

    class Coarse(Brightness):
        def score_samples(self, X):
            return np.floor(3 * super().score_samples(X))

    detector = ConformalDetector(Coarse(), alpha=0.4, calibration_size=19, random_state=0)
    rates = rates_of_false_alarms(detector, n_fit=20, n_new=20, repeats=1000, seed=3)
    # A third of the images has the lowest value, and is flagged where at most 7 of 19 have it.
    assert 0.1 < np.mean(rates) < 0.4 - 4 * standard_error(rates)


@pytest.mark.parametrize("detector", [NearestTrainingImage(), OneClassSVM(gamma=5.0)], ids=repr)
def test_detectors_that_learn(detector):
    conformal = ConformalDetector(detector, alpha=0.1, calibration_size=19, random_state=0)
    rates = rates_of_false_alarms(conformal, n_fit=49, n_new=40, repeats=600, seed=4, n_features=2)
    assert_mean(rates, 2 / 20)


@pytest.mark.parametrize("detector", [NearestTrainingImage(), OneClassSVM(gamma=5.0)], ids=repr)
def test_cross_conformal_rates_are_near_alpha(detector):
    conformal = ConformalDetector(detector, alpha=0.1, cv=5, random_state=0)
    rates = rates_of_false_alarms(conformal, n_fit=39, n_new=40, repeats=250, seed=5, n_features=2)
    # 4 of 40 p-values are at most 0.1, and 2 (4 + 5 - 1) / (39 + 5) is what is guaranteed.
    assert conformal.false_alarm_bound_ == pytest.approx(16 / 44)
    assert 0.06 < np.mean(rates) < 0.1 + 4 * standard_error(rates)


def test_leaving_one_out():
    conformal = ConformalDetector(NearestTrainingImage(), alpha=0.2, cv=LeaveOneOut())
    rates = rates_of_false_alarms(conformal, n_fit=9, n_new=40, repeats=150, seed=6, n_features=2)
    assert 0.1 < np.mean(rates) < 0.4
    assert conformal.false_alarm_bound_ == 1.0


def test_rate_of_images_with_anything_marked():
    rng = np.random.default_rng(8)
    detector = ConformalDetector(Brightness(), alpha=0.1, calibration_size=19, random_state=0)
    rates = []
    for _ in range(1000):
        detector.fit(rng.random((20, 3, 4)))
        rates.append(np.mean(detector.predict_mask(rng.random((20, 3, 4))).any(axis=(1, 2))))
    assert_mean(rates, 2 / 20)


def test_cross_conformal_rate_of_images_with_anything_marked():
    rng = np.random.default_rng(9)
    detector = ConformalDetector(NearestTrainingImage(), alpha=0.1, cv=3, random_state=0)
    rates = []
    for _ in range(250):
        detector.fit(rng.random((39, 2)))
        rates.append(np.mean(detector.predict_mask(rng.random((40, 2))).any(axis=1)))
    # Pixel by pixel, detectors that disagree make it rarer than with the maps' maxima.
    assert 0.03 < np.mean(rates) < 0.1 + 4 * standard_error(rates)
