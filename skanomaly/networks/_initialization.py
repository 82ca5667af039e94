"""The weights that a network starts from, drawn from a generator of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def make_initialized(factory: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Make a network whose weights depend on a generator alone.

    torch's layers draw their weights from the generator of the process, which other threads draw
    from too. Without values they draw nothing.

    Parameters
    ----------
    factory : callable
        Makes a network of `torch.nn.Conv2d`, `torch.nn.Linear` and layers that draw nothing; one
        with a method ``start()`` sets weights by it after they were drawn.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    torch.nn.Module
        On the CPU, in float32, with weights as torch draws them by default.
    """
    with torch.device("meta"):
        network = factory()
    network = network.float().to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            module.reset_parameters()
        else:
            # What is not named above would hold whatever lay in memory.
            assert not [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    for module in network.modules():
        start: Any = getattr(module, "start", None)
        if start is not None:
            start()
    return network
