"""The fitted detector: from images to anomaly maps and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..scoring import MapStep, aggregate, difference_map, frame_sums, smooth
from ._standardization import Standardization


class DetectorModel(nn.Module):
    """What a fitted detector computes, as one module.

    Standardisation, network, difference maps, and an ordered list of steps that make the anomaly
    map of them. Estimators, files and exported graphs hold it, and nothing else computes a map.

    Parameters
    ----------
    standardization : Standardization
    network : torch.nn.Module
        Maps (b, c [+ 1], h, w) or (b, n_features) to the same shape.
    steps : sequence of MapStep
        The first takes the maps of all kinds: of the image, and of its local contrast.
    smoothing_size, smoothing_passes : int
        Side, in pixels, and number of applications of the mean filter on difference maps.
    aggregation : {"max", "mean"} or float
        How a map becomes a score: see `skanomaly.scoring.aggregate`.
    offset : float
        Score below which an image is anomalous.
    map_threshold : float
        Value of the map above which a pixel is anomalous.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skanomaly import DenoisingAE
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> detector = DenoisingAE(max_iter=20, random_state=0).fit(X)
    >>> with torch.no_grad():
    ...     maps, scores = detector.model_(torch.from_numpy(X))
    >>> maps.shape, bool(np.allclose(scores, detector.score_samples(X), rtol=1e-4))
    (torch.Size([50, 4]), True)
    """

    # A ModuleList, which has what is needed of a list.
    steps: list[MapStep]

    def __init__(
        self,
        standardization: Standardization,
        network: nn.Module,
        steps: Sequence[MapStep] = (),
        *,
        smoothing_size: int,
        smoothing_passes: int,
        aggregation: str | float,
        offset: float = 0.0,
        map_threshold: float = 0.0,
    ) -> None:
        super().__init__()
        self.standardization = standardization
        self.network = network
        self.steps = nn.ModuleList(steps)  # type: ignore[assignment]
        self.smoothing_size = smoothing_size
        self.smoothing_passes = smoothing_passes
        self.aggregation = aggregation
        self.offset = offset
        self.map_threshold = map_threshold

    @property
    def margin(self) -> int:
        """Radius, in pixels, of what a difference map depends on beside the network's own."""
        contrast = self.standardization.contrast_size or 0
        return contrast // 2 + self.smoothing_passes * (self.smoothing_size // 2)

    def config(self) -> dict[str, Any]:
        """Return the settings that the constructor takes beside modules."""
        names = ("smoothing_size", "smoothing_passes", "aggregation", "offset", "map_threshold")
        return {name: getattr(self, name) for name in names}

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Compute maps and scores.

        Parameters
        ----------
        values : Tensor of shape (b, c, h, w) or (b, n_features)
            Images as floats, white is 1, channels first; or rows.

        Returns
        -------
        maps : Tensor of shape (b, h, w) or (b, n_features), float64
            Anomaly maps, at least 0.
        scores : Tensor of shape (b,), float64
            At most 0, higher is more normal.
        """
        standardized = self.standardization(values)[0]
        maps = self.compare(*self.repair(standardized))
        frame = self.frame(values)
        for step in self.steps:
            maps = step(maps, frame)
        return maps, self.score(maps)

    def frame(self, values: Tensor, core: tuple[int, int] | None = None) -> Tensor:
        """Compute `frame_sums` of images in their own range, (b, 5), float64; of rows, zeros."""
        if values.ndim == 2:
            return values.new_zeros(len(values), 5, dtype=torch.float64)
        return frame_sums(self.standardization.relative(values), core)

    def repair(self, standardized: Tensor) -> tuple[Tensor, Tensor]:
        """Let the network repair standardised images.

        Returns
        -------
        images, reconstructions : Tensor of shape (b, c [+ 1], h, w) or (b, n_features)
            With the local contrast as the last channel where there is one.
        """
        images = self.standardization.represent(standardized)
        parameter = next(self.network.parameters(), images)
        return images, self.network(images.to(parameter.dtype)).to(images.dtype)

    def compare(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """Compute smoothed difference maps of what `repair` returns.

        Returns
        -------
        Tensor of shape (b, k, h, w) or (b, 1, n_features), float64
            k is 2 with local contrast, which has a map of its own, else 1.
        """
        if images.ndim == 2:
            return difference_map(images.double(), reconstructions.double()).unsqueeze(1)
        channels = images.shape[1] - (self.standardization.contrast_size is not None)
        parts = zip(images.split(channels, 1), reconstructions.split(channels, 1), strict=True)
        # In the precision of the images: there are no differences to lose digits in.
        maps = [
            smooth(difference_map(*part), self.smoothing_size, self.smoothing_passes)
            for part in parts
        ]
        return torch.stack(maps, dim=1).double()

    def score(self, maps: Tensor) -> Tensor:
        """Reduce anomaly maps to scores: (b, …) → (b,)."""
        return -aggregate(maps, self.aggregation)
