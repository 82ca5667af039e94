"""Runs in fresh processes, several in parallel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import ProcessPoolExecutor

from ._evaluation import Row
from ._output import RunFile
from ._runs import Run

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def compute_runs(
    runs: Mapping[int, Run], files: Mapping[int, RunFile], *, n_jobs: int
) -> Iterator[tuple[int, Row | Exception]]:
    """Compute runs, each in its own process, which also writes the file.

    Yields
    ------
    index : int
        Key of the run, in the order in which runs finish.
    result : dict or Exception
        Its row, or the error.
    """
    n_jobs = min(n_jobs, len(runs))
    environment = _limit_threads(n_jobs)
    running: set[Any] = set()

    def run_apart(index: int) -> tuple[int, Row | Exception]:
        with fresh_process(environment) as executor:
            running.add(executor)
            try:
                future = executor.submit(_compute_run, runs[index], files.get(index), n_jobs)
                return index, future.result()
            except Exception as error:
                return index, error
            finally:
                running.discard(executor)

    parallel = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator_unordered")
    try:
        yield from parallel(delayed(run_apart)(index) for index in runs)
    finally:
        # After an interruption.
        for executor in list(running):
            executor.shutdown(kill_workers=True)


@contextmanager
def fresh_process(environment: Mapping[str, str]) -> Iterator[Any]:
    """Start a process that ends with this block, or with its parent process.

    Workers of joblib run several tasks, so that their peak memory is not that of one task.

    Yields
    ------
    executor : ProcessPoolExecutor
        With this process as its only worker.
    """
    executor = ProcessPoolExecutor(
        max_workers=1, initializer=_watch, initargs=(os.getpid(),), env=environment
    )
    try:
        yield executor
    finally:
        executor.shutdown(kill_workers=True)


def _compute_run(run: Run, file: RunFile | None, n_jobs: int) -> Row:
    row = {**run.compute(None if file is None else file.page), "n_jobs": n_jobs}
    if file is not None:
        file.write(row)
    return row


def _watch(parent: int) -> None:
    """End this process when its parent ends, even if the parent is killed."""

    def end() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _limit_threads(n_jobs: int) -> dict[str, str]:
    """Divide the processors among the jobs: threads that compete are many times slower."""
    if n_jobs == 1:
        return {}
    each = max(1, cpu_count() // n_jobs)
    limits = {}
    for name in THREAD_VARIABLES:
        given = os.environ.get(name, "")
        limits[name] = str(min(each, int(given)) if given.isdigit() else each)
    return limits
