"""Show where the detector fails: the worst misses of each kind of defect, and false alarms.

``python docs/failures.py data/magnetic_tile`` fits the detector with its defaults on the tiles at
128 pixels, and writes ``docs/images/failures_<kind>.png`` and ``docs/failures.csv``. With
``--checkpoint FILE``, a run that was interrupted goes on where it was.
"""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import load_mvtec_ad
from skanomaly.inspection import AnomalyMapDisplay
from skanomaly.metrics import image_report

DOCS = Path(__file__).parent
SHOWN = 6


def draw(detector, images, masks, scores, chosen, path, *, alarms):
    """Save a figure of some images, their repairs, maps and masks."""
    shown = images[chosen]
    figure, grid = plt.subplots(
        3, len(chosen), figsize=(1.2 * len(chosen) + 0.6, 4.6), squeeze=False, layout="constrained"
    )
    AnomalyMapDisplay.from_predictions(
        shown,
        detector.anomaly_map(shown),
        masks=masks[chosen],
        # Misses lie below the threshold: a scale that reaches up to it would show nothing of them.
        map_threshold=detector.map_threshold_ if alarms else None,
        names=[f"{scores[index] / detector.offset_:.2f}" for index in chosen],
        ax=grid[[0, 2]].T,
    )
    for ax, repair in zip(grid[1], detector.reconstruct(shown), strict=True):
        ax.imshow(repair, cmap="gray", vmin=0, vmax=255 if repair.dtype == np.uint8 else 1)
        ax.set(xticks=[], yticks=[])
    for ax, label in zip(grid[:, 0], ("image", "repair", "anomaly map"), strict=True):
        ax.set_ylabel(label, fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Fit, find the failures, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tiles", type=Path, help="folder of the magnetic tiles")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path)
    options = parser.parse_args()
    data = load_mvtec_ad(options.tiles, size=options.size)
    images, masks, kinds = np.asarray(data.X_test), data.masks_test, data.kinds_test
    detector = SelfSupervisedAutoencoderDetector(random_state=0, checkpoint=options.checkpoint)
    detector.fit(np.asarray(data.X_train))
    found = detector.detect(images)
    scores, maps = found.score_samples, found.anomaly_map
    good = kinds == "good"
    strict = np.quantile(scores[good], 0.05)
    with open(DOCS / "failures.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                *("kind", "images", "missed by predict", "missed at 5 % false alarms"),
                *("image AUROC", "pixel AUROC", "AUPRO"),
            ]
        )
        for kind in [*np.unique(kinds[~good]), "good"]:
            mine = kinds == kind
            # The best scores of a kind of defect, or the worst of the good images.
            order = np.flatnonzero(mine)[np.argsort(scores[mine])]
            chosen = order[:SHOWN] if kind == "good" else order[::-1][:SHOWN]
            path = DOCS / "images" / f"failures_{kind}.png"
            draw(detector, images, masks, scores, chosen, path, alarms=kind == "good")
            if kind == "good":
                continue
            part = mine | good
            report = image_report(
                masks[part], maps[part], y_true=data.y_test[part], scores=scores[part]
            )
            missed = [np.mean(scores[mine] >= limit) for limit in (detector.offset_, strict)]
            figures = ("image_roc_auc", "pixel_roc_auc", "per_region_overlap")
            writer.writerow(
                [
                    *(kind, mine.sum()),
                    *(f"{fraction:.0%}" for fraction in missed),
                    *(f"{report[name]:.3f}" for name in figures),
                ]
            )
    flagged = np.mean(scores[good] < detector.offset_)
    print(f"{flagged:.1%} of the good images flagged")


if __name__ == "__main__":
    main()
