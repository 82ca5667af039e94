import pytest
import torch
from torch import nn

from skanomaly.training import RepairObjective
from skanomaly.training._objective import masked_reconstruction_loss


def test_the_masked_loss_by_hand():
    target = torch.zeros(2, 1, 2, 2)
    output = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    masks = torch.zeros(2, 1, 2, 2)
    masks[0, 0, 0] = 0.3  # soft, but touched
    # First image: inside (1 + 4) / 2, outside (9 + 16) / 2; second: no corruption, outside 1.
    expected = 0.5 * ((0.75 * 2.5 + 0.25 * 12.5) + 0.25 * 1.0)
    assert float(masked_reconstruction_loss(output, target, masks, 0.75)) == pytest.approx(expected)


def test_mask_weight_trains_inpainting_or_identity_alone():
    target = torch.zeros(1, 3, 2, 2)
    masks = torch.zeros(1, 1, 2, 2)
    masks[..., 0, 0] = 1.0
    output = torch.zeros(1, 3, 2, 2)
    output[..., 0, 0] = 2.0
    assert float(masked_reconstruction_loss(output, target, masks, 0.0)) == 0
    assert float(masked_reconstruction_loss(output, target, masks, 1.0)) == pytest.approx(4)


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images):
        return self.factor * images


def no_corruption(images, generator):
    return images, torch.zeros_like(images)


def test_identity_noise_stays_in_the_target():
    """E ‖(a − 1)(x + ε)‖² = (a − 1)² (x² + σ²): nothing for the identity, however strong σ."""
    options = dict(mask_weight=0.0, idempotence_weight=0.0)
    images = torch.ones(4000, 8)
    generator = torch.Generator().manual_seed(0)
    noisy = RepairObjective(no_corruption, identity_noise=2.0, **options)
    assert float(noisy(Scale(1.0), images, generator).detach()) == pytest.approx(0, abs=1e-10)
    loss = float(noisy(Scale(0.5), images, generator).detach())
    assert loss == pytest.approx(0.25 * (1 + 4), rel=0.03)
    quiet = RepairObjective(no_corruption, identity_noise=0.0, **options)
    assert float(quiet(Scale(0.5), images, generator).detach()) == pytest.approx(0.25)


def test_idempotence_penalty():
    """f(x) = a x has f(f(x)) − f(x) = a (a − 1) x: nothing for the projections a = 0 and a = 1."""
    generator = torch.Generator()
    images = torch.full((5, 4), 3.0)
    options = dict(mask_weight=0.0, identity_noise=0.0)
    for factor in (0.0, 0.5, 1.0):
        plain = RepairObjective(no_corruption, idempotence_weight=0.0, **options)
        pulled = RepairObjective(no_corruption, idempotence_weight=2.0, **options)
        difference = pulled(Scale(factor), images, generator) - plain(
            Scale(factor), images, generator
        )
        assert float(difference.detach()) == pytest.approx(2 * (factor * (factor - 1) * 3) ** 2)


def test_the_network_repairs_what_it_reads():
    """With two channels made of one, both are compared."""
    objective = RepairObjective(
        lambda images, generator: (images + 1, torch.ones(len(images), 1, 2, 2)),
        mask_weight=1.0,
        identity_noise=0.0,
        idempotence_weight=0.0,
        represent=lambda images: torch.cat([images, 3 * images], dim=1),
    )
    images = torch.randn(4, 1, 2, 2)
    loss = objective(Scale(1.0), images, torch.Generator())
    assert float(loss.detach()) == pytest.approx((1 + 9) / 2, rel=1e-5)
