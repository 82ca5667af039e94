"""Cross-validation for detectors that learn from normal images alone."""

from ._normal_only_split import NormalOnlySplit

__all__ = ["NormalOnlySplit"]
