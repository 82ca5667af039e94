"""Maps in multiples of what normal images show."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ._map_step import MapStep

_PRIOR_IMAGES = 10


class ExpectedMap(MapStep):
    """Divides the maps of each kind by their mean over normal images, and averages the kinds.

    Parameters
    ----------
    expected : Tensor of shape (k, 1, 1) or (1, n_features), float64
        Above 0.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.scoring import ExpectedMap
    >>> step = ExpectedMap(expected=torch.tensor([[2.0, 4.0]]))
    >>> step(torch.tensor([[[2.0, 2.0]]]), torch.zeros(1, 5))
    tensor([[1.0000, 0.5000]])
    """

    expected: Tensor

    def __init__(self, *, expected: Tensor) -> None:
        super().__init__()
        if not bool((expected > 0).all()):
            raise ValueError("expected must be above 0.")
        self.register_buffer("expected", expected)

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> ExpectedMap:
        """Average the maps of normal images, pixel by pixel.

        Each value is pulled a little towards the mean over all values, as if that had been seen in
        ten further images, so that few images do not make a noisy divisor.

        Parameters
        ----------
        batches : iterable of Tensor of shape (b, k, …), float64
            k kinds of maps of the same images; each is averaged by itself.

        Returns
        -------
        ExpectedMap

        Examples
        --------
        >>> import torch
        >>> from skanomaly.scoring import ExpectedMap
        >>> maps = torch.ones(90, 1, 1, 2, dtype=torch.float64)
        >>> maps[..., 1] = 3  # usually three times as different as its neighbour
        >>> ExpectedMap.fit([maps]).expected
        tensor([[[1.1000, 2.9000]]], dtype=torch.float64)
        """
        total, count = torch.zeros(1, 1), 0
        for maps in batches:
            total = total + maps.sum(0)
            count += len(maps)
        overall = total.flatten(1).mean(1).view(-1, *[1] * (total.ndim - 1)) / count
        expected = (total + _PRIOR_IMAGES * overall) / (count + _PRIOR_IMAGES)
        return cls(expected=torch.where(overall > 0, expected, 1.0))

    def forward(self, maps: Tensor, frame: Tensor) -> Tensor:
        """Divide, and average the kinds.

        Parameters
        ----------
        maps : Tensor of shape (b, k, …)
        frame : Tensor of shape (b, 5)
            Not used.

        Returns
        -------
        Tensor of shape (b, …)
        """
        return (maps / self.expected.to(maps)).mean(1)

    def leave_one_out(self, maps: Tensor, count: int) -> Tensor:
        """Compute what `forward` would if the images were not among those averaged.

        A feature by which one sample of n differs a thousandfold is divided by that sample too, and
        comes out at about n: the sample seems more normal than a new one like it.

        Parameters
        ----------
        maps : Tensor of shape (b, k, …)
        count : int
            Number of images that were averaged, these among them.

        Returns
        -------
        Tensor of shape (b, …)

        Examples
        --------
        Of three maps, one is ten times the others. To the expected map of the other two it is more
        unusual than to that of all three:

        >>> import torch
        >>> from skanomaly.scoring import ExpectedMap
        >>> maps = torch.tensor([1.0, 1.0, 10.0], dtype=torch.float64).view(3, 1, 1)
        >>> step = ExpectedMap.fit([maps])
        >>> step(maps, torch.zeros(3, 5))[2], step.leave_one_out(maps, 3)[2]
        (tensor([2.5000], dtype=torch.float64), tensor([2.8571], dtype=torch.float64))
        """
        ratio = maps / self.expected.to(maps)
        others = count + _PRIOR_IMAGES - 1
        # With maps m and expected map e = (m + rest) / (others + 1), ratio is m / e.
        return (ratio * others / (others + 1 - ratio)).mean(1)
