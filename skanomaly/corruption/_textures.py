"""The contents of corrupted patches."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ._shapes import coarse_field, enlarge, multiscale_noise, random_options, uniform

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
        Normal images. Each is also a source of texture for the others.
    owner : Tensor of shape (patches,), int64
        Index of the image that each patch belongs to.
    kind : Tensor of shape (patches,), int64
        Index into ``TEXTURES``, or ``len(TEXTURES)`` for ``texture_images``.
    displacement : Tensor of shape (patches, 2, rows, columns)
        The displacement field of each patch, as returned by `soft_patches`.
    texture_images : Tensor of shape (textures, channels, height, width) or None
        Images supplied by the user.
    generator : torch.Generator
        Source of the random numbers, on the device of ``images``.

    Returns
    -------
    Tensor of shape (patches, channels, height, width), in the dtype of ``images``
        Between the minimum and the maximum of ``images`` in each channel.

    Examples
    --------
    Two patches for each of three images, all filled with noise:

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
    """The patches passed to a texture function.

    Attributes
    ----------
    images : Tensor of shape (batch, channels, height, width)
        Normal images.
    content : Tensor of shape (patches, channels, height, width)
        The normal image under each patch.
    owner : Tensor of shape (patches,), int64
        Index of that image.
    kind : Tensor of shape (patches,), int64
        Index into ``TEXTURES``.
    displacement : Tensor of shape (patches, 2, rows, columns)
        The displacement field of each patch.
    texture_images : Tensor of shape (textures, channels, height, width) or None
        Images supplied by the user.
    low, high : Tensor of shape (1, channels, 1, 1)
        Minimum and maximum of ``images``. The result is clipped to this range.
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
        """Tell which patches have a texture: (patches,), bool."""
        return self.kind == _index(name)

    def draw_index(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw an integer below ``count`` for each patch: (patches,), int64."""
        return torch.randint(count, (len(self),), generator=generator, device=self.images.device)


Texture = Callable[[Patches, torch.Generator], Tensor]


def _image_or_deformation(patches: Patches, generator: torch.Generator) -> Tensor:
    deformed = patches.has("deformation")
    other = patches.draw_index(len(patches.images), generator)
    source = patches.images[torch.where(deformed, patches.owner, other)]
    return _warp(source, patches.displacement, deformed, generator)


def _supplied_image(patches: Patches, generator: torch.Generator) -> Tensor:
    if patches.texture_images is None:
        return patches.content
    source = patches.texture_images[patches.draw_index(len(patches.texture_images), generator)]
    return _warp(source, patches.displacement, torch.zeros_like(patches.owner).bool(), generator)


def _shade(patches: Patches, generator: torch.Generator) -> Tensor:
    """Brighten or darken the image."""
    strength = torch.randn(len(patches), 1, 1, 1, **random_options(generator))
    # A single value per channel has no sample standard deviation.
    correction = min(1, patches.images[:, 0].numel() - 1)
    spread = patches.images.std(dim=(0, 2, 3), keepdim=True, correction=correction)
    return patches.content + 1.5 * strength * spread


def _blur(patches: Patches, generator: torch.Generator) -> Tensor:
    """Average along rows, columns or both, over one window size for all patches."""
    widest = max(3, min(patches.content.shape[-2:]) // 7)
    half = uniform(1, 1.0, widest / 2, generator, log=True).round().int()
    size = 2 * int(half) + 1
    direction = int(torch.randint(3, (), generator=generator, device=generator.device))
    kernel = ((size, size), (size, 1), (1, size))[direction]
    padding = [side // 2 for side in kernel]
    return functional.avg_pool2d(patches.content, kernel, 1, padding, count_include_pad=False)


def _color_or_noise(patches: Patches, generator: torch.Generator) -> Tensor:
    """Fill with a uniform colour, plus smooth noise for "noise"."""
    low, extent = patches.low, patches.high - patches.low
    height, width = patches.images.shape[2:]
    shape = (len(patches), low.shape[1], 1, 1)
    color = low + extent * torch.rand(shape, **random_options(generator))
    (grainy,) = torch.nonzero(patches.has("noise"), as_tuple=True)
    noise = multiscale_noise(len(patches), height, width, generator, chosen=grainy)
    tint = torch.rand(shape, **random_options(generator))
    contrast = uniform(len(patches), 0.02, 0.5, generator, log=True).view(-1, 1, 1, 1)
    amplitude = contrast * extent * (0.5 + 0.5 * tint)
    result = color.expand(-1, -1, height, width).contiguous()
    result[grainy] += amplitude[grainy] * noise
    return result


def _warp(
    source: Tensor, displacement: Tensor, deformed: Tensor, generator: torch.Generator
) -> Tensor:
    """Sample a source image for each patch: (patches, channels, height, width).

    A deformation only displaces the pixels by a smooth field. Any other source is rotated by any
    angle, mirrored, scaled, shifted and displaced.
    """
    count, _, height, width = source.shape
    options = random_options(generator)
    angle = uniform(count, -math.pi, math.pi, generator)
    scale = uniform(count, 0.7, 1.4, generator, log=True)
    mirror = torch.randint(0, 2, (count,), generator=generator, device=source.device)
    mirror = mirror.float() * 2.0 - 1.0
    shift = torch.rand(count, 2, **options) * 2.0 - 1.0
    # With the displacement of the shape, which may be small, a deformation could have no effect.
    anew = coarse_field(count, 2, height, width, 6, generator) * (0.06 * min(height, width))
    aspect = width / height
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    turned = torch.stack(
        [cosine * mirror, -sine / aspect, shift[:, 0], sine * mirror * aspect, cosine, shift[:, 1]],
        dim=1,
    ).view(count, 2, 3)
    del options["generator"]
    identity = torch.eye(2, 3, **options).expand(count, 2, 3)
    to_grid = torch.tensor([2.0 / width, 2.0 / height], **options).view(1, 2, 1, 1)
    grid = torch.empty(count, 2, height, width, **options)
    for chosen, transform, moved in ((deformed, identity, anew), (~deformed, turned, displacement)):
        (patches,) = torch.nonzero(chosen, as_tuple=True)
        # Both parts are linear between the nodes, so they are upsampled together.
        rows, columns = moved.shape[2:]
        x = torch.linspace(1 / width - 1, 1 - 1 / width, columns, **options)
        y = torch.linspace(1 / height - 1, 1 - 1 / height, rows, **options)
        nodes_xy = torch.stack(torch.meshgrid(x, y, torch.ones_like(x[:1]), indexing="xy"))
        nodes = torch.einsum("pij,jrc->pirc", transform[patches], nodes_xy[..., 0])
        grid[patches] = enlarge(nodes + moved[patches] * to_grid, height, width)
    return functional.grid_sample(
        source,
        grid.permute(0, 2, 3, 1).to(source.dtype),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )


# Each function is called once for all patches of its textures, in the order listed here. That order
# fixes the stream of random numbers: add new textures at the end.
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
    """Return the index of a texture in ``kind``."""
    return len(TEXTURES) if name == _SUPPLIED else TEXTURES.index(name)
