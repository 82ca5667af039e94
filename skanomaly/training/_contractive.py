"""What the contractive autoencoder minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

PENALTIES = ("encoder", "reconstruction")
# Number of outputs up to which all rows of the Jacobian cost little enough to be computed.
_EXACT_LIMIT = 32


def squared_jacobian_norm(
    outputs: Tensor, inputs: Tensor, *, n_probes: int, generator: torch.Generator
) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian of each output with respect to its input.

    .. math:: \|J\|_F^2 = E \|v^T J\|^2 \quad\text{for random } v \text{ with } E\,v v^T = I

    (Hutchinson, Communications in Statistics 19, 1990), the mean over some probes v of random
    signs. Up to 32 outputs, or as many as there are probes, it is the sum over unit vectors v,
    which is exact. One batched backward pass either way. Can itself be differentiated.

    Parameters
    ----------
    outputs : Tensor of shape (b, …)
        Each a function of the input at its position.
    inputs : Tensor of shape (b, …)
        With ``requires_grad``.
    n_probes : int
        Number of probes; the variance of the estimate falls as 1 / ``n_probes``.
    generator : torch.Generator
        Of the probes, on the device of ``outputs``.

    Returns
    -------
    Tensor of shape (b,), float32 or float64

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import squared_jacobian_norm
    >>> inputs = torch.ones(2, 3, requires_grad=True)
    >>> norm = squared_jacobian_norm(2 * inputs, inputs, n_probes=1, generator=torch.Generator())
    >>> norm.detach()  # 2² for each of three values
    tensor([12., 12.])
    """
    size = outputs[0].numel()
    exact = size <= max(n_probes, _EXACT_LIMIT)
    if exact:
        probes = torch.eye(size, device=outputs.device, dtype=outputs.dtype).view(
            size, 1, *outputs.shape[1:]
        )
        probes = probes.expand(size, *outputs.shape)
    else:
        signs = torch.randint(
            2, (n_probes, *outputs.shape), generator=generator, device=outputs.device
        )
        probes = 2 * signs - 1
    probes = probes.to(outputs.dtype)
    if exact:
        (products,) = torch.autograd.grad(
            outputs, inputs, probes, create_graph=True, is_grads_batched=True
        )
    else:
        # One by one: on a GPU, convolutions with channels last cannot be batched over gradients.
        products = torch.stack(
            [torch.autograd.grad(outputs, inputs, each, create_graph=True)[0] for each in probes]
        )
    squared = products.square().flatten(2).sum(2)
    return squared.sum(0) if exact else squared.mean(0)


class ContractiveObjective:
    r"""Reconstruct, and pay for every change that a small change of the input makes.

    .. math:: L = \frac{1}{n} \left( \|f(x) - x\|^2 + \gamma \|J(x)\|_F^2 \right)

    for an input of n values, mean over the batch. With ``penalty="reconstruction"``, J is the
    Jacobian of f (RCAE, Alain and Bengio, JMLR 15, 2014). With ``penalty="encoder"`` it is that of
    the code h(x) (CAE, Rifai et al., ICML 2011), which is measured in units of its own spread:

    .. math:: \|J\|_F^2 = \frac{n \|J_h(x)\|_F^2}{\sum_j \mathrm{Var}\,h_j}

    Rifai et al. tie the decoder's weights to the encoder's, so that a small code is of no use. Ours
    are free: without the denominator, halving the code and doubling the decoder would quarter the
    penalty and change nothing else. The denominator is this library's choice.

    Parameters
    ----------
    penalty : {"encoder", "reconstruction"}
        Whose Jacobian is penalised. "encoder" needs a network with a method ``encode``, through
        whose result all of the output goes.
    penalty_weight : float
        γ, in squared units of the network's input.
    n_probes : int
        Of `squared_jacobian_norm`.
    represent : callable or None
        Turns images (b, c, h, w) into what the network reads.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import ContractiveObjective
    >>> objective = ContractiveObjective(penalty="reconstruction", penalty_weight=0.1)
    >>> objective(torch.nn.Identity(), torch.rand(2, 4), torch.Generator()).detach()
    tensor(0.1000)
    """

    def __init__(
        self,
        *,
        penalty: str,
        penalty_weight: float,
        n_probes: int = 1,
        represent: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.n_probes = n_probes
        self.represent = represent

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of one batch of clean images: (b, …) → scalar."""
        target = images if self.represent is None else self.represent(images)
        # Losses on held-out images are computed without gradients, but the penalty needs them.
        with torch.enable_grad():
            inputs = target.detach().requires_grad_()
            output = network(inputs).float()
            loss = (output - target).square().mean()
            if self.penalty_weight:
                loss = loss + self.penalty_weight * self._penalty(
                    network, inputs, output, generator
                )
        return loss

    def _penalty(
        self, network: Any, inputs: Tensor, output: Tensor, generator: torch.Generator
    ) -> Tensor:
        """‖J‖² / n, mean over the batch."""
        options: dict[str, Any] = {"n_probes": self.n_probes, "generator": generator}
        if self.penalty == "reconstruction":
            return squared_jacobian_norm(output, inputs, **options).mean() / inputs[0].numel()
        code = network.encode(inputs).float()
        norm = squared_jacobian_norm(code, inputs, **options).mean()
        # A code that varies by less than a thousandth is as good as constant.
        return norm / total_variance(code).clamp(min=1e-6 * code[0].numel())


def total_variance(code: Tensor) -> Tensor:
    """Sum of the variances of a code's values: (b, k) or (b, k, h, w) → scalar.

    Over the batch, and for feature maps over positions too, where all have the same meaning.
    """
    positions = code[0, 0].numel()
    axes = (0, *range(2, code.ndim))
    return positions * code.var(axes, correction=0).sum()
