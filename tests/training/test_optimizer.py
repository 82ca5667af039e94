import copy

import pytest
import torch
from torch import nn

from skanomaly.networks import ConvolutionalAutoencoder
from skanomaly.training._optimizer import Muon, NetworkOptimizer, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 40), (1, 40, 8), (2, 16, 16)])
def test_singular_vectors_stay_and_values_come_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalize(matrices)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    inside = left.mT @ result @ right.mT
    scale = values / values.norm(dim=1, keepdim=True)
    diagonal = inside.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(inside, torch.diag_embed(diagonal), atol=1e-3, rtol=0)
    assert bool(((diagonal > 0.6) & (diagonal < 1.3))[scale > 0.01].all())


def test_the_iteration_is_that_of_jordan_et_al():
    """The polynomials of the small matrix, multiplied up, are the iteration on the whole one."""
    matrix = torch.randn(6, 30, generator=torch.Generator().manual_seed(0))
    whole = matrix / matrix.norm()
    for _ in range(5):
        square = whole @ whole.T
        whole = 3.4445 * whole + (-4.7750 * square + 2.0315 * square @ square) @ whole
    torch.testing.assert_close(orthogonalize(matrix[None])[0], whole, atol=1e-5, rtol=1e-4)


def test_a_step_is_torchs_own():
    """Up to the rounding of bfloat16, in which torch iterates."""
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("this release of torch has no Muon")
    ours = nn.Parameter(torch.randn(8, 20, generator=torch.Generator().manual_seed(0)))
    theirs = nn.Parameter(ours.detach().clone())
    optimizers = [
        Muon([ours], lr=0.1, weight_decay=0.2),
        muon([theirs], lr=0.1, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"),
    ]
    start = ours.detach().clone()
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        ours.grad = torch.randn(8, 20, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        assert float((ours - theirs).norm() / (theirs - start).norm()) < 0.02


def test_large_convolutions_are_orthogonalised_and_all_weights_are_trained_once():
    network = ConvolutionalAutoencoder((64, 64, 2), width=16)
    adamw, muon = NetworkOptimizer(network, 0.002, 0.1).parts
    matrices = muon.param_groups[0]["params"]
    assert all(weight.ndim == 4 and min(weight.shape[:2]) >= 16 for weight in matrices)
    trained = [id(p) for part in (adamw, muon) for p in part.param_groups[0]["params"]]
    assert sorted(trained) == sorted(id(p) for p in network.parameters())
    assert len(NetworkOptimizer(nn.Linear(4, 4), 0.002, 0.1).parts) == 1


def test_tied_and_frozen_weights():
    tied, frozen = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)), nn.Conv2d(16, 16, 1)
    tied[1].weight = tied[0].weight
    frozen.requires_grad_(False)
    network = nn.Sequential(tied, frozen)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = NetworkOptimizer(network, 0.01, 0.1)
    network(torch.randn(2, 16, 3, 3)).square().mean().backward()
    optimizer.step(1.0)
    moved = [not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True)]
    assert moved == [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_parametrized_convolutions_are_trained(norm):
    parametrize = getattr(nn.utils.parametrizations, norm)
    network = parametrize(nn.Conv2d(16, 16, 3, padding=1))
    optimizer = NetworkOptimizer(network, 0.01, 0.0)
    images = torch.randn(4, 16, 8, 8)
    losses = []
    for _ in range(30):
        loss = (network(images) - images).square().mean()
        loss.backward()
        optimizer.step(1.0)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_run_that_is_taken_up_goes_on_to_the_bit(memory_format):
    torch.manual_seed(0)
    network = nn.Conv2d(16, 16, 3).to(memory_format=memory_format)
    images = torch.randn(2, 16, 8, 8)

    def step(module, optimizer):
        module(images).square().mean().backward()
        optimizer.step(0.5)

    optimizer = NetworkOptimizer(network, 0.01, 0.1)
    step(network, optimizer)
    other = copy.deepcopy(network)
    taken_up = NetworkOptimizer(other, 0.01, 0.1)
    taken_up.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(network, optimizer)
    step(other, taken_up)
    assert torch.equal(network.weight, other.weight) and torch.equal(network.bias, other.bias)


def test_both_rates_follow_the_schedule():
    network = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 2, 1))
    optimizer = NetworkOptimizer(network, 0.002, 0.1)
    for fraction in (1.0, 0.25):
        optimizer.step(fraction)
        rates = [part.param_groups[0]["lr"] for part in optimizer.parts]
        assert rates == pytest.approx([0.002 * fraction, 0.006 * fraction])
