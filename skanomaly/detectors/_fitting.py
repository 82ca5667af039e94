"""Fitting a detector: train its network, then set map steps and thresholds on normal images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from .._device import usual_torch_state
from .._logging import log_progress
from .._validation import (
    ValidatedInput,
    normalize_image_shape,
    validate_input,
    warn_of_anomalies,
)
from .._value_scale import warn_of_other_scale
from ..datasets._image_sequence import training_images
from ..scoring import (
    OPTIONAL_STEPS,
    ExpectedMap,
    FrameTerm,
    MapStep,
    aggregate,
    score_offset,
)
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
from ._checkpoint import checkpoint_in_use
from ._fit_plan import SMALLER_BATCH, FitPlan
from ._inference import Inference, apply_step
from ._model import DetectorModel, Standardization
from ._parameters import CONSTRAINTS

_VALIDATION_LIMIT = 256
_VALIDATION_INTERVAL = 50
_PROGRESS_TASKS = 100
# Images that thresholds are set on for callbacks during training.
_SNAPSHOT_LIMIT = 50
# Images that the expected map is averaged over.
_EXPECTED_MAP_LIMIT = 1000


def fit_detector(detector: Any, X: Any, y: Any, *, continued: bool, one_pass: bool = False) -> None:
    """Train and calibrate a detector; `fit` and `partial_fit` document it.

    Parameters
    ----------
    detector : estimator
    X, y : object
        As the user passed them.
    continued : bool
        Whether to start from the fitted weights of the detector.
    one_pass : bool
        Whether to train on each image once, at a tenth of the learning rate.
    """
    with ExitStack() as stack:
        stack.enter_context(usual_torch_state())
        stack.enter_context(_unchanged_on_error(detector))
        if detector.checkpoint is not None and not one_pass:
            stack.enter_context(checkpoint_in_use(detector.checkpoint))
        X = stack.enter_context(training_images(X))
        plan = make_plan(detector, X, continued=continued, one_pass=one_pass)
        warn_of_anomalies(y, len(plan.data))
        failure: NonFiniteLossError | None = None
        try:
            _run_training(detector, plan, X, y)
        except NonFiniteLossError as error:
            # The last good weights of a long training are kept, and get thresholds too.
            failure = error
        _set_fitted(detector, plan, plan.network, plan.data, plan.held_out)
        if failure is not None:
            raise failure


@contextmanager
def _unchanged_on_error(detector: Any) -> Iterator[None]:
    """Restore the fitted attributes of a detector if its fit fails."""
    before = dict(vars(detector))
    try:
        yield
    except NonFiniteLossError:
        raise
    except BaseException:
        for name in list(vars(detector)):
            if name.endswith("_") and not name.startswith("_"):
                delattr(detector, name)
        vars(detector).update(before)
        raise


def make_plan(detector: Any, X: Any, *, continued: bool, one_pass: bool = False) -> FitPlan:
    """Check parameters and data, and make the network; the detector keeps its fitted attributes."""
    detector._validate_params()
    data = validate_input(
        detector,
        X,
        image_shape=normalize_image_shape(detector.image_shape),
        fitted_shape=detector.image_shape_ if continued else None,
        reset=not continued,
        minimum=2,
    )
    if continued:
        warn_of_other_scale(data, detector.model_.usual_value)
    corruption: Any = getattr(detector, "corruption", None)
    if hasattr(corruption, "check_parameters"):
        corruption.check_parameters(rows=not data.is_image)
    return FitPlan(detector, data, continued=continued, one_pass=one_pass)


def _set_fitted(
    detector: Any,
    plan: FitPlan,
    network: nn.Module,
    data: ValidatedInput,
    held_out: NDArray[np.bool_] | None,
) -> None:
    detector.device_ = plan.device
    detector.image_shape_ = plan.fitted_shape
    detector.loss_curve_ = plan.outcome.loss_curve
    detector.validation_curve_ = plan.outcome.validation_curve
    detector.n_iter_ = len(plan.outcome.loss_curve)
    detector._hold_out_seed = plan.hold_out_seed
    detector.model_ = calibrate(
        detector, plan.standardization, network, plan.window, data, held_out
    )


def _attributes_so_far(detector: Any, plan: FitPlan) -> dict[str, Any]:
    """Compute the fitted attributes as if training ended now, for callbacks."""
    twin = clone(detector)
    network = copy.deepcopy(plan.network).eval()
    _set_fitted(twin, plan, network, plan.data.subset(_SNAPSHOT_LIMIT), None)
    twin.loss_curve_ = list(twin.loss_curve_)
    return {name: vars(twin)[name] for name in vars(twin).keys() - twin.get_params().keys()}


def _run_training(detector: Any, plan: FitPlan, X: Any, y: Any) -> None:
    """Train ``plan.network``, fill ``plan.outcome``, and call the detector's callbacks."""
    plan.require_memory()
    training = np.flatnonzero(~plan.held_out)
    generator = torch.Generator(plan.device).manual_seed(plan.training_seed)
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
            # The step at which training resumes is known at the first call only.
            if plan.one_pass:
                order = np.random.default_rng(plan.training_seed).permutation(training)
                batches = iter(np.array_split(order, plan.max_iter)[step:])
            else:
                steps = range(step, plan.max_iter)
                batches = (
                    _shuffled(training, n, plan.batch_size, plan.training_seed) for n in steps
                )
            loaded = plan.data.load_ahead(batches)
        images = _standardize(plan, next(loaded))
        if plan.augmentation:
            images = augment(images, plan.augmentation, generator)
        return _cropped(plan, images, generator)

    progress = _Progress(detector, plan, X, y)
    # Without a checkpoint, there is no state to save at the end of a step.
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
            # A smaller batch changes the training, so the user has to choose it.
            error.add_note(SMALLER_BATCH)
            raise
    progress.context.call_on_fit_task_end(estimator=detector)


class _Progress:
    """Reports to scikit-learn's callbacks, in at most a hundred tasks of equal length."""

    def __init__(self, detector: Any, plan: FitPlan, X: Any, y: Any) -> None:
        self.detector = detector
        self.plan = plan
        self.hooks = {
            "X": X,
            "y": y,
            "reconstruction_attributes": lambda: _attributes_so_far(detector, plan),
        }
        self.tasks = min(_PROGRESS_TASKS, plan.max_iter)
        self.done = 0
        self.context = detector._init_callback_context(max_subtasks=self.tasks)
        self.context.call_on_fit_task_begin(estimator=detector, X=X, y=y)
        self.task: Any = None

    def step(self, step: int, loss: float) -> bool:
        """Report one step; True if a callback stops training."""
        twentieth = [20 * done // self.plan.max_iter for done in (step, step + 1)]
        if twentieth[0] < twentieth[1]:
            text = f"step {step + 1}/{self.plan.max_iter}, loss {loss:.4g}"
            log_progress(text, verbose=self.plan.verbose)
        if self.task is None:
            self.task = self.context.subcontext(task_name="gradient steps")
            self.task.call_on_fit_task_begin(estimator=self.detector)
        if step + 1 < math.ceil((self.done + 1) * self.plan.max_iter / self.tasks):
            return False
        self.done += 1
        stop = self.task.call_on_fit_task_end(estimator=self.detector, **self.hooks)
        self.task = None
        return bool(stop)


def _shuffled(indices: NDArray[np.intp], step: int, batch_size: int, seed: int) -> NDArray[np.intp]:
    """Draw the batch of a step, from an endless sequence of shuffled epochs.

    It depends on the step alone, so that interrupted training can be resumed.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // len(indices)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(indices)
        for epoch in np.unique(epochs)
    }
    return np.array([orders[e][p % len(indices)] for e, p in zip(epochs, positions, strict=True)])


def _standardize(plan: FitPlan, images: NDArray[Any]) -> Tensor:
    """Standardize images, as they were loaded, on the device, channels first."""
    batch = torch.from_numpy(plan.data.scale(images)).to(plan.device)
    if plan.data.is_image:
        batch = batch.permute(0, 3, 1, 2)
    return plan.standardization(batch)[0].float()


def _cropped(plan: FitPlan, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the crops of a batch, if the network is trained on crops."""
    if plan.crop is None:
        return images
    return random_crops(images.repeat(plan.crops_per_image, 1, 1, 1), plan.crop, generator)


def _validation_loss(plan: FitPlan) -> Callable[[nn.Module], float]:
    """Make the objective on held-out images, with the same corruption each time."""
    held_out = np.flatnonzero(plan.held_out)[:_VALIDATION_LIMIT]
    # Of nearly one size: a corruption takes content from its batch.
    batches = np.array_split(held_out, -(-len(held_out) // plan.batch_size))

    def validation_loss(network: nn.Module) -> float:
        generator = torch.Generator(plan.device).manual_seed(plan.training_seed)
        losses = []
        with torch.no_grad(), autocast(plan.device, plan.dtype):
            for indices in batches:
                images = _standardize(plan, plan.data.load(indices))
                images = _cropped(plan, images, generator)
                losses.append(float(plan.objective(network, images, generator)))
        return float(np.average(losses, weights=[len(indices) for indices in batches]))

    return validation_loss


def calibrate(
    detector: Any,
    standardization: Standardization,
    network: nn.Module,
    window: tuple[int, int] | None,
    data: ValidatedInput,
    held_out: NDArray[np.bool_] | None,
) -> DetectorModel:
    """Make the model of a detector, with map steps and thresholds from normal images.

    Parameters
    ----------
    detector : estimator
        Has the parameters of maps and scores.
    standardization : Standardization
    network : torch.nn.Module
        Trained, in evaluation mode.
    window : (int, int) or None
        Size of the images or crops that it was trained on; None for rows.
    data : ValidatedInput
        Normal images.
    held_out : ndarray of shape (n,), bool, or None
        Which of them the network was not trained on.

    Returns
    -------
    DetectorModel
    """
    aggregation = detector.score_aggregation
    model = DetectorModel(
        standardization,
        network,
        window=window,
        smoothing_size=int(detector.smoothing_size),
        smoothing_passes=int(detector.smoothing_passes),
        aggregation=aggregation if isinstance(aggregation, str) else float(aggregation),
    )
    inference = Inference(model, detector.device_, detector.precision)
    expected = _expected_map(detector, data, held_out, inference)
    # A subclass may fix some of the shared parameters.
    parameters = {name: getattr(detector, name) for name in CONSTRAINTS}
    parameters |= detector.get_params(deep=False)
    # Windows are in pixels of the training images, whatever the size of the others.
    shape = detector.image_shape_
    optional = (kind.from_parameters(parameters, shape) for kind in OPTIONAL_STEPS)
    steps: list[MapStep] = [expected, *(step for step in optional if step is not None)]

    # A numeric contamination is a fraction of these images as `predict` scores them.
    leave_one_out = detector.normalize_map and not data.is_image
    leave_one_out &= detector.contamination == "auto" and len(data) <= _EXPECTED_MAP_LIMIT
    # Lists of numbers: small tensors kept between large ones would fragment the heap.
    scores: list[float] = []
    maxima: list[float] = []
    frames: list[list[float]] = []
    for maps, frame in inference.difference_maps(data):
        maps = expected.leave_one_out(maps, len(data)) if leave_one_out else expected(maps, frame)
        for step in steps[1:]:
            maps = apply_step(step, maps, frame)
        scores.extend((-aggregate(maps, model.aggregation)).tolist())
        maxima.extend(maps.flatten(1).amax(1).tolist())
        frames.extend(frame.tolist())
    model.offset = score_offset(np.array(scores), detector.contamination, held_out)
    # Maps are high for anomalies: negated, their maxima compare like scores.
    model.map_threshold = -score_offset(-np.array(maxima), detector.contamination, held_out)
    if data.is_image:
        steps.append(
            FrameTerm.fit(
                torch.tensor(frames, dtype=torch.float64),
                # In units of the threshold, so that it flags an image whatever its map.
                weight=-model.offset or 1.0,
                brightness=not standardization.per_image,
                aggregation=model.aggregation,
            )
        )
    model.steps.extend(steps)
    return model


def _expected_map(
    detector: Any,
    data: ValidatedInput,
    held_out: NDArray[np.bool_] | None,
    inference: Inference,
) -> ExpectedMap:
    if not detector.normalize_map:
        shape = (1, 1, 1) if data.is_image else (1, *data.shape)
        return ExpectedMap(expected=torch.ones(shape, dtype=torch.float64))
    # Training images are reconstructed better than new ones.
    if data.is_image and held_out is not None and held_out.any():
        data = data.take(np.flatnonzero(held_out))
    return ExpectedMap.fit(
        (maps.mean((2, 3), keepdim=True) if data.is_image else maps).cpu()
        for maps, _ in inference.difference_maps(data.subset(_EXPECTED_MAP_LIMIT))
    )
