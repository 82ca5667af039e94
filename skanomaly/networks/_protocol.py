"""What detectors need from a network, and how its weights are initialised."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Network(Protocol):
    """Interface of networks, with the defaults of optional attributes.

    A network is any `torch.nn.Module` that maps a batch to one of the same shape: images
    (b, c, h, w) or rows (b, n_features). Everything else is optional, and networks need not derive
    from this class.

    The optional method ``encode(batch)`` returns the code, a Tensor of shape (b, ...).
    ``ContractiveAE(penalty="encoder")`` needs it.

    Attributes
    ----------
    convex : bool, default=False
        Whether the output depends on more of the input than the code returned by ``encode``.

    Examples
    --------
    >>> from torch import nn
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> class ThreeLayers(nn.Sequential):
    ...     def __init__(self, image_shape):
    ...         channels = image_shape[2]
    ...         super().__init__(
    ...             nn.Conv2d(channels, 8, 3, padding=1),
    ...             nn.ReLU(),
    ...             nn.Conv2d(8, 8, 3, padding=1),
    ...             nn.ReLU(),
    ...             nn.Conv2d(8, channels, 3, padding=1),
    ...         )
    >>> detector = SelfSupervisedAutoencoderDetector(network=ThreeLayers)
    """

    convex: bool = False

    def __init__(self) -> None:
        """Do nothing."""

    def __call__(self, batch: Tensor, /) -> Tensor:
        """Reconstruct images or rows."""
        ...


def find_encoder(network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return the encoder if the output depends on its code alone, else None.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    callable or None

    Examples
    --------
    >>> from skanomaly.networks import ConvolutionalAutoencoder, DenseAutoencoder, find_encoder
    >>> find_encoder(ConvolutionalAutoencoder((64, 64, 1))) is None
    True
    >>> find_encoder(DenseAutoencoder(5)) is None
    False
    """
    if getattr(network, "convex", Network.convex):
        return None
    return getattr(network, "encode", None)


def make_initialized(factory: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Make a network whose initial weights depend on a generator only.

    The layers of torch draw their weights from the global generator, which other threads may use
    at the same time. On the meta device they draw nothing.

    Parameters
    ----------
    factory : callable
        Makes a network of `torch.nn.Conv2d`, `torch.nn.Linear`, normalisations and layers without
        weights. Methods ``start()`` are called after the weights were drawn.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    torch.nn.Module
        On the CPU, in float32, with weights from torch's default distributions.
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
            # Weights of other layers would be left uninitialised.
            assert not [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    for module in network.modules():
        start: Any = getattr(module, "start", None)
        if start is not None:
            start()
    return network
