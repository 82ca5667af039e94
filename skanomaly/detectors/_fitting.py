"""From a plan to a trained network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._files import exclusive_use
from .._logging import log_progress
from ..training import (
    Checkpointing,
    EarlyStopping,
    NonFiniteLossError,
    augment,
    autocast,
    held_back_interrupt,
    random_crops,
    train,
)
from ._fit_plan import SMALLER_BATCH, FitPlan

_VALIDATION_LIMIT = 256
_VALIDATION_INTERVAL = 50
_PROGRESS_TASKS = 100


@contextmanager
def unchanged_on_error(detector: Any) -> Iterator[None]:
    """Give a detector back what it had learned before, if a fit of it does not end."""
    before = _learned(detector)
    try:
        yield
    except NonFiniteLossError:
        raise
    except BaseException:
        for name in _learned(detector):
            delattr(detector, name)
        vars(detector).update(before)
        raise


def _learned(detector: Any) -> dict[str, Any]:
    """What `fit` has set: names with a trailing underscore."""
    return {
        name: value
        for name, value in vars(detector).items()
        if name.endswith("_") and not name.startswith("_")
    }


@contextmanager
def checkpoint_in_use(checkpoint: Any) -> Iterator[None]:
    """Keep a checkpoint for one fit, from the reading of its seed to the last state.

    Raises
    ------
    RuntimeError
        If another fit has it.
    """
    if checkpoint is None:
        yield
        return
    with ExitStack() as stack:
        try:
            is_ours = stack.enter_context(exclusive_use(Path(checkpoint)))
        except (OSError, TypeError, ValueError):
            # Told of where parameters are checked.
            is_ours = True
        if not is_ours:
            raise RuntimeError(
                f"checkpoint={str(checkpoint)!r} is in use by another fit. Set another path for "
                "each fit. In a search, cross-validation or ensemble, whose clones share the path, "
                "set checkpoint=None."
            )
        yield


def run_training(
    detector: Any,
    plan: FitPlan,
    X: Any,
    y: Any,
    attributes_so_far: Callable[[FitPlan], dict[str, Any]],
) -> None:
    """Train the plan's network, reporting to the detector's callbacks.

    What comes of it is in ``plan.network`` and ``plan.outcome``, up to where training came if it
    fails.

    Parameters
    ----------
    detector : estimator
        Whose callbacks are called.
    plan : FitPlan
    X, y : object
        As the user gave them, for callbacks.
    attributes_so_far : callable
        Makes the fitted attributes of a detector whose training ends now, for callbacks that ask.
    """
    plan.require_memory()
    training = np.flatnonzero(~plan.held_out)
    generator = torch.Generator(plan.device).manual_seed(plan.seed)
    early_stopping = None
    if plan.early_stopping:
        early_stopping = EarlyStopping(
            _validation_loss(plan),
            interval=min(_VALIDATION_INTERVAL, plan.n_iter_no_change),
            patience=plan.n_iter_no_change,
        )
    loaded: Iterator[NDArray[Any]] | None = None

    def draw_batch(step: int) -> Tensor:
        nonlocal loaded
        if loaded is None:
            # Only the first call tells at which step training goes on.
            steps = range(step, plan.max_iter)
            if plan.one_pass:
                order = np.random.default_rng(plan.seed).permutation(training)
                batches = iter(np.array_split(order, plan.max_iter)[step:])
            else:
                batches = (_shuffled(training, n, plan.batch_size, plan.seed) for n in steps)
            loaded = plan.data.load_ahead(batches)
        images = _standardize(plan, next(loaded))
        if plan.augmentation:
            images = augment(images, plan.augmentation, generator)
        if plan.crop is not None:
            images = random_crops(images, plan.crop, generator)
        return images

    hooks = {"X": X, "y": y, "reconstruction_attributes": lambda: attributes_so_far(plan)}
    progress = _Progress(detector, plan, hooks)
    # Without a checkpoint, nothing is won by waiting for the end of a step.
    hold_back = nullcontext() if plan.checkpoint is None else held_back_interrupt()
    with hold_back as interrupted:
        checkpointing = None
        if plan.checkpoint is not None:
            checkpointing = Checkpointing(plan.checkpoint, plan.fingerprint, plan.seed, interrupted)
        try:
            train(
                plan.network,
                draw_batch,
                plan.objective,
                max_iter=plan.max_iter,
                learning_rate=plan.learning_rate,
                weight_decay=plan.weight_decay,
                dtype=plan.dtype,
                generator=generator,
                constant_rate=plan.one_pass,
                early_stopping=early_stopping,
                checkpointing=checkpointing,
                on_step=progress.step,
                result=plan.outcome,
            )
        except torch.cuda.OutOfMemoryError as error:
            # A smaller batch would be another training, which is not for the library to choose.
            error.add_note(SMALLER_BATCH)
            raise
    progress.finish()


class _Progress:
    """Reports to scikit-learn's callbacks, in at most a hundred tasks of equal length."""

    def __init__(self, detector: Any, plan: FitPlan, hooks: dict[str, Any]) -> None:
        self.detector = detector
        self.hooks = hooks
        self.plan = plan
        self.tasks = min(_PROGRESS_TASKS, plan.max_iter)
        self.done = 0
        self.context = detector._init_callback_context(max_subtasks=self.tasks)
        self.context.call_on_fit_task_begin(estimator=detector, X=hooks["X"], y=hooks["y"])
        self.task: Any = None

    def step(self, step: int, loss: float) -> bool:
        """Take note of one step; True if a callback wants training to end."""
        if (step + 1) % max(1, self.plan.max_iter // 20) == 0:
            text = f"step {step + 1}/{self.plan.max_iter}, loss {loss:.4g}"
            log_progress(text, verbose=self.plan.verbose)
        if self.task is None:
            self.task = self.context.subcontext(task_name="gradient steps")
            self.task.call_on_fit_task_begin(estimator=self.detector)
        target = math.ceil((self.done + 1) * self.plan.max_iter / self.tasks)
        if step + 1 < target:
            return False
        self.done += 1
        stop = self.task.call_on_fit_task_end(estimator=self.detector, **self.hooks)
        self.task = None
        return bool(stop)

    def finish(self) -> None:
        self.context.call_on_fit_task_end(estimator=self.detector)


def _shuffled(indices: NDArray[np.intp], step: int, batch_size: int, seed: int) -> NDArray[np.intp]:
    """The batch of a step, from an endless run through the images in ever new order.

    A function of the step alone, so that an interrupted training goes on where it was.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // len(indices)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(indices)
        for epoch in np.unique(epochs)
    }
    return np.array([orders[e][p % len(indices)] for e, p in zip(epochs, positions, strict=True)])


def _standardize(plan: FitPlan, images: NDArray[Any]) -> Tensor:
    """Bring images, as they were loaded, onto the device, standardised, channels first."""
    batch = torch.from_numpy(plan.data.scale(images)).to(plan.device)
    if plan.data.is_image:
        batch = batch.permute(0, 3, 1, 2)
    return plan.standardization(batch)[0].float()


def _validation_loss(plan: FitPlan) -> Callable[[nn.Module], float]:
    """Make the objective on held-out images, with the same corruption each time."""
    held_out = np.flatnonzero(plan.held_out)[:_VALIDATION_LIMIT]
    # Full batches of one size where that is possible: a corruption borrows from its batch.
    size = min(plan.batch_size, len(held_out))
    batches = [held_out[i : i + size] for i in range(0, len(held_out) - size + 1, size)]

    def validation_loss(network: nn.Module) -> float:
        generator = torch.Generator(plan.device).manual_seed(plan.seed)
        losses = []
        with torch.no_grad(), autocast(plan.device, plan.dtype):
            for indices in batches:
                images = _standardize(plan, plan.data.load(indices))
                losses.append(float(plan.objective(network, images, generator)))
        return float(np.mean(losses))

    return validation_loss
