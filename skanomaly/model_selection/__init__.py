"""Cross-validation and calibration for detectors that learn from normal images alone."""

from ._conformal_detector import ConformalDetector
from ._normal_only_split import NormalOnlySplit

__all__ = ["ConformalDetector", "NormalOnlySplit"]
