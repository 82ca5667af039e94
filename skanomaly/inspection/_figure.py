"""A figure of images beside what a detector makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._pictures import load_matplotlib

_ROWS = ("input", "reconstruction", "anomaly map", "true mask")


def plot_anomaly_maps(
    images: ArrayLike,
    reconstructions: ArrayLike,
    anomaly_maps: ArrayLike,
    masks: ArrayLike | None = None,
    *,
    threshold: float | None = None,
    titles: Sequence[str] | None = None,
    row_labels: bool = True,
    figure: Any = None,
) -> Any:
    """Draw images in a row, and below them their reconstructions, anomaly maps and true masks.

    All maps share one scale, which a bar at the bottom tells.

    Parameters
    ----------
    images, reconstructions : array-like of shape (n, h, w) or (n, h, w, 3)
        uint8, or float from 0 to 1.
    anomaly_maps : array-like of shape (n, h, w)
        Higher is more anomalous.
    masks : array-like of shape (n, h, w), default=None
        True where an image is defective. None leaves the row out.
    threshold : float, default=None
        A detector's ``map_threshold_``. Where a map exceeds it, an outline is drawn.
    titles : sequence of n str, default=None
        What stands above each image.
    row_labels : bool, default=True
        Whether to say at the left what each row shows.
    figure : matplotlib Figure or SubFigure, default=None
        Where to draw. None makes a figure of fitting size.

    Returns
    -------
    matplotlib Figure or SubFigure
        What was drawn on. A figure made here has no window: save it with ``savefig``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.inspection import plot_anomaly_maps
    >>> images = np.random.default_rng(0).random((2, 16, 16))
    >>> figure = plot_anomaly_maps(images, images, np.zeros((2, 16, 16)), titles=["a", "b"])
    >>> len(figure.axes)  # three rows of two, and the bar
    7
    """
    rows = [np.asarray(images), np.asarray(reconstructions), np.asarray(anomaly_maps)]
    if masks is not None:
        rows.append(np.asarray(masks))
    count = len(rows[0])
    if figure is None:
        figure = make_figure(width=1.2 * count + 0.6, height=1.2 * len(rows) + 0.7)
    axes = figure.subplots(len(rows), count, squeeze=False)
    # Zero is the scale's fixed end; a few hot pixels must not blacken all that is below them.
    highest = float(np.percentile(rows[2], 99.5)) or 1.0
    if threshold is not None:
        highest = max(highest, 2 * threshold)
    shown = None
    for row, (label, pictures) in enumerate(zip(_ROWS, rows, strict=False)):
        for column, picture in enumerate(pictures):
            ax = axes[row, column]
            if row == 2:
                shown = ax.imshow(picture, cmap="inferno", vmin=0, vmax=highest)
                if threshold is not None and picture.min() < threshold < picture.max():
                    ax.contour(picture, levels=[threshold], colors="cyan", linewidths=0.8)
            else:
                white = 255 if picture.dtype == np.uint8 else 1
                ax.imshow(picture, cmap="gray", vmin=0, vmax=white)
            ax.set(xticks=[], yticks=[])
            if row == 0 and titles is not None:
                ax.set_title(titles[column], fontsize=9)
            if column == 0 and row_labels:
                ax.set_ylabel(label, fontsize=8)
    bar = figure.colorbar(
        shown, ax=list(axes[-1]), orientation="horizontal", aspect=30, extend="max", pad=0.06
    )
    bar.ax.tick_params(labelsize=8)
    outline = "" if threshold is None else f", outlined above {threshold:.3g}"
    bar.set_label(f"anomaly map{outline}", fontsize=8)
    bar.locator = _ticks()
    bar.update_ticks()
    return figure


def make_figure(*, width: float, height: float) -> Any:
    """Make an empty figure of a size in inches, bound to no window.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    return load_matplotlib("figure").Figure(figsize=(width, height), layout="constrained")


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)
