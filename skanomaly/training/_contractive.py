"""The objective of the contractive autoencoder."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PENALTIES = ("encoder", "reconstruction")
# Up to this number of outputs, the whole Jacobian is computed.
_EXACT_LIMIT = 32


def squared_jacobian_norm(
    outputs: Tensor, inputs: Tensor, *, n_probes: int, generator: torch.Generator
) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian of each output with respect to its input.

    .. math:: \|J\|_F^2 = E \|v^T J\|^2 \quad\text{for random } v \text{ with } E\,v v^T = I

    (Hutchinson, Communications in Statistics 19, 1990), estimated by the mean over ``n_probes``
    vectors v of random signs. With at most 32 outputs, or at most ``n_probes``, it is the exact sum
    over unit vectors v. The result is differentiable.

    Parameters
    ----------
    outputs : Tensor of shape (b, …)
        Each is a function of the input at its position.
    inputs : Tensor of shape (b, …)
        With ``requires_grad``.
    n_probes : int
        Number of probes. The variance of the estimate is proportional to 1 / ``n_probes``.
    generator : torch.Generator
        Source of the signs, on the device of ``outputs``.

    Returns
    -------
    Tensor of shape (b,), float32 or float64

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training._contractive import squared_jacobian_norm
    >>> inputs = torch.ones(2, 3, requires_grad=True)
    >>> norm = squared_jacobian_norm(2 * inputs, inputs, n_probes=1, generator=torch.Generator())
    >>> norm.detach()  # 2² for each of three values
    tensor([12., 12.])
    """
    size = outputs[0].numel()
    is_exact = size <= max(n_probes, _EXACT_LIMIT)
    if is_exact:
        unit = torch.eye(size, device=outputs.device, dtype=outputs.dtype)
        probes = unit.view(size, 1, *outputs.shape[1:]).expand(size, *outputs.shape)
    else:
        shape = n_probes, *outputs.shape
        signs = torch.randint(2, shape, generator=generator, device=outputs.device)
        probes = (2 * signs - 1).to(outputs.dtype)
    # On a GPU, gradients of channels-last convolutions cannot be batched.
    if is_exact and (inputs.ndim == 2 or inputs.device.type == "cpu"):
        (products,) = torch.autograd.grad(
            outputs, inputs, probes, create_graph=True, is_grads_batched=True
        )
    else:
        products = torch.stack(
            [torch.autograd.grad(outputs, inputs, probe, create_graph=True)[0] for probe in probes]
        )
    norms = products.square().flatten(2).sum(2)
    return norms.sum(0) if is_exact else norms.mean(0)


@dataclass(frozen=True)
class ContractiveObjective:
    r"""Reconstruction error plus the squared norm of a Jacobian.

    .. math:: L = \frac{1}{n} \left( \|f(x) - x\|^2 + \gamma \|J(x)\|_F^2 \right)

    for an input of n values, averaged over the batch. With ``penalty="reconstruction"``, J is the
    Jacobian of f (RCAE, Alain and Bengio, JMLR 15, 2014). With ``penalty="encoder"``, it is that of
    the code h(x) (CAE, Rifai et al., ICML 2011), normalised by the variance of the code:

    .. math:: \|J\|_F^2 = \frac{n \|J_h(x)\|_F^2}{\sum_j \mathrm{Var}\,h_j}

    Rifai et al. tie the weights of decoder and encoder. Here they are free: without the
    denominator, halving the code and doubling the decoder weights would quarter the penalty and
    change nothing else. The denominator is this library's choice.

    Parameters
    ----------
    penalty : {"encoder", "reconstruction"}
        Whose Jacobian is penalised. "encoder" needs a network with a method ``encode`` on whose
        result the output depends alone.
    penalty_weight : float
        γ, in squared units of the network's input.
    n_probes : int, default=1
        Number of random vectors that estimate the norm of the Jacobian.
    represent : callable
        Computes the network's input from images (b, c, h, w). Default is the images themselves.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import ContractiveObjective
    >>> objective = ContractiveObjective(penalty="reconstruction", penalty_weight=0.1)
    >>> objective(torch.nn.Identity(), torch.rand(2, 4), torch.Generator()).detach()
    tensor(0.1000)
    """

    _: KW_ONLY
    penalty: str
    penalty_weight: float
    n_probes: int = 1
    represent: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def __call__(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the loss of a batch of clean images: (b, …) → scalar."""
        target = self.represent(images)
        # The validation loss is computed without gradients, but the penalty needs them.
        with torch.enable_grad():
            inputs = target.detach().requires_grad_()
            output = network(inputs).float()
            loss = (output - target).square().mean()
            if self.penalty_weight:
                penalty = self._penalty(network, inputs, output, generator)
                loss = loss + self.penalty_weight * penalty
        return loss

    def _penalty(
        self, network: Any, inputs: Tensor, output: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Compute ‖J‖² / n, averaged over the batch."""
        options: dict[str, Any] = {"n_probes": self.n_probes, "generator": generator}
        if self.penalty == "reconstruction":
            return squared_jacobian_norm(output, inputs, **options).mean() / inputs[0].numel()
        if not total_variance(inputs) > 0:
            # A batch of one row, or of copies of it, has no spread to compare with.
            return output.new_zeros(())
        code = network.encode(inputs).float()
        norm = squared_jacobian_norm(code, inputs, **options).mean()
        # A nearly constant code must not make the penalty infinite.
        return norm / total_variance(code).clamp(min=1e-6 * code[0].numel())


def total_variance(code: Tensor) -> Tensor:
    """Sum the variances of the values of a code: (b, k) or (b, k, h, w) → scalar.

    For feature maps, the variance of a channel is taken over the batch and all positions.
    """
    axes = (0, *range(2, code.ndim))
    return code[0, 0].numel() * code.var(axes, correction=0).sum()
