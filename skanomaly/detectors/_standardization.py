"""Scaling of images to what a network likes to see, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._images import ValidatedInput

_FITTING_LIMIT = 1000
# An image flatter than this share of the usual contrast is not blown up to full contrast.
_LEAST_CONTRAST = 0.1


@dataclass(frozen=True)
class Standardization:
    """Per-channel mean and deviation of the training data, and optionally each image's own.

    Attributes
    ----------
    mean, deviation : Tensor of shape (c,) or (n_features,)
        Learned in `fit`; features that do not vary have deviation 1.
    per_image : bool
        Whether each image is shifted and scaled to mean 0 and deviation 1 on top of that, over
        all its channels together.
    """

    mean: Tensor
    deviation: Tensor
    per_image: bool

    @classmethod
    def fit(cls, data: ValidatedInput, *, per_image: bool) -> Standardization:
        """Learn mean and deviation from at most a thousand images, spread evenly."""
        data = data.subset(_FITTING_LIMIT) if data.is_image else data
        mean = mean_square = np.zeros(data.shape[-1])
        for index in range(len(data)):
            values = data.read(np.array([index])).reshape(-1, data.shape[-1]).astype(np.float64)
            mean = mean + values.mean(0) / len(data)
            mean_square = mean_square + np.square(values).mean(0) / len(data)
        variance = np.maximum(mean_square - np.square(mean), 0.0)
        flat = variance <= 1e-12 * np.maximum(1.0, np.square(mean))
        deviation = np.sqrt(np.where(flat, 1.0, variance))
        return cls(torch.from_numpy(mean), torch.from_numpy(deviation), per_image)

    def apply(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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
        shape = (1, -1, 1, 1) if batch.ndim == 4 else (1, -1)
        shift = self.mean.to(batch).view(shape)
        scale = self.deviation.to(batch).view(shape)
        if self.per_image and batch.ndim == 4:
            relative = (batch - shift) / scale
            centre = relative.mean((1, 2, 3), keepdim=True)
            spread = relative.std((1, 2, 3), keepdim=True, correction=0)
            shift = shift + scale * centre
            scale = scale * spread.clamp(min=_LEAST_CONTRAST)
        return (batch - shift) / scale, shift, scale


def undo(standardized: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Bring a standardised batch back to its own range."""
    return standardized * scale + shift
