"""Quality over training time, and with few images.

``python docs/training_curves.py steps data/magnetic_tile`` fits with fewer and with more steps, by
Muon and by AdamW alone. ``python docs/training_curves.py few data/bottle data/grid`` fits on 20 and
on 40 images that are drawn at random. Each line is one fit; seconds are of the process's own time.
"""

import argparse
import time
from unittest import mock

import numpy as np
import torch

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import load_mvtec_ad
from skanomaly.metrics import image_report
from skanomaly.training import _optimizer


def measure(detector, X_train, data):
    """Fit, and report on the test images: a dict of figures."""
    X_train, X_test = np.asarray(X_train), np.asarray(data.X_test)
    start = time.process_time()
    detector.fit(X_train)
    seconds = time.process_time() - start
    found = detector.detect(X_test)
    report = image_report(
        data.masks_test, found.anomaly_map, y_true=data.y_test, scores=found.score_samples
    )
    good, flagged = data.y_test == 1, found.predict == -1
    residuals = [
        np.median(np.square(X / 255 - detector.reconstruct(X / 255)).reshape(len(X), -1).mean(1))
        for X in (X_test[good], X_train)
    ]
    return {
        "steps": detector.n_iter_,
        "seconds": round(seconds),
        "image AUROC": round(report["image_roc_auc"], 3),
        "pixel AUROC": round(report["pixel_roc_auc"], 3),
        "AUPRO": round(report["per_region_overlap"], 3),
        "false alarms": round(float(flagged[good].mean()), 3),
        "misses": round(float((~flagged[~good]).mean()), 3),
        "residual of new / trained": round(float(residuals[0] / residuals[1]), 2),
    }


def steps(folders, size, seed, numbers):
    """Print quality for numbers of steps, by either optimiser."""
    for folder in folders:
        data = load_mvtec_ad(folder, size=size)
        for fewest_channels, name in ((_optimizer._FEWEST_CHANNELS, "Muon"), (10**9, "AdamW")):
            for number in numbers:
                detector = SelfSupervisedAutoencoderDetector(max_iter=number, random_state=seed)
                with mock.patch.object(_optimizer, "_FEWEST_CHANNELS", fewest_channels):
                    print(folder, name, measure(detector, data.X_train, data), flush=True)


def few(folders, size, seed, counts):
    """Print quality with few images that are drawn at random."""
    for folder in folders:
        data = load_mvtec_ad(folder, size=size)
        for count in counts:
            chosen = np.random.default_rng(seed).permutation(len(data.X_train))[:count]
            detector = SelfSupervisedAutoencoderDetector(random_state=seed)
            figures = measure(detector, data.X_train[np.sort(chosen)], data)
            print(folder, f"{count} images", figures, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("steps", "few"))
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--numbers", type=int, nargs="+", help="of steps, or of images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, numbers = (steps, (300, 1000)) if options.what == "steps" else (few, (20, 40))
    run(options.folders, options.size, options.seed, options.numbers or numbers)
