"""What is put into the corrupted patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ._fields import coarse_field, enlarge, multiscale_noise, uniform

_SUPPLIED = "texture_images"


def replacement_textures(
    images: Tensor,
    owner: Tensor,
    kind: Tensor,
    displacement: Tensor,
    *,
    texture_images: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Draw the replacement content of each patch.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        The normal images; other ones serve as a source of texture.
    owner : Tensor of shape (patches,), int64
        Index of the image that each patch belongs to.
    kind : Tensor of shape (patches,), int64
        Index into ``TEXTURES``; ``len(TEXTURES)`` stands for ``texture_images``.
    displacement : Tensor of shape (patches, 2, rows, columns)
        The smooth field that distorted each patch, as `soft_patches` returns it.
    texture_images : Tensor of shape (textures, channels, height, width) or None
        Images that the user supplies.
    generator : torch.Generator
        Source of the random numbers, on the device of ``images``.

    Returns
    -------
    Tensor of shape (patches, channels, height, width), in the dtype of ``images``
        Within the smallest and largest value of ``images`` in each channel.

    Examples
    --------
    Two patches for each of three images, all of them filled with noise:

    >>> import torch
    >>> from skanomaly.corruption import TEXTURES, replacement_textures, soft_patches
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.rand(3, 1, 32, 32, generator=generator)
    >>> masks, displacement = soft_patches(
    ...     6,
    ...     32,
    ...     32,
    ...     radius=(0.1, 0.3),
    ...     elongation=(1, 2),
    ...     distortion=(0, 0.5),
    ...     softness=(0.1, 0.5),
    ...     generator=generator,
    ... )
    >>> replacement_textures(
    ...     images,
    ...     torch.tensor([0, 0, 1, 1, 2, 2]),
    ...     torch.full((6,), TEXTURES.index("noise")),
    ...     displacement,
    ...     texture_images=None,
    ...     generator=generator,
    ... ).shape
    torch.Size([6, 1, 32, 32])
    """
    content = images[owner]
    low = images.amin(dim=(0, 2, 3), keepdim=True)
    high = images.amax(dim=(0, 2, 3), keepdim=True)
    for function in dict.fromkeys(_FUNCTIONS.values()):
        names = [name for name in _FUNCTIONS if _FUNCTIONS[name] is function]
        wanted = torch.isin(kind, kind.new_tensor([_index(name) for name in names]))
        (chosen,) = torch.nonzero(wanted, as_tuple=True)
        if len(chosen):
            patches = Patches(
                images=images,
                content=content[chosen],
                owner=owner[chosen],
                kind=kind[chosen],
                displacement=displacement[chosen],
                texture_images=texture_images,
                low=low,
                high=high,
            )
            content[chosen] = function(patches, generator)
    return content.clamp_(low, high)


@dataclass(frozen=True)
class Patches:
    """Patches that one function draws the content of.

    Attributes
    ----------
    images : Tensor of shape (batch, channels, height, width)
        The normal images.
    content : Tensor of shape (patches, channels, height, width)
        The normal image below each patch.
    owner : Tensor of shape (patches,), int64
        Its index.
    kind : Tensor of shape (patches,), int64
        Index into ``TEXTURES``.
    displacement : Tensor of shape (patches, 2, rows, columns)
        The smooth field that distorted each patch.
    texture_images : Tensor of shape (textures, channels, height, width) or None
        Images that the user supplies.
    low, high : Tensor of shape (1, channels, 1, 1)
        Smallest and largest value of ``images``, which the result is clipped to.
    """

    images: Tensor
    content: Tensor
    owner: Tensor
    kind: Tensor
    displacement: Tensor
    texture_images: Tensor | None
    low: Tensor
    high: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def has(self, name: str) -> Tensor:
        """Which patches have the texture of this name: (patches,), bool."""
        return self.kind == _index(name)

    def draw_index(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw one of so many for each patch: (patches,), int64."""
        return torch.randint(count, (len(self),), generator=generator, device=self.images.device)


Texture = Callable[[Patches, torch.Generator], Tensor]


def _image_or_deformation(patches: Patches, generator: torch.Generator) -> Tensor:
    deformed = patches.has("deformation")
    other = patches.draw_index(len(patches.images), generator)
    source = torch.where(deformed, patches.owner, other)
    grid = _sampling_grid(patches.displacement, deformed, patches.images.shape[2:], generator)
    return _sample(patches.images[source], grid)


def _supplied_image(patches: Patches, generator: torch.Generator) -> Tensor:
    if patches.texture_images is None:
        return patches.content
    chosen = patches.draw_index(len(patches.texture_images), generator)
    not_deformed = torch.zeros_like(patches.owner, dtype=torch.bool)
    grid = _sampling_grid(patches.displacement, not_deformed, patches.images.shape[2:], generator)
    return _sample(patches.texture_images[chosen], grid)


def _shade(patches: Patches, generator: torch.Generator) -> Tensor:
    """Brighten or darken the image."""
    device = patches.images.device
    strength = torch.randn(
        len(patches), 1, 1, 1, generator=generator, device=device, dtype=torch.float32
    )
    spread = patches.images.std(dim=(0, 2, 3), keepdim=True)
    return patches.content + 1.5 * strength * spread


def _blur(patches: Patches, generator: torch.Generator) -> Tensor:
    """Smear images along rows, along columns or both, by as much for all of them."""
    widest = max(3, min(patches.content.shape[-2:]) // 7)
    half = uniform(1, 1.0, widest / 2, generator, log=True).round().int()
    size = 2 * int(half) + 1
    direction = int(torch.randint(3, (), generator=generator, device=generator.device))
    kernel = ((size, size), (size, 1), (1, size))[direction]
    padding = [side // 2 for side in kernel]
    return functional.avg_pool2d(patches.content, kernel, 1, padding, count_include_pad=False)


def _color_or_noise(patches: Patches, generator: torch.Generator) -> Tensor:
    """Uniform colours, with smooth noise on top of some."""
    count, low, high = len(patches), patches.low, patches.high
    height, width = patches.images.shape[2:]
    channels = low.shape[1]
    position = torch.rand(
        count, channels, 1, 1, generator=generator, device=low.device, dtype=torch.float32
    )
    color = low + (high - low) * position
    (grainy,) = torch.nonzero(patches.has("noise"), as_tuple=True)
    noise = multiscale_noise(count, height, width, generator, chosen=grainy)
    tint = torch.rand(
        count, channels, 1, 1, generator=generator, device=low.device, dtype=torch.float32
    )
    contrast = uniform(count, 0.02, 0.5, generator, log=True).view(-1, 1, 1, 1)
    amplitude = contrast * (high - low) * (0.5 + 0.5 * tint)
    result = color.expand(-1, -1, height, width).contiguous()
    result[grainy] += amplitude[grainy] * noise
    return result


def _sampling_grid(
    displacement: Tensor, deformed: Tensor, size: torch.Size, generator: torch.Generator
) -> Tensor:
    """Where to read the source of each patch, in grid_sample's coordinates.

    A deformation reads the image itself a little aside; any other source is turned by any
    angle, mirrored, scaled, shifted and elastically warped.

    Returns
    -------
    Tensor of shape (patches, *size, 2)
    """
    count = len(displacement)
    height, width = size
    device = displacement.device
    angle = uniform(count, -math.pi, math.pi, generator)
    scale = uniform(count, 0.7, 1.4, generator, log=True)
    mirror = torch.randint(0, 2, (count,), generator=generator, device=device).float() * 2.0 - 1.0
    shift = (
        torch.rand(count, 2, generator=generator, device=device, dtype=torch.float32) * 2.0 - 1.0
    )
    # A shape that hardly distorts would leave a deformation without effect: draw it anew.
    anew = coarse_field(count, 2, height, width, 6, generator) * (0.06 * min(height, width))
    aspect = width / height
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    turned = torch.stack(
        [
            torch.stack([cosine * mirror, -sine / aspect, shift[:, 0]], dim=1),
            torch.stack([sine * mirror * aspect, cosine, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    identity = torch.eye(2, 3, device=device, dtype=torch.float32).expand(count, 2, 3)
    to_grid = torch.tensor([2.0 / width, 2.0 / height], device=device, dtype=torch.float32)
    grid = torch.empty(count, 2, height, width, device=device, dtype=torch.float32)
    for chosen, transform, moved in ((deformed, identity, anew), (~deformed, turned, displacement)):
        (patches,) = torch.nonzero(chosen, as_tuple=True)
        # Both parts are linear between the nodes, so that one interpolation will do.
        rows, columns = moved.shape[2:]
        x = torch.linspace(
            1 / width - 1, 1 - 1 / width, columns, device=device, dtype=torch.float32
        )
        y = torch.linspace(1 / height - 1, 1 - 1 / height, rows, device=device, dtype=torch.float32)
        nodes_xy = torch.stack(torch.meshgrid(x, y, torch.ones_like(x[:1]), indexing="xy"))
        nodes = torch.einsum("pij,jrc->pirc", transform[patches], nodes_xy[..., 0])
        nodes = nodes + moved[patches] * to_grid.view(1, 2, 1, 1)
        grid[patches] = enlarge(nodes, height, width)
    return grid.permute(0, 2, 3, 1)


def _sample(source: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        source,
        grid.to(source.dtype),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )


# A function is called once for all patches of its names, in the order in which they first appear
# here, which fixes the stream of random numbers: add a texture at the end.
_FUNCTIONS: dict[str, Texture] = {
    "image": _image_or_deformation,
    _SUPPLIED: _supplied_image,
    "color": _color_or_noise,
    "noise": _color_or_noise,
    "deformation": _image_or_deformation,
    "shade": _shade,
    "blur": _blur,
}
TEXTURES = tuple(name for name in _FUNCTIONS if name != _SUPPLIED)


def _index(name: str) -> int:
    """What stands for a texture in ``kind``."""
    return len(TEXTURES) if name == _SUPPLIED else TEXTURES.index(name)
