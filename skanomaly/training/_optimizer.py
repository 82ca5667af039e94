"""Muon for the weights of convolutions, and AdamW for all others."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Momentum and coefficients of the Newton–Schulz iteration (Jordan et al.).
_MOMENTUM = 0.95
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Root mean square of an update, that of a typical AdamW update (Liu et al.).
_UPDATE_SCALE = 0.2
# Convolutions with fewer input or output channels are trained by AdamW.
_FEWEST_CHANNELS = 16
# Learning rate of Muon, in multiples of that of AdamW.
_MATRIX_RATE = 3.0


class Muon(torch.optim.Optimizer):
    r"""Gradient descent with orthogonalised momentum.

    The weight of a convolution is treated as a matrix of shape (out, in · height · width). Its
    update is the momentum with all singular values replaced by about 1, so that rare directions are
    learned as fast as common ones (K. Jordan et al., *Muon: an optimizer for hidden layers in
    neural networks*, 2024). It is scaled by :math:`0.2 \sqrt{\max(rows, columns)}`, with decoupled
    weight decay (J. Liu et al., *Muon is Scalable for LLM Training*, arXiv 2502.16982, 2025).
    ``torch.optim.Muon`` only accepts matrices and iterates in bfloat16, which is slow on processors
    without hardware support.

    Parameters
    ----------
    params : iterable of Parameter
        With at least two dimensions.
    lr : float
        Learning rate.
    weight_decay : float, default=0.0
        Weight decay, multiplied by the learning rate.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training._optimizer import Muon
    >>> layer = torch.nn.Conv2d(16, 16, 3, bias=False)
    >>> optimizer = Muon(layer.parameters(), lr=0.01)
    >>> layer(torch.ones(1, 16, 8, 8)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights; ``closure`` is ignored."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for weights in alike.values():
                self._update(weights, group["lr"], group["weight_decay"])

    def _update(self, weights: list[nn.Parameter], rate: float, decay: float) -> None:
        """Update weights of the same shape in one batch."""
        matrices = []
        for weight in weights:
            assert weight.grad is not None
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
            momentum = self.state[weight]["momentum"]
            momentum.lerp_(weight.grad, 1 - _MOMENTUM)
            # Channels last, as in memory; the order of the columns does not matter.
            nesterov = weight.grad.lerp(momentum, _MOMENTUM).movedim(1, -1)
            matrices.append(nesterov.flatten(1))
        updates = orthogonalize(torch.stack(matrices))
        scale = _UPDATE_SCALE * math.sqrt(max(updates.shape[1:]))
        for weight, update in zip(weights, updates.view(-1, *nesterov.shape), strict=True):
            weight.mul_(1 - rate * decay).sub_(update.movedim(-1, 1), alpha=rate * scale)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Replace the singular values of matrices by about 1, with five Newton–Schulz iterations.

    Parameters
    ----------
    matrices : Tensor of shape (b, m, n), float32

    Returns
    -------
    Tensor of shape (b, m, n)
        With the same singular vectors. Singular values above 0.01 of the Frobenius norm become
        values between 0.6 and 1.3.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training._optimizer import orthogonalize
    >>> matrix = torch.diag(torch.tensor([3.0, 1.0, 0.2]))
    >>> values = torch.linalg.svdvals(orthogonalize(matrix[None])[0])
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    tall = matrices.shape[1] > matrices.shape[2]
    values = matrices.mT if tall else matrices
    values = values / values.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    linear, cubic, quintic = _POLYNOMIAL
    # The iteration on the small matrix S = XXᵀ: the product of its polynomials is applied to X.
    square = values @ values.mT
    identity = torch.eye(square.shape[-1], device=square.device, dtype=square.dtype)
    product = identity
    for iteration in range(_ITERATIONS):
        inner = torch.baddbmm(square, square, square, beta=cubic, alpha=quintic)
        polynomial = inner + linear * identity
        product = polynomial @ product
        if iteration < _ITERATIONS - 1:
            square = polynomial @ square @ polynomial
    values = product @ values
    return values.mT if tall else values


class NetworkOptimizer:
    """`Muon` for the convolutions of a network, and AdamW for all other weights.

    Parameters
    ----------
    network : torch.nn.Module
        The weights of convolutions with at least 16 input and output channels are trained by
        `Muon`, all others by AdamW.
    learning_rate : float
        Learning rate of AdamW; that of `Muon` is three times as high.
    weight_decay : float
        Weight decay, multiplied by the learning rate of each.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training._optimizer import NetworkOptimizer
    >>> optimizer = NetworkOptimizer(torch.nn.Conv2d(16, 16, 3), 0.002, 0.1)
    >>> [len(part.param_groups[0]["params"]) for part in optimizer.parts]
    [1, 1]
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        # By identity, since weights may be shared.
        matrices: dict[int, nn.Parameter] = {
            id(module.weight): module.weight  # type: ignore[misc]
            for module in network.modules()
            if isinstance(module, nn.Conv2d)
            # A parametrized weight is computed from others.
            and module.weight.is_leaf
            and min(module.weight.shape[:2]) >= _FEWEST_CHANNELS
        }
        others = [p for p in network.parameters() if id(p) not in matrices]
        self.learning_rate = learning_rate
        self.parts: list[torch.optim.Optimizer] = []
        if others:
            fused = others[0].device.type in ("cpu", "cuda")
            self.parts.append(
                torch.optim.AdamW(others, lr=learning_rate, weight_decay=weight_decay, fused=fused)
            )
        if matrices:
            self.parts.append(
                Muon(matrices.values(), lr=_MATRIX_RATE * learning_rate, weight_decay=weight_decay)
            )

    def step(self, fraction: float) -> None:
        """Update all weights at a fraction of the learning rate, and reset the gradients."""
        for part in self.parts:
            rate = _MATRIX_RATE if isinstance(part, Muon) else 1.0
            for group in part.param_groups:
                group["lr"] = fraction * rate * self.learning_rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of both optimisers, for a checkpoint."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Load what `state_dict` returned."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
