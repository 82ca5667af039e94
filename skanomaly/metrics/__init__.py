"""Metrics of image scores and anomaly maps, and of how close a detector is to a projection."""

from ._image_metrics import f1_max_score
from ._image_report import image_report
from ._pixel_metrics import (
    per_region_overlap_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)
from ._pixel_scorer import make_pixel_scorer
from ._projection_report import ProjectionReport, projection_report

__all__ = [
    "ProjectionReport",
    "f1_max_score",
    "image_report",
    "make_pixel_scorer",
    "per_region_overlap_score",
    "pixel_average_precision_score",
    "pixel_roc_auc_score",
    "projection_report",
]
