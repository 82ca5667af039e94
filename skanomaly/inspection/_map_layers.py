"""What is laid over an image: the colours of a map, and outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# With this much of a map over a grey image, the highest values are lighter than any white below the
# lowest: the order of light and dark is that of the map, in grey print too.
OPACITY = 0.65


def scale_on_grey(cmap: Any, lowest: float, highest: float) -> Any:
    """Make the scale with its colours as they look on a middle grey."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    opaque = colormaps.get_cmap(cmap)(np.linspace(0, 1, 256))[:, :3]
    blended = ListedColormap(OPACITY * opaque + (1 - OPACITY) * 0.5)
    return ScalarMappable(Normalize(lowest, highest), blended)


def outline(
    ax: Any,
    values: NDArray[Any],
    level: float,
    extent: tuple[float, float, float, float],
    linestyle: str,
) -> None:
    """Draw a line around what is above a level, in white with a dark rim."""
    from matplotlib.patheffects import withStroke

    above = values > level
    if not above.any() or above.all():
        return
    left, right, bottom, top = extent
    rows, columns = values.shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    lines = ax.contour(
        x,
        y,
        values.astype(float),
        levels=[level],
        colors="white",
        linewidths=1.1,
        linestyles=linestyle,
    )
    lines.set_path_effects([withStroke(linewidth=2.4, foreground="black")])
