from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skanomaly.corruption import NOISES, add_noise
from skanomaly.networks import ConvolutionalAutoencoder, DenseAutoencoder, LinearAutoencoder
from skanomaly.training import ContractiveObjective, DenoisingObjective
from skanomaly.training._contractive import squared_jacobian_norm


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def exact_norms(function, inputs):
    """Squared norms of the Jacobians, from torch's own."""
    jacobians = [
        torch.autograd.functional.jacobian(lambda x: function(x[None])[0], row) for row in inputs
    ]
    return torch.stack([jacobian.square().sum() for jacobian in jacobians])


def estimate(function, inputs, **options):
    inputs = inputs.clone().requires_grad_()
    return squared_jacobian_norm(function(inputs), inputs, **options).detach()


def test_few_outputs_give_the_exact_jacobian_norm(generator):
    network = DenseAutoencoder(6).double()
    rows = torch.randn(5, 6, dtype=torch.double)
    norms = estimate(network, rows, n_probes=1, generator=generator)
    torch.testing.assert_close(norms, exact_norms(network, rows))


def test_as_many_probes_as_outputs_are_exact(generator):
    network = DenseAutoencoder(40).double()
    rows = torch.randn(3, 40, dtype=torch.double)
    norms = estimate(network, rows, n_probes=40, generator=generator)
    torch.testing.assert_close(norms, exact_norms(network, rows))
    few = estimate(network, rows, n_probes=39, generator=generator)
    assert bool((few != norms).all())


@pytest.mark.parametrize("part", ["reconstruction", "encoder"])
def test_probes_estimate_the_norm_of_a_real_network_without_bias(part, generator):
    """The mean of 400 single probes lies within four standard errors of the exact norm."""
    network = ConvolutionalAutoencoder((8, 8, 1), width=4, convex=False).eval().double()
    function = network if part == "reconstruction" else network.encode
    image = torch.randn(1, 1, 8, 8, dtype=torch.double)
    norms = estimate(function, image.repeat(400, 1, 1, 1), n_probes=1, generator=generator)
    exact = float(exact_norms(function, image))
    error = float(norms.std()) / 400**0.5
    assert error < 0.1 * exact
    assert abs(float(norms.mean()) - exact) < 4 * error


def test_the_variance_of_the_estimate_falls_as_one_over_the_probes(generator):
    """Both variances come from 1,500 estimates: their ratio is 8, give or take a seventh."""
    network = DenseAutoencoder(40).double()
    rows = torch.randn(1, 40, dtype=torch.double).repeat(1500, 1)
    single, several = (
        float(estimate(network, rows, n_probes=count, generator=generator).var())
        for count in (1, 8)
    )
    assert single / several == pytest.approx(8, rel=0.3)


def test_the_norm_is_differentiated():
    """d ‖W‖² / dW = 2 W."""
    layer = nn.Linear(4, 4, bias=False)
    inputs = torch.randn(1, 4).requires_grad_()
    squared_jacobian_norm(layer(inputs), inputs, n_probes=1, generator=torch.Generator()).backward()
    torch.testing.assert_close(layer.weight.grad, 2 * layer.weight.detach())


def penalty_of(network, rows, penalty, generator):
    """What a weight of 1 adds to the loss."""
    losses = [
        float(
            ContractiveObjective(penalty=penalty, penalty_weight=weight)(
                network, rows, generator
            ).detach()
        )
        for weight in (0.0, 1.0)
    ]
    return losses[1] - losses[0]


class SigmoidAutoencoder(nn.Module):
    """The network of Rifai et al., without tied weights."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 5)
        self.output = nn.Linear(5, 3)

    def encode(self, rows):
        return torch.sigmoid(self.hidden(rows))

    def forward(self, rows):
        return self.output(self.encode(rows))


def test_the_encoder_penalty_by_the_formula_of_rifai(generator):
    """‖J_h‖² = Σ_j (h_j (1 − h_j))² Σ_i W_ji² (Rifai et al. 2011), over the code's variance."""
    network = SigmoidAutoencoder()
    rows = torch.randn(7, 3)
    code = network.encode(rows).detach()
    weights = network.hidden.weight.detach()
    norms = ((code * (1 - code)).square() * weights.square().sum(1)).sum(1)
    expected = float(norms.mean() / code.var(0, correction=0).sum())
    assert penalty_of(network, rows, "encoder", generator) == pytest.approx(expected, rel=1e-4)


def test_a_smaller_code_and_a_larger_decoder_gain_nothing(generator):
    """Of a linear code; with a nonlinear one, the formula above holds."""
    rows = torch.randn(50, 4)
    network = LinearAutoencoder(4, rank=3)
    before = penalty_of(network, rows, "encoder", generator)
    with torch.no_grad():
        network.encoder.weight /= 10
        network.encoder.bias /= 10
        network.decoder.weight *= 10
    assert penalty_of(network, rows, "encoder", generator) == pytest.approx(before, rel=1e-4)


def test_the_identity_pays_one_per_unit_of_weight(generator):
    """Both penalties are per value: ‖I‖² / n = 1, and for white rows of unit variance too."""
    identity = nn.Identity()
    identity.encode = nn.Identity()
    identity.anchor = nn.Parameter(torch.zeros(1))
    rows = torch.randn(20000, 4)
    assert penalty_of(identity, rows, "reconstruction", generator) == pytest.approx(1, rel=1e-5)
    assert penalty_of(identity, rows, "encoder", generator) == pytest.approx(1, rel=0.03)
    maps = torch.randn(2000, 2, 6, 6)
    assert penalty_of(identity, maps, "encoder", generator) == pytest.approx(1, rel=0.03)


def test_a_constant_code_costs_a_finite_penalty(generator):
    network = SigmoidAutoencoder()
    rows = torch.ones(4, 3)
    assert np.isfinite(penalty_of(network, rows, "encoder", generator))


def test_the_contractive_loss_is_there_without_gradients(generator):
    """Early stopping computes it so."""
    network = DenseAutoencoder(4)
    rows = torch.randn(6, 4)
    objective = ContractiveObjective(penalty="reconstruction", penalty_weight=0.5)
    with torch.no_grad():
        quiet = objective(network, rows, generator)
    expected = (network(rows) - rows).square().mean() + 0.5 * exact_norms(network, rows).mean() / 4
    assert float(quiet.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_denoising_loss_compares_with_the_clean_image(generator):
    """For f = 0 it is the clean image's mean square, whatever the noise; for f = id, σ²."""
    rows = torch.randn(5000, 8)
    objective = DenoisingObjective(partial(add_noise, kind="gaussian", amount=0.5))
    nothing, everything = (lambda x: 0 * x), (lambda x: x)
    assert float(objective(nothing, rows, generator)) == pytest.approx(float(rows.square().mean()))
    assert float(objective(everything, rows, generator)) == pytest.approx(0.25, rel=0.03)


def test_noise_comes_on_top_of_what_the_network_reads(generator):
    """With a second channel made of the first, both are noisy, each for itself."""
    seen = []

    def network(images):
        seen.append(images)
        return images

    objective = DenoisingObjective(
        partial(add_noise, kind="gaussian", amount=1.0),
        represent=lambda images: torch.cat([images, images], 1),
    )
    objective(network, torch.zeros(64, 1, 8, 8), generator)
    (noisy,) = seen
    correlation = torch.corrcoef(noisy.transpose(0, 1).flatten(1))[0, 1]
    assert noisy.shape[1] == 2 and abs(float(correlation)) < 0.1


@pytest.mark.parametrize("shape", [(200, 10), (40, 2, 7, 9)])
def test_kinds_of_noise(shape, generator):
    images = torch.randn(*shape)
    noisy = {kind: add_noise(images, generator, kind=kind, amount=0.3) for kind in NOISES}
    difference = noisy["gaussian"] - images
    assert float(difference.std()) == pytest.approx(0.3, rel=0.05)
    assert abs(float((difference * images).mean())) < 0.03

    masked = noisy["masking"] != images
    assert float(masked.float().mean()) == pytest.approx(0.3, abs=0.04)
    assert bool((noisy["masking"][masked] == 0).all())

    changed = noisy["salt_and_pepper"] != images
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.04)
    axes = (0, *range(2, images.ndim))
    high = (noisy["salt_and_pepper"] == images.amax(axes, keepdim=True)) & changed
    low = (noisy["salt_and_pepper"] == images.amin(axes, keepdim=True)) & changed
    assert bool((high | low)[changed].all())
    assert float(high.sum() / changed.sum()) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("kind", "amount", "message"),
    [
        ("gausian", 0.2, r"kind must be one of \['gaussian'.* got 'gausian' instead"),
        ("masking", 1.5, "amount must be from 0 to 1 for 'masking' noise, got 1.5 instead"),
        ("salt_and_pepper", float("nan"), "amount must be from 0 to 1"),
        ("gaussian", -1.0, "amount must be at least 0 for 'gaussian' noise, got -1.0 instead"),
    ],
)
def test_wrong_noise(kind, amount, message):
    with pytest.raises(ValueError, match=message):
        add_noise(torch.zeros(2, 4), torch.Generator(), kind=kind, amount=amount)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_reproducible_and_none_is_none(kind):
    images = torch.randn(3, 1, 5, 5)
    first, second = (
        add_noise(images, torch.Generator().manual_seed(3), kind=kind, amount=0.4) for _ in range(2)
    )
    assert bool((first == second).all())
    none = add_noise(images, torch.Generator(), kind=kind, amount=0.0)
    assert bool((none == images).all())
