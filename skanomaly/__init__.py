"""Visual anomaly detection by autoencoders that are trained on normal images only."""

from ._load import load
from ._tensor_file import ModelFileError
from .corruption import PatchCorruption
from .detectors import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from .training import NonFiniteLossError

__version__ = "0.2.0"

__all__ = [
    "ContractiveAE",
    "DenoisingAE",
    "ModelFileError",
    "NonFiniteLossError",
    "PatchCorruption",
    "SelfSupervisedAutoencoderDetector",
    "__version__",
    "load",
]
