"""The objective of the denoising autoencoder."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DenoisingObjective:
    r"""Error of the reconstruction of noisy images.

    .. math:: L = \frac{1}{n} \|f(\tilde x) - x\|^2

    with a noisy version :math:`\tilde x` of an input of n values, averaged over the batch (DAE,
    Vincent et al., JMLR 11, 2010).

    Parameters
    ----------
    add_noise : callable
        ``add_noise(images, generator) -> noisy images``.
    represent : callable
        Computes the network's input from images (b, c, h, w), before noise is added. Default is
        the images themselves.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import DenoisingObjective
    >>> objective = DenoisingObjective(lambda images, generator: images + 0.5)
    >>> objective(torch.nn.Identity(), torch.zeros(2, 4), torch.Generator())
    tensor(0.2500)
    """

    add_noise: Callable[[Tensor, torch.Generator], Tensor]
    _: KW_ONLY
    represent: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the loss of a batch of clean images: (b, …) → scalar."""
        target = self.represent(images)
        output = network(self.add_noise(target, generator)).float()
        return (output - target).square().mean()
