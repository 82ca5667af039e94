"""Layers of the convolutional autoencoders; pickles of release 0.2.0 name this module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("batch", "group", "none")


def make_normalization(name: str, channels: int) -> nn.Module:
    """Make a normalisation layer by name, one of ``NORMALIZATIONS``."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(max(g for g in (8, 4, 2, 1) if channels % g == 0), channels)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"normalization must be one of {list(NORMALIZATIONS)}, got {name!r} instead.")


class ConvBlock(nn.Sequential):
    """3 × 3 convolution, normalisation, ReLU: (b, c_in, h, w) → (b, c_out, h, w)."""

    def __init__(
        self, in_channels: int, out_channels: int, normalization: str, *, stride: int = 1
    ) -> None:
        bias = normalization == "none"
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias),
            make_normalization(normalization, out_channels),
            nn.ReLU(inplace=True),
        )


class DilatedConv(nn.Conv2d):
    """3 × 3 dilated convolution: (b, c_in, h, w) → (b, c_out, h, w).

    On a CPU, the gradient of the weights is twenty times slower if the dilated kernel is larger
    than the feature map. Padding the map with zeros gives the same values without that.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int, *, bias: bool) -> None:
        super().__init__(
            in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        kernel = 2 * self.dilation[0] + 1
        below, right = max(0, kernel - height), max(0, kernel - width)
        if not (below or right) or input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        padded = nn.functional.pad(input, (0, right, 0, below))
        return super().forward(padded)[..., :height, :width]


class StackedDilatedConv(nn.Module):
    """Parallel 3 × 3 convolutions of different dilations, concatenated along the channels.

    The SDC layer of SSAE (Bauer, Nakajima and Müller 2024) has a large receptive field without
    losing resolution. The residual connection and the 1 × 1 mixing convolution are choices of
    this library.

    Parameters
    ----------
    channels : int
        Channels of input and output, divided among the dilations.
    dilations : sequence of int
        Dilation of each convolution, in pixels of the feature map. ``(1,)`` makes an ordinary
        residual block.
    normalization : {"batch", "group", "none"}
        Normalisation after the convolutions.

    Raises
    ------
    ValueError
        If there are fewer channels than dilations, or if ``normalization`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import StackedDilatedConv
    >>> StackedDilatedConv(8, (1, 2, 4, 8), "batch")(torch.zeros(2, 8, 16, 16)).shape
    torch.Size([2, 8, 16, 16])
    """

    def __init__(self, channels: int, dilations: Sequence[int], normalization: str) -> None:
        super().__init__()
        width, rest = divmod(channels, len(dilations))
        if width == 0:
            raise ValueError(
                f"There must be at least one channel for each dilation, got {channels} channels "
                f"and {len(dilations)} dilations instead."
            )
        bias = normalization == "none"
        self.branches = nn.ModuleList(
            DilatedConv(channels, width + (i < rest), dilation, bias=bias)
            for i, dilation in enumerate(dilations)
        )
        self.activation = nn.Sequential(
            make_normalization(normalization, channels), nn.ReLU(inplace=True)
        )
        self.mix = nn.Conv2d(channels, channels, 1, bias=bias)
        self.normalization = make_normalization(normalization, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        features : Tensor of shape (b, channels, h, w)

        Returns
        -------
        Tensor of the same shape
        """
        joined = torch.cat([branch(features) for branch in self.branches], dim=1)
        out = self.normalization(self.mix(self.activation(joined)))
        return torch.relu(features + out)


class ConvexCombination(nn.Module):
    """Blend encoder and decoder features at each pixel and channel.

    The CCM of SSAE: z = β ⊙ encoder + (1 − β) ⊙ decoder, where β ∈ (0, 1) is computed from both
    by a 1 × 1 convolution and a sigmoid. It can pass normal pixels through and fill anomalous ones
    from the decoder.

    Parameters
    ----------
    channels : int
        Channels of the encoder features and of the decoder features.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import ConvexCombination
    >>> features = torch.rand(2, 4, 8, 8)
    >>> blended = ConvexCombination(4)(features, torch.zeros_like(features))
    >>> bool(((blended >= 0) & (blended <= features)).all())
    True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Blend two feature maps.

        Parameters
        ----------
        encoder, decoder : Tensor of shape (b, channels, h, w)

        Returns
        -------
        Tensor of the same shape
            Between the two at each pixel and channel.
        """
        weight = torch.sigmoid(self.gate(torch.cat([encoder, decoder], dim=1)))
        # With mixed precision on a GPU, the three have different dtypes, which lerp rejects.
        return torch.lerp(decoder, encoder.to(decoder.dtype), weight.to(decoder.dtype))
