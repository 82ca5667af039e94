"""Helpers of the displays: checks, images as they are drawn, and axes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d

from .._arrays import check_unmasked, integer_scale
from ..model_selection._images import validate_images

# Blue and orange that colour-blind readers can distinguish, with different brightness
# (Okabe and Ito, "Color universal design", 2008).
BLUE, ORANGE = "#0072B2", "#E69F00"
SMALL = 8
_IMAGE_WIDTH = 1.5
_LONGEST_NAME = 17
# Ratio of height to width below which the labels of rows are horizontal.
_LOW = 0.6


def load_matplotlib(module: str) -> Any:
    """Import a module of matplotlib, such as "pyplot".

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        return import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError(
            'Drawing a figure needs matplotlib: pip install "skanomaly[plot]"'
        ) from error


def load_images(X: Any, image_shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Read images as they are, (n, h, w, 1) or (n, h, w, 3), and check that they can be drawn."""
    images = validate_images(X, image_shape, BaseEstimator())
    check_channels(images.shape[2])
    return images.load(np.arange(len(images)))


def check_channels(count: int) -> None:
    """Raise a ValueError for images that cannot be drawn."""
    if count not in (1, 3):
        raise ValueError(
            f"X must hold images of 1 or 3 channels to be drawn, got {count} instead. Select some "
            "of them, such as X[..., :3]. AnomalyMapDisplay.from_predictions draws them with maps "
            "of all channels."
        )


def read_images(X: Any, image_shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Read images as fractions of white.

    Parameters
    ----------
    X : array-like, tensor or ImageSequence
        Images (n, h, w), (n, h, w, 1) or (n, h, w, 3), or flattened ones.
    image_shape : tuple of int or None
        Shape of flattened images.

    Returns
    -------
    ndarray of shape (n, h, w) or (n, h, w, 3), float64
        From 0 to 1. uint8 and uint16 are divided by their largest value; floats from 0 to 1 stay
        as they are, and other values are scaled from the minimum to the maximum of all images.

    Raises
    ------
    ValueError
        If X does not hold images, or they cannot be drawn.
    """
    values = load_images(X, image_shape)
    values = values.astype(np.float64) / integer_scale(values.dtype)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest > 1:
        values = (values - lowest) / (highest - lowest or 1)
    return values[..., 0] if values.shape[3] == 1 else values


def check_maps(maps: ArrayLike, name: str, count: int) -> NDArray[Any]:
    """Check maps or masks (n, h, w) of `count` images.

    Raises
    ------
    ValueError
        If they are not finite numbers of that shape.
    """
    check_unmasked(maps, f"'{name}'")
    values = np.asarray(maps)
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "buif":
        raise ValueError(
            f"'{name}' must hold numbers of shape (n, h, w), got shape {values.shape} and dtype "
            f"{values.dtype} instead."
        )
    check_count(values, name, count)
    if not np.isfinite(values).all():
        raise ValueError(f"'{name}' contains NaN or infinity.")
    return values


def check_masks(masks: ArrayLike, count: int) -> NDArray[np.bool_]:
    """Check masks (n, h, w), bool or numbers up to 1 or 255, and binarise them at one half."""
    values = check_maps(masks, "masks", count)
    return values > (127.5 if values.max() > 1 else 0.5)


def check_labels(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    """Check labels (n,), which are 1 or -1."""
    values: NDArray[np.int64] = column_or_1d(labels)
    if not np.isin(values, (1, -1)).all():
        got = np.unique(values).tolist()
        hint = f" For 0, normal, and 1, anomalous, pass 1 - 2 * {name}." if got == [0, 1] else ""
        raise ValueError(f"'{name}' must be 1, normal, or -1, anomalous, got {got} instead.{hint}")
    return values


def check_threshold(threshold: float | None, name: str) -> None:
    """Refuse NaN."""
    if threshold is not None and np.isnan(threshold):
        raise ValueError(f"'{name}' must be a number, got NaN instead.")


def check_positive_integer(value: Any, name: str) -> None:
    """Refuse anything but an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"'{name}' must be an integer of at least 1, got {value!r} instead.")


def check_names(names: Sequence[Any] | None, count: int) -> list[str] | None:
    """Check names, one for each image."""
    if names is None:
        return None
    check_count(names, "names", count)
    return [str(name) for name in names]


def check_count(values: Any, name: str, count: int) -> None:
    """Refuse a list that does not have one entry for each image."""
    if len(values) != count:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: '{name}' has "
            f"{len(values)}, and there are {count} images."
        )


def shorten(name: str) -> str:
    """Cut off the start of a name that is too long for a title."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def format_number(value: float) -> str:
    """Format a number with three significant digits, if possible without an exponent."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def make_axes(
    ax: Any, shape: tuple[int, int], size: tuple[float, float]
) -> tuple[Any, NDArray[np.object_]]:
    """Create a grid of axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes of a grid, to be divided. None creates a figure.
    shape : (int, int)
        Rows and columns.
    size : (float, float)
        Width and height of a new figure in inches.

    Returns
    -------
    figure : matplotlib Figure or SubFigure
    axes : ndarray of that shape, of Axes

    Raises
    ------
    ValueError
        If `ax` is not an Axes, or not part of a grid.
    """
    plt = load_matplotlib("pyplot")
    if ax is None:
        figure = plt.figure(figsize=size, layout="compressed")
        return figure, figure.subplots(*shape, squeeze=False)
    if not hasattr(ax, "get_subplotspec"):
        raise ValueError(f"'ax' must be matplotlib Axes, got {ax!r} instead.")
    if shape == (1, 1):
        return ax.figure, np.array([[ax]], dtype=object)
    if ax.get_subplotspec() is None:
        raise ValueError(
            "'ax' must be part of a grid, which is then divided. Create it by plt.subplots or "
            "Figure.add_subplot."
        )
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(*shape)
    return ax.figure, grid.subplots(squeeze=False)


def make_image_axes(
    ax: Any,
    images: NDArray[np.float64],
    panels: Sequence[str],
    n_columns: int,
    *,
    head: float = 0.0,
    foot: float = 0.0,
) -> tuple[Any, NDArray[np.object_]]:
    """Create axes for the panels of each image, one below the other.

    Parameters
    ----------
    ax : matplotlib Axes, array-like of Axes of shape (n, len(panels)) or None
        A single Axes is divided; an array is used as it is.
    images : ndarray of shape (n, h, w) or (n, h, w, 3)
    panels : sequence of str
        Labels at the left of each row.
    n_columns : int
        Images per row.
    head, foot : float, default=0.0
        Space in inches for the titles of each row of images, and at the bottom, in a new figure.

    Returns
    -------
    figure : matplotlib Figure or SubFigure
    axes : ndarray of shape (n, len(panels)), of Axes
    """
    check_positive_integer(n_columns, "n_columns")
    count = len(images)
    if isinstance(ax, (np.ndarray, list, tuple)):
        load_matplotlib("pyplot")
        axes = np.asarray(ax, dtype=object)
        if axes.shape != (count, len(panels)):
            raise ValueError(
                f"'ax' must be Axes or an array of them of shape {(count, len(panels))}, one row "
                f"for each image, got shape {axes.shape} instead."
            )
        figure = axes.flat[0].figure
    else:
        columns = min(count, n_columns)
        blocks = -(-count // columns)
        ratio = images.shape[1] / images.shape[2]
        height = _IMAGE_WIDTH * np.clip(ratio, 0.15, 3)
        # Labels beside wide images, whose rows are lower than the labels are long.
        is_wide = ratio < _LOW
        size = (
            max(3.4, _IMAGE_WIDTH * columns + (1.0 if is_wide else 0.3)),
            blocks * (len(panels) * (height + 0.08) + head) + foot,
        )
        figure, grid = make_axes(ax, (blocks * len(panels), columns), size)
        # From (block of rows, panel, column) to (image, panel).
        ordered = grid.reshape(blocks, len(panels), columns).swapaxes(1, 2)
        panel_axes = ordered.reshape(-1, len(panels))
        for unused in panel_axes[count:].flat:
            figure.delaxes(unused)
        axes = panel_axes[:count]
        for first in axes[::columns]:
            for one, label in zip(first, panels, strict=True):
                one.set_ylabel(label, fontsize=SMALL)
                if is_wide:
                    one.yaxis.label.set(rotation=0, ha="right", va="center")
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    return figure, axes
