"""How many operations a network takes, and how many a second the machine can do at most."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ._stages import now

# A burst of calls takes at least so long.
_BURST_SECONDS = 0.1


@dataclass(frozen=True)
class Operations:
    """Multiplications and additions of a network for one image.

    Attributes
    ----------
    forward : int
    training : int
        Of a forward and a backward pass.
    heaviest : (int, int, int)
        Channels, height and width at the resolution where its convolutions have most to do.
    """

    forward: int
    training: int
    heaviest: tuple[int, int, int]


def count_operations(network: nn.Module, shape: Sequence[int]) -> Operations:
    """Count the operations of a network's convolutions and matrix products.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    shape : (int, int, int)
        Channels, height and width of what it reads.
    """
    # In training mode nothing is folded or fused that the counter does not know.
    network = copy.deepcopy(network).train()
    by_size: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)

    def count_convolution(
        images: Any,
        weights: Any,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        transposed: bool,
        *rest: Any,
        out_shape: Any,
        **options: Any,
    ) -> int:
        count = conv_flop_count(list(images), list(weights), list(out_shape), transposed)
        by_size[tuple(out_shape[2:])].append((count, images[1]))
        return count

    # One image is enough, for each costs the same.
    images = torch.zeros(1, *shape, device=next(network.parameters()).device)
    known = {torch.ops.aten.convolution: count_convolution}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        output = network(images)
        forward = counter.get_total_flops()
        output.sum().backward()
    heaviest = max(by_size, key=lambda size: sum(count for count, _ in by_size[size]))
    _, channels = max(by_size[heaviest])
    return Operations(forward, counter.get_total_flops(), (channels, *heaviest))


class Peaks:
    """A plain convolution and a plain matrix product of about as many operations.

    Parameters
    ----------
    shape : (int, int, int, int)
        Batch, channels, height and width that the 3 × 3 convolution reads and makes.
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        batch, channels, height, width = shape
        self.shape = tuple(shape)
        self.device = device
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        last: dict[str, Any] = {"memory_format": torch.channels_last}
        self._images = torch.randn(shape, **options).to(**last)
        self._weights = torch.randn(channels, channels, 3, 3, **options).to(**last)
        self._convolution_operations = 2 * 9 * channels**2 * batch * height * width
        self.side = max(1, round(math.cbrt(self._convolution_operations / 2)))
        self._matrices = torch.randn(2, self.side, self.side, **options)
        # The first call of a kind takes longer.
        self.measure()

    def measure(self) -> dict[str, float]:
        """Return operations per second of "convolution" and "product" at this moment."""
        left, right = self._matrices

        def convolve() -> None:
            functional.conv2d(self._images, self._weights, padding=1)

        return {
            "convolution": self._convolution_operations / seconds_per_call(convolve, self.device),
            "product": 2
            * self.side**3
            / seconds_per_call(lambda: torch.mm(left, right), self.device),
        }


def seconds_per_call(function: Callable[[], object], device: torch.device) -> float:
    """Median time of a function's calls in a short burst, without gradients."""
    times: list[float] = []
    with torch.inference_mode():
        while sum(times) < _BURST_SECONDS:
            start = now(device)
            function()
            times.append(now(device) - start)
    return median(times)
