"""The training loop that all objectives share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._checkpoint import load_checkpoint, save_checkpoint
from ._device import autocast
from ._optimizer import NetworkOptimizer

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]

_SNAPSHOT_INTERVAL = 50
_CHECKPOINT_INTERVAL = 200
_GRADIENT_NORM = 1.0
_WARM_UP_FRACTION = 0.1


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite; the network holds the last good weights.

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
    """What training leaves beside the trained network.

    Attributes
    ----------
    loss_curve : list of float
        Loss of each gradient step.
    validation_curve : list of (int, float)
        Number of steps done and loss on the held-out images.

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
        Gradient steps between two evaluations.
    patience : int
        Gradient steps without improvement after which training ends.

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
    """Where an interrupted training is taken up again.

    Attributes
    ----------
    path : Path
        File that is written at intervals.
    fingerprint : str
        What parameters and data must agree on for a checkpoint to be taken up.
    seed : int, default=0
        What weights, order of images and random numbers were drawn from, for `checkpoint_seed`.
    interrupted : callable or None, default=None
        Asked after each step; if it says True, the state is written and training ends.

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
    """Fraction of the learning rate at a step: a linear rise over a tenth, then a cosine to zero.

    Parameters
    ----------
    step : int
        From 0.
    max_iter : int
        Number of all steps.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> from skanomaly.training import learning_rate_fraction
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

    Convolutions are trained by orthogonalised momentum, all other weights by AdamW: see
    `NetworkOptimizer`.

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
        Largest rate of the schedule, and decay for each unit of it.
    dtype : torch.dtype
        Of the network's products: float32 or bfloat16.
    generator : torch.Generator
        Passed to the objective; on the network's device.
    constant_rate : bool, default=False
        Whether to keep the learning rate as it is, for training further.
    early_stopping : EarlyStopping or None
        If given, training ends without improvement, and the best weights are restored.
    checkpointing : Checkpointing or None
        If given, the state is written at intervals and taken up from there.
    on_step : callable or None
        ``on_step(step, loss) -> bool`` after each step; True ends training.
    result : TrainingResult or None
        Filled and returned; what it holds remains if training fails.

    Returns
    -------
    TrainingResult

    Raises
    ------
    NonFiniteLossError
        If loss or gradient become NaN or infinite. The network then holds the last good weights.
    ValueError
        If there is a checkpoint that cannot be read, or is of other parameters or data.
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
    best = math.inf
    best_step = 0
    best_weights: dict[str, Any] | None = None
    start = 0
    if checkpointing is not None:
        state = load_checkpoint(checkpointing.path, checkpointing.fingerprint)
        if state is not None:
            start = state["step"]
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            generator.set_state(state["generator"])
            result.loss_curve[:] = state["loss_curve"]
            result.validation_curve[:] = state["validation_curve"]
            best, best_step = state["best"], state["best_step"]
            best_weights = state["best_weights"]

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
                f"{norm:g}. The weights of step {snapshot_step} were kept. A smaller "
                f"learning_rate (got {learning_rate:g}) or precision='float32' may help."
            )
        # Taken while loss and gradient of these very weights are known to be finite.
        if (step - start) % _SNAPSHOT_INTERVAL == 0:
            snapshot, snapshot_step = copy.deepcopy(network.state_dict()), step
        optimizer.step(1.0 if constant_rate else learning_rate_fraction(step, max_iter))
        result.loss_curve.append(value)

        done = step + 1
        if early_stopping is not None and (done % early_stopping.interval == 0 or done == max_iter):
            network.eval()
            held_out = early_stopping.validation_loss(network)
            result.validation_curve.append((done, held_out))
            if held_out < best:
                best, best_step = held_out, done
                best_weights = copy.deepcopy(network.state_dict())
            elif done - best_step >= early_stopping.patience:
                break
        interrupted = checkpointing is not None and bool(
            checkpointing.interrupted and checkpointing.interrupted()
        )
        due = interrupted or done % _CHECKPOINT_INTERVAL == 0 or done == max_iter
        if checkpointing is not None and due:
            save_checkpoint(
                checkpointing.path,
                checkpointing.fingerprint,
                {
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
                },
            )
        if interrupted or (on_step is not None and on_step(step, value)):
            break
    if best_weights is not None:
        network.load_state_dict(best_weights)
    network.eval()
    return result


def _clipped_gradient(network: nn.Module, loss: Tensor) -> float:
    """Compute the gradient, cut it to length, and return the norm that it had."""
    try:
        loss.backward()
    except RuntimeError as error:
        # Of torch.autograd.set_detect_anomaly; without it the norm shows as much.
        if "returned nan values" not in str(error):
            raise
        return math.nan
    return float(nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_NORM))
