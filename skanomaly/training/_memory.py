"""The memory that a training step takes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def training_memory(network: nn.Module, shape: tuple[int, ...], *, itemsize: int) -> float:
    """Compute what a network keeps of a batch for the backward pass, without running it.

    Parameters
    ----------
    network : torch.nn.Module
    shape : tuple of int
        Shape of the batch.
    itemsize : int
        Bytes of a value.

    Returns
    -------
    float
        Bytes, to which come the temporary ones; 0 where the network does not run on tensors
        without values.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # By storage, as views of one tensor are kept once.
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    try:
        shadow = copy.deepcopy(network).to("meta").train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            shadow(torch.empty(shape, device="meta", dtype=torch.float32))
    except Exception:  # Networks of one's own may do whatever needs values.
        return 0.0
    values = sum(t.untyped_storage().nbytes() // t.element_size() for t in kept.values())
    return float(itemsize * values)
