"""Cross-validation and calibration for detectors that learn from normal images alone."""

from ._conformal_detector import ConformalDetector
from ._normal_only_split import NormalOnlySplit
from ._synthetic_defect_scorer import SyntheticDefectScorer

__all__ = ["ConformalDetector", "NormalOnlySplit", "SyntheticDefectScorer"]
