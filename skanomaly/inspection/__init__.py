"""Pictures of anomaly maps: figures with matplotlib, overlays and HTML pages without it."""

from ._figure import plot_anomaly_maps
from ._html_report import write_html_report
from ._overlay import overlay_anomaly_map

__all__ = ["overlay_anomaly_map", "plot_anomaly_maps", "write_html_report"]
