"""A checkpoint belongs to one training: clones in searches are told to do without."""

import os

import numpy as np
import pytest
from interrupted_training import AtStep
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from synthetic_images import make_images

from skanomaly import DenoisingAE
from skanomaly.model_selection import SyntheticDefectScorer

IMAGES = make_images(12, size=(8, 8))
REMEDY = r"In a search, cross-validation or ensemble, .* set checkpoint=None"


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "training.pt"
    return DenoisingAE(network="plain", max_iter=2, batch_size=4, random_state=0, checkpoint=path)


SCORER = SyntheticDefectScorer(n_defects=4, random_state=0)


def test_cross_validation(detector):
    """The first fold has the checkpoint to itself; the others say what to do."""
    with pytest.raises(ValueError, match=f"other parameters or other data.*{REMEDY}"):
        cross_val_score(detector, IMAGES, scoring=SCORER, cv=3, error_score="raise")
    with pytest.warns(FitFailedWarning, match=r"(?s)2 fits failed.*set checkpoint=None"):
        os.remove(detector.checkpoint)
        scores = cross_val_score(detector, IMAGES, scoring=SCORER, cv=3)
    assert np.isnan(scores).tolist() == [False, True, True]
    detector.set_params(checkpoint=None)
    assert np.isfinite(cross_val_score(detector, IMAGES, scoring=SCORER, cv=3)).all()


def test_grid_search(detector):
    grid = {"noise": [0.1, 0.2]}
    search = GridSearchCV(detector, grid, scoring=SCORER, cv=2, error_score="raise")
    with pytest.raises(ValueError, match=f"other parameters or other data.*{REMEDY}"):
        search.fit(IMAGES)
    path = detector.checkpoint
    path.unlink()
    best = search.set_params(estimator__checkpoint=None).fit(IMAGES).best_estimator_
    assert best.predict(IMAGES).shape == (12,) and not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="locks are of POSIX")
def test_fits_at_the_same_time(detector):
    errors = []

    def second():
        with pytest.raises(RuntimeError, match=f"is in use by another fit.*{REMEDY}"):
            clone(detector).fit(IMAGES)
        errors.append(1)

    clone(detector).set_callbacks(AtStep(1, second)).fit(IMAGES)
    assert errors == [1]
