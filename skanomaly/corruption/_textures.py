"""What is put into the corrupted patches."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ._fields import coarse_field, enlarge, multiscale_noise, uniform

TEXTURES = ("image", "color", "noise", "deformation", "shade", "blur")


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
    result = images[owner]
    low = images.amin(dim=(0, 2, 3), keepdim=True)
    high = images.amax(dim=(0, 2, 3), keepdim=True)

    sampled = (kind == 0) | (kind == 3)
    (patches,) = torch.nonzero(sampled, as_tuple=True)
    if len(patches):
        deformed = kind[patches] == 3
        other = torch.randint(
            len(images), (len(patches),), generator=generator, device=images.device
        )
        source = torch.where(deformed, owner[patches], other)
        grid = _sampling_grid(displacement[patches], deformed, images.shape[2:], generator)
        result[patches] = _sample(images[source], grid)
    (patches,) = torch.nonzero(kind == len(TEXTURES), as_tuple=True)
    if len(patches) and texture_images is not None:
        chosen = torch.randint(
            len(texture_images), (len(patches),), generator=generator, device=images.device
        )
        not_deformed = torch.zeros(len(patches), dtype=torch.bool, device=images.device)
        grid = _sampling_grid(displacement[patches], not_deformed, images.shape[2:], generator)
        result[patches] = _sample(texture_images[chosen], grid)

    (patches,) = torch.nonzero((kind == 1) | (kind == 2), as_tuple=True)
    if len(patches):
        result[patches] = _color_or_noise(
            len(patches), kind[patches] == 2, low, high, images.shape[-2:], generator
        )
    (patches,) = torch.nonzero(kind == 4, as_tuple=True)
    if len(patches):
        strength = torch.randn(len(patches), 1, 1, 1, generator=generator, device=images.device)
        spread = images.std(dim=(0, 2, 3), keepdim=True)
        result[patches] += 1.5 * strength * spread
    (patches,) = torch.nonzero(kind == 5, as_tuple=True)
    if len(patches):
        result[patches] = _blurred(result[patches], generator)
    return result.clamp_(low, high)


def _blurred(images: Tensor, generator: torch.Generator) -> Tensor:
    """Smear images along rows, along columns or both, by as much for all of them."""
    widest = max(3, min(images.shape[-2:]) // 7)
    half = uniform(1, 1.0, widest / 2, generator, log=True).round().int()
    size = 2 * int(half) + 1
    direction = int(torch.randint(3, (), generator=generator, device=generator.device))
    kernel = ((size, size), (size, 1), (1, size))[direction]
    padding = [side // 2 for side in kernel]
    return functional.avg_pool2d(images, kernel, 1, padding, count_include_pad=False)


def _color_or_noise(
    count: int,
    noisy: Tensor,
    low: Tensor,
    high: Tensor,
    size: torch.Size,
    generator: torch.Generator,
) -> Tensor:
    """Uniform colours, with smooth noise on top where ``noisy``: (count, channels, *size)."""
    height, width = size
    channels = low.shape[1]
    position = torch.rand(count, channels, 1, 1, generator=generator, device=low.device)
    color = low + (high - low) * position
    (grainy,) = torch.nonzero(noisy, as_tuple=True)
    noise = multiscale_noise(count, height, width, generator, chosen=grainy)
    tint = torch.rand(count, channels, 1, 1, generator=generator, device=low.device)
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
    mirror = torch.randint(0, 2, (count,), generator=generator, device=device) * 2.0 - 1.0
    shift = torch.rand(count, 2, generator=generator, device=device) * 2.0 - 1.0
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
    identity = torch.eye(2, 3, device=device).expand(count, 2, 3)
    to_grid = torch.tensor([2.0 / width, 2.0 / height], device=device)
    grid = torch.empty(count, 2, height, width, device=device)
    for chosen, transform, moved in ((deformed, identity, anew), (~deformed, turned, displacement)):
        (patches,) = torch.nonzero(chosen, as_tuple=True)
        # Both parts are linear between the nodes, so that one interpolation will do.
        rows, columns = moved.shape[2:]
        x = torch.linspace(1 / width - 1, 1 - 1 / width, columns, device=device)
        y = torch.linspace(1 / height - 1, 1 - 1 / height, rows, device=device)
        places = torch.stack(torch.meshgrid(x, y, torch.ones(1, device=device), indexing="xy"))
        nodes = torch.einsum("pij,jrc->pirc", transform[patches], places[..., 0])
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
