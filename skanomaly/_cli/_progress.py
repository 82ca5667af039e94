"""Progress of a training and of a loop over images, on stderr."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from sklearn.callback import ProgressBar

_SECONDS_BETWEEN_LINES = 10.0


def training_callbacks(label: str, max_iter: int | None, *, shown: bool, bar: bool) -> list[Any]:
    """Make the callbacks that show how far a training is.

    Parameters
    ----------
    label : str
        What is trained.
    max_iter : int or None
        Number of steps; None where the detector chooses it, and percents are shown.
    shown : bool
        Whether to show anything.
    bar : bool
        Whether stdout may hold scikit-learn's bar, on a terminal where rich is installed. Otherwise
        there is a line on stderr every so often.
    """
    if not shown:
        return []
    if bar and sys.stdout.isatty() and _has_rich():
        return [ProgressBar()]
    return [TrainingLines(label, max_iter)]


class Progress(Protocol):
    """Shows how much is done."""

    def show(self, done: int) -> None:
        """Take note of the number of things done."""


@contextmanager
def progress(label: str, total: int, unit: str, *, shown: bool) -> Iterator[Progress]:
    """Show progress: a bar on a terminal where rich is installed, else a line every ten seconds.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of things to do.
    unit : str
        What these are, in the singular.
    shown : bool
        Whether to show anything.
    """
    if not shown:
        yield _Silence()
    elif sys.stderr.isatty() and _has_rich():
        from rich.console import Console
        from rich.progress import Progress as RichProgress

        with RichProgress(console=Console(stderr=True)) as rich_progress:
            yield _Bar(rich_progress, label, total)
    else:
        yield Lines(label, total, unit)


class _Silence:
    def show(self, done: int) -> None:
        """Do nothing."""


class _Bar:
    def __init__(self, rich_progress: Any, label: str, total: int) -> None:
        self._progress = rich_progress
        self._task = rich_progress.add_task(label, total=total)

    def show(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)


class Lines:
    """A line on stderr every ten seconds.

    Parameters
    ----------
    label : str
        What is being worked on.
    total : int
        Number of things to do.
    unit : str
        What these are, in the singular.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.start = self.last = time.monotonic()

    def show(self, done: int) -> None:
        """Write a line if the last one is old enough."""
        now = time.monotonic()
        if now - self.last < _SECONDS_BETWEEN_LINES or not done:
            return
        self.last = now
        left = (now - self.start) * (self.total - done) / done
        print(
            f"{self.label}: {self.unit} {done} of {self.total}, about {_duration(left)} left",
            file=sys.stderr,
            flush=True,
        )


class TrainingLines:
    """Callback for scikit-learn's `set_callbacks` that writes lines on stderr."""

    def __init__(self, label: str, max_iter: int | None) -> None:
        self.label = label
        self.total = 100 if max_iter is None else max_iter
        self.unit = "percent" if max_iter is None else "step"

    def setup(self, estimator: Any, context: Any) -> None:
        """Start to measure time."""
        self._lines = Lines(self.label, self.total, self.unit)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Show the step that a task has come to."""
        if context.parent is not None:
            fraction = (context.task_id + 1) / context.parent.max_subtasks
            self._lines.show(round(fraction * self.total))

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
