"""How well a detector finds defects, pixel by pixel."""

from ._pixel_metrics import pixel_average_precision_score, pixel_roc_auc_score
from ._pixel_scorer import make_pixel_scorer

__all__ = ["make_pixel_scorer", "pixel_average_precision_score", "pixel_roc_auc_score"]
