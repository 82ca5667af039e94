"""ConformalDetector passes scikit-learn's checks, around several detectors."""

import pytest
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.model_selection import ConformalDetector

# Some checks fit ten rows, on which the default alpha has no threshold.
ESTIMATORS = [
    ConformalDetector(IsolationForest(n_estimators=5)),
    ConformalDetector(
        IsolationForest(n_estimators=5, random_state=0), alpha=0.3, calibration_size=0.4
    ),
    ConformalDetector(
        SelfSupervisedAutoencoderDetector(max_iter=5),
        alpha=0.3,
        calibration_size=0.4,
    ),
    ConformalDetector(OneClassSVM(), alpha=0.3, cv=2),
    ConformalDetector(
        make_pipeline(StandardScaler(), LocalOutlierFactor(n_neighbors=3, novelty=True)),
        alpha=0.3,
        cv=3,
    ),
    ConformalDetector(EllipticEnvelope(support_fraction=1.0, random_state=0), alpha=0.3),
]


@pytest.mark.filterwarnings("ignore:alpha=", "ignore:The covariance matrix")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks_of_conformal_detectors(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_checks_of_conformal_detectors_are_not_skipped(estimator):
    assert len(list(estimator_checks_generator(estimator))) >= 45
