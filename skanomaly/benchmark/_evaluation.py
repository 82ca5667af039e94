"""Fit a detector on a dataset, and measure how well it does and what it costs."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin, clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from .. import __version__
from .._arrays import integer_scale
from ..metrics import f1_max_score, image_report
from ._detectors import detector_label

Row = dict[str, Any]
ShowScored = Callable[[Any, Bunch, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None], None]

# Of the figures that `image_report` gives.
METRICS = (
    "image_roc_auc",
    "image_average_precision",
    "image_f1_max",
    "pixel_roc_auc",
    "pixel_average_precision",
    "per_region_overlap",
)
# Begins the name of the same for one kind of defect.
KIND_PREFIX = "image_roc_auc "


def evaluate(detector: OutlierMixin, data: Bunch, *, seeds: Iterable[int] = (0, 1)) -> list[Row]:
    """Fit a detector on the good images of a dataset and measure it on the test images.

    In this process and one seed after another; :func:`run_benchmark` does it for many detectors and
    datasets.

    Parameters
    ----------
    detector : estimator
        Has `fit`, `score_samples`, `get_params` and `set_params`. One that has `anomaly_map` gets
        images; any other gets rows, the flattened images as floats from 0 to 1. A clone is fitted.
    data : Bunch
        As `skanomaly.datasets.load_mvtec_ad` with a size, `make_textured_surfaces` or
        `make_bar_images` returns it.
    seeds : iterable of int, default=(0, 1)
        One fit for each, which every parameter named ``random_state`` is set to.

    Returns
    -------
    list of dict
        One for each seed, with

        - "detector", its class and the parameters that are not at their default, and "seed";
        - "image_roc_auc", "image_average_precision", "image_f1_max", "pixel_roc_auc",
          "pixel_average_precision" and "per_region_overlap", as `skanomaly.metrics.image_report`
          gives them; the last three are None for a detector without `anomaly_map`;
        - "false_alarms", the fraction of the good test images with a `decision_function` below 0,
          and "misses", that of the defective ones with 0 or above; None where there is no such
          method;
        - "training_seconds" and "scoring_images_per_second";
        - "image_roc_auc <kind>" for each kind of defect, against all good images.

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
    return [evaluate_seed(detector, data, seed) for seed in seeds]


def evaluate_seed(
    detector: OutlierMixin, data: Bunch, seed: int, show: ShowScored | None = None
) -> Row:
    """Fit and measure with one seed.

    Parameters
    ----------
    detector, data, seed
        As for `evaluate`.
    show : callable or None
        Is given the fitted detector, the data, and of the test images the scores, the decision
        function and the maps, None where there is none.
    """
    train, test = (_as_input(detector, X) for X in (data.X_train, data.X_test))
    measured = _measure(seeded(detector, seed), train, test, data, show)
    return {"detector": detector_label(detector), "seed": seed, **measured}


def seeded(detector: Any, seed: int) -> Any:
    """Clone a detector and set all its seeds, those of its parts too."""
    copy = clone(detector)
    names = [name for name in copy.get_params() if f"__{name}".endswith("__random_state")]
    return copy.set_params(**dict.fromkeys(names, seed))


def describe_environment() -> Mapping[str, str]:
    """Describe versions and machine, for the record beside a result.

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
        "bfloat16 in hardware": str(bool(capabilities.get("amx_bf16"))),
    }
    if torch.cuda.is_available():
        environment["GPU"] = torch.cuda.get_device_name()
    return environment


def _as_input(detector: Any, X: Any) -> NDArray[Any]:
    """Load images (n, h, w[, c]), or rows (n, h * w * c) for a detector that knows no images."""
    images = np.asarray(X)
    if hasattr(detector, "anomaly_map"):
        return images
    return images.reshape(len(images), -1) / integer_scale(images.dtype)


def _measure(
    detector: Any,
    train: NDArray[Any],
    test: NDArray[Any],
    data: Bunch,
    show: ShowScored | None,
) -> Row:
    anomalous = data.y_test == -1
    start = time.perf_counter()
    fitted = detector.fit(train)
    training = time.perf_counter() - start
    start = time.perf_counter()
    scores, decisions, maps = _detect(fitted, test)
    scoring = time.perf_counter() - start
    row: Row = dict.fromkeys(METRICS)
    if maps is not None and data.masks_test is not None:
        report = image_report(data.masks_test, maps, y_true=data.y_test, scores=scores)
        row = {name: report[name] for name in METRICS}
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
    if show is not None:
        show(fitted, data, scores, decisions, maps)
    return row


def _detect(
    detector: Any, test: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[Any] | None]:
    """Compute scores, decisions and maps, each None if a detector does not give it."""
    if hasattr(detector, "detect"):
        found = detector.detect(test)
        return found.score_samples, found.decision_function, found.anomaly_map
    scores = np.asarray(detector.score_samples(test), dtype=np.float64)
    decisions = maps = None
    if hasattr(detector, "decision_function"):
        decisions = np.asarray(detector.decision_function(test), dtype=np.float64)
    if hasattr(detector, "anomaly_map"):
        maps = detector.anomaly_map(test)
    return scores, decisions, maps
