"""Measure 2,000 anomaly maps of 512 × 512 pixels in little memory, and compare with exact values.

Run it as ``python docs/streaming_metrics.py``; ``--help`` names its options.

The maps are made one by one: smooth noise, with brighter discs for defects in every second one.
Each value is a function of a whole number below 2**20, a level, so that exact metrics can be had
by counting levels, which is ten times as many as the bins of the streaming metrics. From these
counts scikit-learn computes the exact ROC AUC and average precision, and the definition of the
per-region overlap is followed level by level.
"""

import argparse
import resource
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from sklearn.metrics import average_precision_score, roc_auc_score

from skanomaly.metrics import image_report

N_LEVELS = 2**20


def make_levels(index, size):
    """Mask, and levels as int64, of one image."""
    rng = np.random.default_rng([0, index])
    noise = gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), 3)
    values = noise / noise.std()
    mask = np.zeros((size, size), dtype=bool)
    if index % 2:
        rows, columns = np.ogrid[:size, :size]
        for _ in range(rng.integers(1, 5)):
            row, column = rng.uniform(0, size, 2)
            radius = size * 10 ** rng.uniform(-2.2, -1)
            distance = np.hypot(rows - row, columns - column)
            mask |= distance <= radius
            values = values + rng.uniform(0, 4) * np.exp(-((distance / radius) ** 2))
    return mask, (np.clip((values + 6) / 16, 0, 1) * (N_LEVELS - 1)).astype(np.int64)


def make_maps(n_images, size):
    """Pairs (mask, map), where a map is positive and of several scales."""
    for index in range(n_images):
        mask, levels = make_levels(index, size)
        yield mask, np.exp(levels / 2**16)


def exact_metrics(n_images, size, max_fpr):
    """The pixel metrics from counts of each level."""
    normal = np.zeros(N_LEVELS)
    defective = np.zeros(N_LEVELS)
    overlap = np.zeros(N_LEVELS)
    n_regions = 0
    for index in range(n_images):
        mask, levels = make_levels(index, size)
        normal += np.bincount(levels[~mask], minlength=N_LEVELS)
        defective += np.bincount(levels[mask], minlength=N_LEVELS)
        regions = label(mask, connectivity=2)
        for number in range(1, regions.max() + 1):
            region = levels[regions == number]
            overlap += np.bincount(region, minlength=N_LEVELS) / len(region)
            n_regions += 1
    level = np.arange(N_LEVELS)
    is_defective = np.repeat([0, 1], N_LEVELS)
    values, weights = np.concatenate([level, level]), np.concatenate([normal, defective])
    false_positives = np.append(0, np.cumsum(normal[::-1])) / normal.sum()
    mean_overlap = np.append(0, np.cumsum(overlap[::-1])) / n_regions
    inside = false_positives <= max_fpr
    at_limit = np.interp(max_fpr, false_positives, mean_overlap)
    area = np.trapezoid(
        np.append(mean_overlap[inside], at_limit), np.append(false_positives[inside], max_fpr)
    )
    return {
        "pixel_roc_auc": roc_auc_score(is_defective, values, sample_weight=weights),
        "pixel_average_precision": average_precision_score(
            is_defective, values, sample_weight=weights
        ),
        "per_region_overlap": area / max_fpr,
    }


def peak_memory():
    """Largest memory of the process up to now, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="(default: 2000)")
    parser.add_argument("--size", type=int, default=512, help="side in pixels (default: 512)")
    parser.add_argument("--max-bins", type=int, default=100_000, help="(default: 100000)")
    parser.add_argument("--max-fpr", type=float, default=0.3, help="(default: 0.3)")
    options = parser.parse_args()

    baseline = peak_memory()
    start = time.perf_counter()
    report = image_report(
        make_maps(options.images, options.size),
        max_fpr=options.max_fpr,
        max_bins=options.max_bins,
    )
    seconds, peak = time.perf_counter() - start, peak_memory()
    start = time.perf_counter()
    for _ in make_maps(options.images, options.size):
        pass
    making = time.perf_counter() - start

    print(f"{options.images} maps of {options.size} px, {options.max_bins} bins")
    print(f"memory: {baseline:.0f} MB before, {peak:.0f} MB at most, {peak - baseline:.0f} MB more")
    print(f"time: {seconds:.0f} s, of which {making:.0f} s to make the maps")
    print(f"stated error: {report['pixel_error']:.1e}")
    for name, exact in exact_metrics(options.images, options.size, options.max_fpr).items():
        print(f"{name}: {report[name]:.7f}, exact {exact:.7f}, off by {report[name] - exact:+.1e}")


if __name__ == "__main__":
    main()
