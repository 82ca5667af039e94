"""Progress of a training and of a loop over images."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

from sklearn.callback import ProgressBar

_SECONDS_BETWEEN_LINES = 10.0


def training_progress(label: str, max_iter: int) -> Any:
    """Make the callback that shows how far a training is.

    A bar of scikit-learn's on a terminal where rich is installed, else a line on stderr every so
    often.
    """
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        return ProgressBar()
    return TrainingLines(label, max_iter)


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

    def __init__(self, label: str, max_iter: int) -> None:
        self.label = label
        self.max_iter = max_iter

    def setup(self, estimator: Any, context: Any) -> None:
        """Start to measure time."""
        self._lines = Lines(self.label, self.max_iter, "step")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Show the step that a task has come to."""
        if context.parent is not None:
            share = (context.task_id + 1) / context.parent.max_subtasks
            self._lines.show(round(share * self.max_iter))

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
