"""Networks that map an image or a row to its repaired self, listed by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from ._autoencoder import ConvolutionalAutoencoder
from ._dense import DenseAutoencoder
from ._layers import ConvexCombination, StackedDilatedConv
from ._linear import LinearAutoencoder
from ._protocol import Network, find_encoder, receptive_field

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "plain": partial(ConvolutionalAutoencoder, dilations=(1,), convex=False),
    "sdc": partial(ConvolutionalAutoencoder, convex=False),
    "sdcc": ConvolutionalAutoencoder,
    "dense": DenseAutoencoder,
    "linear": LinearAutoencoder,
}
# Those of them that read rows; the others read images.
ROW_NETWORKS = ("dense", "linear")

__all__ = [
    "NETWORKS",
    "ROW_NETWORKS",
    "ConvexCombination",
    "ConvolutionalAutoencoder",
    "DenseAutoencoder",
    "LinearAutoencoder",
    "Network",
    "StackedDilatedConv",
    "find_encoder",
    "receptive_field",
]
