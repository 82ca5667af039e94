"""Compare the ranking of settings without labels with the ranking by true labels, on real images.

Run ``python docs/label_free_selection.py data/magnetic_tile``; ``--help`` lists the options.

Each setting is fitted on four fifths of the images in train/good. SyntheticDefectScorer scores it
on the rest, without labels; true labels and masks score it on the test images. Fitted detectors are
stored in a folder, so that an interrupted run continues.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.corruption import PatchCorruption
from skanomaly.datasets import load_mvtec_ad
from skanomaly.metrics import pixel_roc_auc_score
from skanomaly.model_selection import SyntheticDefectScorer

SSAE = SelfSupervisedAutoencoderDetector
SETTINGS = {
    "default": SSAE(),
    "radius 0.01 to 0.02": SSAE(corruption=PatchCorruption(radius=(0.01, 0.02))),
    "radius 0.3 to 0.5": SSAE(corruption=PatchCorruption(radius=(0.3, 0.5))),
    "opacity 0.02 to 0.1": SSAE(corruption=PatchCorruption(opacity=(0.02, 0.1))),
    "mask_weight=1": SSAE(mask_weight=1.0),
    "contrast_size=None": SSAE(contrast_size=None),
    "normalize_map=False": SSAE(normalize_map=False),
    "identity_noise=0.5": SSAE(identity_noise=0.5),
    "network plain": SSAE(network="plain"),
    "standardization dataset": SSAE(standardization="dataset"),
    "score_aggregation mean": SSAE(score_aggregation="mean"),
    "DenoisingAE, noise 0.1": DenoisingAE(noise=0.1),
    "DenoisingAE, noise 1": DenoisingAE(noise=1.0),
    "ContractiveAE": ContractiveAE(),
}
METRICS = ("roc_auc", "pixel_roc_auc", "mean_roc_auc")
STRENGTHS = {
    "0.05 to 0.3": (0.05, 0.3),
    "0.15 to 0.6": (0.15, 0.6),
    "0.15 to 1": (0.15, 1.0),
    "0.3 to 1": (0.3, 1.0),
}
DEFAULT_STRENGTH = "0.15 to 1"
LABELLED = (5, 10, 20, 50)
LEAST_AUROC = 0.65


def fit(setting, data, training, options, seed):
    """Fit a detector, or read it from its file."""
    name = "".join(letter if letter.isalnum() else "_" for letter in setting)
    path = options.folder / f"{name}_{options.size}_{options.max_iter}_{seed}.joblib"
    if not path.exists():
        detector = SETTINGS[setting].set_params(max_iter=options.max_iter, random_state=seed)
        detector.fit(data.X_train[training])
        part = path.with_suffix(".part")
        joblib.dump(detector, part)
        part.rename(path)
    return joblib.load(path)


def score_without_labels(detector, images):
    """Compute scores by strength and metric."""
    scores = {}
    for name, strength in STRENGTHS.items():
        image, pixel = (
            SyntheticDefectScorer(metric=metric, strength=strength)(detector, images)
            for metric in METRICS[:2]
        )
        scores[name] = np.array([image, pixel, (image + pixel) / 2])
    return scores


def spearman(first, second):
    """Compute the rank correlation and its one-sided p-value."""
    result = spearmanr(first, second, alternative="greater")
    return f"{result.statistic:+.2f} (p={result.pvalue:.4f})"


def rank_by_few(scores, truth, held_out_scores, n_labelled, rng):
    """Correlate the ranking by a few labelled defects with the ranking by all others."""
    defects, good = np.flatnonzero(~truth), np.flatnonzero(truth)
    correlations = []
    for _ in range(200):
        chosen = rng.choice(defects, n_labelled, replace=False)
        others = np.concatenate([good, np.setdiff1d(defects, chosen)])
        few = [
            roc_auc_score(
                np.arange(len(held_out) + n_labelled) < len(held_out),
                np.concatenate([held_out, tested[chosen]]),
            )
            for tested, held_out in zip(scores, held_out_scores, strict=True)
        ]
        rest = [roc_auc_score(truth[others], tested[others]) for tested in scores]
        correlations.append(spearmanr(few, rest).statistic)
    return np.mean(correlations), np.std(correlations)


def report(rows):
    """Print how well the rankings agree."""
    true_image, true_pixel = (np.array([row[name] for row in rows]) for name in ("image", "pixel"))
    for strength in STRENGTHS:
        for column, metric in enumerate(METRICS):
            values = np.array([row[strength][column] for row in rows])
            print(
                f"strength {strength}, {metric}: Spearman with image AUROC "
                f"{spearman(values, true_image)}, with pixel AUROC {spearman(values, true_pixel)}; "
                f"image AUROC of the first: {true_image[np.argmax(values)]:.3f}"
            )
    print(f"image AUROC: best {true_image.max():.3f}, mean {true_image.mean():.3f}")
    works = true_image > LEAST_AUROC
    values = np.array([row[DEFAULT_STRENGTH][0] for row in rows])
    agreement = spearman(values[works], true_image[works])
    print(f"among the {works.sum()} with an image AUROC above {LEAST_AUROC}: Spearman {agreement}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder in MVTec AD layout")
    parser.add_argument("--folder", type=Path, default=Path("label_free_selection"))
    parser.add_argument("--size", type=int, default=64, help="side in pixels (default: 64)")
    parser.add_argument("--max-iter", type=int, default=300, help="(default: 300)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default: 0 1)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data = load_mvtec_ad(options.data, size=options.size, mode="gray")
    shuffled = np.random.default_rng(0).permutation(len(data.X_train))
    held_out, training = (np.sort(part) for part in np.split(shuffled, [len(shuffled) // 5]))
    images, test = np.asarray(data.X_train[held_out]), np.asarray(data.X_test)
    truth = data.y_test == 1
    all_rows = []
    for seed in options.seeds:
        rows, held_out_scores, test_scores = [], [], []
        for setting in SETTINGS:
            detector = fit(setting, data, training, options, seed)
            held_out_scores.append(detector.score_samples(images))
            found = detector.detect(test)
            test_scores.append(found.score_samples)
            row = {
                "image": roc_auc_score(truth, test_scores[-1]),
                "pixel": pixel_roc_auc_score(data.masks_test, found.anomaly_map),
                **score_without_labels(detector, images),
            }
            rows.append(row)
            image, pixel, _ = row[DEFAULT_STRENGTH]
            print(
                f"{seed} {setting:24} true {row['image']:.3f} {row['pixel']:.3f}  "
                f"without labels {image:.3f} {pixel:.3f}",
                flush=True,
            )
        print(f"\nSeed {seed}")
        report(rows)
        rng = np.random.default_rng(0)
        for n_labelled in LABELLED:
            mean, deviation = rank_by_few(test_scores, truth, held_out_scores, n_labelled, rng)
            print(f"by {n_labelled} labelled defects: Spearman {mean:+.2f} ± {deviation:.2f}")
        print(flush=True)
        all_rows.append(rows)
    if len(options.seeds) > 1:
        print("Means over seeds")
        means = [
            {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
            for rows in zip(*all_rows, strict=True)
        ]
        report(means)
        for setting, row in zip(SETTINGS, means, strict=True):
            image, pixel, _ = row[DEFAULT_STRENGTH]
            print(f"{setting:24} {row['image']:.3f} {row['pixel']:.3f} {image:.3f} {pixel:.3f}")


if __name__ == "__main__":
    main()
