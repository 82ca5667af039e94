"""Find and locate what is wrong in an image, after learning from good ones alone."""

from .corruption import PatchCorruption
from .detectors import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from .training import NonFiniteLossError

__version__ = "0.1.0"

__all__ = [
    "ContractiveAE",
    "DenoisingAE",
    "NonFiniteLossError",
    "PatchCorruption",
    "SelfSupervisedAutoencoderDetector",
    "__version__",
]
