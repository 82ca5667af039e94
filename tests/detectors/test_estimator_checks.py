import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector

DETECTORS = [
    SelfSupervisedAutoencoderDetector(max_iter=20, random_state=0),
    DenoisingAE(noise=0.5, max_iter=20, random_state=0),
    ContractiveAE(max_iter=20, random_state=0),
    ContractiveAE(penalty="encoder", max_iter=20, random_state=0),
]


@parametrize_with_checks(DETECTORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_checks_are_not_skipped_wholesale(detector):
    assert len(list(estimator_checks_generator(detector))) >= 45


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_parameter_and_attribute_is_described(detector):
    """Shared parameters and attributes are inserted into each docstring."""
    text = inspect.getdoc(type(detector))
    fitted = clone(detector).set_params(max_iter=1).fit(np.random.default_rng(0).random((8, 3)))
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    for name in {*detector.get_params(deep=False), *public}:
        assert f"\n{name} : " in text, name
    assert "{" not in text.replace('{"', "")


@pytest.mark.parametrize("detector", DETECTORS)
def test_rows_find_what_breaks_their_pattern(detector):
    """Rows of two coordinates that agree; an anomaly disagrees. An untrained network sees less."""
    rng = np.random.default_rng(0)
    normal = np.repeat(rng.normal(size=(400, 4)), 2, axis=1)
    broken = normal[:100].copy()
    broken[:, 3] = rng.permutation(broken[:, 3])

    def separation(max_iter):
        fitted = clone(detector).set_params(max_iter=max_iter).fit(normal[100:])
        good, bad = fitted.score_samples(normal[:100]), fitted.score_samples(broken)
        return (good[:, None] > bad).mean()

    trained = separation(400)
    assert trained > 0.9
    assert trained > separation(1) + 0.1
