"""Objectives, the loop that minimises them, device and precision."""

from ._augmentation import (
    AUGMENTATIONS,
    SYMMETRIES,
    SYMMETRY_LIMIT,
    augment,
    find_symmetries,
    random_crops,
)
from ._checkpoint import checkpoint_seed
from ._contractive import PENALTIES, ContractiveObjective, squared_jacobian_norm
from ._denoising import DenoisingObjective
from ._device import (
    PRECISIONS,
    autocast,
    has_fast_bfloat16,
    resolve_device,
    resolve_precision,
    to_channels_last,
)
from ._interrupt import held_back_interrupt
from ._loop import (
    Checkpointing,
    EarlyStopping,
    NonFiniteLossError,
    TrainingResult,
    learning_rate_fraction,
    train,
)
from ._objective import RepairObjective, masked_reconstruction_loss
from ._optimizer import Muon, NetworkOptimizer, orthogonalize

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
    "Muon",
    "NetworkOptimizer",
    "NonFiniteLossError",
    "RepairObjective",
    "TrainingResult",
    "augment",
    "autocast",
    "checkpoint_seed",
    "find_symmetries",
    "has_fast_bfloat16",
    "held_back_interrupt",
    "learning_rate_fraction",
    "masked_reconstruction_loss",
    "orthogonalize",
    "random_crops",
    "resolve_device",
    "resolve_precision",
    "squared_jacobian_norm",
    "to_channels_last",
    "train",
]
