"""Errors that come before memory runs out, where it can be known."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn

_MEMINFO = Path("/proc/meminfo")
# Bytes that are not worth a look at what is free.
_LITTLE = 2**26
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def available_memory() -> float:
    """Read how much memory is free.

    Returns
    -------
    float
        Bytes that can be had at most, swap among them and the limit of a container respected;
        infinite on systems other than Linux.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = sum(1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return math.inf
    for path in _LIMITS:
        try:
            free = min(free, float(path.read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return free


def require_memory(n_bytes: float, what: str, remedy: str) -> None:
    """Refuse what cannot fit into memory, before any of it is taken.

    Parameters
    ----------
    n_bytes : float
    what : str
        What takes it, in the plural.
    remedy : str
        What to do, as a sentence.

    Raises
    ------
    MemoryError
    """
    if n_bytes < _LITTLE:
        return
    free = available_memory()
    if n_bytes > free:
        raise MemoryError(
            f"Not enough memory: {what} take {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB "
            f"are free. {remedy}"
        )


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
            shadow(torch.empty(shape, device="meta"))
    except Exception:  # Networks of one's own may do whatever needs values.
        return 0.0
    values = sum(t.untyped_storage().nbytes() // t.element_size() for t in kept.values())
    return float(itemsize * values)
