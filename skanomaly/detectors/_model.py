"""The fitted detector as one module: from images to anomaly maps and scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._validation import Shape, ValidatedInput, channels_first
from ..networks import apply_in_windows
from ..scoring import FrameTerm, MapStep, aggregate, difference_map, frame_sums, smooth

STANDARDIZATIONS = ("image", "dataset", "none")

# Number of images that the standardization is fitted on.
_FITTING_LIMIT = 1000
# Least standard deviation that an image is divided by, as a fraction of that of the dataset.
_LEAST_SPREAD = 0.1
# Is added to the variance in a window, so that flat regions have a finite contrast.
_FLAT_VARIANCE = 4e-3


class Standardization(nn.Module):
    """Scale by the training data, and optionally by each image's own mean and deviation.

    Buffers are float64, stay on the CPU, and follow their input.

    Parameters
    ----------
    mean, deviation : Tensor of shape (c,) or (n_features,)
        Of the training data; constant features have standard deviation 1.
    per_image : bool
        Whether each image is also scaled to mean 0 and standard deviation 1 over all its channels
        together.
    contrast_size : int or None
        Side of the window of `local_contrast`, in pixels; None for no such channel.
    contrast_mean, contrast_deviation : float
        Of the local contrast of the standardized training images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        mean: Tensor,
        deviation: Tensor,
        per_image: bool,
        contrast_size: int | None = None,
        contrast_mean: float = 0.0,
        contrast_deviation: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.per_image = per_image
        self.contrast_size = contrast_size
        self.contrast_mean = contrast_mean
        self.contrast_deviation = contrast_deviation

    @classmethod
    def fit(
        cls, data: ValidatedInput, *, standardization: str, contrast_size: int | None
    ) -> Standardization:
        """Learn means and standard deviations, from at most 1000 images.

        Parameters
        ----------
        data : ValidatedInput
        standardization : {"image", "dataset", "none"}
        contrast_size : int or None
        """
        data = data.subset(_FITTING_LIMIT) if data.is_image else data
        mean = variance = np.zeros(data.shape[-1])
        for index in range(len(data)):
            values = data.read(np.array([index])).reshape(-1, data.shape[-1])
            resolution = np.finfo(values.dtype).eps
            values = values.astype(np.float64)
            # Moments are updated image by image (Chan, Golub and LeVeque 1983), since the
            # difference of mean square and squared mean loses all digits if the mean is large.
            change, weight = values.mean(0) - mean, 1 / (index + 1)
            variance = (1 - weight) * (variance + weight * np.square(change))
            variance = variance + weight * values.var(0)
            mean = mean + weight * change
        deviation = np.sqrt(variance)
        # Values of a channel that is constant but for rounding are not scaled up.
        deviation = np.where(deviation <= 2 * resolution * np.abs(mean), 1.0, deviation)
        if standardization == "none":
            mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
        scaling = cls(
            mean=torch.from_numpy(mean),
            deviation=torch.from_numpy(deviation),
            per_image=standardization == "image",
        )
        if contrast_size is None or not data.is_image:
            return scaling
        moments = torch.zeros(2, dtype=torch.float64)
        for index in range(len(data)):
            image = channels_first(data.read(np.array([index])))
            contrast = local_contrast(scaling(image)[0], contrast_size).double()
            moments += torch.stack([contrast.mean(), contrast.square().mean()]) / len(data)
        spread = float((moments[1] - moments[0] ** 2).clamp(min=0).sqrt())
        scaling.contrast_size = int(contrast_size)
        scaling.contrast_mean = float(moments[0])
        scaling.contrast_deviation = spread if spread > 1e-6 else 1.0
        return scaling

    def config(self) -> dict[str, Any]:
        """Return the arguments of the constructor that are not tensors."""
        names = ("per_image", "contrast_size", "contrast_mean", "contrast_deviation")
        return {name: getattr(self, name) for name in names}

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardize a batch.

        Parameters
        ----------
        batch : Tensor of shape (b, c, h, w) or (b, n_features)

        Returns
        -------
        standardized : Tensor of that shape
        shift, scale : Tensor broadcastable to it
            ``standardized * scale + shift`` is the batch.
        """
        relative, shift, scale = self.relative(batch)
        if not self.per_image or batch.ndim == 2:
            return relative, shift, scale
        centre = relative.mean((1, 2, 3), keepdim=True)
        spread = relative.std((1, 2, 3), keepdim=True, correction=0)
        shift, scale = _combine(shift, scale, centre, spread)
        # Rounding errors of a single pixel would be scaled up.
        return ((batch - shift) / scale).masked_fill(spread == 0, 0.0), shift, scale

    def of_large_images(self, strips: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the shift and scale of `forward` for images that come in parts.

        Parameters
        ----------
        strips : iterable of Tensor of shape (b, c, h, w)
            Parts that cover the images without overlap.

        Returns
        -------
        shift, scale : Tensor broadcastable to the images
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for strip in strips:
            relative, shift, scale = self.relative(strip)
            relative = relative.double()
            count += relative[0].numel()
            total = total + relative.sum((1, 2, 3), keepdim=True)
            squares = squares + relative.square().sum((1, 2, 3), keepdim=True)
        if self.per_image:
            centre = total / count
            spread = (squares / count - centre.square()).clamp(min=0).sqrt()
            shift, scale = _combine(shift, scale, centre.to(shift), spread.to(shift))
        return shift, scale

    def relative(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardize a batch by the training data alone; see `forward`."""
        shape = (1, -1, 1, 1) if batch.ndim == 4 else (1, -1)
        shift, scale = self.mean.to(batch).view(shape), self.deviation.to(batch).view(shape)
        return (batch - shift) / scale, shift, scale

    def network_shape(self, data: ValidatedInput) -> Shape:
        """Shape of the network's input: (h, w, c), with local contrast c + 1."""
        if self.contrast_size is None:
            return data.shape
        return *data.shape[:2], data.shape[2] + 1

    def represent(self, standardized: Tensor) -> Tensor:
        """Append the local contrast, if there is one, as a channel: (b, c + 1, h, w)."""
        if self.contrast_size is None:
            return standardized
        contrast = local_contrast(standardized, self.contrast_size)
        scaled = (contrast - self.contrast_mean) / self.contrast_deviation
        return torch.cat([standardized, scaled], dim=1)


def local_contrast(images: Tensor, size: int) -> Tensor:
    """Logarithm of the standard deviation in a window around each pixel.

    The best repair of a random texture is smooth, so a blurred or flat region differs little from
    its repair. Its contrast does differ from that of its surroundings.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
        Standardized; channels are averaged.
    size : int
        Side of the window in pixels, odd; windows are cut off at the border.

    Returns
    -------
    Tensor of shape (b, 1, h, w)
    """
    grey = images.mean(1)
    # Centred, so that sums of squares lose no digits.
    grey = grey - grey.mean((1, 2), keepdim=True)
    mean = smooth(grey, size, 1)
    variance = smooth(grey.square(), size, 1) - mean.square()
    return 0.5 * torch.log(variance.clamp(min=0) + _FLAT_VARIANCE).unsqueeze(1)


def _combine(shift: Tensor, scale: Tensor, centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Combine the scaling of the dataset with that of each image, which is in its units."""
    return shift + scale * centre, scale * spread.clamp(min=_LEAST_SPREAD)


class DetectorModel(nn.Module):
    """Standardization, network, difference maps, and the map steps that make the anomaly map.

    Estimators, files and exported graphs hold it, and nothing else computes a map.

    Parameters
    ----------
    standardization : Standardization
    network : torch.nn.Module
        Maps (b, c [+ 1], h, w) or (b, n_features) to the same shape.
    steps : sequence of MapStep
        The first takes the difference maps of the image and of its local contrast.
    window : (int, int) or None, default=None
        Height and width, in pixels, of the images or crops that the network was trained on. Larger
        images are reconstructed in windows of this size, see `apply_in_windows`. None, as for rows,
        reconstructs them as a whole.
    smoothing_size, smoothing_passes : int
        Side, in pixels, and number of applications of the mean filter on difference maps.
    aggregation : {"max", "mean"} or float
        See `skanomaly.scoring.aggregate`.
    offset : float
        Images with lower scores are anomalous.
    map_threshold : float
        Pixels with larger map values are anomalous.

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

    # A ModuleList, used as a list.
    steps: list[MapStep]
    # Pickles of earlier versions have none.
    window: tuple[int, int] | None = None

    def __init__(
        self,
        standardization: Standardization,
        network: nn.Module,
        steps: Sequence[MapStep] = (),
        *,
        window: Sequence[int] | None = None,
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
        self.window = None if window is None else (int(window[0]), int(window[1]))
        self.smoothing_size = smoothing_size
        self.smoothing_passes = smoothing_passes
        self.aggregation = aggregation
        self.offset = offset
        self.map_threshold = map_threshold

    @property
    def margin(self) -> int:
        """Receptive-field radius, in pixels, of difference maps beyond that of the network."""
        contrast = self.standardization.contrast_size or 0
        return contrast // 2 + self.smoothing_passes * (self.smoothing_size // 2)

    @property
    def usual_value(self) -> float | None:
        """Usual absolute value in the training images; None for rows."""
        term = next((step for step in self.steps if isinstance(step, FrameTerm)), None)
        if term is None:
            return None
        spread = term.variance**0.5
        mean = spread * max(abs(float(term.lowest[0])), abs(float(term.highest[0])))
        scaling = self.standardization
        return float((scaling.mean.abs() + scaling.deviation * (mean + spread)).max())

    def config(self) -> dict[str, Any]:
        """Return the arguments of the constructor that are not modules."""
        names = ("window", "smoothing_size", "smoothing_passes", "aggregation")
        return {name: getattr(self, name) for name in (*names, "offset", "map_threshold")}

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Compute maps and scores.

        Parameters
        ----------
        values : Tensor of shape (b, c, h, w) or (b, n_features)
            Images as floats with white 1, or rows.

        Returns
        -------
        maps : Tensor of shape (b, h, w) or (b, n_features), float64
            Anomaly maps, at least 0.
        scores : Tensor of shape (b,), float64
            At most 0, higher is more normal.
        """
        maps = self.compare(*self.repair(self.standardization(values)[0]))
        frame = self.frame(values)
        for step in self.steps:
            maps = step(maps, frame)
        return maps, self.score(maps)

    def frame(self, values: Tensor, core: tuple[int, int] | None = None) -> Tensor:
        """Compute `frame_sums` (b, 5), float64, of images that are not standardized, or zeros."""
        if values.ndim == 2:
            return values.new_zeros(len(values), 5, dtype=torch.float64)
        return frame_sums(self.standardization.relative(values)[0], core)

    def repair(self, standardized: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the network to standardized images.

        Returns
        -------
        images, reconstructions : Tensor of shape (b, c [+ 1], h, w) or (b, n_features)
            With the local contrast, if there is one, as the last channel.
        """
        images = self.standardization.represent(standardized)
        values = images.to(next(self.network.parameters(), images).dtype)
        return images, apply_in_windows(self.network, values, self.window).to(images.dtype)

    def compare(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """Compute smoothed difference maps of the tensors that `repair` returns.

        Returns
        -------
        Tensor of shape (b, k, h, w) or (b, 1, n_features), float64
            k is 2 with local contrast, which has its own map, else 1.
        """
        if images.ndim == 2:
            return difference_map(images.double(), reconstructions.double()).unsqueeze(1)
        channels = images.shape[1] - (self.standardization.contrast_size is not None)
        parts = zip(images.split(channels, 1), reconstructions.split(channels, 1), strict=True)
        # Smoothing takes no differences, so float32 is precise enough.
        maps = [
            smooth(difference_map(*part), self.smoothing_size, self.smoothing_passes)
            for part in parts
        ]
        return torch.stack(maps, dim=1).double()

    def score(self, maps: Tensor) -> Tensor:
        """Reduce anomaly maps (b, …) to scores (b,)."""
        return -aggregate(maps, self.aggregation)

    def mask(self, maps: Tensor) -> Tensor:
        """Mark anomalous pixels, those with NaN among them."""
        return ~(maps <= self.map_threshold)
