"""Images with their anomaly maps overlaid, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d

from .._estimators import detect, find_attribute, find_method, find_parameter
from ._images import (
    SMALL,
    check_count,
    check_labels,
    check_maps,
    check_masks,
    check_names,
    check_threshold,
    format_number,
    load_matplotlib,
    make_image_axes,
    read_images,
    shorten,
)

# With this opacity over a grey image, the highest values are lighter than white below the lowest
# values: brightness follows the map, also in grey print.
_OPACITY = 0.65


@dataclass(kw_only=True, eq=False, repr=False)
class AnomalyMapDisplay:
    """Images, and below each the image with its anomaly map overlaid.

    Create it with `from_estimator` or `from_predictions`. All maps share one scale, shown by a
    colour bar. A solid line surrounds values above the threshold, a dashed line the true mask. The
    title shows score and decision.

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, 3)
        From 0 to 1.
    anomaly_maps : ndarray of shape (n, map_h, map_w)
        Higher is more anomalous; drawn at the size of the images.
    scores : ndarray of shape (n,), default=None
        Higher is more normal.
    labels : ndarray of shape (n,), default=None
        1 for normal, -1 for anomalous.
    map_threshold : float, default=None
        Values above are anomalous.
    masks : ndarray of shape (n, mask_h, mask_w), bool, default=None
        True where an image is defective.
    names : list of n str, default=None
        Names of the images.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    axes_ : ndarray of shape (n, 2), of matplotlib Axes
        Axes of each image and of its map.
    color_bar_ : matplotlib Colorbar
        Scale of the maps.

    See Also
    --------
    overlay_anomaly_map : An overlay as an array, without matplotlib.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.inspection import AnomalyMapDisplay
    >>> images = np.random.default_rng(0).random((3, 16, 16))
    >>> maps = np.abs(images - 0.5)
    >>> display = AnomalyMapDisplay.from_predictions(
    ...     images, maps, scores=-maps.max((1, 2)), map_threshold=0.49
    ... )
    >>> display.axes_.shape
    (3, 2)
    >>> display.axes_[0, 0].get_title()
    'score -0.497'
    """

    images: NDArray[np.float64]
    anomaly_maps: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
    map_threshold: float | None = None
    masks: NDArray[np.bool_] | None = None
    names: list[str] | None = None
    figure_: Any = field(init=False)
    axes_: NDArray[np.object_] = field(init=False)
    color_bar_: Any = field(init=False)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        masks: ArrayLike | None = None,
        names: Sequence[Any] | None = None,
        ax: Any = None,
        n_columns: int = 6,
        cmap: Any = "inferno",
        vmax: float | None = None,
    ) -> Self:
        """Draw images and the anomaly maps of a fitted detector.

        Parameters
        ----------
        estimator : detector
            Fitted, with `anomaly_map`; or a pipeline that ends in one, a search, or a
            ConformalDetector.
        X : array-like, tensor or ImageSequence
            Images of 1 or 3 channels, as for the detector.
        masks : array-like of shape (n, h, w), default=None
            True where an image is defective; or numbers up to 1 or 255, defective above half.
        names : sequence of n str, default=None
            Titles of the images, such as the kind of defect.
        ax : matplotlib Axes, or array-like of them of shape (n, 2), default=None
            Where to draw: see `plot`.
        n_columns : int, default=6
            Images per row.
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the map, from low to high.
        vmax : float, default=None
            Upper end of the scale of the maps: see `plot`.

        Returns
        -------
        AnomalyMapDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator has no maps, or X or another argument is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from skanomaly import DenoisingAE
        >>> from skanomaly.inspection import AnomalyMapDisplay
        >>> images = np.random.default_rng(0).random((4, 16, 16))
        >>> detector = DenoisingAE(max_iter=2, random_state=0).fit(images)
        >>> display = AnomalyMapDisplay.from_estimator(detector, images[:1])
        >>> display.map_threshold == detector.map_threshold_
        True
        """
        load_matplotlib("pyplot")
        if find_method(estimator, "anomaly_map") is None:
            raise ValueError(
                "'estimator' must be a detector with anomaly_map, got "
                f"{type(estimator).__name__} instead."
            )
        images = read_images(X, find_parameter(estimator, "image_shape"))
        found = detect(estimator, X, "score_samples", "predict", "anomaly_map")
        return cls.from_predictions(
            images,
            found.anomaly_map,
            scores=found.score_samples,
            labels=found.predict,
            map_threshold=find_attribute(estimator, "map_threshold_"),
            masks=masks,
            names=names,
            ax=ax,
            n_columns=n_columns,
            cmap=cmap,
            vmax=vmax,
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        anomaly_maps: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        map_threshold: float | None = None,
        masks: ArrayLike | None = None,
        names: Sequence[Any] | None = None,
        ax: Any = None,
        n_columns: int = 6,
        cmap: Any = "inferno",
        vmax: float | None = None,
    ) -> Self:
        """Draw images and given anomaly maps.

        Parameters
        ----------
        X : array-like, tensor or ImageSequence of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
            Images: uint8, uint16, or floats from 0 to 1; other values are scaled from their
            minimum to their maximum.
        anomaly_maps : array-like of shape (n, map_h, map_w)
            Anomaly maps of any detector; higher is more anomalous.
        scores : array-like of shape (n,), default=None
            Higher is more normal.
        labels : array-like of shape (n,), default=None
            Output of `predict`: 1 for normal, -1 for anomalous.
        map_threshold : float, default=None
            Values above are anomalous.
        masks, names, ax, n_columns, cmap, vmax
            As in `from_estimator`.

        Returns
        -------
        AnomalyMapDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If X or another argument is invalid.
        """
        load_matplotlib("pyplot")
        images = read_images(X)
        count = len(images)
        if scores is not None:
            scores = np.asarray(column_or_1d(scores), dtype=np.float64)
            check_count(scores, "scores", count)
            if np.isnan(scores).any():
                raise ValueError("'scores' contains NaN.")
        if labels is not None:
            labels = check_labels(labels, "labels")
            check_count(labels, "labels", count)
        check_threshold(map_threshold, "map_threshold")
        display = cls(
            images=images,
            anomaly_maps=check_maps(anomaly_maps, "anomaly_maps", count).astype(np.float64),
            scores=scores,
            labels=labels,
            map_threshold=map_threshold,
            masks=None if masks is None else check_masks(masks, count),
            names=check_names(names, count),
        )
        return display.plot(ax=ax, n_columns=n_columns, cmap=cmap, vmax=vmax)

    def plot(
        self,
        *,
        ax: Any = None,
        n_columns: int = 6,
        cmap: Any = "inferno",
        vmax: float | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, or array-like of them of shape (n, 2), default=None
            A single Axes, which must be part of a grid, is divided. In an array, each row
            is for an image and its map. None creates a figure.
        n_columns : int, default=6
            Images per row.
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the map, from low to high.
        vmax : float, default=None
            Upper end of the scale of the maps; the lower end is 0, or the minimum if that is less.
            None is the 99.5th percentile of all values, or twice the threshold if that is more.

        Returns
        -------
        AnomalyMapDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If an argument is invalid.
        """
        lowest, highest = self._limits(vmax)
        head = 0.17 * sum(part is not None for part in (self.names, self.scores, self.labels))
        figure, axes = make_image_axes(
            ax, self.images, ("image", "anomaly map"), n_columns, head=head, foot=0.85
        )
        height, width = self.images.shape[1:3]
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        for index, (image_ax, map_ax) in enumerate(axes):
            image, anomaly_map = self.images[index], self.anomaly_maps[index]
            image_ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            grey = image if image.ndim == 2 else image @ [0.2125, 0.7154, 0.0721]
            map_ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
            map_ax.imshow(
                anomaly_map, cmap=cmap, vmin=lowest, vmax=highest, alpha=_OPACITY, extent=extent
            )
            if self.map_threshold is not None:
                _outline(map_ax, anomaly_map, self.map_threshold, extent, "solid")
            if self.masks is not None:
                _outline(map_ax, self.masks[index], 0.5, extent, "dashed")
            self._set_title(image_ax, index)
        bar = figure.colorbar(
            _scale_on_grey(cmap, lowest, highest),
            ax=list(axes.flat),
            orientation="horizontal",
            aspect=25,
            shrink=min(1.0, 3.5 / len(axes)) if len(axes) < n_columns else 0.6,
            pad=0.02,
            extend="max" if self.anomaly_maps.max() > highest else "neither",
        )
        bar.ax.tick_params(labelsize=SMALL)
        bar.ax.locator_params(nbins=5)
        bar.set_label(self._explain(), fontsize=SMALL)
        if self.map_threshold is not None and lowest <= self.map_threshold <= highest:
            bar.ax.axvline(self.map_threshold, color="white", linewidth=2)
        self.figure_, self.axes_, self.color_bar_ = figure, axes, bar
        return self

    def _limits(self, vmax: float | None) -> tuple[float, float]:
        """Return the limits of the scale."""
        lowest = min(0.0, float(self.anomaly_maps.min()))
        if vmax is not None:
            if not lowest < vmax < np.inf:
                raise ValueError(f"'vmax' must be above {lowest:.3g}, got {vmax!r}.")
            return lowest, float(vmax)
        # A few extreme pixels must not darken all others.
        highest = float(np.percentile(self.anomaly_maps, 99.5))
        if self.map_threshold is not None and np.isfinite(self.map_threshold):
            highest = max(highest, 2 * self.map_threshold)
        return lowest, highest if highest > lowest else lowest + 1

    def _set_title(self, ax: Any, index: int) -> None:
        lines = [] if self.names is None else [shorten(self.names[index])]
        if self.scores is not None:
            lines.append(f"score {format_number(self.scores[index])}")
        is_anomalous = self.labels is not None and self.labels[index] == -1
        if self.labels is not None:
            lines.append("anomalous" if is_anomalous else "normal")
        weight = "bold" if is_anomalous else "normal"
        # A dollar sign in a file name is not a formula.
        ax.set_title("\n".join(lines), fontsize=SMALL, fontweight=weight, parse_math=False)

    def _explain(self) -> str:
        """Return the label of the colour bar."""
        lines = []
        if self.map_threshold is not None:
            lines.append(f"solid: above {format_number(self.map_threshold)}")
        if self.masks is not None:
            lines.append("dashed: true mask")
        return "anomaly map" + (f"\n{', '.join(lines)}" if lines else "")


def _scale_on_grey(cmap: Any, lowest: float, highest: float) -> Any:
    """Return the colour scale as it looks on middle grey."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    opaque = colormaps.get_cmap(cmap)(np.linspace(0, 1, 256))[:, :3]
    blended = ListedColormap(_OPACITY * opaque + (1 - _OPACITY) * 0.5)
    return ScalarMappable(Normalize(lowest, highest), blended)


def _outline(
    ax: Any, values: NDArray[Any], level: float, extent: tuple[float, ...], linestyle: str
) -> None:
    """Draw a white line with a dark rim around values above a level."""
    from matplotlib.patheffects import withStroke

    above = values > level
    if not above.any() or above.all():
        return
    left, right, bottom, top = extent
    rows, columns = values.shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    looks: dict[str, Any] = {"colors": "white", "linewidths": 1.1, "linestyles": linestyle}
    lines = ax.contour(x, y, values.astype(float), levels=[level], **looks)
    lines.set_path_effects([withStroke(linewidth=2.4, foreground="black")])
