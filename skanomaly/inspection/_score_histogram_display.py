"""Scores of normal and anomalous images, as a figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d

from .._estimators import detect, find_attribute, find_threshold
from ..model_selection._conformal_threshold import to_float64
from ._images import (
    BLUE,
    ORANGE,
    SMALL,
    check_labels,
    check_positive_integer,
    check_threshold,
    format_number,
    load_matplotlib,
    make_axes,
)

_SIZE = (6.0, 2.8)
# Above this ratio of the largest to the smallest score, the axis is logarithmic.
_WIDE = 10
# Number of labels that fit on a logarithmic axis.
_MOST_TICKS = 6


@dataclass(kw_only=True, eq=False, repr=False)
class ScoreHistogramDisplay:
    """Histograms of the scores of normal and anomalous images, with the threshold.

    Create it with `from_estimator` or `from_predictions`. If there are p-values, a second plot
    shows their empirical distribution function. For normal images, this is the rate of false alarms
    at each level and should follow the diagonal.

    The axis is logarithmic if all scores are negative and span more than a factor of ten, as is
    usual for the detectors of this library.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Higher is more normal.
    y : ndarray of shape (n,), default=None
        1 for normal, -1 for anomalous.
    threshold : float, default=None
        Score below which an image is anomalous.
    p_values : ndarray of shape (n,), default=None
        Small for anomalous images.
    alpha : float, default=None
        Images with a p-value up to alpha are anomalous.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    ax_ : matplotlib Axes
        Axes of the histogram.
    axes_ : ndarray of shape (1,) or (2,), of matplotlib Axes
        Axes of the histogram and of the p-values, if there are any.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skanomaly.inspection import ScoreHistogramDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> X[90:] += 5
    >>> y = np.repeat([1, -1], [90, 10])
    >>> forest = IsolationForest(random_state=0).fit(X[y == 1])
    >>> display = ScoreHistogramDisplay.from_estimator(forest, X, y)
    >>> display.threshold
    -0.5
    """

    scores: NDArray[np.float64]
    y: NDArray[np.int64] | None = None
    threshold: float | None = None
    p_values: NDArray[np.float64] | None = None
    alpha: float | None = None
    figure_: Any = field(init=False)
    ax_: Any = field(init=False)
    axes_: NDArray[np.object_] = field(init=False)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike | None = None, *, ax: Any = None, bins: int = 30
    ) -> Self:
        """Draw the scores of a fitted detector.

        Parameters
        ----------
        estimator : outlier detector
            Fitted, with `score_samples`: a detector of this library or of scikit-learn, or a
            pipeline or search of one. Its ``offset_`` is the threshold. A ConformalDetector has
            p-values, too.
        X : array-like, tensor or ImageSequence of length n
            Input of the detector.
        y : array-like of shape (n,), default=None
            1 for normal, -1 for anomalous. None draws one histogram of all images.
        ax : matplotlib Axes, default=None
            Where to draw: see `plot`.
        bins : int, default=30
            Number of bins.

        Returns
        -------
        ScoreHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator has no scores, or an argument is invalid.
        """
        load_matplotlib("pyplot")
        found = detect(estimator, X, "score_samples", "p_values")
        if "score_samples" not in found:
            raise ValueError(
                f"'estimator' must have score_samples, got {type(estimator).__name__} instead."
            )
        p_values = found.get("p_values")
        alpha = None if p_values is None else to_float64(find_attribute(estimator, "alpha"))
        return cls.from_predictions(
            found.score_samples,
            y,
            threshold=find_threshold(estimator),
            p_values=p_values,
            alpha=alpha,
            ax=ax,
            bins=bins,
        )

    @classmethod
    def from_predictions(
        cls,
        scores: ArrayLike,
        y: ArrayLike | None = None,
        *,
        threshold: float | None = None,
        p_values: ArrayLike | None = None,
        alpha: float | None = None,
        ax: Any = None,
        bins: int = 30,
    ) -> Self:
        """Draw given scores.

        Parameters
        ----------
        scores : array-like of shape (n,)
            Higher is more normal.
        y : array-like of shape (n,), default=None
            1 for normal, -1 for anomalous.
        threshold : float, default=None
            Score below which an image is anomalous: a detector's ``offset_``.
        p_values : array-like of shape (n,), default=None
            From 0 to 1, small for anomalous images.
        alpha : float, default=None
            Images with a p-value up to alpha are anomalous.
        ax, bins
            As in `from_estimator`.

        Returns
        -------
        ScoreHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If an argument is invalid.
        """
        load_matplotlib("pyplot")
        values = np.asarray(column_or_1d(scores), dtype=np.float64)
        if len(values) == 0:
            raise ValueError("Found array with 0 sample(s) in 'scores': 1 image is required.")
        if not np.isfinite(values).all():
            raise ValueError("'scores' contains NaN or infinity.")
        labels = None if y is None else check_labels(y, "y")
        check_consistent_length(values, labels)
        check_threshold(threshold, "threshold")
        if p_values is not None:
            p_values = np.asarray(column_or_1d(p_values), dtype=np.float64)
            check_consistent_length(values, p_values)
            if not ((p_values >= 0) & (p_values <= 1)).all():
                raise ValueError("'p_values' must be from 0 to 1.")
        display = cls(scores=values, y=labels, threshold=threshold, p_values=p_values, alpha=alpha)
        return display.plot(ax=ax, bins=bins)

    def plot(self, *, ax: Any = None, bins: int = 30) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. If there are p-values, it must be part of a grid, and is
            divided. None creates a figure.
        bins : int, default=30
            Number of bins.

        Returns
        -------
        ScoreHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If an argument is invalid.
        """
        check_positive_integer(bins, "bins")
        count = 1 if self.p_values is None else 2
        figure, axes = make_axes(ax, (1, count), (_SIZE[0] * (1 if count == 1 else 1.5), _SIZE[1]))
        self.figure_, self.axes_, self.ax_ = figure, axes[0], axes[0, 0]
        self._draw_histogram(self.ax_, bins)
        if self.p_values is not None:
            self._draw_p_values(self.axes_[1], self.p_values)
        return self

    def _groups(self) -> dict[str, NDArray[np.bool_]]:
        """Return which images are normal and which are anomalous."""
        if self.y is None:
            return {"images": np.ones(len(self.scores), dtype=bool)}
        groups = {"normal": self.y == 1, "anomalous": self.y == -1}
        return {name: chosen for name, chosen in groups.items() if chosen.any()}

    def _draw_histogram(self, ax: Any, bins: int) -> None:
        threshold = self.threshold
        # An infinite threshold is not on the axis.
        drawn = [] if threshold is None or np.isinf(threshold) else [threshold]
        lowest, highest = self.scores.min(), self.scores.max()
        if highest < 0 and lowest < _WIDE * highest:
            sizes = [-value for value in (lowest, highest, *drawn) if value < 0]
            smallest = min(sizes)
            # Beyond two powers of ten, these are enough ticks.
            steps = [1.0] if max(sizes) > 100 * smallest else [1.0, 2.0, 5.0]
            locator = load_matplotlib("ticker").SymmetricalLogLocator(
                base=10, linthresh=smallest, subs=steps
            )
            locator.set_params(numticks=_MOST_TICKS)
            ax.set_xscale("symlog", linthresh=smallest)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(lambda value, _: format_number(value))
            edges = -np.geomspace(-lowest, -highest, bins + 1)
        else:
            edges = np.histogram_bin_edges(self.scores, bins)
        looks: dict[str, dict[str, Any]] = {
            "normal": {"facecolor": BLUE},
            # The hatch distinguishes them without colour.
            "anomalous": {"facecolor": ORANGE, "hatch": "////", "alpha": 0.7},
            "images": {"facecolor": "0.6"},
        }
        for name, chosen in self._groups().items():
            label = f"{name}, {chosen.sum()}"
            if threshold is not None:
                label += f", {np.sum(self.scores[chosen] < threshold)} below"
            looks[name] |= {"histtype": "stepfilled", "edgecolor": "black", "linewidth": 0.8}
            ax.hist(self.scores[chosen], edges, label=label, **looks[name])
        for value in drawn:
            label = f"threshold {format_number(value)}"
            ax.axvline(value, color="black", linestyle="--", label=label)
        # Counts are integers, also of few images.
        ax.yaxis.set_major_locator(load_matplotlib("ticker").MaxNLocator(integer=True))
        ax.set(xlabel="score, higher is more normal", ylabel="images")
        ax.legend(fontsize=SMALL)

    def _draw_p_values(self, ax: Any, p_values: NDArray[np.float64]) -> None:
        looks: dict[str, dict[str, Any]] = {
            "normal": {"color": BLUE, "linewidth": 2},
            "anomalous": {"color": ORANGE, "linewidth": 2, "linestyle": "dashdot"},
            "images": {"color": "0.4", "linewidth": 2},
        }
        for name, chosen in self._groups().items():
            label = name
            if self.alpha is not None:
                label += f", {np.mean(p_values[chosen] <= self.alpha):.1%} up to alpha"
            ax.ecdf(p_values[chosen], label=label, **looks[name])
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="uniform")
        if self.alpha is not None:
            label = f"alpha {format_number(self.alpha)}"
            ax.axvline(self.alpha, color="black", linestyle="--", label=label)
        ax.set(
            xlabel="p-value", ylabel="cumulative fraction of images", xlim=(0, 1), ylim=(0, 1.02)
        )
        ax.legend(fontsize=SMALL, loc="lower right")
