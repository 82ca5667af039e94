"""Networks that reconstruct images or rows, listed by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from ._autoencoder import ConvolutionalAutoencoder
from ._dense import DenseAutoencoder
from ._layers import ConvexCombination, StackedDilatedConv
from ._linear import LinearAutoencoder
from ._protocol import Network, find_encoder
from ._windows import apply_in_windows, window_step

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "plain": partial(ConvolutionalAutoencoder, dilations=(1,), convex=False),
    "sdc": partial(ConvolutionalAutoencoder, convex=False),
    "sdcc": ConvolutionalAutoencoder,
    "dense": DenseAutoencoder,
    "linear": LinearAutoencoder,
}
# Networks of rows; all others are of images.
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
    "apply_in_windows",
    "find_encoder",
    "window_step",
]
