"""Quality over training time, with few images, and with mixed images.

``python docs/training_curves.py steps data/magnetic_tile`` fits with fewer and with more steps, by
Muon and by AdamW alone. ``python docs/training_curves.py few data/bottle data/grid`` fits on 20 and
on 40 images drawn at random. ``python docs/training_curves.py mixup`` fits textures with and
without "mixup" in few steps. Each line is one fit; seconds are of the process's own time.
"""

import argparse
import time
from unittest import mock

import numpy as np
import torch

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import describe_environment
from skanomaly.datasets import load_mvtec_ad, make_textured_surfaces
from skanomaly.metrics import image_report
from skanomaly.training import _optimizer

COLUMNS = ("set", "setting", "seed", "steps", "CPU s", "image AUROC", "pixel AUROC", "AUPRO") + (
    "false alarms",
    "misses",
    "residual ratio",
)
FLIPS = ("flip_horizontal", "flip_vertical", "rotate")


def measure(name, setting, detector, X_train, data):
    """Fit, and print one line of figures of the test images."""
    X_train, X_test = np.asarray(X_train), np.asarray(data.X_test)
    start = time.process_time()
    detector.fit(X_train)
    seconds = time.process_time() - start
    found = detector.detect(X_test)
    report = image_report(
        data.masks_test, found.anomaly_map, y_true=data.y_test, scores=found.score_samples
    )
    good, flagged = data.y_test == 1, found.predict == -1
    scale = 255 if X_train.dtype == np.uint8 else 1
    new, trained = (
        np.median([np.square(x / scale - r).mean() for x, r in zip(X, repaired, strict=True)])
        for X, repaired in ((X, detector.reconstruct(X / scale)) for X in (X_test[good], X_train))
    )
    figures = (
        report["image_roc_auc"],
        report["pixel_roc_auc"],
        report["per_region_overlap"],
        flagged[good].mean(),
        (~flagged[~good]).mean(),
        new / trained,
    )
    first = (name, setting, detector.random_state, detector.n_iter_, f"{seconds:.0f}")
    print_line(*first, *(f"{figure:.3f}" for figure in figures))


def print_line(*values):
    """Print one line of the table."""
    print("".join(f"{value!s:>16}" for value in values), flush=True)


def steps(options, seed):
    """Print quality for numbers of steps, by either optimizer."""
    for folder in options.folders:
        data = load_mvtec_ad(folder, size=options.size)
        for fewest_channels, name in ((_optimizer._FEWEST_CHANNELS, "Muon"), (10**9, "AdamW")):
            for number in options.numbers or (300, 1000, 3000):
                detector = SelfSupervisedAutoencoderDetector(max_iter=number, random_state=seed)
                with mock.patch.object(_optimizer, "_FEWEST_CHANNELS", fewest_channels):
                    measure(folder.rsplit("/")[-1], name, detector, data.X_train, data)


def few(options, seed):
    """Print quality with few images that are drawn at random."""
    for folder in options.folders:
        data = load_mvtec_ad(folder, size=options.size)
        for count in options.numbers or (20, 40):
            chosen = np.random.default_rng(seed).permutation(len(data.X_train))[:count]
            detector = SelfSupervisedAutoencoderDetector(random_state=seed)
            X_train = data.X_train[np.sort(chosen)]
            measure(folder.rsplit("/")[-1], f"{count} images", detector, X_train, data)


def mixup(options, seed):
    """Print quality of short trainings on textures with and without mixed images."""
    for name, symmetries in (("brick", ()), ("grass", FLIPS)):
        data = make_textured_surfaces(name, image_size=64, random_state=0)
        for setting, augmentation in (("without", symmetries), ("mixup", (*symmetries, "mixup"))):
            for number in options.numbers or (400,):
                detector = SelfSupervisedAutoencoderDetector(
                    max_iter=number, augmentation=augmentation or None, random_state=seed
                )
                measure(name, setting, detector, data.X_train, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("steps", "few", "mixup"))
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--numbers", type=int, nargs="+", help="of steps, or of images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_line(*COLUMNS)
    for seed in options.seeds:
        {"steps": steps, "few": few, "mixup": mixup}[options.what](options, seed)
    print("\n" + ", ".join(f"{name} {value}" for name, value in describe_environment().items()))
