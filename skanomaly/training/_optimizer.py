"""Orthogonalised momentum for the weights of convolutions, and AdamW for all others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Momentum, and the polynomial whose iteration brings singular values near 1 (Jordan et al.).
_MOMENTUM = 0.95
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# An update has the root mean square of a usual one of AdamW (Liu et al.).
_UPDATE_SCALE = 0.2
# A kernel with fewer channels on either side is no matrix to speak of.
_FEWEST_CHANNELS = 16
# Rate of the orthogonalised updates, as a multiple of the learning rate.
_MATRIX_RATE = 3.0


class Muon(torch.optim.Optimizer):
    r"""Momentum whose updates are orthogonalised.

    The weight of a convolution is taken for a matrix of (out, in · height · width). Its update is
    the momentum with all singular values brought to about 1, so that rare directions are learned as
    fast as common ones (K. Jordan et al., *Muon: an optimizer for hidden layers in neural
    networks*, 2024), scaled by :math:`0.2 \sqrt{\max(rows, columns)}` and with decoupled weight
    decay (J. Liu et al., *Muon is Scalable for LLM Training*, arXiv 2502.16982, 2025).
    ``torch.optim.Muon`` takes matrices alone, one after another and in bfloat16, which is slow on
    processors that do not have it.

    Parameters
    ----------
    params : iterable of Parameter
        Of at least two dimensions.
    lr : float
        Learning rate.
    weight_decay : float, default=0.0
        Decay for each unit of the learning rate.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import Muon
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
        """Update the weights by their gradients.

        Parameters
        ----------
        closure : None
            Present for torch's sake.
        """
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for weights in alike.values():
                self._update(weights, group["lr"], group["weight_decay"])

    def _update(self, weights: list[nn.Parameter], rate: float, decay: float) -> None:
        """Update weights of one shape, in one batch of matrix products."""
        matrices = []
        for weight in weights:
            assert weight.grad is not None
            momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            momentum.lerp_(weight.grad, 1 - _MOMENTUM)
            # Channels last, as they lie in memory; the order of columns makes no difference.
            nesterov = weight.grad.lerp(momentum, _MOMENTUM).movedim(1, -1)
            matrices.append(nesterov.flatten(1))
        updates = orthogonalize(torch.stack(matrices))
        scale = _UPDATE_SCALE * math.sqrt(max(updates.shape[1:]))
        for weight, update in zip(weights, updates.view(-1, *nesterov.shape), strict=True):
            weight.mul_(1 - rate * decay).sub_(update.movedim(-1, 1), alpha=rate * scale)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices near 1, by five Newton–Schulz iterations.

    Parameters
    ----------
    matrices : Tensor of shape (b, m, n), float32

    Returns
    -------
    Tensor of shape (b, m, n)
        With the same singular vectors. Singular values of more than a hundredth of the Frobenius
        norm come out between 0.6 and 1.3.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import orthogonalize
    >>> matrix = torch.diag(torch.tensor([3.0, 1.0, 0.2]))
    >>> values = torch.linalg.svdvals(orthogonalize(matrix[None])[0])
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    tall = matrices.shape[1] > matrices.shape[2]
    values = matrices.mT if tall else matrices
    values = values / values.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    linear, cubic, quintic = _POLYNOMIAL
    # The polynomials of the small matrix S = XXᵀ, multiplied up, and X but once at either end.
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
    """`Muon` for the convolutions of a network, and AdamW for all else, under one learning rate.

    Parameters
    ----------
    network : torch.nn.Module
        Convolutions of fewer than 16 channels on either side, layers that are no convolutions,
        normalisation and biases are trained by AdamW.
    learning_rate : float
        Of AdamW; that of `Muon` is three times as high.
    weight_decay : float
        Decay for each unit of the learning rate, of both.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import NetworkOptimizer
    >>> optimizer = NetworkOptimizer(torch.nn.Conv2d(16, 16, 3), 0.002, 0.1)
    >>> [len(part.param_groups[0]["params"]) for part in optimizer.parts]
    [1, 1]
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        # By identity, as weights may be tied.
        matrices: dict[int, nn.Parameter] = {
            id(module.weight): module.weight  # type: ignore[misc]
            for module in network.modules()
            if isinstance(module, nn.Conv2d) and min(module.weight.shape[:2]) >= _FEWEST_CHANNELS
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
        """Update all weights by their gradients, and forget these.

        Parameters
        ----------
        fraction : float
            Of the learning rate.
        """
        for part in self.parts:
            rate = _MATRIX_RATE if isinstance(part, Muon) else 1.0
            for group in part.param_groups:
                group["lr"] = fraction * rate * self.learning_rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of all parts, for a checkpoint.

        Returns
        -------
        list of dict
        """
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take up a state.

        Parameters
        ----------
        states : list of dict
            As `state_dict` returned it.
        """
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
