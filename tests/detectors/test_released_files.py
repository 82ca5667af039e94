"""Files of older releases give the same scores, or an error that says to fit again."""

from pathlib import Path

import joblib
import numpy as np
import pytest
from released_detectors import NETWORK, make_conformal, make_detectors

import skanomaly

RELEASED = Path(__file__).parent / "released"
# Their maps differ from those of this version.
REFUSED = ["0.1.0"]
FOLDERS = sorted(path for path in RELEASED.iterdir() if path.name not in REFUSED)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", make_detectors())
def test_a_file_of_a_release_is_read(folder, name):
    detector, X = make_detectors()[name]
    decisions = np.loadtxt(folder / f"{name}.txt")
    network = NETWORK if name == "images" else None
    model = skanomaly.load(folder / f"{name}.safetensors", network=network)
    for loaded in (model, joblib.load(folder / f"{name}.pickle")):
        assert type(loaded) is type(detector)
        # Rounding depends on the processor.
        np.testing.assert_allclose(loaded.decision_function(X), decisions, rtol=1e-3, atol=1e-6)
        parameters = {k: v for k, v in loaded.get_params(deep=False).items() if k != "corruption"}
        for key, value in parameters.items():
            assert repr(value) == repr(getattr(detector, key))
        loaded.partial_fit(X)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_calibrated_file_of_a_release_is_read(folder):
    conformal, X = make_conformal()
    loaded = skanomaly.load(folder / "conformal.safetensors")
    decisions = np.loadtxt(folder / "conformal.txt")
    np.testing.assert_allclose(loaded.decision_function(X), decisions, rtol=1e-3, atol=1e-6)
    assert loaded.alpha == conformal.alpha


@pytest.mark.parametrize("version", REFUSED)
@pytest.mark.parametrize("name", make_detectors())
def test_a_file_of_an_older_release_is_refused(version, name):
    with pytest.raises(skanomaly.ModelFileError, match=r"older version .* Fit the detector again"):
        skanomaly.load(RELEASED / version / f"{name}.safetensors")


def test_a_detector_that_was_pickled_by_an_older_release_is_refused():
    detector, X = make_detectors()["rows"]
    state = {**detector.fit(X).__getstate__(), "network_": detector.network_}
    with pytest.raises(ValueError, match="fitted by an older version"):
        skanomaly.DenoisingAE().__setstate__(state)


def test_this_release_has_left_its_files():
    assert skanomaly.__version__ in [folder.name for folder in FOLDERS]
