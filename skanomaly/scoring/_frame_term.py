"""What raises the map of a picture that is unlike the training images as a whole."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ._map_step import MapStep
from ._maps import aggregate

# Added to variances, in multiples of the usual one, so that flat images have a finite logarithm.
_FLAT = 1e-3
# Least distances from the training images at which an image is anomalous by itself: of the mean,
# in usual standard deviations; of the logarithms of contrast and roughness. A quarter or four times
# the contrast is flagged, half of it or twice as much is only light.
_LEAST_MARGINS = (1.0, math.log(4.0), 0.4)
# Below it, a score is taken for this in quotients.
_LEAST_SCORE = 1e-12


def frame_sums(images: Tensor, core: tuple[int, int] | None = None) -> Tensor:
    """Sums that say what images are like as a whole; those of parts add up.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w), float32 or float64
    core : (int, int) or None
        Height and width of the part that is summed; one row and column beyond, where there are
        any, count in differences alone.

    Returns
    -------
    Tensor of shape (b, 5), float64
        Count; sums of values and squares; pairs of neighbours, and the sum of half the
        squared differences in them.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import frame_sums
    >>> frame_sums(torch.tensor([[[[0.0, 2.0], [0.0, 2.0]]]]))
    tensor([[4., 4., 8., 4., 4.]], dtype=torch.float64)
    """
    height, width = images.shape[2:] if core is None else core
    inner = images[:, :, :height, :width]
    down = images[:, :, 1:, :width] - images[:, :, :-1, :width]
    right = images[:, :, :height, 1:] - images[:, :, :height, :-1]
    # Squares of values that lie far from 0 need all digits; differences are small.
    values = inner.double().flatten(1)
    total = values.sum(1)
    steps = [t.square().sum((1, 2, 3), dtype=torch.float64) for t in (down, right)]
    sums = [
        torch.full_like(total, values.shape[1]),
        total,
        values.square().sum(1),
        torch.full_like(total, down.flatten(1).shape[1] + right.flatten(1).shape[1]),
        0.5 * (steps[0] + steps[1]),
    ]
    return torch.stack(sums, dim=1)


class FrameTerm(MapStep):
    """A factor for the maps of images that are unlike all training images as a whole.

    A black frame, noise or another surface may be easy to reconstruct, and brought to full contrast
    it may look like any other image. Mean, contrast and roughness (differences of neighbours over
    contrast) tell it. What lies in the range of the training images, or a little
    beyond, changes nothing: defects do not change these much. This library's own.

    Parameters
    ----------
    lowest, highest : Tensor of shape (3,), float64
        Range of the statistics of the training images.
    margin : Tensor of shape (3,), float64
        Distance from that range at which an image scores ``weight`` at least; infinite for a
        statistic that does not count.
    variance : float
        Usual variance within a training image.
    count : float
        Values in a training image.
    weight : float
        Score from which on an image is anomalous.
    aggregation : {"max", "mean"} or float
        How a map becomes a score: see `aggregate`.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import FrameTerm, frame_sums
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.randn(10, 1, 16, 16, generator=generator, dtype=torch.float64)
    >>> term = FrameTerm.fit(frame_sums(images), weight=1.0, brightness=True, aggregation="max")
    >>> black = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    >>> excess = term.excess(frame_sums(torch.cat([images[:1], black])))
    >>> float(excess[0]), float(excess[1]) > 1
    (0.0, True)
    """

    reach = None
    lowest: Tensor
    highest: Tensor
    margin: Tensor

    def __init__(
        self,
        *,
        lowest: Tensor,
        highest: Tensor,
        margin: Tensor,
        variance: float,
        count: float,
        weight: float,
        aggregation: str | float,
    ) -> None:
        super().__init__()
        limits = torch.stack([lowest, highest])
        if limits.shape != (2, 3) or margin.shape != (3,):
            raise ValueError("lowest, highest and margin must have shape (3,).")
        if not bool(limits.isfinite().all()) or not bool((margin > 0).all()):
            raise ValueError("lowest and highest must be finite, and margin above 0.")
        if not (variance > 0 and count > 0 and math.isfinite(weight)):
            raise ValueError("variance and count must be above 0, and weight finite.")
        self.register_buffer("lowest", lowest)
        self.register_buffer("highest", highest)
        self.register_buffer("margin", margin)
        self.variance, self.count, self.weight = variance, count, weight
        self.aggregation = aggregation

    @classmethod
    def fit(
        cls, sums: Tensor, *, weight: float, brightness: bool, aggregation: str | float
    ) -> FrameTerm:
        """Learn the range of training images.

        Parameters
        ----------
        sums : Tensor of shape (n, 5)
            `frame_sums` of the training images.
        weight : float
        brightness : bool
            Whether the mean counts.
        aggregation : {"max", "mean"} or float

        Returns
        -------
        FrameTerm
        """
        variance = float(_variance(sums).mean()) or 1.0
        statistics = _statistics(sums, variance)
        lowest, highest = statistics.amin(0), statistics.amax(0)
        least = torch.tensor(_LEAST_MARGINS, dtype=torch.float32).to(statistics)
        margin = torch.maximum(0.5 * (highest - lowest), least)
        if not brightness:
            margin[0] = math.inf
        return cls(
            lowest=lowest,
            highest=highest,
            margin=margin,
            variance=variance,
            count=float(sums[:, 0].mean()),
            weight=weight,
            aggregation=aggregation,
        )

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Multiply maps by `factor`.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w)
        frame : Tensor of shape (b, 5)
            `frame_sums` of the images.

        Returns
        -------
        Tensor of shape (b, h, w)
        """
        return maps * self.factor(frame, aggregate(maps, self.aggregation))

    def config(self) -> dict[str, Any]:
        """Return the settings.

        Returns
        -------
        dict
        """
        names = ("variance", "count", "weight", "aggregation")
        return {name: getattr(self, name) for name in names}

    def excess(self, sums: Tensor) -> Tensor:
        """Compute how unlike the training images others are.

        Parameters
        ----------
        sums : Tensor of shape (b, 5)
            Their `frame_sums`.

        Returns
        -------
        Tensor of shape (b,)
            0 up to half of the margin, 1 at the margin, linear from there.
        """
        statistics = _statistics(sums, self.variance)
        lowest, highest, margin = (t.to(sums) for t in (self.lowest, self.highest, self.margin))
        distance = torch.maximum(lowest - statistics, statistics - highest)
        # A smaller image shows less, and varies more.
        margin = margin * (self.count / sums[:, :1]).sqrt().clamp(min=1.0)
        return (2.0 * distance / margin - 1.0).clamp(min=0.0).amax(1)

    def factor(self, sums: Tensor, scores: Tensor) -> Tensor:
        """Compute what maps are multiplied by, so that images score as high as they are unlike.

        Those whose map says so already are left alone.

        Parameters
        ----------
        sums : Tensor of shape (b, 5)
            `frame_sums` of the images.
        scores : Tensor of shape (b,)
            Aggregates of their maps, at least 0.

        Returns
        -------
        Tensor of shape (b, 1, 1)
            At least 1.
        """
        least = self.weight * self.excess(sums)
        return (least / scores.clamp(min=_LEAST_SCORE)).clamp(min=1.0).view(-1, 1, 1)


def _variance(sums: Tensor) -> Tensor:
    mean = sums[:, 1] / sums[:, 0]
    return (sums[:, 2] / sums[:, 0] - mean.square()).clamp(min=0.0)


def _statistics(sums: Tensor, usual: float) -> Tensor:
    """Mean, log contrast and log roughness, (b, 5) → (b, 3)."""
    count, total, _, pairs, differences = sums.unbind(1)
    variance = _variance(sums) / usual + _FLAT
    roughness = differences / pairs.clamp(min=1.0) / usual + _FLAT
    statistics = [
        total / count / usual**0.5,
        0.5 * variance.log(),
        0.5 * (roughness / variance).log(),
    ]
    return torch.stack(statistics, dim=1)
