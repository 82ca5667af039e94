"""What a network may offer beside its call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn


class Network(Protocol):
    """What detectors ask of a network, with what is assumed where a network does not say it.

    A network is any `torch.nn.Module` whose call maps a batch to one of the same shape: images
    (b, c, h, w) or rows (b, n_features). All else is optional, and no network has to derive from
    this class.

    A method ``encode(batch)`` returns the code, a Tensor of shape (b, ...), which
    ``ContractiveAE(penalty="encoder")`` needs.

    Attributes
    ----------
    reach : int or None, default=None
        Receptive-field radius in evaluation mode: how far away, in pixels, the input that an
        output pixel depends on may lie. With it, large images are scored in overlapping tiles, in
        bounded memory; None is unknown or the whole image, which is then scored at once.
    stride : int, default=1
        The output moves with the input where it moves by a multiple of so many pixels: tiles begin
        there.
    convex : bool, default=False
        Whether the output depends on more of the input than the code that ``encode`` returns.

    Examples
    --------
    A network of 3 × 3 convolutions, of which images of any size are scored in tiles:

    >>> from torch import nn
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> class ThreeLayers(nn.Sequential):
    ...     reach = 3
    ...
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

    reach: int | None = None
    stride: int = 1
    convex: bool = False

    def __init__(self) -> None:
        """Do nothing."""

    def __call__(self, batch: Tensor, /) -> Tensor:
        """Repair images or rows."""
        ...


def receptive_field(network: nn.Module) -> tuple[int | None, int]:
    """Return a network's receptive-field radius and its stride, as `Network` describes them.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    reach : int or None
        In pixels.
    stride : int
        In pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from skanomaly.networks import ConvolutionalAutoencoder, receptive_field
    >>> receptive_field(nn.Identity())
    (None, 1)
    >>> receptive_field(ConvolutionalAutoencoder((64, 64, 1), depth=1, n_blocks=1, dilations=[1]))
    (15, 4)
    """
    stride = getattr(network, "stride", Network.stride)
    # A convolution by itself has a stride too, a pair.
    stride = stride if isinstance(stride, int) else Network.stride
    return getattr(network, "reach", Network.reach), stride


def find_encoder(network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return what computes the code that all of the output depends on, or None.

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
    encode: Callable[[Tensor], Tensor] | None = getattr(network, "encode", None)
    return encode
