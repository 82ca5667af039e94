"""Displays with matplotlib; overlays and HTML reports without it."""

from ._anomaly_map_display import AnomalyMapDisplay
from ._corruption_display import CorruptionDisplay
from ._html_report import write_html_report
from ._loss_curve_display import LossCurveDisplay
from ._overlay import overlay_anomaly_map
from ._score_histogram_display import ScoreHistogramDisplay

__all__ = [
    "AnomalyMapDisplay",
    "CorruptionDisplay",
    "LossCurveDisplay",
    "ScoreHistogramDisplay",
    "overlay_anomaly_map",
    "write_html_report",
]
