"""What the denoising autoencoder minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class DenoisingObjective:
    r"""Add noise, let the network take it away, compare.

    .. math:: L = \frac{1}{n} \|f(\tilde x) - x\|^2

    with a noisy version :math:`\tilde x` of an input of n values, mean over the batch (DAE,
    Vincent et al., JMLR 11, 2010).

    Parameters
    ----------
    add_noise : callable
        ``add_noise(images, generator) -> noisy images``.
    represent : callable or None
        Turns images (b, c, h, w) into what the network reads and repairs, before the noise.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import DenoisingObjective
    >>> objective = DenoisingObjective(lambda images, generator: images + 0.5)
    >>> objective(torch.nn.Identity(), torch.zeros(2, 4), torch.Generator())
    tensor(0.2500)
    """

    def __init__(
        self,
        add_noise: Callable[[Tensor, torch.Generator], Tensor],
        *,
        represent: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.add_noise = add_noise
        self.represent = represent

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of one batch of clean images: (b, …) → scalar."""
        target = images if self.represent is None else self.represent(images)
        output = network(self.add_noise(target, generator)).float()
        return (output - target).square().mean()
