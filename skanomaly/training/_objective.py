"""What the self-supervised autoencoder minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Corrupt = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]


def masked_reconstruction_loss(
    output: Tensor, target: Tensor, masks: Tensor, mask_weight: float
) -> Tensor:
    r"""Mean squared error inside and outside the corrupted part, weighted against each other.

    .. math::
        L = \frac{1-\lambda}{\|1-M\|_1} \|(1-M) \odot (f(\hat x) - x)\|^2
          + \frac{\lambda}{\|M\|_1} \|M \odot (f(\hat x) - x)\|^2

    for each image, then the mean over the batch (SSAE, Bauer, Nakajima and Müller 2024). An
    image without corrupted or without intact pixels drops that term.

    Parameters
    ----------
    output, target : Tensor of shape (b, c, h, w) or (b, n_features)
        Reconstruction and clean image.
    masks : Tensor broadcastable to them
        Support M of the corruption: nonzero where the input was touched.
    mask_weight : float
        λ from 0, identity alone, to 1, inpainting alone.

    Returns
    -------
    Tensor, a scalar

    Examples
    --------
    An error of 1 where the image was touched, and of 0 elsewhere:

    >>> import torch
    >>> from skanomaly.training import masked_reconstruction_loss
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


class RepairObjective:
    """Corrupt, let the network repair, compare.

    Parameters
    ----------
    corrupt : callable
        ``corrupt(images, generator) -> (corrupted, masks)``.
    mask_weight : float
        λ of `masked_reconstruction_loss`.
    identity_noise : float
        Standard deviation σ of the Gaussian noise that is added to the corrupted input *and* to
        the target: to second order σ² ‖J_f − I‖²_F, which asks f to be the identity wherever it
        does not repair (FAE, Bauer and Müller, arXiv 2511.07233).
    idempotence_weight : float
        Weight of ‖f(f(x̂)) − f(x̂)‖² / n, which pulls f towards a projection (Bauer, arXiv
        2606.15280). Costs a second pass through the network.
    represent : callable or None
        Turns images (b, c, h, w) into what the network reads and repairs, after corruption.

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

    def __init__(
        self,
        corrupt: Corrupt,
        *,
        mask_weight: float,
        identity_noise: float,
        idempotence_weight: float,
        represent: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.corrupt = corrupt
        self.represent = represent
        self.mask_weight = mask_weight
        self.identity_noise = identity_noise
        self.idempotence_weight = idempotence_weight

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of one batch of clean images: (b, …) → scalar."""
        corrupted, masks = self.corrupt(images, generator)
        target = images
        if self.represent is not None:
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
