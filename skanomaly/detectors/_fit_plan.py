"""The plan of a training: parameters of a detector, checked against the data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._device import available_memory, require_memory, training_memory
from .._files import expand_user
from .._logging import warn
from .._validation import ValidatedInput, channels_first
from ..training import (
    AUGMENTATIONS,
    SYMMETRIES,
    SYMMETRY_LIMIT,
    TrainingResult,
    checkpoint_seed,
    find_symmetries,
    is_unaligned,
    resolve_device,
    resolve_precision,
    to_channels_last,
)
from ._checkpoint import check_checkpoint, fingerprint
from ._model import Standardization
from ._network import make_network

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
# Appends the local contrast to standardized images.
Represent = Callable[[Tensor], Tensor]

# Bytes per value of a batch that are enough for any training.
_AMPLE_MEMORY = 4000
# With max_iter="auto": passes over the images, which count twice for each flip or rotation.
_PASSES = 300
_FEWEST_STEPS = 1000
_MOST_STEPS = 3000
# Images held out for automatic thresholds, if they are at most a third of all.
_FEWEST_HELD_OUT = 20
# With crop_size="auto": smallest and largest side of crops. A step has as many pixels as crops of
# the largest side, one of each image.
_SMALLEST_CROP = 64
_LARGEST_CROP = 128
# With fewer images, automatic thresholds are unreliable.
_FEW_IMAGES = 20
SMALLER_BATCH = "Pass a smaller batch_size or crop_size, or smaller images."


class FitPlan:
    """Network, data and checked settings of one training.

    The detector is unchanged until training ends.

    Parameters
    ----------
    detector : estimator
    data : ValidatedInput
    continued : bool
        Whether to start from the fitted weights of the detector.
    one_pass : bool
        Whether to train on each image once, at a tenth of the learning rate.
    """

    def __init__(
        self, detector: Any, data: ValidatedInput, *, continued: bool, one_pass: bool
    ) -> None:
        self.data = data
        self.one_pass = one_pass
        self.outcome = TrainingResult()
        self.checkpoint: Path | None = None
        if detector.checkpoint is not None and not one_pass:
            self.checkpoint = expand_user(detector.checkpoint)
            check_checkpoint(self.checkpoint)
        self.seed = self.training_seed = _draw_seed(detector.random_state, self.checkpoint)
        self.hold_out_seed = self.seed
        self.device = resolve_device(detector.device)
        if self.device.type == "mps" and not data.is_image:
            raise ValueError(
                "device must not be 'mps' for vectors, which are computed in float64. Pass 'cpu'."
            )
        self.fitted_shape = detector.image_shape_ if continued else data.shape
        if continued:
            network = copy.deepcopy(detector.model_.network)
            self.standardization = detector.model_.standardization
            # Images that were trained on must not be held out later. Model files do not store it.
            self.hold_out_seed = getattr(detector, "_hold_out_seed", self.seed)
        else:
            self.standardization = Standardization.fit(
                data,
                standardization=detector.standardization,
                contrast_size=detector.contrast_size,
            )
            automatic = detector.network == "auto"
            network = make_network(
                detector._auto_network(data.is_image) if automatic else detector.network,
                self.standardization.network_shape(data),
                self.seed,
            )
        network = network.to(self.device, torch.float32)
        if continued:
            self.training_seed = _seed_from_weights(self.seed, network)
        self.network: nn.Module = network
        if data.is_image and self.device.type != "mps":
            self.network = to_channels_last(network)
        self.early_stopping = bool(detector.early_stopping) and not one_pass
        self.n_iter_no_change = int(detector.n_iter_no_change)
        self.held_out = self._hold_out(detector)
        if data.is_image and detector.contamination == "auto" and len(data) < _FEW_IMAGES:
            warn(
                f"X holds {len(data)} images, which are too few to set thresholds by. Expect many "
                f"false alarms or misses. Fit on {_FEW_IMAGES} or more, or pass a number as "
                "contamination.",
            )
        self.augmentation = _check_augmentation(detector, data, self.standardization)
        self.batch_size = int(detector.batch_size)
        self.max_iter = self._count_steps(detector.max_iter)
        self.learning_rate = float(detector.learning_rate) * (0.1 if one_pass else 1.0)
        self.weight_decay = float(detector.weight_decay)
        self.verbose = int(detector.verbose)
        self.objective: Objective = detector._make_objective(
            self.network, self.standardization.represent
        )
        self.dtype = torch.float32
        if data.is_image:
            self.dtype = resolve_precision(detector.precision, self.device)
        self.crop = _check_crop(detector.crop_size, data)
        self.crops_per_image = 1
        half = min(max(min(data.shape[:2]) // 2, _SMALLEST_CROP), _LARGEST_CROP)
        if detector.crop_size == "auto" and self._may_crop(half) and self._is_unaligned(detector):
            self.crop = half, half
            self.crops_per_image = round((_LARGEST_CROP / half) ** 2)
        self.window: tuple[int, int] | None = None
        if continued and one_pass:
            # One pass changes little.
            self.window = detector.model_.window
        elif data.is_image:
            self.window = self.crop or (data.shape[0], data.shape[1])
        self.fingerprint = ""
        if self.checkpoint is not None:
            self.fingerprint = fingerprint(detector, data, self.network, continued)

    def _hold_out(self, detector: Any) -> NDArray[np.bool_]:
        """Select images for early stopping or for thresholds, which are not trained on."""
        count = len(self.data)
        held_out = np.zeros(count, dtype=bool)
        automatic = detector.contamination == "auto"
        if self.early_stopping or automatic:
            held = max(1, round(detector.validation_fraction * count))
            if automatic:
                # Fewer do not show the spread of scores.
                held = max(held, min(_FEWEST_HELD_OUT, count // 3))
            held = min(count - 1, held)
            held_out[np.random.default_rng(self.hold_out_seed).permutation(count)[:held]] = True
        return held_out

    def _may_crop(self, side: int) -> bool:
        """Whether the images are large enough for crops, and the network accepts them."""
        if not self.data.is_image or min(self.data.shape[:2]) < 2 * _SMALLEST_CROP:
            return False
        channels = self.standardization.network_shape(self.data)[2]
        crop = torch.zeros(1, channels, side, side, device=self.device)
        try:
            with torch.no_grad():
                return bool(self.network.eval()(crop).shape == crop.shape)
        except Exception:  # A network for images of one size may raise anything.
            return False

    def _is_unaligned(self, detector: Any) -> bool:
        """Whether images are not aligned, by parameter or by the images."""
        if set(SYMMETRIES) <= set(self.augmentation):
            return True
        if detector.augmentation != "auto":
            return False
        return is_unaligned(_sample(self.data, self.standardization))

    def _count_steps(self, max_iter: int | str) -> int:
        trained_on = int((~self.held_out).sum())
        if self.one_pass:
            return -(-trained_on // self.batch_size)
        if max_iter != "auto":
            return int(max_iter)
        if not self.data.is_image:
            return _MOST_STEPS
        different = trained_on * 2 ** sum(name in SYMMETRIES for name in self.augmentation)
        return min(_MOST_STEPS, max(_FEWEST_STEPS, round(_PASSES * different / self.batch_size)))

    def require_memory(self) -> None:
        """Raise a MemoryError if training on batches of this size cannot fit into memory."""
        if self.device.type != "cpu":
            return
        shape = self.standardization.network_shape(self.data)
        sides = shape[:-1] if self.crop is None else self.crop
        batch = (self.batch_size * self.crops_per_image, shape[-1], *sides)
        if _AMPLE_MEMORY * math.prod(batch) < available_memory():
            return
        one = (*sides, self.data.shape[-1])
        require_memory(
            training_memory(self.network, batch, itemsize=self.dtype.itemsize),
            f"training steps on batches of {batch[0]} of shape {one}",
            SMALLER_BATCH,
        )


def _draw_seed(random_state: Any, checkpoint: Path | None) -> int:
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    if checkpoint is not None and not isinstance(random_state, Integral):
        # To resume training takes the seed that it began with.
        drawn = checkpoint_seed(checkpoint)
        seed = seed if drawn is None else drawn
    return seed


def _seed_from_weights(seed: int, network: nn.Module) -> int:
    """Seed of a continued training, so that it does not draw the same patches and noise again.

    It depends on values alone: the order of convolution weights in memory may differ after loading.
    """
    weights = [value.cpu().contiguous().numpy() for value in network.state_dict().values()]
    return int(joblib.hash((seed, weights)), 16) % 2**31


def _check_crop(crop_size: Any, data: ValidatedInput) -> tuple[int, int] | None:
    if crop_size is None or crop_size == "auto":
        return None
    if not data.is_image:
        raise ValueError(
            f"crop_size must be 'auto' or None for plain vectors, got {crop_size!r} instead."
        )
    size = (crop_size, crop_size) if isinstance(crop_size, (int, np.integer)) else crop_size
    valid = len(size) == 2 and all(isinstance(side, (int, np.integer)) for side in size)
    if not valid or not all(
        1 <= side <= full for side, full in zip(size, data.shape, strict=False)
    ):
        raise ValueError(
            f"crop_size must be 'auto', None, or an integer or (height, width) no larger than the "
            f"images of {data.shape[0]} × {data.shape[1]} pixels, got {crop_size!r} instead."
        )
    return int(size[0]), int(size[1])


def _sample(data: ValidatedInput, standardization: Standardization) -> Iterator[Tensor]:
    """Yield standardized images, one at a time, to search for symmetries."""
    sample = data.subset(SYMMETRY_LIMIT)
    for index in range(len(sample)):
        yield standardization(channels_first(sample.read(np.array([index]))))[0]


def _check_augmentation(
    detector: Any, data: ValidatedInput, standardization: Standardization
) -> tuple[str, ...]:
    augmentation = detector.augmentation
    if augmentation is None or (augmentation == "auto" and not data.is_image):
        return ()
    if augmentation == "auto":
        return (*find_symmetries(_sample(data, standardization)), *detector._auto_augmentation)
    names: Sequence[str] = [augmentation] if isinstance(augmentation, str) else augmentation
    if any(name not in AUGMENTATIONS for name in names):
        raise ValueError(
            f"augmentation must be 'auto', None or taken from {list(AUGMENTATIONS)}, got "
            f"{augmentation!r} instead."
        )
    if names and not data.is_image:
        raise ValueError(
            f"augmentation must be 'auto' or None for plain vectors, got {augmentation!r} instead."
        )
    return tuple(names)
