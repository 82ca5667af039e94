"""From a detector's parameters and its data to a trained network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._logging import log_progress
from .._memory import available_memory, require_memory, training_memory
from ..datasets import ImageSequence
from ..training import (
    AUGMENTATIONS,
    Checkpointing,
    EarlyStopping,
    NonFiniteLossError,
    TrainingResult,
    augment,
    autocast,
    held_back_interrupt,
    random_crops,
    train,
)
from ._images import Shape, ValidatedInput
from ._standardization import Standardization

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]

_VALIDATION_LIMIT = 256
_VALIDATION_INTERVAL = 50
_PROGRESS_TASKS = 100
# Bytes for each value of a batch that training surely gets by with, where they are free.
_AMPLE_MEMORY = 4000
_SMALLER_BATCH = "Pass a smaller batch_size or crop_size, or smaller images."


@dataclass
class FitPlan:
    """All that one training needs; the detector itself is not touched until it is done."""

    data: ValidatedInput
    network: nn.Module
    standardization: Standardization
    objective: Objective
    device: torch.device
    dtype: torch.dtype
    seed: int
    fitted_shape: Shape
    max_iter: int
    batch_size: int
    crop: tuple[int, int] | None
    augmentation: tuple[str, ...]
    learning_rate: float
    weight_decay: float
    early_stopping: bool
    held_out: NDArray[np.bool_]
    n_iter_no_change: int
    checkpoint: Path | None
    fingerprint: str
    verbose: int
    constant_rate: bool = False
    outcome: TrainingResult = field(default_factory=TrainingResult)

    @classmethod
    def from_parameters(
        cls,
        detector: Any,
        *,
        data: ValidatedInput,
        network: nn.Module,
        standardization: Standardization,
        objective: Objective,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        continued: bool,
        checkpoint: Path | None,
    ) -> FitPlan:
        """Take the training parameters of a detector, checked against the data."""
        if checkpoint is not None:
            _check_folder(checkpoint)
        return cls(
            data=data,
            network=network,
            standardization=standardization,
            objective=objective,
            device=device,
            dtype=dtype,
            seed=seed,
            fitted_shape=detector.image_shape_ if continued else data.shape,
            max_iter=int(detector.max_iter),
            batch_size=int(detector.batch_size),
            crop=_check_crop(detector.crop_size, data),
            augmentation=_check_augmentation(detector.augmentation, data),
            learning_rate=float(detector.learning_rate),
            weight_decay=float(detector.weight_decay),
            early_stopping=bool(detector.early_stopping),
            held_out=_hold_out(detector, len(data), seed),
            n_iter_no_change=int(detector.n_iter_no_change),
            checkpoint=checkpoint,
            fingerprint=""
            if checkpoint is None
            else _fingerprint(detector, data, network, continued),
            verbose=int(detector.verbose),
        )


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
    """What `fit` has set: names with a trailing underscore, and what goes with them."""
    private = ("_standardization", "_region_term", "_frame_term")
    return {
        name: value
        for name, value in vars(detector).items()
        if name in private or (name.endswith("_") and not name.startswith("_"))
    }


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
    _require_memory(plan)
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
            loaded = plan.data.load_ahead(
                _shuffled(training, each, plan.batch_size, plan.seed) for each in steps
            )
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
                constant_rate=plan.constant_rate,
                early_stopping=early_stopping,
                checkpointing=checkpointing,
                on_step=progress.step,
                result=plan.outcome,
            )
        except torch.cuda.OutOfMemoryError as error:
            # A smaller batch would be another training, which is not for the library to choose.
            error.add_note(_SMALLER_BATCH)
            raise
    progress.finish()


def _require_memory(plan: FitPlan) -> None:
    """Refuse batches whose training cannot fit into memory."""
    if plan.device.type != "cpu":
        return
    shape = plan.standardization.network_shape(plan.data)
    sides = shape[:-1] if plan.crop is None else plan.crop
    batch = (plan.batch_size, shape[-1], *sides)
    if _AMPLE_MEMORY * math.prod(batch) < available_memory():
        return
    require_memory(
        training_memory(plan.network, batch, itemsize=plan.dtype.itemsize),
        f"training steps on batches of {plan.batch_size} of shape {(*sides, plan.data.shape[-1])}",
        _SMALLER_BATCH,
    )


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


def _hold_out(detector: Any, count: int, seed: int) -> NDArray[np.bool_]:
    """Which images are kept from training, for early stopping or to set the thresholds."""
    held_out = np.zeros(count, dtype=bool)
    if detector.early_stopping or detector.contamination == "auto":
        share = min(count - 1, max(1, round(detector.validation_fraction * count)))
        held_out[np.random.default_rng(seed).permutation(count)[:share]] = True
    return held_out


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
    return plan.standardization.apply(batch)[0].float()


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


def _check_folder(checkpoint: Path) -> None:
    """Find out before training whether its state can be written."""
    if not checkpoint.parent.is_dir():
        raise ValueError(
            f"checkpoint={str(checkpoint)!r} must lie in a folder that exists, but "
            f"{str(checkpoint.parent)!r} does not."
        )
    try:
        with TemporaryFile(dir=checkpoint.parent):
            pass
    except OSError as error:
        raise OSError(
            error.errno,
            f"A checkpoint could not be written to checkpoint={str(checkpoint)!r}: "
            f"{error.strerror}. Training has not begun",
        ) from error


def _check_crop(crop_size: Any, data: ValidatedInput) -> tuple[int, int] | None:
    if crop_size is None:
        return None
    if not data.is_image:
        raise ValueError(f"crop_size must be None for plain vectors, got {crop_size!r}.")
    size = (crop_size, crop_size) if isinstance(crop_size, (int, np.integer)) else crop_size
    valid = len(size) == 2 and all(isinstance(side, (int, np.integer)) for side in size)
    if not valid or not all(
        1 <= side <= full for side, full in zip(size, data.shape, strict=False)
    ):
        raise ValueError(
            f"crop_size must be an integer or (height, width) no larger than the images of "
            f"{data.shape[0]} × {data.shape[1]} pixels, got {crop_size!r}."
        )
    return int(size[0]), int(size[1])


def _check_augmentation(augmentation: Any, data: ValidatedInput) -> tuple[str, ...]:
    if augmentation is None:
        return ()
    names: Sequence[str] = [augmentation] if isinstance(augmentation, str) else augmentation
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(
            f"augmentation must be None or taken from {list(AUGMENTATIONS)}, got {augmentation!r}."
        )
    if names and not data.is_image:
        raise ValueError(f"augmentation must be None for plain vectors, got {augmentation!r}.")
    return tuple(names)


def _fingerprint(detector: Any, data: ValidatedInput, network: nn.Module, continued: bool) -> str:
    """What must agree for a checkpoint to be taken up: parameters that matter, and the data."""
    ignored = {
        *("checkpoint", "verbose", "smoothing_size", "smoothing_passes"),
        *("normalize_map", "region_size", "score_aggregation"),
    }
    parameters = {
        name: _without_address(value)
        for name, value in sorted(detector.get_params().items())
        if name not in ignored
    }
    if not isinstance(detector.random_state, Integral):
        # No number to compare: the seed that was drawn is the checkpoint's.
        parameters["random_state"] = None
    weights = network.state_dict()
    starts = [
        # Weights that were trained before are a parameter too; drawn ones come of the seed.
        (name, tuple(value.shape), value.cpu().numpy() if continued else None)
        for name, value in weights.items()
    ]
    device = next(network.parameters()).device.type
    return str(
        joblib.hash((type(detector).__name__, parameters, starts, device, _data_digest(data)))
    )


def _without_address(value: Any) -> Any:
    """Name a function by its name: its address in memory is another one in the next process."""
    if isinstance(value, partial):
        return _without_address(value.func), value.args, value.keywords
    return getattr(value, "__qualname__", value)


def _data_digest(data: ValidatedInput) -> str:
    """Tell data apart: arrays by all values, files by all their sizes and the values of some."""
    digest = hashlib.sha256(repr((len(data), data.shape)).encode())
    some = np.arange(len(data))
    if isinstance(data.source, ImageSequence):
        # All files would be a whole pass over what may lie behind a network.
        digest.update(repr([path.stat().st_size for path in data.source.paths]).encode())
        some = np.linspace(0, len(data) - 1, min(len(data), 100)).astype(np.intp)
    for indices in np.array_split(some, -(-len(some) // 16)):
        digest.update(np.ascontiguousarray(data.read(indices)).data)
    return digest.hexdigest()
