"""How far scores move with the number of threads, and with the images beside one.

``python docs/thread_differences.py`` trains small detectors on textures and on noise, with one seed
and either number of threads, and compares their scores. A difference is that of an image's scores
over their mean; the table gives the median and the largest over test images and seeds. ROC AUC is
that of defects in the textures, of each of the two trainings. The last lines compare scores of one
detector: by one and by two threads, and of images in one call and one by one.
"""

import argparse

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces


def make_data(kind, size, n_train, seed):
    """Training images, test images and labels; noise has no defects."""
    if kind == "noise":
        images = np.random.default_rng(seed).integers(0, 256, (2 * n_train, size, size), np.uint8)
        return images[:n_train], images[n_train:], None
    data = make_textured_surfaces(kind, image_size=size, n_train=n_train, random_state=seed)
    return data.X_train, data.X_test, data.y_test


def fit(X, steps, seed, threads):
    """Train with a number of threads."""
    torch.set_num_threads(threads)
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=steps, batch_size=4, precision="float32", device="cpu", random_state=seed
    )
    return detector.fit(X)


def differences(first, second):
    """Difference of scores over their mean, for each image."""
    return np.abs(first - second) / (0.5 * np.abs(first + second))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["noise", "brick", "grass", "gravel"])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 60])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32, help="side in pixels (default: 32)")
    parser.add_argument("--images", type=int, default=24, help="to train on (default: 24)")
    options = parser.parse_args()
    print(f"{'images':<8}{'steps':>6}{'median':>10}{'largest':>10}  ROC AUC, 1 / 2 threads")
    by_threads, by_calls = [], []
    for kind in options.kinds:
        for steps in options.steps:
            found, areas = [], []
            for seed in range(options.seeds):
                X, X_test, y = make_data(kind, options.size, options.images, seed)
                scores = []
                for threads in (1, 2):
                    detector = fit(X, steps, seed, threads)
                    torch.set_num_threads(1)
                    scores.append(detector.score_samples(X_test))
                alone = [detector.score_samples(X_test[i : i + 1]) for i in range(len(X_test))]
                by_calls.append(differences(scores[1], np.concatenate(alone)).max())
                torch.set_num_threads(2)
                by_threads.append(differences(scores[1], detector.score_samples(X_test)).max())
                found.append(differences(*scores))
                if y is not None:
                    areas.append([roc_auc_score(y, each) for each in scores])
            found = np.concatenate(found)
            text = ", ".join(f"{one:.3f} / {two:.3f}" for one, two in areas)
            print(f"{kind:<8}{steps:>6}{np.median(found):>10.1e}{found.max():>10.1e}  {text}")
    print(f"one detector, 1 and 2 threads: at most {max(by_threads):.1e}")
    print(f"one detector, images in one call and one by one: at most {max(by_calls):.1e}")


if __name__ == "__main__":
    main()
