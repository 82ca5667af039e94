"""Objectives, the training loop, and the choice of device and precision."""

from .._device import PRECISIONS, autocast, resolve_device, resolve_precision, to_channels_last
from ._augmentation import (
    AUGMENTATIONS,
    SYMMETRIES,
    SYMMETRY_LIMIT,
    augment,
    find_symmetries,
    is_unaligned,
    random_crops,
)
from ._checkpoint import checkpoint_seed, held_back_interrupt
from ._contractive import PENALTIES, ContractiveObjective
from ._denoising import DenoisingObjective
from ._loop import Checkpointing, EarlyStopping, NonFiniteLossError, TrainingResult, train
from ._objective import RepairObjective

__all__ = [
    "AUGMENTATIONS",
    "PENALTIES",
    "PRECISIONS",
    "SYMMETRIES",
    "SYMMETRY_LIMIT",
    "Checkpointing",
    "ContractiveObjective",
    "DenoisingObjective",
    "EarlyStopping",
    "NonFiniteLossError",
    "RepairObjective",
    "TrainingResult",
    "augment",
    "autocast",
    "checkpoint_seed",
    "find_symmetries",
    "held_back_interrupt",
    "is_unaligned",
    "random_crops",
    "resolve_device",
    "resolve_precision",
    "to_channels_last",
    "train",
]
