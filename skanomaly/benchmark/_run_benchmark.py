"""Benchmark of several datasets, detectors and seeds, in parallel, that can be resumed."""

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
from .._files import expand_user
from .._logging import log_progress
from ..datasets._checks import check_choice, check_number
from ..detectors import SelfSupervisedAutoencoderDetector
from ._datasets import find_datasets
from ._detectors import label_detectors
from ._evaluation import Row
from ._output import RunFile, check_output, make_output, write_tables
from ._processes import compute_runs
from ._report import read_references
from ._runs import Run

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Failure:
    """A failed run.

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
    """Some runs of a benchmark failed; the others are finished.

    Attributes
    ----------
    rows : list of dict
        Results of the finished runs, as returned by `run_benchmark`.
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
        """Return one line for each error of a dataset.

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
    size: int | tuple[int, int] = 128,
    seeds: Iterable[int] = (0, 1),
    n_jobs: int = 1,
    output: AnyPath | None = None,
    on_damaged: str = "raise",
    references: AnyPath | None = None,
    report: bool = False,
    verbose: int = 0,
) -> list[Row]:
    """Evaluate detectors on datasets, with several seeds, in parallel.

    Each run (a dataset, a detector and a seed) is computed in a fresh process, so that peak memory
    is measured separately, and runs do not affect each other. Parallel runs share the processors,
    so that their times are longer than those of a single run.

    Parameters
    ----------
    datasets : str, path-like or iterable of them
        Each "brick", "grass" or "gravel" of `make_textured_surfaces`, "bars" of `make_bar_images`,
        a folder in MVTec AD layout, or a folder of such folders. A leading ~ is the home folder.
    detectors : estimator, iterable of estimator or mapping of str to estimator, default=None
        As in :func:`evaluate`. The keys of a mapping are the names in the tables; the default is
        the class with its non-default parameters. None means `SelfSupervisedAutoencoderDetector()`.
    size : int or (int, int), default=128
        Side, or height and width, in pixels to which images are resized. Generated images are
        square.
    seeds : iterable of int, default=(0, 1)
        Each detector is fitted on each dataset once per seed.
    n_jobs : int, default=1
        Number of parallel runs; -1 means the number of processors.
    output : str or path-like, default=None
        Folder for the results; a leading ~ is the home folder. It gets ``runs`` with a file for
        each run, written atomically when the run is finished, ``results.csv`` with a line for each
        run, and ``results.md``, the output of :func:`markdown_report`. Runs that are found there
        are not computed again if they have the same dataset (its name, and the names and sizes of
        its files), size, detector with all parameters, seed and version of this library. If code
        changes without a new version, use a new folder. None writes nothing.
    on_damaged : {"raise", "skip"}, default="raise"
        Whether an image file that cannot be read makes the runs of its dataset fail, or is skipped
        and listed in the tables.
    references : str or path-like, default=None
        CSV file of published results with the columns "detector", "source" and any others.
        ``results.md`` shows them under a heading that says that they were not measured here.
    report : bool, default=False
        Whether to write an HTML page for each run into ``reports`` in the folder `output`, with
        scores, decisions, anomaly maps and true masks of the test images. A finished run without a
        page is computed again.
    verbose : int, default=0
        If above 0, a message for each run with the remaining time is logged at level INFO by the
        logger "skanomaly", or written to stderr if logging does not show this level.

    Returns
    -------
    list of dict
        One per run, ordered by dataset, detector and seed: "dataset", "size", "detector", "seed",
        "n_train" and "n_test", "damaged" (the skipped files, separated by "; "), the output of
        :func:`evaluate`, "peak_memory_mb" (peak resident memory of the process, with Python and the
        libraries), "start_memory_mb" (the same before the data were loaded) and
        "peak_gpu_memory_mb", in 10⁶ bytes, "n_jobs", and versions and machine. Unknown values are
        None.

    Raises
    ------
    ValueError, TypeError, OSError
        If an argument is invalid; raised before the first run.
    BenchmarkError
        If some runs failed; raised after all runs. It holds the rows of the others.

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
    check_choice(on_damaged, "on_damaged", ("raise", "skip"))
    output = None if output is None else expand_user(output)
    if report and output is None:
        raise ValueError("The 'report' parameter needs 'output', the folder for the pages.")
    labelled = label_detectors(
        SelfSupervisedAutoencoderDetector() if detectors is None else detectors
    )
    published = [] if references is None else read_references(expand_user(references))
    seeds = list(dict.fromkeys(seeds))
    for seed in seeds:
        check_number(seed, "seeds", int, 0, 2**32 - 1)
    runs = [
        Run(dataset, label, detector, seed, on_damaged == "skip")
        for dataset in find_datasets(datasets, size)
        for label, detector in labelled.items()
        for seed in seeds
    ]
    if not runs:
        raise ValueError("At least one detector and one seed are required.")
    n_jobs = effective_n_jobs(n_jobs)
    if output is not None:
        inputs = {run.dataset.folder for run in runs if run.dataset.folder is not None}
        check_output(output, [*inputs, *([] if references is None else [expand_user(references)])])
    files = {} if output is None else _find_files(output, runs, report)
    found = {index: file.read(runs[index]) for index, file in files.items()}
    rows = {index: row for index, row in found.items() if row is not None}
    failures: dict[int, Failure] = {}
    left = {index: run for index, run in enumerate(runs) if index not in rows}
    if rows:
        text = f"[{len(rows)}/{len(runs)}] finished before, in '{output}'"
        log_progress(text, verbose=verbose)
    start = time.monotonic()
    results = compute_runs(left, files, n_jobs=n_jobs) if left else ()
    for n_computed, (index, result) in enumerate(results, start=1):
        run = runs[index]
        if isinstance(result, Exception):
            failures[index] = Failure(run.dataset.name, run.label, run.seed, result)
            text = f"{run}: FAILED"
        else:
            rows[index] = result
            text = f"{run}: trained for {result['training_seconds']:.1f} s"
            if output is not None:
                write_tables(output, [rows[key] for key in sorted(rows)], published)
        if n_left := len(left) - n_computed:
            minutes = (time.monotonic() - start) / n_computed * n_left / 60
            text += f"; about {minutes:.0f} min left"
        log_progress(f"[{len(runs) - n_left}/{len(runs)}] {text}", verbose=verbose)
    in_order = [rows[index] for index in sorted(rows)]
    if output is not None:
        write_tables(output, in_order, published)
    if failures:
        error = BenchmarkError(in_order, [failures[index] for index in sorted(failures)])
        raise error from error.failures[0].error
    return in_order


def _find_files(output: Path, runs: list[Run], report: bool) -> dict[int, RunFile]:
    """Return the file of each run; each dataset folder is searched once."""
    folder = make_output(output)
    datasets = {dataset: dataset.identity() for dataset in {run.dataset for run in runs}}
    return {
        index: RunFile(folder, run, datasets[run.dataset], report=report)
        for index, run in enumerate(runs)
    }
