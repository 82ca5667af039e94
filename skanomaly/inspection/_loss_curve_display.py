"""The loss during training, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._estimators import layers
from ._images import BLUE, SMALL, make_axes

_SIZE = (6.0, 2.8)
# Width of the running mean, as a fraction of all steps.
_WINDOW = 0.05


@dataclass(kw_only=True, eq=False, repr=False)
class LossCurveDisplay:
    """The loss of each training step, its running mean, and the loss on held-out images.

    Create it with `from_estimator`.

    Parameters
    ----------
    loss_curve : ndarray of shape (n_iter,)
        Loss of each step.
    validation_curve : ndarray of shape (m, 2), default=None
        Step, and loss on held-out images after it.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    ax_ : matplotlib Axes
        The axes.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly import DenoisingAE
    >>> from skanomaly.inspection import LossCurveDisplay
    >>> rows = np.random.default_rng(0).normal(size=(40, 3))
    >>> detector = DenoisingAE(max_iter=30, random_state=0).fit(rows)
    >>> display = LossCurveDisplay.from_estimator(detector)
    >>> [line.get_label() for line in display.ax_.lines]
    ['each step', 'running mean']
    """

    loss_curve: NDArray[np.float64]
    validation_curve: NDArray[np.float64] | None = None
    figure_: Any = field(init=False)
    ax_: Any = field(init=False)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the loss curves of a fitted detector.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``loss_curve_``; or a pipeline that ends in one, or a search.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a figure.

        Returns
        -------
        LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator has no loss curve.
        """
        *_, detector = layers(estimator)
        loss_curve = np.asarray(getattr(detector, "loss_curve_", []), dtype=np.float64)
        if loss_curve.ndim != 1 or len(loss_curve) == 0:
            raise ValueError(
                f"{type(detector).__name__} has no loss_curve_: pass an estimator that is fitted "
                "in training steps, after fit."
            )
        pairs: Sequence[Any] = getattr(detector, "validation_curve_", ())
        validation = np.asarray(pairs, dtype=np.float64).reshape(-1, 2) if len(pairs) else None
        return cls(loss_curve=loss_curve, validation_curve=validation).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a figure.

        Returns
        -------
        LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` is not an Axes.
        """
        figure, axes = make_axes(ax, (1, 1), _SIZE)
        ax = axes[0, 0]
        steps = np.arange(1, len(self.loss_curve) + 1)
        ax.plot(steps, self.loss_curve, color="0.75", linewidth=0.7, label="each step")
        ax.plot(steps, _running_mean(self.loss_curve), color=BLUE, label="running mean")
        lowest = self.loss_curve.min()
        if self.validation_curve is not None:
            done, losses = self.validation_curve.T
            ax.plot(done, losses, "k--o", markersize=3, linewidth=1, label="held-out images")
            best = done[np.argmin(losses)]
            ax.axvline(best, color="black", linestyle=":", label=f"lowest, step {best:.0f}")
            lowest = min(lowest, losses.min())
        ax.set(xlabel="training step", ylabel="loss", yscale="log" if lowest > 0 else "linear")
        ax.legend(fontsize=SMALL)
        self.figure_, self.ax_ = figure, ax
        return self


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window around each value, cut off at the ends."""
    radius = int(_WINDOW * len(values)) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    steps = np.arange(len(values))
    stop, start = np.minimum(steps + radius + 1, len(values)), np.maximum(steps - radius, 0)
    return (sums[stop] - sums[start]) / (stop - start)
