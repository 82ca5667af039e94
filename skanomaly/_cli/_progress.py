"""Progress of training and of loops over images, on stderr."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.callback import FitCallback, ProgressBar

from .._command_line import print_message

_SECONDS_BETWEEN_LINES = 10.0

# Shows the number of items that are done.
Show = Callable[[int], None]


def training_callbacks(label: str, max_iter: int | None, *, shown: bool, bar: bool) -> list[Any]:
    """Make the callbacks that show the progress of a training.

    Parameters
    ----------
    label : str
        Start of each line.
    max_iter : int or None
        Number of steps; None if the detector chooses it, to show percentages.
    shown : bool
        Whether to show anything.
    bar : bool
        Whether stdout may show scikit-learn's progress bar, on a terminal with rich installed.
        Otherwise lines are written to stderr.
    """
    if not shown:
        return []
    if bar and sys.stdout.isatty() and _has_rich():
        return [ProgressBar()]
    return [TrainingLines(label, max_iter)]


@contextmanager
def progress(label: str, total: int, unit: str, *, shown: bool) -> Iterator[Show]:
    """Show progress: a bar on a terminal with rich installed, else a line every ten seconds.

    Parameters
    ----------
    label : str
        Name of the task.
    total : int
        Number of items.
    unit : str
        Name of an item.
    shown : bool
        Whether to show anything.
    """
    if not shown:
        yield lambda done: None
    elif sys.stderr is not None and sys.stderr.isatty() and _has_rich():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield _lines(label, total, unit)


def _lines(label: str, total: int, unit: str) -> Show:
    """Make a function that writes a line to stderr every ten seconds."""
    start = last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES or not done:
            return
        last = now
        left = (now - start) * (total - done) / done
        duration = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
        text = f"{label}: {unit} {done} of {total}, about {duration} left"
        print_message(text)

    return show


class TrainingLines(FitCallback):
    """Callback of scikit-learn that writes lines to stderr."""

    def __init__(self, label: str, max_iter: int | None) -> None:
        self.label = label
        self.total = 100 if max_iter is None else max_iter
        self.unit = "percent" if max_iter is None else "step"

    def setup(self, estimator: Any, context: Any) -> None:
        """Start to measure time."""
        self._show = _lines(self.label, self.total, self.unit)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Show the current step."""
        if context.parent is not None:
            fraction = (context.task_id + 1) / context.parent.max_subtasks
            self._show(round(fraction * self.total))


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None
