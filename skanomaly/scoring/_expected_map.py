"""Maps relative to their mean over normal images."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor

from ._maps import MapStep

# Number of images that the overall mean counts as.
_PRIOR_IMAGES = 10


class ExpectedMap(MapStep):
    """Divides each kind of maps by its mean over normal images, and averages the kinds.

    Parameters
    ----------
    expected : Tensor of shape (k, 1, 1) or (1, n_features), float64
        The means, above 0.

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
            raise ValueError(f"expected must be above 0, got {float(expected.min())} instead.")
        self.register_buffer("expected", expected)

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> Self:
        """Average maps of normal images, pixel by pixel.

        Each mean is shrunk towards the overall mean of its kind, as if that were the value of ten
        more images. This reduces the noise of the divisor if there are few images.

        Parameters
        ----------
        batches : iterable of Tensor of shape (b, k, …), float64
            Maps of k kinds, each averaged separately.

        Returns
        -------
        ExpectedMap

        Examples
        --------
        >>> import torch
        >>> from skanomaly.scoring import ExpectedMap
        >>> maps = torch.ones(90, 1, 1, 2, dtype=torch.float64)
        >>> maps[..., 1] = 3  # usually three times as large as its neighbour
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
        """Divide by the means, and average the kinds.

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
        """Apply the step to the images of `fit`, each left out of the means that divide its maps.

        Otherwise an outlier among n images increases its own divisor, so that no value of its map
        exceeds about n. The overall mean, towards which the means are shrunk, is not recomputed.

        Parameters
        ----------
        maps : Tensor of shape (b, k, …)
        count : int
            Number of images in `fit`, including these.

        Returns
        -------
        Tensor of shape (b, …)

        Examples
        --------
        Of three maps, one is ten times the others. Relative to the other two, it is larger than
        relative to all three:

        >>> import torch
        >>> from skanomaly.scoring import ExpectedMap
        >>> maps = torch.tensor([1.0, 1.0, 10.0], dtype=torch.float64).view(3, 1, 1)
        >>> step = ExpectedMap.fit([maps])
        >>> step(maps, torch.zeros(3, 5))[2], step.leave_one_out(maps, 3)[2]
        (tensor([2.5000], dtype=torch.float64), tensor([2.8571], dtype=torch.float64))
        """
        ratio = maps / self.expected.to(maps)
        others = count + _PRIOR_IMAGES - 1
        # With maps m and means e = (m + rest) / (others + 1), this is m / (rest / others).
        return (ratio * others / (others + 1 - ratio)).mean(1)
