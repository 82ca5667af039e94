"""Networks that map an image to its repaired self, listed by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from ._autoencoder import ConvolutionalAutoencoder
from ._dense import DenseAutoencoder
from ._layers import ConvexCombination, StackedDilatedConv

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "plain": partial(ConvolutionalAutoencoder, dilations=(1,), convex=False),
    "sdc": partial(ConvolutionalAutoencoder, convex=False),
    "sdcc": ConvolutionalAutoencoder,
    "dense": DenseAutoencoder,
}

__all__ = [
    "NETWORKS",
    "ConvexCombination",
    "ConvolutionalAutoencoder",
    "DenseAutoencoder",
    "StackedDilatedConv",
]
