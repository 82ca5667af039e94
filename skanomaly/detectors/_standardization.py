"""What a network sees of an image: its scaled values, and its local contrast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..scoring import smooth
from ._images import Shape, ValidatedInput

STANDARDIZATIONS = ("image", "dataset", "none")

_FITTING_LIMIT = 1000
# An image flatter than this fraction of the usual contrast is not blown up to full contrast.
_LEAST_CONTRAST = 0.1
# Variance, in squared standard deviations of the image, below which a region is as good as flat.
_FLAT_VARIANCE = 4e-3


class Standardization(nn.Module):
    """Mean and standard deviation of the training data, and optionally each image's own.

    Buffers are float64, stay on the CPU, and follow their input.

    Parameters
    ----------
    mean, deviation : Tensor of shape (c,) or (n_features,)
        Learned in `fit`; features that do not vary have standard deviation 1.
    per_image : bool
        Whether each image is shifted and scaled to mean 0 and standard deviation 1 besides, over
        all its channels together.
    contrast_size : int or None
        Side of the window of `local_contrast`, in pixels; None leaves that channel out.
    contrast_mean, contrast_deviation : float
        Of the local contrast of the standardised training images.
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
        """Learn means and standard deviations from at most a thousand images, spread evenly.

        Parameters
        ----------
        data : ValidatedInput
        standardization : {"image", "dataset", "none"}
            Whether each image is scaled by itself too, or nothing is scaled.
        contrast_size : int or None
            Side of the window of `local_contrast`.
        """
        data = data.subset(_FITTING_LIMIT) if data.is_image else data
        mean = mean_square = np.zeros(data.shape[-1])
        for index in range(len(data)):
            values = data.read(np.array([index])).reshape(-1, data.shape[-1]).astype(np.float64)
            mean = mean + values.mean(0) / len(data)
            mean_square = mean_square + np.square(values).mean(0) / len(data)
        variance = np.maximum(mean_square - np.square(mean), 0.0)
        flat = variance <= 1e-12 * np.maximum(1.0, np.square(mean))
        deviation = np.sqrt(np.where(flat, 1.0, variance))
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
            image = torch.from_numpy(data.read(np.array([index]))).permute(0, 3, 1, 2)
            contrast = local_contrast(scaling(image)[0], contrast_size).double()
            moments += torch.stack([contrast.mean(), contrast.square().mean()]) / len(data)
        centre = float(moments[0])
        spread = float((moments[1] - moments[0] ** 2).clamp(min=0).sqrt())
        scaling.contrast_size = contrast_size
        scaling.contrast_mean = centre
        scaling.contrast_deviation = spread if spread > 1e-6 else 1.0
        return scaling

    def config(self) -> dict[str, Any]:
        """Return the settings that the constructor takes beside its tensors."""
        names = ("per_image", "contrast_size", "contrast_mean", "contrast_deviation")
        return {name: getattr(self, name) for name in names}

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardise a batch, channels first.

        Parameters
        ----------
        batch : Tensor of shape (b, c, h, w) or (b, n_features)

        Returns
        -------
        standardized : Tensor of that shape
        shift, scale : Tensor broadcastable to it
            What `undo` needs.
        """
        shift, scale = self.of_dataset(batch)
        if self.per_image and batch.ndim == 4:
            relative = (batch - shift) / scale
            centre = relative.mean((1, 2, 3), keepdim=True)
            spread = relative.std((1, 2, 3), keepdim=True, correction=0)
            shift, scale = _combine(shift, scale, centre, spread)
            # A single pixel is 0, and no rounding of it, which networks would blow up.
            return ((batch - shift) / scale).masked_fill(spread == 0, 0.0), shift, scale
        return (batch - shift) / scale, shift, scale

    def of_large_images(self, strips: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the shift and scale of `forward` of images that come in parts.

        Parameters
        ----------
        strips : iterable of Tensor of shape (b, c, h, w)
            Parts of the same images, which cover them without overlap.

        Returns
        -------
        shift, scale : Tensor broadcastable to the images
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for strip in strips:
            shift, scale = self.of_dataset(strip)
            relative = ((strip - shift) / scale).double()
            count += relative[0].numel()
            total = total + relative.sum((1, 2, 3), keepdim=True)
            squares = squares + relative.square().sum((1, 2, 3), keepdim=True)
        if self.per_image:
            centre = total / count
            spread = (squares / count - centre.square()).clamp(min=0).sqrt()
            shift, scale = _combine(shift, scale, centre.to(shift), spread.to(shift))
        return shift, scale

    def relative(self, batch: Tensor) -> Tensor:
        """Bring values to standard deviations from the mean of the training data."""
        shift, scale = self.of_dataset(batch)
        return (batch - shift) / scale

    def of_dataset(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training data, broadcastable to a batch."""
        shape = (1, -1, 1, 1) if batch.ndim == 4 else (1, -1)
        return self.mean.to(batch).view(shape), self.deviation.to(batch).view(shape)

    def network_shape(self, data: ValidatedInput) -> Shape:
        """Shape of what the network reads: (h, w, c), with local contrast c + 1."""
        if self.contrast_size is None:
            return data.shape
        return *data.shape[:2], data.shape[2] + 1

    def represent(self, standardized: Tensor) -> Tensor:
        """Put the local contrast beside the values.

        Parameters
        ----------
        standardized : Tensor of shape (b, c, h, w) or (b, n_features)

        Returns
        -------
        Tensor of shape (b, c + 1, h, w), or unchanged without local contrast
        """
        if self.contrast_size is None:
            return standardized
        contrast = local_contrast(standardized, self.contrast_size)
        scaled = (contrast - self.contrast_mean) / self.contrast_deviation
        return torch.cat([standardized, scaled], dim=1)


def local_contrast(images: Tensor, size: int) -> Tensor:
    """Logarithm of the standard deviation in a window around each pixel.

    The best repair of a random texture is smooth, so that a blurred or a flat region differs
    little from its repair. Its contrast does differ from what the surroundings tell.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
        Standardised; channels are averaged.
    size : int
        Side of the window in pixels, odd; at the border the part inside counts.

    Returns
    -------
    Tensor of shape (b, 1, h, w)
        Half the logarithm of the variance, of which a little is added so that flat regions have
        a finite contrast.
    """
    grey = images.mean(1)
    # Taken from the mean of the image, sums of squares lose no digits.
    grey = grey - grey.mean((1, 2), keepdim=True)
    mean = smooth(grey, size, 1)
    variance = smooth(grey.square(), size, 1) - mean.square()
    return 0.5 * torch.log(variance.clamp(min=0) + _FLAT_VARIANCE).unsqueeze(1)


def _combine(shift: Tensor, scale: Tensor, centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale of the dataset and then, in its units, those of each image."""
    return shift + scale * centre, scale * spread.clamp(min=_LEAST_CONTRAST)


def undo(standardized: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Bring a standardised batch back to its own range."""
    return standardized * scale + shift
