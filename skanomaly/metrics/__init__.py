"""How well a detector finds defects, and how close it comes to a projection."""

from ._pixel_metrics import pixel_average_precision_score, pixel_roc_auc_score
from ._pixel_scorer import make_pixel_scorer
from ._projection_report import ProjectionReport, projection_report

__all__ = [
    "ProjectionReport",
    "make_pixel_scorer",
    "pixel_average_precision_score",
    "pixel_roc_auc_score",
    "projection_report",
]
