"""One run of a benchmark: a dataset, a detector and a seed."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch

from .. import __version__
from .._command_line import finite
from .._estimators import find_threshold
from ..inspection._html_report import add_images, html_report, names_within_folder
from ._datasets import Dataset
from ._detectors import describe
from ._evaluation import (
    Detections,
    Row,
    describe_environment,
    evaluate_seed,
    peak_gpu_memory,
    peak_memory,
    seeded,
)

# Map threshold of a detector without `map_threshold_`: quantile of maps of good test images.
_QUANTILE = 0.99


@dataclass(frozen=True)
class Run:
    """A dataset, a detector and a seed.

    Attributes
    ----------
    dataset : Dataset
    label : str
        Name of the detector in the tables.
    detector : estimator
        Not fitted by the run, which fits a clone.
    seed : int
    skip_damaged : bool
        Whether files that cannot be read are skipped.
    """

    dataset: Dataset
    label: str
    detector: Any
    seed: int
    skip_damaged: bool = False

    def __str__(self) -> str:
        return f"{self.dataset.name}, {self.label}, seed {self.seed}"

    @property
    def names(self) -> Row:
        """The columns that identify the run."""
        return {
            "dataset": self.dataset.name,
            "size": self.dataset.shown_size,
            "detector": self.label,
            "seed": self.seed,
        }

    def identity(self) -> Row:
        """Return what the result depends on, besides the dataset.

        Raises
        ------
        ValueError
            If a parameter of the detector is a lambda function.
        """
        detector = describe(seeded(self.detector, self.seed))
        return {"detector": detector, "seed": self.seed, "skanomaly": __version__}

    def compute(self, page: Path | None = None) -> Row:
        """Load, fit and score in this process, with global random states seeded.

        Parameters
        ----------
        page : Path or None
            HTML file of the test images to write.

        Returns
        -------
        dict
            `names`; the output of `evaluate`; "n_train" and "n_test", the numbers of images;
            "damaged", the skipped files; in 10⁶ bytes or None, "peak_memory_mb" of this process,
            "start_memory_mb", the peak before the data were loaded, and "peak_gpu_memory_mb"; and
            the output of `describe_environment`.
        """
        start_memory = peak_memory()
        if _uses_torch(self.detector):
            _warm_up()
        # For detectors without random_state.
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002
        torch.manual_seed(self.seed)
        data, skipped = self.dataset.load(skip_damaged=self.skip_damaged)
        measured, detections = evaluate_seed(self.detector, data, self.seed)
        if page is not None:
            self._write_page(page, data, detections)
        return {
            **self.names,
            "n_train": len(data.X_train),
            "n_test": len(data.X_test),
            "damaged": "; ".join(skipped),
            **{name: finite(value) for name, value in measured.items()},
            "peak_memory_mb": peak_memory(),
            "start_memory_mb": start_memory,
            "peak_gpu_memory_mb": peak_gpu_memory(),
            **describe_environment(),
            # Again at the end: `evaluate` labels the detector differently.
            **self.names,
        }

    def _write_page(self, path: Path, data: Bunch, detections: Detections) -> None:
        """Write the HTML page of the test images."""
        detector, scores, decisions, maps = detections
        kinds = np.asarray(data.kinds_test)
        names = [f"{kind} {index}" for index, kind in enumerate(kinds)]
        if hasattr(data.X_test, "paths"):
            names = names_within_folder(data.X_test.paths)
        facts = {
            "dataset": f"{self.dataset.name}, {self.dataset.shown_size} px",
            "detector": self.label,
            "seed": str(self.seed),
        }
        map_threshold = getattr(detector, "map_threshold_", None)
        if map_threshold is None and maps is not None and (kinds == "good").any():
            map_threshold = float(np.quantile(maps[kinds == "good"], _QUANTILE))
            facts["map threshold"] = f"{_QUANTILE:.0%} quantile of the good test images"
        path.parent.mkdir(parents=True, exist_ok=True)
        with html_report(
            path,
            title=f"Test images of {self.dataset.name}",
            facts=facts,
            threshold=find_threshold(detector),
            map_threshold=map_threshold,
        ) as add:
            add_images(add, names, data.X_test, scores, decisions, maps, kinds, data.masks_test)


def _uses_torch(detector: Any) -> bool:
    modules = (sys.modules.get(base.__module__) for base in type(detector).__mro__)
    return any(hasattr(module, "torch") for module in modules)


def _warm_up() -> None:
    """Take a step of an optimiser: before the first one, torch imports modules for seconds."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()
