"""The convolutional autoencoders and their layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMALIZATIONS = ("batch", "group", "none")

# If the coarsest feature map would have fewer pixels on its shorter side, the stem is made finer
# (first limit), and then levels are removed (second limit).
_SMALL_MAP = 8
_SMALLEST_MAP = 4


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


class ConvolutionalAutoencoder(nn.Module):
    """Fully convolutional encoder–decoder for images of any size.

    The first layer maps squares of ``stem`` × ``stem`` pixels to ``width`` channels each. Each of
    the following levels halves the resolution and doubles the channels, up to ``depth`` levels.
    Residual blocks follow at the coarsest level.

    Parameters
    ----------
    image_shape : (int, int, int)
        Height, width and channels of the training images. Stem, depth and dilations are reduced
        to fit them.
    dilations : sequence of int, default=(1, 2, 4, 8)
        Dilations of the stacked dilated convolutions at the coarsest level, in pixels of that
        level. ``(1,)`` makes ordinary residual blocks.
    convex : bool, default=True
        Whether to blend the decoder features with the encoder features at each level but the
        coarsest, and the output with the input image, by convex combination. Otherwise, there are
        no skip connections.
    width : int, default=64
        Channels of the finest level.
    depth : int, default=2
        Number of levels.
    stem : int, default=4
        Side, in pixels, of the squares that the first layer reads and the last one writes. A
        smaller stem is finer and slower.
    n_blocks : int, default=4
        Number of blocks at the coarsest level.
    normalization : {"batch", "group", "none"}, default="batch"
        Normalisation after each convolution.

    Attributes
    ----------
    stride : int
        Side of a pixel of the coarsest level, in pixels of the image.
    reach : int or None
        Receptive-field radius in evaluation mode: an output pixel depends on input pixels at most
        this far away, in pixels. None with "group", whose statistics are of the whole image.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import ConvolutionalAutoencoder
    >>> network = ConvolutionalAutoencoder((32, 32, 3), width=8)
    >>> network(torch.zeros(2, 3, 50, 37)).shape
    torch.Size([2, 3, 50, 37])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        dilations: Sequence[int] = (1, 2, 4, 8),
        convex: bool = True,
        width: int = 64,
        depth: int = 2,
        stem: int = 4,
        n_blocks: int = 4,
        normalization: str = "batch",
    ) -> None:
        super().__init__()
        height, image_width, channels = image_shape
        shorter = min(height, image_width)
        while stem > 2 and shorter // (stem * 2 ** (depth - 1)) < _SMALL_MAP:
            stem //= 2
        while depth > 1 and shorter // (stem * 2 ** (depth - 1)) < _SMALLEST_MAP:
            depth -= 1
        self.stem = stem
        self.stride = stem * 2 ** (depth - 1)
        coarse_side = max(1, shorter // self.stride)
        dilations = [d for d in dilations if d < coarse_side] or [1]
        widths = [width * 2**level for level in range(depth)]

        self.encoder = nn.ModuleList()
        before = channels
        for level, out in enumerate(widths):
            if level == 0:
                layers = [nn.PixelUnshuffle(stem), ConvBlock(stem**2 * before, out, normalization)]
            else:
                down = ConvBlock(before, out, normalization, stride=2)
                layers = [down, ConvBlock(out, out, normalization)]
            self.encoder.append(nn.Sequential(*layers))
            before = out
        self.blocks = nn.Sequential(
            *(StackedDilatedConv(before, dilations, normalization) for _ in range(n_blocks))
        )
        self.raise_resolution = nn.ModuleList()
        self.combine = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for out in reversed(widths[:-1]):
            self.raise_resolution.append(ConvBlock(before, out, normalization))
            self.combine.append(ConvexCombination(out) if convex else nn.Identity())
            self.decoder.append(ConvBlock(out, out, normalization))
            before = out
        self.channels = channels
        self.convex = convex
        # Each convolution adds its dilation, in pixels of its level of stem · 2**level image pixels
        # each: four at each level but the coarsest, which has two and the blocks.
        finer = sum(4 * stem * 2**level for level in range(depth - 1))
        blocks = n_blocks * max(dilations) * self.stride
        # Output pixels of one coarse pixel depend on all of its input pixels.
        reach = finer + 2 * self.stride + blocks + self.stride - 1
        self.reach = None if normalization == "group" else reach
        # The decoded image and, if combined, the logits of its weight against the input.
        self.head = nn.Conv2d(before, stem**2 * channels * (2 if convex else 1), 3, padding=1)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Initialise all pixels of a stem square alike, against checkerboard artefacts.

        Aitken et al., *Checkerboard artifact free sub-pixel convolution*, arXiv 1707.02937.
        """
        count, head = self.stem**2, self.head
        head.weight.copy_(head.weight[::count].repeat_interleave(count, dim=0))
        assert head.bias is not None
        head.bias.copy_(head.bias[::count].repeat_interleave(count))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images.

        Parameters
        ----------
        images : Tensor of shape (b, c, h, w)

        Returns
        -------
        Tensor of the same shape
        """
        decoded, weight = self.decode(images)
        return decoded if weight is None else torch.lerp(decoded, images, weight)

    def encode(self, images: Tensor) -> Tensor:
        """Compute the code: the features at the coarsest level.

        Parameters
        ----------
        images : Tensor of shape (b, c, h, w)

        Returns
        -------
        Tensor of shape (b, k, h', w')

        Raises
        ------
        ValueError
            With ``convex=True``, where the output does not depend on this code alone.
        """
        if self.convex:
            raise ValueError(
                "A network with convex combinations has skip connections that bypass its code. Use "
                "'plain' or 'sdc', or ConvolutionalAutoencoder with convex=False."
            )
        return self._encode(images)[-1]

    def decode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the decoded image and the weight of the input in the output.

        Parameters
        ----------
        images : Tensor of shape (b, c, h, w)

        Returns
        -------
        decoded : Tensor of shape (b, c, h, w), float32
        weight : Tensor of shape (b, c, h, w), float32, or None
            β of the output β ⊙ images + (1 − β) ⊙ decoded; None without convex combination.
        """
        height, width = images.shape[-2:]
        *skipped, features = self._encode(images)
        stages = zip(self.raise_resolution, self.combine, self.decoder, strict=True)
        for raise_resolution, combine, decode in stages:
            features = raise_resolution(features)
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
            if self.convex:
                features = combine(skipped.pop(), features)
            features = decode(features)
        out = functional.pixel_shuffle(self.head(features).float(), self.stem)[..., :height, :width]
        if not self.convex:
            return out, None
        decoded, gate = out.split(self.channels, dim=1)
        return decoded, torch.sigmoid(gate)

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Compute the features of each level, those of the coarsest after its blocks."""
        features = _pad_to_multiple(images, self.stride)
        # Convolutions are faster in this memory format, on CPU and GPU.
        features = features.contiguous(memory_format=torch.channels_last)
        levels = []
        for stage in self.encoder:
            features = stage(features)
            levels.append(features)
        levels[-1] = self.blocks(features)
        return levels


def _pad_to_multiple(images: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``stride``."""
    height, width = images.shape[-2:]
    if not isinstance(height, int):
        # An exported graph for images of any size cannot branch on the size.
        for axis, side in ((2, height), (3, width)):
            pixels = torch.arange((side + stride - 1) // stride * stride, device=images.device)
            images = images.index_select(axis, pixels.clamp(max=side - 1))
        return images
    bottom, right = -height % stride, -width % stride
    if not (bottom or right):
        return images
    return functional.pad(images, (0, right, 0, bottom), mode="replicate")
