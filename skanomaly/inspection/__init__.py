"""Pictures of anomaly maps: figures with matplotlib, overlays without it."""

from ._figure import plot_anomaly_maps
from ._overlay import overlay_anomaly_map

__all__ = ["overlay_anomaly_map", "plot_anomaly_maps"]
