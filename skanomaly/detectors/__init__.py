"""The estimators."""

from ._contractive import ContractiveAE
from ._denoising import DenoisingAE
from ._self_supervised import SelfSupervisedAutoencoderDetector

__all__ = ["ContractiveAE", "DenoisingAE", "SelfSupervisedAutoencoderDetector"]
