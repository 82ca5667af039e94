"""Which stage of a training step, or of scoring, the time is spent in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from ..detectors._images import ValidatedInput
from ..detectors._standardization import Standardization

# "representation" is local contrast and noise, "optimiser" clipping too, "other" mostly the loss.
TRAINING_STAGES = (
    "data",
    "corruption",
    "representation",
    "forward",
    "backward",
    "optimiser",
    "other",
)
# "reading" is standardisation and local contrast too, "maps" the scores too, "other" validation.
SCORING_STAGES = ("reading", "network", "maps", "other")


def now(device: torch.device) -> float:
    """Return the time in seconds at which the device is done with what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return perf_counter()


class Stopwatch:
    """The time of each stage, one of which begins where another ends.

    Between `stop` and `start`, entering a stage does nothing.

    Parameters
    ----------
    device : torch.device
        Which has to be done with a stage before the next one begins.
    stages : sequence of str
    """

    def __init__(self, device: torch.device, stages: Sequence[str]) -> None:
        self.device = device
        self.stages = stages
        self.is_running = False

    def start(self, stage: str) -> None:
        """Begin to measure, in this stage."""
        self.is_running = True
        self._seconds = dict.fromkeys(self.stages, 0.0)
        self._stage, self._since = stage, now(self.device)

    def enter(self, stage: str) -> None:
        """End the stage before, and begin this one."""
        if self.is_running:
            time = now(self.device)
            self._seconds[self._stage] += time - self._since
            self._stage, self._since = stage, time

    def stop(self) -> dict[str, float]:
        """Return the seconds of each stage since the start."""
        self.enter(self._stage)
        self.is_running = False
        return self._seconds


def stage_shares(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Share of each stage in the sum of their median times."""
    seconds = {stage: median(each[stage] for each in measured) for stage in measured[0]}
    total = sum(seconds.values())
    return {stage: value / total for stage, value in seconds.items()}


@contextmanager
def entering(
    watch: Stopwatch, owner: Any, name: str, stage: str, then: str | None = None
) -> Iterator[None]:
    """Have a call of a method enter a stage, and its end another one.

    Parameters
    ----------
    watch : Stopwatch
    owner : object or type
        Whose method it is, for the time being.
    name : str
        That of the method.
    stage : str
    then : str or None
        None stays in ``stage``.
    """
    method = getattr(owner, name)

    @functools.wraps(method)
    def marked(*arguments: Any, **options: Any) -> Any:
        watch.enter(stage)
        result = method(*arguments, **options)
        if then is not None:
            watch.enter(then)
        return result

    with patch.object(owner, name, marked):
        yield


@contextmanager
def network_calls(before: Callable[[Any], None], after: Callable[[], None]) -> Iterator[None]:
    """Call back before and after each pass through a network, whichever module it is.

    Scoring may use a copy or another form of the trained network: so it is any module that no
    other module calls. Costs a pass of the default network 0.2 ms.

    Parameters
    ----------
    before : callable
        ``before(input)``, with the first argument of the network.
    after : callable
    """
    depth = 0

    def enter(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            before(arguments[0])

    def leave(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            after()

    with register_module_forward_pre_hook(enter), register_module_forward_hook(leave):
        yield


@contextmanager
def scoring_stages(watch: Stopwatch) -> Iterator[None]:
    """Have `score_samples` enter SCORING_STAGES."""
    with ExitStack() as marks:
        # Where an image is scored in parts, it is loaded once, and the rest done part by part.
        for owner, name in (
            (ValidatedInput, "load"),
            (ValidatedInput, "scale"),
            (Standardization, "apply"),
            (Standardization, "represent"),
        ):
            marks.enter_context(entering(watch, owner, name, "reading"))
        marks.enter_context(
            network_calls(lambda images: watch.enter("network"), lambda: watch.enter("maps"))
        )
        yield
