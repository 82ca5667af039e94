"""Many datasets, detectors and seeds, in parallel, with results kept as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import effective_n_jobs
from sklearn.base import OutlierMixin

from .._command_line import one_line
from .._logging import log_progress
from ..datasets._image_file import expand_user
from ..detectors import SelfSupervisedAutoencoderDetector
from ._datasets import find_datasets
from ._detectors import label_detectors
from ._evaluation import Row
from ._output import RunFile, make_output, write_tables
from ._processes import compute_runs
from ._report import read_references
from ._runs import Run

_DAMAGED = ("raise", "skip")
AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Failure:
    """A run that ended in an error.

    Attributes
    ----------
    dataset, detector : str
    seed : int
    error : Exception
    """

    dataset: str
    detector: str
    seed: int
    error: Exception


class BenchmarkError(RuntimeError):
    """Some runs of a benchmark failed; the others were finished.

    Attributes
    ----------
    rows : list of dict
        Of the finished runs, as `run_benchmark` would have returned them.
    failures : list of Failure
        With `dataset`, `detector`, `seed` and `error`.

    Examples
    --------
    More components than there are pixels:

    >>> from skanomaly.benchmark import BenchmarkError, PCAReconstruction, run_benchmark
    >>> try:
    ...     run_benchmark("bars", PCAReconstruction(n_components=10_000), size=16, seeds=[0])
    ... except BenchmarkError as error:
    ...     print(len(error.rows), len(error.failures), error.failures[0].dataset)
    0 1 bars
    """

    def __init__(self, rows: list[Row], failures: list[Failure]) -> None:
        self.rows = rows
        self.failures = failures
        total = len(rows) + len(failures)
        super().__init__("\n".join([f"{len(failures)} of {total} runs failed.", *self.messages()]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rows, self.failures)

    def messages(self) -> list[str]:
        """Say in a line what went wrong where, once for each dataset.

        Returns
        -------
        list of str
        """
        where: dict[tuple[str, str], list[Failure]] = {}
        for failure in self.failures:
            where.setdefault((failure.dataset, one_line(failure.error)), []).append(failure)
        return [
            f"{dataset}, {runs[0].detector}, seed {runs[0].seed}"
            + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
            + f": {message}"
            for (dataset, message), runs in where.items()
        ]


def run_benchmark(
    datasets: AnyPath | Iterable[AnyPath],
    detectors: OutlierMixin | Iterable[OutlierMixin] | Mapping[str, OutlierMixin] | None = None,
    *,
    size: int = 128,
    seeds: Iterable[int] = (0, 1),
    n_jobs: int = 1,
    output: AnyPath | None = None,
    on_damaged: str = "raise",
    references: AnyPath | None = None,
    report: bool = False,
    verbose: int = 0,
) -> list[Row]:
    """Measure detectors on datasets, with several seeds, in parallel.

    Each run, of a dataset, a detector and a seed, is computed in a fresh process: so its peak
    memory is its own, and one that is killed takes no other along. The processors are shared out
    among the runs at a time; their times are then longer than those of one run alone.

    Parameters
    ----------
    datasets : str, path-like or iterable of them
        Each "brick", "grass" or "gravel" of `make_textured_surfaces`, "bars" of `make_bar_images`,
        a folder in MVTec AD layout, or a folder of such folders, which stands for all of them.
    detectors : estimator, iterable of estimator or mapping of str to estimator, default=None
        As for :func:`evaluate`. A mapping gives the names that stand in the tables; otherwise a
        detector is named by its class and the parameters that are not at their default. None is
        `SelfSupervisedAutoencoderDetector` with its defaults.
    size : int, default=128
        Side in pixels that images are resized to, or made with.
    seeds : iterable of int, default=(0, 1)
        Each detector is fitted on each dataset once for each.
    n_jobs : int, default=1
        Number of runs at a time; -1 is as many as there are processors.
    output : str or path-like, default=None
        Folder for the results: a file for each run in ``runs``, which is written when the run is
        finished and never in part; ``results.csv`` with a line for each run, and ``results.md``,
        what :func:`markdown_report` makes of them. Runs that are found there are not computed
        again: those of the same dataset (its name, and the names and lengths of its files), size,
        detector with all its parameters, seed and version of this library. After a change of code
        without a new version, use a new folder. None writes nothing.
    on_damaged : {"raise", "skip"}, default="raise"
        What to do about an image file that cannot be read: have the runs of its dataset fail, or
        leave it out and say so in the tables.
    references : str or path-like, default=None
        CSV file of published figures, which ``results.md`` shows under a heading that says that
        they were not measured here: a column "detector", a column "source", and others as they are.
    report : bool, default=False
        Whether to write an HTML page for each run into ``reports`` in the folder `output`: scores,
        decisions, anomaly maps and true masks of its test images, to sort and filter, with no
        network needed. A run that was finished before without a page is computed again.
    verbose : int, default=0
        Above 0, a message for each run with the time left, logged at level INFO under the logger
        "skanomaly", or on stderr where logging is not set up to show that.

    Returns
    -------
    list of dict
        One for each run, by dataset, detector and seed: "dataset", "size", "detector", "seed",
        "n_train" and "n_test", "damaged" (the files left out, separated by "; "), what
        :func:`evaluate` measures, "peak_memory_mb" (the most resident memory of the process, with
        Python and the libraries in it), "start_memory_mb" (the same before the data were loaded)
        and "peak_gpu_memory_mb", in 10⁶ bytes, "n_jobs", and versions and machine. None stands for
        what there is not.

    Raises
    ------
    ValueError, TypeError, OSError
        If something is found to be wrong before any run is started.
    BenchmarkError
        After all runs, if some failed. It holds the rows of the others.

    See Also
    --------
    evaluate : One detector on data in memory, in this process.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.svm import OneClassSVM
    >>> from skanomaly import DenoisingAE
    >>> from skanomaly.benchmark import PCAReconstruction, markdown_report, run_benchmark
    >>> detectors = [DenoisingAE(), PCAReconstruction(), IsolationForest(), OneClassSVM()]
    >>> rows = run_benchmark(
    ...     ["grass", "gravel"], detectors, size=64, n_jobs=2, output="results"
    ... )  # doctest: +SKIP
    >>> print(markdown_report(rows))  # doctest: +SKIP
    """
    if on_damaged not in _DAMAGED:
        raise ValueError(
            f"The 'on_damaged' parameter must be a str among {set(_DAMAGED)}. Got {on_damaged!r} "
            "instead."
        )
    output = None if output is None else expand_user(output)
    if report and output is None:
        raise ValueError("The 'report' parameter needs 'output', the folder to write pages into.")
    labelled = label_detectors(
        SelfSupervisedAutoencoderDetector() if detectors is None else detectors
    )
    published = [] if references is None else read_references(expand_user(references))
    seeds = list(dict.fromkeys(seeds))
    runs = [
        Run(dataset, label, detector, seed, on_damaged == "skip")
        for dataset in find_datasets(datasets, size)
        for label, detector in labelled.items()
        for seed in seeds
    ]
    if not runs:
        raise ValueError("At least one detector and one seed are required.")
    n_jobs = effective_n_jobs(n_jobs)
    files = {} if output is None else _find_files(output, runs, report)
    found = {index: file.read(runs[index]) for index, file in files.items()}
    rows = {index: row for index, row in found.items() if row is not None}
    log = _Log(len(runs), verbose)
    log.skip(len(rows), output)
    failures: dict[int, Failure] = {}
    left = {index: run for index, run in enumerate(runs) if index not in rows}
    for index, result in compute_runs(left, files, n_jobs=n_jobs) if left else ():
        run = runs[index]
        if isinstance(result, Exception):
            failures[index] = Failure(run.dataset.name, run.label, run.seed, result)
            log.count(f"{run}: FAILED")
            continue
        rows[index] = result
        log.count(f"{run}: trained for {result['training_seconds']:.1f} s")
        if output is not None:
            write_tables(output, [rows[key] for key in sorted(rows)], published)
    in_order = [rows[index] for index in sorted(rows)]
    if output is not None:
        write_tables(output, in_order, published)
    if failures:
        error = BenchmarkError(in_order, [failures[index] for index in sorted(failures)])
        raise error from error.failures[0].error
    return in_order


def _find_files(output: Path, runs: list[Run], report: bool) -> dict[int, RunFile]:
    """Name the file of each run; the folder of a dataset is looked through once."""
    folder = make_output(output)
    datasets = {dataset: dataset.identity() for dataset in {run.dataset for run in runs}}
    return {
        index: RunFile(folder, run, datasets[run.dataset], report=report)
        for index, run in enumerate(runs)
    }


class _Log:
    """Messages that say how many runs are done, and how long the others will take."""

    def __init__(self, total: int, verbose: int) -> None:
        self.total = total
        self.verbose = verbose
        self.done = 0
        self.computed = 0
        self.start = time.monotonic()

    def skip(self, number: int, output: AnyPath | None) -> None:
        """Count runs that were finished before."""
        self.done = number
        if number:
            self._show(f"finished before, in '{output}'")

    def count(self, text: str) -> None:
        """Count one run that was computed."""
        self.done += 1
        self.computed += 1
        if left := self.total - self.done:
            seconds = (time.monotonic() - self.start) / self.computed * left
            text += f"; about {seconds / 60:.0f} min left"
        self._show(text)

    def _show(self, text: str) -> None:
        log_progress(f"[{self.done}/{self.total}] {text}", verbose=self.verbose)
