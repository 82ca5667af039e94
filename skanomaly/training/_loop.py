"""The training loop."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._device import autocast
from ._checkpoint import load_checkpoint, save_checkpoint
from ._optimizer import NetworkOptimizer

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]

_SNAPSHOT_INTERVAL = 50
_CHECKPOINT_INTERVAL = 200
_GRADIENT_NORM = 1.0
_WARM_UP_FRACTION = 0.1


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite. The network holds the last good weights.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly import DenoisingAE, NonFiniteLossError
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> detector = DenoisingAE(learning_rate=1e30, max_iter=50, random_state=0)
    >>> try:
    ...     detector.fit(X)
    ... except NonFiniteLossError:
    ...     print(len(detector.score_samples(X)))  # the last good weights
    50
    """


@dataclass
class TrainingResult:
    """Loss curves of a training.

    Attributes
    ----------
    loss_curve : list of float
        Loss of each gradient step.
    validation_curve : list of (int, float)
        Number of completed steps, and loss on the held-out images.

    Examples
    --------
    >>> from skanomaly.training import TrainingResult
    >>> TrainingResult().loss_curve
    []
    """

    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class EarlyStopping:
    """When to stop before the last step.

    Attributes
    ----------
    validation_loss : callable
        ``validation_loss(network) -> float`` on held-out images with a fixed corruption.
    interval : int
        Number of gradient steps between two evaluations.
    patience : int
        Number of gradient steps without improvement after which training ends.

    Examples
    --------
    >>> from skanomaly.training import EarlyStopping
    >>> EarlyStopping(lambda network: 0.0, interval=50, patience=200).patience
    200
    """

    validation_loss: Callable[[nn.Module], float]
    interval: int
    patience: int


@dataclass(frozen=True)
class Checkpointing:
    """How to store the state of a training, and to resume from it.

    Attributes
    ----------
    path : Path
        File that is written every 200 steps.
    fingerprint : str
        Hash of parameters and data. Only a checkpoint with the same fingerprint is resumed.
    seed : int, default=0
        Seed of the training, for `checkpoint_seed`.
    interrupted : callable or None, default=None
        Called after each step. If it returns True, the state is written and training ends.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skanomaly.training import Checkpointing
    >>> Checkpointing(Path("training.pt"), fingerprint="parameters and data").path.name
    'training.pt'
    """

    path: Path
    fingerprint: str
    seed: int = 0
    interrupted: Callable[[], bool] | None = None


def learning_rate_fraction(step: int, max_iter: int) -> float:
    """Return the learning rate of a step, from 0, as a fraction of the largest.

    It rises linearly over a tenth of the steps and falls to zero as half a cosine.

    Examples
    --------
    >>> from skanomaly.training._loop import learning_rate_fraction
    >>> [round(learning_rate_fraction(step, 100), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warm_up = max(1, round(_WARM_UP_FRACTION * max_iter))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, max_iter - warm_up)))


def train(
    network: nn.Module,
    draw_batch: Callable[[int], Tensor],
    objective: Objective,
    *,
    max_iter: int,
    learning_rate: float,
    weight_decay: float,
    dtype: torch.dtype,
    generator: torch.Generator,
    constant_rate: bool = False,
    early_stopping: EarlyStopping | None = None,
    checkpointing: Checkpointing | None = None,
    on_step: Callable[[int, float], bool] | None = None,
    result: TrainingResult | None = None,
) -> TrainingResult:
    """Minimise an objective with warm-up, cosine decay and gradient clipping.

    Convolutions are trained by Muon, all other weights by AdamW.

    Parameters
    ----------
    network : torch.nn.Module
        Trained in place, and left in evaluation mode.
    draw_batch : callable
        ``draw_batch(step) -> Tensor``: the clean batch of that step, on the network's device.
    objective : callable
        ``objective(network, batch, generator) -> scalar Tensor``.
    max_iter : int
        Number of gradient steps.
    learning_rate, weight_decay : float
        Largest learning rate of the schedule, and weight decay, multiplied by the learning rate.
    dtype : torch.dtype
        Dtype of the network's products, float32 or bfloat16.
    generator : torch.Generator
        Passed to the objective; on the network's device.
    constant_rate : bool, default=False
        Whether to use a constant learning rate instead of the schedule.
    early_stopping : EarlyStopping or None
        If given, training ends without improvement, and the best weights are restored.
    checkpointing : Checkpointing or None
        If given, the state is written regularly, and training resumes from an existing one.
    on_step : callable or None
        ``on_step(step, loss) -> bool``, called after each step. Training ends if it returns True.
    result : TrainingResult or None
        Filled in place and returned, so that the curves remain if training fails.

    Returns
    -------
    TrainingResult

    Raises
    ------
    NonFiniteLossError
        If the loss or the gradient is NaN or infinite. The network then holds the last good
        weights.
    ValueError
        If the checkpoint cannot be read, or was written with other parameters or data.
    OSError
        If a checkpoint cannot be written.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import DenoisingObjective, train
    >>> generator = torch.Generator().manual_seed(0)
    >>> data = torch.randn(64, 4, generator=generator)
    >>> result = train(
    ...     torch.nn.Linear(4, 4),
    ...     lambda step: data,
    ...     DenoisingObjective(lambda rows, generator: rows),
    ...     max_iter=50,
    ...     learning_rate=0.1,
    ...     weight_decay=0.0,
    ...     dtype=torch.float32,
    ...     generator=generator,
    ... )
    >>> len(result.loss_curve), result.loss_curve[-1] < 0.1 * result.loss_curve[0]
    (50, True)
    """
    device = next(network.parameters()).device
    optimizer = NetworkOptimizer(network, learning_rate, weight_decay)
    result = TrainingResult() if result is None else result
    start, best, best_step = 0, math.inf, 0
    best_weights: dict[str, Any] | None = None
    state = None
    if checkpointing is not None:
        state = load_checkpoint(checkpointing.path, checkpointing.fingerprint)
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        result.loss_curve[:] = state["loss_curve"]
        result.validation_curve[:] = state["validation_curve"]
        start, best, best_step = state["step"], state["best"], state["best_step"]
        best_weights = state["best_weights"]
        validated = result.validation_curve
        if early_stopping and validated and validated[-1][0] - best_step >= early_stopping.patience:
            start = max_iter

    snapshot = copy.deepcopy(network.state_dict())
    snapshot_step = start
    for step in range(start, max_iter):
        network.train()
        batch = draw_batch(step)
        with autocast(device, dtype):
            loss = objective(network, batch, generator)
        norm = _clipped_gradient(network, loss)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            network.load_state_dict(snapshot)
            network.eval()
            raise NonFiniteLossError(
                f"Training stopped at step {step + 1} of {max_iter}: loss {value:g}, gradient norm "
                f"{norm:g}. The weights of step {snapshot_step} were restored. A smaller "
                f"learning_rate (got {learning_rate:g}) or precision='float32' may help."
            )
        # The loss and the gradient of these weights are known to be finite.
        if (step - start) % _SNAPSHOT_INTERVAL == 0:
            snapshot, snapshot_step = copy.deepcopy(network.state_dict()), step
        optimizer.step(1.0 if constant_rate else learning_rate_fraction(step, max_iter))
        result.loss_curve.append(value)

        done = step + 1
        ended, interrupted = done == max_iter, False
        if early_stopping is not None and (done % early_stopping.interval == 0 or done == max_iter):
            network.eval()
            validation_loss = early_stopping.validation_loss(network)
            result.validation_curve.append((done, validation_loss))
            if validation_loss < best:
                best, best_step = validation_loss, done
                best_weights = copy.deepcopy(network.state_dict())
            elif done - best_step >= early_stopping.patience:
                ended = True
        if checkpointing is not None:
            if checkpointing.interrupted is not None and checkpointing.interrupted():
                interrupted = True
            if ended or interrupted or done % _CHECKPOINT_INTERVAL == 0:
                state = {
                    "seed": checkpointing.seed,
                    "step": done,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                    "loss_curve": result.loss_curve,
                    "validation_curve": result.validation_curve,
                    "best": best,
                    "best_step": best_step,
                    "best_weights": best_weights,
                }
                save_checkpoint(checkpointing.path, checkpointing.fingerprint, state)
        if interrupted or (on_step is not None and on_step(step, value)) or ended:
            break
    if best_weights is not None:
        network.load_state_dict(best_weights)
    network.eval()
    return result


def _clipped_gradient(network: nn.Module, loss: Tensor) -> float:
    """Compute and clip the gradient, and return its norm before clipping."""
    try:
        loss.backward()
    except RuntimeError as error:
        # Raised under torch.autograd.set_detect_anomaly; without it, the norm is NaN.
        if "returned nan values" not in str(error):
            raise
        return math.nan
    return float(nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_NORM))
