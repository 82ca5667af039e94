"""The layers that the convolutional autoencoders are made of."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("batch", "group", "none")


def make_normalization(name: str, channels: int) -> nn.Module:
    """Make a normalisation layer by name: one of ``NORMALIZATIONS``."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        groups = max(g for g in (8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"normalization must be one of {list(NORMALIZATIONS)}, got {name!r}.")


class ConvBlock(nn.Sequential):
    """3 × 3 convolution, normalisation, ReLU: (b, c_in, h, w) → (b, c_out, h, w)."""

    def __init__(
        self, in_channels: int, out_channels: int, normalization: str, *, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                3,
                stride=stride,
                padding=1,
                bias=normalization == "none",
            ),
            make_normalization(normalization, out_channels),
            nn.ReLU(inplace=True),
        )


class DilatedConv(nn.Conv2d):
    """3 × 3 convolution that keeps the size: (b, c_in, h, w) → (b, c_out, h, w).

    On a CPU, the gradient of the weights takes twenty times as long as usual where the spread
    kernel is wider than the map. A map that is wider by zeros gives the same values.
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
    """Several 3 × 3 convolutions of different dilation side by side, joined along channels.

    The SDC layer of SSAE (Bauer, Nakajima and Müller 2024): sees far without losing
    resolution. A residual connection and a 1 × 1 mixing convolution are this library's choice.

    Parameters
    ----------
    channels : int
        Channels of input and output; shared out among the dilations.
    dilations : sequence of int
        Dilation of each convolution, in pixels of the feature map. All equal to 1 makes an
        ordinary residual block.
    normalization : {"batch", "group", "none"}
        What the convolutions are followed by: batch normalisation, group normalisation or nothing.

    Raises
    ------
    ValueError
        If there are fewer channels than dilations, or no such normalisation.

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
                f"and {len(dilations)} dilations."
            )
        bias = normalization == "none"
        self.branches = nn.ModuleList(
            DilatedConv(channels, width + (1 if i < rest else 0), dilation, bias=bias)
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
    """Blend encoder and decoder features at every pixel and channel.

    The CCM of SSAE: z = β ⊙ encoder + (1 − β) ⊙ decoder, where β ∈ (0, 1) is computed from both
    by a 1 × 1 convolution. Normal pixels pass through, odd ones are filled by the decoder.

    Parameters
    ----------
    channels : int
        Channels of the encoder's and of the decoder's features.

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
        """Blend both.

        Parameters
        ----------
        encoder, decoder : Tensor of shape (b, channels, h, w)
            Features at the same pixels.

        Returns
        -------
        Tensor of the same shape
            Between the two at every pixel.
        """
        weight = torch.sigmoid(self.gate(torch.cat([encoder, decoder], dim=1)))
        # Under mixed precision on a GPU the three come in different dtypes, which lerp refuses.
        return torch.lerp(decoder, encoder.to(decoder.dtype), weight.to(decoder.dtype))
