"""Labels in y, which fit ignores."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from synthetic_images import make_images

from skanomaly import DenoisingAE
from skanomaly.model_selection import ConformalDetector, NormalOnlySplit

DETECTOR = DenoisingAE(max_iter=1, batch_size=4, random_state=0, contamination=0.1)
GREY = make_images(20, size=(16, 18))


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


LABELS = np.repeat([1, -1], [17, 3])


@pytest.mark.parametrize("y", [LABELS, list(LABELS), LABELS.astype(float), -np.ones(20)])
def test_anomalies_among_the_training_images_are_counted(y):
    count = int((np.asarray(y) == -1).sum())
    message = rf"y calls {count} of 20 images anomalous .*X\[y == 1\].*NormalOnlySplit"
    conformal = ConformalDetector(clone(DETECTOR), alpha=0.4)
    for call in (clone(DETECTOR).fit, clone(DETECTOR).partial_fit, conformal.fit):
        with pytest.warns(UserWarning, match=message) as caught:
            call(GREY, y)
        assert len([w for w in caught if "y calls" in str(w.message)]) == 1


@pytest.mark.parametrize(
    "y",
    [
        None,
        np.ones(20),
        np.zeros(20),
        np.arange(20) % 3 - 1,
        np.linspace(-1, 1, 20),
        np.array(["good", "bad"] * 10),
        GREY,
        "labels",
    ],
)
def test_labels_of_another_kind_are_left_alone(y, silent):
    clone(DETECTOR).fit(GREY, y)


@pytest.mark.parametrize("y", [(LABELS + 1) // 2, (1 - LABELS) // 2, LABELS == -1])
def test_labels_0_and_1_are_warned_of(y):
    with pytest.warns(UserWarning, match="y holds the labels 0 and 1, but fit ignores y"):
        clone(DETECTOR).fit(GREY, y)


def test_folds_without_anomalies_train_in_silence(silent):
    cv = NormalOnlySplit(2)
    cross_val_score(DETECTOR, GREY, LABELS, cv=cv, scoring="roc_auc")
    search = GridSearchCV(DETECTOR, {"noise": [0.1]}, scoring="roc_auc", cv=cv, refit=False)
    search.fit(GREY, LABELS)


def test_a_refit_on_anomalies_is_warned_of():
    search = GridSearchCV(DETECTOR, {"noise": [0.1]}, scoring="roc_auc", cv=NormalOnlySplit(2))
    with pytest.warns(UserWarning, match="y calls 3 of 20 .*refit=False"):
        search.fit(GREY, LABELS)
