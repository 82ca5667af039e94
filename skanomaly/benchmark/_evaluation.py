"""Fit and score a detector on a dataset."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.base import OutlierMixin, clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from .. import __version__
from ..metrics import pixel_average_precision_score, pixel_roc_auc_score

Row = dict[str, float]


def evaluate(detector: OutlierMixin, data: Bunch, *, seeds: Iterable[int] = (0, 1)) -> list[Row]:
    """Fit a detector on the good images of a dataset and measure it on the test images.

    Parameters
    ----------
    detector : estimator
        Has ``random_state``, ``score_samples`` and ``anomaly_map``; a clone is fitted.
    data : Bunch
        As `skanomaly.datasets.load_mvtec_ad` with a size, or `make_textured_surfaces`, returns it.
    seeds : iterable of int, default=(0, 1)
        One fit for each.

    Returns
    -------
    list of dict
        One for each seed: "seed", "image AUROC", "image AP", "pixel AUROC", "pixel AP" (defects
        are the positive class), "AUROC <kind>" for each kind of defect against all good images,
        "false alarms" (share of the good test images that `predict` flags), "training s" and
        "scoring images/s".
    """
    train, test = np.asarray(data.X_train), np.asarray(data.X_test)
    anomalous = data.y_test == -1
    rows = []
    for seed in seeds:
        start = time.perf_counter()
        fitted: Any = clone(detector).set_params(random_state=seed).fit(train)
        training = time.perf_counter() - start
        start = time.perf_counter()
        maps = fitted.anomaly_map(test)
        scoring = time.perf_counter() - start
        scores = -fitted.score_samples(test)
        row: Row = {
            "seed": seed,
            "image AUROC": roc_auc_score(anomalous, scores),
            "image AP": average_precision_score(anomalous, scores),
            "pixel AUROC": pixel_roc_auc_score(data.masks_test, maps),
            "pixel AP": pixel_average_precision_score(data.masks_test, maps),
        }
        for kind in np.unique(data.kinds_test[anomalous]):
            chosen = ~anomalous | (data.kinds_test == kind)
            row[f"AUROC {kind}"] = roc_auc_score(anomalous[chosen], scores[chosen])
        row["false alarms"] = float(np.mean(scores[~anomalous] > -fitted.offset_))
        row["training s"] = training
        row["scoring images/s"] = len(test) / scoring
        rows.append(row)
    return rows


def markdown_table(rows: list[Row]) -> str:
    """Write one column for each seed, and mean and spread over them.

    Returns
    -------
    str
        A table in Markdown; the spread is the standard deviation over seeds.
    """
    seeds = [f"seed {row['seed']:.0f}" for row in rows]
    lines = [
        f"| | {' | '.join(seeds)} | mean ± deviation |",
        "|---" * (len(rows) + 2) + "|",
    ]
    for name in rows[0]:
        if name == "seed":
            continue
        values = [row[name] for row in rows]
        digits = 0 if name in ("training s", "scoring images/s") else 3
        cells = [f"{value:.{digits}f}" for value in values]
        spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {mean(values):.{digits}f}{spread} |")
    return "\n".join(lines)


def describe_environment() -> Mapping[str, str]:
    """Versions and machine, for the record beside a result."""
    packages = ("torch", "scikit-learn", "numpy")
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "skanomaly": __version__,
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "processor": str(capabilities.get("cpu_name", platform.processor())),
        "threads": str(torch.get_num_threads()),
        "bfloat16 in hardware": str(bool(capabilities.get("amx_bf16"))),
    }
