"""What every step from difference maps to an anomaly map offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn


class MapStep(nn.Module):
    """One step from the difference maps of images to their anomaly maps.

    A subclass takes its learned values as tensors and its settings as plain numbers or strings, all
    by keyword, registers the tensors as buffers of the same names, and returns the settings from
    `config`: files of fitted detectors store both. Buffers are float64, stay on the CPU, and follow
    their input.

    Attributes
    ----------
    reach : int or None
        Radius, in pixels, of what a pixel of the result depends on: large images are then worked on
        in parts. None is the whole image.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import MapStep
    >>> class Power(MapStep):
    ...     def __init__(self, *, exponent):
    ...         super().__init__()
    ...         self.exponent = exponent
    ...
    ...     def forward(self, maps, frame):
    ...         return maps**self.exponent
    ...
    ...     def config(self):
    ...         return {"exponent": self.exponent}
    >>> Power(exponent=2)(torch.full((1, 2, 2), 3.0), torch.zeros(1, 5))
    tensor([[[9., 9.],
             [9., 9.]]])
    """

    reach: int | None = 0

    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], image_shape: Sequence[int]
    ) -> Self | None:
        """Make the step that a detector asks for; those of ``OPTIONAL_STEPS`` have this.

        Parameters
        ----------
        parameters : mapping of str to object
            The detector's.
        image_shape : (int, int, int) or (int,)
            Height, width and channels of its images, or the number of features.

        Returns
        -------
        MapStep or None
            None if the detector goes without.
        """
        raise NotImplementedError

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Take the step.

        Parameters
        ----------
        maps : Tensor of shape (b, h, w) or (b, n_features), float64
            At least 0. The first step gets (b, k, h, w) or (b, 1, n_features).
        frame : Tensor of shape (b, 5), float64
            `frame_sums` of the images.

        Returns
        -------
        Tensor of shape (b, h, w) or (b, n_features), float64
            At least 0.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the settings that the constructor takes beside its tensors.

        Returns
        -------
        dict
        """
        return {}
