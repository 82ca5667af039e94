"""The convolutional autoencoders."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._layers import ConvBlock, ConvexCombination, StackedDilatedConv

# If the coarsest feature map would have fewer pixels on its shorter side, the stem is made finer
# (first limit), and then levels are removed (second limit).
_SMALL_MAP = 8
_SMALLEST_MAP = 4


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
        # Convolutions are faster in this memory format, on CPU and CUDA. With "mps", it makes
        # gradients of batch normalisation wrong in some versions of torch.
        if features.device.type != "mps":
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
