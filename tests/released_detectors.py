"""Write the model files of a release for the tests of later ones; run once per release."""

from functools import partial
from pathlib import Path

import joblib
import numpy as np

import skanomaly
from skanomaly.model_selection import ConformalDetector
from skanomaly.networks import ConvolutionalAutoencoder

NETWORK = partial(ConvolutionalAutoencoder, width=2, depth=1, n_blocks=1, dilations=(1,))


def make_detectors():
    """Small detectors with most kinds of content, and the data that they score, by name."""
    rows, columns = np.indices((12, 16))
    images = 0.5 + 0.3 * np.sin(rows + columns / 2 + np.arange(6).reshape(6, 1, 1))
    options = dict(max_iter=20, batch_size=4, precision="float32", device="cpu", random_state=0)
    # Named, since the default may change.
    options |= {"smoothing_size": 5}
    corruption = skanomaly.PatchCorruption(radius=(0.1, 0.2), texture={"image": 1.0, "noise": 2.0})
    return {
        "images": (
            skanomaly.SelfSupervisedAutoencoderDetector(
                network=NETWORK, corruption=corruption, crop_size=(8, 8), **options
            ),
            images,
        ),
        "rows": (
            skanomaly.DenoisingAE(network="linear", early_stopping=True, crop_size=None, **options),
            images[:, 3],
        ),
        "encoder": (
            skanomaly.ContractiveAE(network="linear", penalty="encoder", crop_size=None, **options),
            images[:, 5],
        ),
    }


def make_conformal():
    """A small calibrated detector, and the data that it scores."""
    detector, _ = make_detectors()["encoder"]
    rows = 0.5 + 0.3 * np.sin(np.arange(40)[:, None] + np.arange(16) / 2)
    return ConformalDetector(detector, alpha=0.2, random_state=0), rows


if __name__ == "__main__":
    folder = Path(__file__).parent / "detectors" / "released" / skanomaly.__version__
    folder.mkdir()
    for name, (detector, X) in make_detectors().items():
        detector.fit(X)
        joblib.dump(detector, folder / f"{name}.pickle", compress=9)
        detector.save(folder / f"{name}.safetensors")
        np.savetxt(folder / f"{name}.txt", detector.decision_function(X), fmt="%.17g")
    conformal, X = make_conformal()
    conformal.fit(X).save(folder / "conformal.safetensors")
    np.savetxt(folder / "conformal.txt", conformal.decision_function(X), fmt="%.17g")
