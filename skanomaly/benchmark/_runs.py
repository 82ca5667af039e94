"""One run of a benchmark: a dataset, a detector and a seed."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ._datasets import Dataset
from ._detectors import describe
from ._evaluation import Row, ShowScored, describe_environment, evaluate_seed, seeded
from ._memory import peak_gpu_memory, peak_memory
from ._page import write_page


@dataclass(frozen=True)
class Run:
    """A dataset, a detector and a seed.

    Attributes
    ----------
    dataset : Dataset
    label : str
        What a table calls the detector.
    detector : estimator
        Unfitted; it stays so.
    seed : int
    skip_damaged : bool
        Whether files that cannot be read are left out.
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
        """The columns that say which run a row is of."""
        return {
            "dataset": self.dataset.name,
            "size": self.dataset.size,
            "detector": self.label,
            "seed": self.seed,
        }

    def identity(self) -> Row:
        """What the result depends on beside the dataset, in text and numbers.

        Raises
        ------
        ValueError
            If a parameter of the detector cannot be told from others.
        """
        detector = describe(seeded(self.detector, self.seed))
        return {"detector": detector, "seed": self.seed, "skanomaly": __version__}

    def compute(self, page: Path | None = None) -> Row:
        """Load, fit and score in this process, whose global random numbers are seeded.

        Parameters
        ----------
        page : Path or None
            HTML file to write, of the test images.

        Returns
        -------
        dict
            `names`; what `evaluate` returns; "n_train" and "n_test", the numbers of images;
            "damaged", the files left out; "peak_memory_mb", the most that this process held, and
            "start_memory_mb", the most before the data were loaded, and "peak_gpu_memory_mb", in
            10⁶ bytes or None; and what `describe_environment` returns.
        """
        start_memory = peak_memory()
        if _uses_torch(self.detector):
            _warm_up()
        # For detectors that have no random_state.
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002
        torch.manual_seed(self.seed)
        data, left_out = self.dataset.load(skip_damaged=self.skip_damaged)
        measured = evaluate_seed(self.detector, data, self.seed, self._writer(page))
        return {
            **self.names,
            "n_train": len(data.X_train),
            "n_test": len(data.X_test),
            "damaged": "; ".join(left_out),
            **{name: _finite(value) for name, value in measured.items()},
            "peak_memory_mb": peak_memory(),
            "start_memory_mb": start_memory,
            "peak_gpu_memory_mb": peak_gpu_memory(),
            **describe_environment(),
            # Last, for `evaluate` has its own name for the detector.
            **self.names,
        }

    def _writer(self, page: Path | None) -> ShowScored | None:
        """Make what writes a page of test images that are scored."""
        if page is None:
            return None
        facts = {
            "dataset": f"{self.dataset.name}, {self.dataset.size} px",
            "detector": self.label,
            "seed": str(self.seed),
        }
        return partial(write_page, page, f"Test images of {self.dataset.name}", facts)


def _uses_torch(detector: Any) -> bool:
    modules = (sys.modules.get(base.__module__) for base in type(detector).__mro__)
    return any(hasattr(module, "torch") for module in modules)


def _warm_up() -> None:
    """Take a step of an optimiser: at the first one, torch imports for seconds."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
