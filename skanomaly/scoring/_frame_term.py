"""The factor for images that differ from the training images as a whole."""

import math
from typing import Any, Self

import torch
from torch import Tensor

from ._maps import MapStep, aggregate

# Added to variances in units of the usual one, so that flat images have a finite logarithm.
_FLAT = 1e-3
# Smallest margins of the mean, in usual standard deviations, and of the logarithms of contrast and
# roughness. At the margin, an image is anomalous: four times the contrast is, twice is not.
_LEAST_MARGINS = (1.0, math.log(4.0), 0.4)
# Smallest divisor.
_LEAST_SCORE = 1e-12


def frame_sums(images: Tensor, core: tuple[int, int] | None = None) -> Tensor:
    """Sums from which the statistics of whole images are computed; sums of tiles add up.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w), float32 or float64
    core : (int, int) or None
        Height and width of the part to sum over. One more row and column, if present, are used
        for the differences across the border only.

    Returns
    -------
    Tensor of shape (b, 5), float64
        Number of values, their sum, their sum of squares, number of pairs of neighbouring pixels,
        and half the sum of their squared differences.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import frame_sums
    >>> frame_sums(torch.tensor([[[[0.0, 2.0], [0.0, 2.0]]]]))
    tensor([[4., 4., 8., 4., 4.]], dtype=torch.float64)
    """
    height, width = images.shape[2:] if core is None else core
    down = images[:, :, 1:, :width] - images[:, :, :-1, :width]
    right = images[:, :, :height, 1:] - images[:, :, :height, :-1]
    # Squares of values far from 0 need double precision.
    values = images[:, :, :height, :width].double().flatten(1)
    total = values.sum(1)
    rows, columns = (t.square().sum((1, 2, 3), dtype=torch.float64) for t in (down, right))
    count = torch.full_like(total, values.shape[1])
    pairs = torch.full_like(total, down[0].numel() + right[0].numel())
    sums = [count, total, values.square().sum(1), pairs, 0.5 * (rows + columns)]
    return torch.stack(sums, dim=1)


class FrameTerm(MapStep):
    """A factor for the maps of images that differ from all training images as a whole.

    A black image, noise or another surface may be easy to reconstruct, and after standardisation it
    may look like any other image. It is detected by its mean, its contrast and its roughness, the
    differences of neighbouring pixels relative to the contrast. Values inside the range of the
    training images, or close to it, have no effect, since defects hardly change these statistics.
    This is a method of this library.

    Parameters
    ----------
    lowest, highest : Tensor of shape (3,), float64
        Range of the statistics of the training images.
    margin : Tensor of shape (3,), float64
        Distance from that range from which the score is at least ``weight``; infinite for a
        statistic that is not used.
    variance : float
        Usual variance within a training image.
    count : float
        Number of values of a training image.
    weight : float
        Score from which an image is anomalous.
    aggregation : {"max", "mean"} or float
        How the score is computed from the map, see `aggregate`.

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
        for name, values in (("lowest", lowest), ("highest", highest), ("margin", margin)):
            self.register_buffer(name, values)
        self.variance, self.count, self.weight = variance, count, weight
        self.aggregation = aggregation

    @classmethod
    def fit(
        cls, sums: Tensor, *, weight: float, brightness: bool, aggregation: str | float
    ) -> Self:
        """Learn the range of the statistics of training images.

        Parameters
        ----------
        sums : Tensor of shape (n, 5)
            `frame_sums` of the training images.
        weight : float
            Score from which an image is anomalous.
        brightness : bool
            Whether to use the mean.
        aggregation : {"max", "mean"} or float
            How the score is computed from the map, see `aggregate`.

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
        """Compute how far images are from the range of the training images.

        Parameters
        ----------
        sums : Tensor of shape (b, 5)
            `frame_sums` of the images.

        Returns
        -------
        Tensor of shape (b,)
            0 up to half of the margin, linear from there, 1 at the margin.
        """
        statistics = _statistics(sums, self.variance)
        lowest, highest, margin = (t.to(sums) for t in (self.lowest, self.highest, self.margin))
        distance = torch.maximum(lowest - statistics, statistics - highest)
        # The statistics of smaller images vary more.
        margin = margin * (self.count / sums[:, :1]).sqrt().clamp(min=1.0)
        return (2.0 * distance / margin - 1.0).clamp(min=0.0).amax(1)

    def factor(self, sums: Tensor, scores: Tensor) -> Tensor:
        """Compute the factor that raises scores to at least ``weight`` times the excess.

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
    """Compute mean, log contrast and log roughness: (b, 5) → (b, 3)."""
    count, total, _, pairs, differences = sums.unbind(1)
    variance = _variance(sums) / usual + _FLAT
    roughness = differences / pairs.clamp(min=1.0) / usual + _FLAT
    statistics = [
        total / count / usual**0.5,
        0.5 * variance.log(),
        0.5 * (roughness / variance).log(),
    ]
    return torch.stack(statistics, dim=1)
