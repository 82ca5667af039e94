"""All that one training needs, taken from a detector's parameters and checked."""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import isfunction, ismethod
from numbers import Integral
from pathlib import Path
from types import CellType, CodeType
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._files import check_output_file
from .._memory import available_memory, require_memory
from ..datasets import ImageSequence
from ..training import (
    AUGMENTATIONS,
    SYMMETRIES,
    SYMMETRY_LIMIT,
    TrainingResult,
    checkpoint_seed,
    find_symmetries,
    resolve_device,
    resolve_precision,
    to_channels_last,
)
from ..training._device import training_memory
from ._images import Shape, ValidatedInput, channels_first
from ._network import make_network
from ._standardization import Standardization

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]

# Bytes for each value of a batch that training surely gets by with, where they are free.
_AMPLE_MEMORY = 4000
# With max_iter="auto": passes over the images, which count twice for each flip or rotation.
_PASSES = 150
_FEWEST_STEPS = 300
_MOST_STEPS = 3000
# Images to set automatic thresholds by, where these are no more than a third of all.
_FEWEST_HELD_OUT = 20
# With fewer images than these, the automatic threshold is a guess.
_FEW_IMAGES = 20
SMALLER_BATCH = "Pass a smaller batch_size or crop_size, or smaller images."


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
    one_pass: bool
    outcome: TrainingResult = field(default_factory=TrainingResult)

    @classmethod
    def from_parameters(
        cls,
        detector: Any,
        data: ValidatedInput,
        *,
        continued: bool,
        one_pass: bool,
    ) -> FitPlan:
        """Take the training parameters of a detector, checked against the data.

        Parameters
        ----------
        detector : estimator
        data : ValidatedInput
        continued : bool
            Whether to go on from what the detector has learned.
        one_pass : bool
            Whether to train on each image once, at a tenth of the rate, as `partial_fit` does.
        """
        checkpoint = None
        if detector.checkpoint is not None and not one_pass:
            checkpoint = Path(detector.checkpoint)
            _check_folder(checkpoint)
        seed = _draw_seed(detector.random_state, checkpoint)
        device = resolve_device(detector.device)
        if continued:
            network = copy.deepcopy(detector.model_.network)
            standardization = detector.model_.standardization
        else:
            standardization = Standardization.fit(
                data,
                standardization=detector.standardization,
                contrast_size=detector.contrast_size,
            )
            automatic = detector.network == "auto"
            network = make_network(
                detector._auto_network(data.is_image) if automatic else detector.network,
                standardization.network_shape(data),
                seed,
            )
        network = network.to(device, torch.float32)
        if data.is_image:
            network = to_channels_last(network)
        early_stopping = bool(detector.early_stopping) and not one_pass
        held_out = _hold_out(detector, len(data), seed, early_stopping=early_stopping)
        if data.is_image and detector.contamination == "auto" and len(data) < _FEW_IMAGES:
            warnings.warn(
                f"X holds {len(data)} images, which are too few to set thresholds by: expect many "
                f"false alarms or misses. Fit on {_FEW_IMAGES} or more, or pass a number as "
                "contamination.",
                UserWarning,
                stacklevel=2,
            )
        augmentation = _check_augmentation(detector, data, standardization)
        max_iter = detector.max_iter
        if one_pass:
            max_iter = -(-int((~held_out).sum()) // int(detector.batch_size))
        elif max_iter == "auto":
            max_iter = _usual_steps(data, held_out, augmentation, int(detector.batch_size))
        return cls(
            data=data,
            network=network,
            standardization=standardization,
            objective=detector._make_objective(network, standardization.represent),
            device=device,
            dtype=resolve_precision(detector.precision, device) if data.is_image else torch.float32,
            seed=seed,
            fitted_shape=detector.image_shape_ if continued else data.shape,
            max_iter=int(max_iter),
            batch_size=int(detector.batch_size),
            crop=_check_crop(detector.crop_size, data),
            augmentation=augmentation,
            learning_rate=float(detector.learning_rate) * (0.1 if one_pass else 1.0),
            weight_decay=float(detector.weight_decay),
            early_stopping=early_stopping,
            held_out=held_out,
            n_iter_no_change=int(detector.n_iter_no_change),
            checkpoint=checkpoint,
            fingerprint=""
            if checkpoint is None
            else _fingerprint(detector, data, network, continued),
            verbose=int(detector.verbose),
            one_pass=one_pass,
        )

    def require_memory(self) -> None:
        """Refuse batches whose training cannot fit into memory.

        Raises
        ------
        MemoryError
        """
        if self.device.type != "cpu":
            return
        shape = self.standardization.network_shape(self.data)
        sides = shape[:-1] if self.crop is None else self.crop
        batch = (self.batch_size, shape[-1], *sides)
        if _AMPLE_MEMORY * math.prod(batch) < available_memory():
            return
        one = (*sides, self.data.shape[-1])
        require_memory(
            training_memory(self.network, batch, itemsize=self.dtype.itemsize),
            f"training steps on batches of {self.batch_size} of shape {one}",
            SMALLER_BATCH,
        )


def _draw_seed(random_state: Any, checkpoint: Path | None) -> int:
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    if checkpoint is not None and not isinstance(random_state, Integral):
        # Another seed than the one that was drawn then would make another training.
        drawn = checkpoint_seed(checkpoint)
        seed = seed if drawn is None else drawn
    return seed


def _hold_out(detector: Any, count: int, seed: int, *, early_stopping: bool) -> NDArray[np.bool_]:
    """Which images are kept from training, for early stopping or to set the thresholds."""
    held_out = np.zeros(count, dtype=bool)
    if early_stopping or detector.contamination == "auto":
        held = max(1, round(detector.validation_fraction * count))
        if detector.contamination == "auto":
            # The spread of scores cannot be told from fewer.
            held = max(held, min(_FEWEST_HELD_OUT, count // 3))
        held = min(count - 1, held)
        held_out[np.random.default_rng(seed).permutation(count)[:held]] = True
    return held_out


def _usual_steps(
    data: ValidatedInput,
    held_out: NDArray[np.bool_],
    augmentation: tuple[str, ...],
    batch_size: int,
) -> int:
    """How many steps "auto" stands for: fewer where there are few images."""
    if not data.is_image:
        return _MOST_STEPS
    different = int((~held_out).sum()) * 2 ** sum(name in SYMMETRIES for name in augmentation)
    return min(_MOST_STEPS, max(_FEWEST_STEPS, round(_PASSES * different / batch_size)))


def _check_folder(checkpoint: Path) -> None:
    """Find out before training whether its state can be written."""
    try:
        check_output_file(checkpoint, "checkpoint")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}. Training has not begun") from error


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


def _check_augmentation(
    detector: Any, data: ValidatedInput, standardization: Standardization
) -> tuple[str, ...]:
    augmentation = detector.augmentation
    if augmentation is None or (augmentation == "auto" and not data.is_image):
        return ()
    if augmentation == "auto":
        sample = data.subset(SYMMETRY_LIMIT)
        symmetries = find_symmetries(
            standardization(channels_first(sample.read(np.array([index]))))[0]
            for index in range(len(sample))
        )
        return (*symmetries, *detector._auto_augmentation)
    names: Sequence[str] = [augmentation] if isinstance(augmentation, str) else augmentation
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(
            f"augmentation must be 'auto', None or taken from {list(AUGMENTATIONS)}, got "
            f"{augmentation!r}."
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
        name: _described(value)
        for name, value in sorted(detector.get_params(deep=False).items())
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


def _described(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """Describe a parameter so that equal ones agree in another process, where addresses differ.

    ``inside`` holds the addresses of functions and classes that are being described, which may
    refer to themselves.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_described(each, inside) for each in value]
    if isinstance(value, dict):
        return [_described(item, inside) for item in value.items()]
    if isinstance(value, partial):
        return _described([value.func, value.args, value.keywords], inside)
    if isinstance(value, type) or isfunction(value):
        name = [value.__module__, value.__qualname__]
        if id(value) in inside:
            return name
        inside |= {id(value)}
        if isinstance(value, type):
            return name, _described([f for f in vars(value).values() if isfunction(f)], inside)
        filled = [cell for cell in value.__closure__ or () if cell != CellType()]
        bound = [value.__defaults__, value.__kwdefaults__, [cell.cell_contents for cell in filled]]
        return name, _described_code(value.__code__), _described(bound, inside)
    if ismethod(value):
        return _described([value.__func__, value.__self__], inside)
    if hasattr(value, "get_params"):
        return _described([type(value), value.get_params(deep=False)], inside)
    try:
        return joblib.hash(value)
    except Exception:  # Anything may stand here, and not all of it can be pickled.
        return type(value).__qualname__


def _described_code(code: CodeType) -> Any:
    """What a function does, without the place that it stands in."""
    constants: list[Any] = []
    for each in code.co_consts:
        if isinstance(each, CodeType):
            constants.append(_described_code(each))
        else:
            # The order of a set differs from one process to the next.
            constants.append(sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each))
    return code.co_code, constants, code.co_names


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
