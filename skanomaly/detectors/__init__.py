"""The estimators."""

from ._self_supervised import SelfSupervisedAutoencoderDetector

__all__ = ["SelfSupervisedAutoencoderDetector"]
