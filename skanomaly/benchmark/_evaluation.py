"""Fit a detector on a dataset, and measure its metrics, speed and memory."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin, clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from .. import __version__
from .._arrays import integer_scale
from .._device import has_fast_bfloat16
from .._estimators import detect
from ..metrics import f1_max_score, image_report
from ._detectors import detector_label

Row = dict[str, Any]

# Keys of `image_report`.
METRICS = (
    "image_roc_auc",
    "image_average_precision",
    "image_f1_max",
    "pixel_roc_auc",
    "pixel_average_precision",
    "per_region_overlap",
)
# Prefix of the same metric for one kind of defect.
KIND_PREFIX = "image_roc_auc "


_METHODS = ("score_samples", "decision_function", "anomaly_map")


class Detections(NamedTuple):
    """A fitted detector, and its results for the test images; None for missing methods."""

    detector: Any
    scores: NDArray[np.float64]
    decisions: NDArray[np.float64] | None
    maps: NDArray[Any] | None


def evaluate(detector: OutlierMixin, data: Bunch, *, seeds: Iterable[int] = (0, 1)) -> list[Row]:
    """Fit a detector on the training images of a dataset and evaluate it on the test images.

    Seeds are evaluated one after the other, in this process. See :func:`run_benchmark` for several
    detectors and datasets.

    Parameters
    ----------
    detector : estimator
        Must have `fit`, `score_samples`, `get_params` and `set_params`. If it has `anomaly_map`, it
        gets images, else flattened images as floats from 0 to 1. A clone is fitted.
    data : Bunch
        Output of `load_mvtec_ad` with a size, `make_textured_surfaces` or `make_bar_images` in
        `skanomaly.datasets`.
    seeds : iterable of int, default=(0, 1)
        One fit per seed; all parameters named ``random_state`` are set to it.

    Returns
    -------
    list of dict
        One for each seed, with

        - "detector", its class and non-default parameters, and "seed";
        - "image_roc_auc", "image_average_precision", "image_f1_max", "pixel_roc_auc",
          "pixel_average_precision" and "per_region_overlap" of `skanomaly.metrics.image_report`;
          the last three are None for a detector without `anomaly_map`;
        - "false_alarms", the fraction of good test images with a negative `decision_function`, and
          "misses", the fraction of defective ones with 0 or above; None without this method;
        - "training_seconds" and "scoring_images_per_second";
        - "image_roc_auc <kind>" for each kind of defect, with all good images as negatives.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from skanomaly.benchmark import evaluate
    >>> from skanomaly.datasets import make_bar_images
    >>> data = make_bar_images(n_train=50, n_test=20, random_state=0)
    >>> (row,) = evaluate(IsolationForest(n_estimators=10), data, seeds=[0])
    >>> row["detector"], row["pixel_roc_auc"]
    ('IsolationForest(n_estimators=10)', None)
    >>> 0 <= row["image_roc_auc gap"] <= 1
    True
    """
    return [evaluate_seed(detector, data, seed)[0] for seed in seeds]


def evaluate_seed(detector: OutlierMixin, data: Bunch, seed: int) -> tuple[Row, Detections]:
    """Fit and evaluate with one seed.

    Returns
    -------
    row : dict
    detections : Detections
    """
    train, test = (_as_input(detector, X) for X in (data.X_train, data.X_test))
    start = time.perf_counter()
    fitted = seeded(detector, seed).fit(train)
    training = time.perf_counter() - start
    start = time.perf_counter()
    found = detect(fitted, test, *_METHODS)
    scores, decisions, maps = (found.get(name) for name in _METHODS)
    scoring = time.perf_counter() - start
    anomalous = data.y_test == -1
    row: Row = {"detector": detector_label(detector), "seed": seed, **dict.fromkeys(METRICS)}
    if maps is not None and data.masks_test is not None:
        report = image_report(data.masks_test, maps, y_true=data.y_test, scores=scores)
        row |= {name: report[name] for name in METRICS}
    else:
        row["image_f1_max"] = f1_max_score(data.y_test, scores)
        row["image_roc_auc"] = float(roc_auc_score(anomalous, -scores))
        row["image_average_precision"] = float(average_precision_score(anomalous, -scores))
    row["false_alarms"] = row["misses"] = None
    if decisions is not None:
        row["false_alarms"] = float(np.mean(decisions[~anomalous] < 0))
        row["misses"] = float(np.mean(decisions[anomalous] >= 0))
    row["training_seconds"] = training
    row["scoring_images_per_second"] = len(test) / scoring
    for kind in np.unique(data.kinds_test[anomalous]):
        chosen = ~anomalous | (data.kinds_test == kind)
        row[f"{KIND_PREFIX}{kind}"] = float(roc_auc_score(anomalous[chosen], -scores[chosen]))
    return row, Detections(fitted, scores, decisions, maps)


def seeded(detector: Any, seed: int) -> Any:
    """Clone a detector and set all its ``random_state`` parameters, also of nested objects."""
    copy = clone(detector)
    names = [name for name in copy.get_params() if f"__{name}".endswith("__random_state")]
    return copy.set_params(**dict.fromkeys(names, seed))


def describe_environment() -> Mapping[str, str]:
    """Describe the versions of packages and the machine.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> from skanomaly.benchmark import describe_environment
    >>> sorted(describe_environment())[:2]
    ['bfloat16 in hardware', 'numpy']
    """
    packages = ("torch", "scikit-learn", "numpy")
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    environment = {
        "skanomaly": __version__,
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "processor": str(capabilities.get("cpu_name", platform.processor())),
        "threads": str(torch.get_num_threads()),
        "bfloat16 in hardware": str(has_fast_bfloat16(torch.device("cpu"))),
    }
    if torch.cuda.is_available():
        environment["GPU"] = torch.cuda.get_device_name()
    return environment


def _as_input(detector: Any, X: Any) -> NDArray[Any]:
    """Load images (n, h, w[, c]), or rows (n, h * w * c) for a detector without `anomaly_map`."""
    images = np.asarray(X)
    if hasattr(detector, "anomaly_map"):
        return images
    return images.reshape(len(images), -1) / integer_scale(images.dtype)


def peak_memory() -> float | None:
    """Return the peak resident memory of this process in 10⁶ bytes, None if unknown."""
    try:
        # On Linux, ru_maxrss includes the memory of the parent process.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def reset_peak_memory() -> None:
    """Reset `peak_memory` to the current memory, on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gpu_memory() -> float | None:
    """Return the peak memory of tensors on the GPU in use in 10⁶ bytes, None if unused."""
    if not torch.cuda.is_initialized():
        return None
    return max(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count()))) / 1e6
