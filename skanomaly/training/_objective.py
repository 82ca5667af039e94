"""The objective of the self-supervised autoencoder."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor, nn

Corrupt = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]


def masked_reconstruction_loss(
    output: Tensor, target: Tensor, masks: Tensor, mask_weight: float
) -> Tensor:
    r"""Weighted sum of the mean squared errors inside and outside the corrupted part.

    .. math::
        L = \frac{1-\lambda}{\|1-M\|_1} \|(1-M) \odot (f(\hat x) - x)\|^2
          + \frac{\lambda}{\|M\|_1} \|M \odot (f(\hat x) - x)\|^2

    for each image, averaged over the batch (SSAE, Bauer, Nakajima and Müller 2024). M is repeated
    for each channel. A term without pixels is 0.

    Parameters
    ----------
    output, target : Tensor of shape (b, c, h, w) or (b, n_features)
        Reconstruction and clean image.
    masks : Tensor broadcastable to them
        M is 1 where this is above 0, that is, where the input was corrupted.
    mask_weight : float
        λ from 0, only the intact part, to 1, only the corrupted part.

    Returns
    -------
    Tensor, a scalar

    Examples
    --------
    An error of 1 in the corrupted part, and of 0 elsewhere:

    >>> import torch
    >>> from skanomaly.training._objective import masked_reconstruction_loss
    >>> masks = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> masked_reconstruction_loss(masks, torch.zeros(1, 4), masks, mask_weight=0.25)
    tensor(0.2500)
    """
    axes = tuple(range(1, output.ndim))
    squared = (output - target).square()
    support = (masks > 0).to(squared.dtype).expand_as(squared)
    inside = (support * squared).sum(axes) / support.sum(axes).clamp(min=1)
    intact = 1 - support
    outside = (intact * squared).sum(axes) / intact.sum(axes).clamp(min=1)
    return ((1 - mask_weight) * outside + mask_weight * inside).mean()


@dataclass(frozen=True)
class RepairObjective:
    """Error of the reconstruction of corrupted images.

    Parameters
    ----------
    corrupt : callable
        ``corrupt(images, generator) -> (corrupted, masks)``.
    mask_weight : float
        λ of the masked reconstruction loss, from 0, only the intact part, to 1, only the corrupted
        part.
    identity_noise : float
        Standard deviation σ of Gaussian noise that is added to the corrupted input *and* to the
        target. Where the reconstruction is exact, this adds σ² ‖J_f − I‖²_F to second order, so
        that f is pulled towards the identity (FAE, Bauer and Müller, arXiv 2511.07233).
    idempotence_weight : float
        Weight of ‖f(f(x̂)) − f(x̂)‖² / n for n values, which pulls f towards a projection (Bauer,
        arXiv 2606.15280). Needs a second pass through the network.
    represent : callable
        Computes the network's input from images (b, c, h, w), after corruption. Default is the
        images themselves.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import PatchCorruption
    >>> from skanomaly.training import RepairObjective
    >>> objective = RepairObjective(
    ...     PatchCorruption().corrupt, mask_weight=0.5, identity_noise=0.0, idempotence_weight=0.0
    ... )
    >>> images = torch.rand(4, 1, 32, 32)
    >>> loss = objective(torch.nn.Identity(), images, torch.Generator().manual_seed(0))
    >>> bool(loss > 0)  # the identity repairs nothing
    True
    """

    corrupt: Corrupt
    _: KW_ONLY
    mask_weight: float
    identity_noise: float
    idempotence_weight: float
    represent: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the loss of a batch of clean images: (b, …) → scalar."""
        corrupted, masks = self.corrupt(images, generator)
        corrupted, target = self.represent(corrupted), self.represent(images)
        if self.identity_noise:
            noise = self.identity_noise * torch.randn(
                target.shape, generator=generator, device=images.device, dtype=torch.float32
            )
            corrupted, target = corrupted + noise, target + noise
        output = network(corrupted).float()
        loss = masked_reconstruction_loss(output, target, masks, self.mask_weight)
        if self.idempotence_weight:
            again = network(output).float()
            loss = loss + self.idempotence_weight * (again - output).square().mean()
        return loss
