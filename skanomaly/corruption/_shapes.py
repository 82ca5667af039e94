"""Shapes of the corrupted patches."""

import math

import torch
from torch import Tensor

from ._fields import coarse_field, enlarge, uniform

Range = tuple[float, float]


def soft_patches(
    count: int,
    height: int,
    width: int,
    *,
    radius: Range,
    elongation: Range,
    distortion: Range,
    softness: Range,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw soft masks of distorted discs.

    Each patch starts as a filled disc that fades towards its rim; it is stretched, turned and
    displaced by a smooth random field, so that blobs, stains, threads and scratches come out of
    one mechanism (SSAE, Bauer, Nakajima and Müller 2024).

    Parameters
    ----------
    count, height, width : int
        Number of patches and size of the image in pixels.
    radius : (float, float)
        Range of the radius of the disc, as a fraction of the image's shorter side; log-uniform.
        Stretching keeps the area.
    elongation : (float, float)
        Range of the ratio of the longer to the shorter axis, at least 1; log-uniform.
    distortion : (float, float)
        Range of the displacement field's amplitude, in radii.
    softness : (float, float)
        Range of the fraction of the radius over which the patch fades to nothing.
    generator : torch.Generator
        Source of the random numbers; everything lives on its device.

    Returns
    -------
    masks : Tensor of shape (count, 1, height, width), float32
        Values from 0 (outside) to 1 (the patch's core).
    displacement : Tensor of shape (count, 2, rows, columns), float32
        The field (x, y) that distorted each patch, in pixels, for textures to use: at evenly
        spaced nodes, of which the outer ones lie on the outer pixels.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import soft_patches
    >>> masks, displacement = soft_patches(
    ...     4,
    ...     32,
    ...     48,
    ...     radius=(0.1, 0.3),
    ...     elongation=(1, 2),
    ...     distortion=(0, 0.5),
    ...     softness=(0.1, 0.5),
    ...     generator=torch.Generator().manual_seed(0),
    ... )
    >>> masks.shape, float(masks.min()), float(masks.max())
    (torch.Size([4, 1, 32, 48]), 0.0, 1.0)
    """
    device = generator.device
    size = uniform(count, *radius, generator, log=True) * min(height, width)
    # Below half a pixel a patch would fall between the pixels.
    size = size.clamp(min=0.75)
    stretch = uniform(count, *elongation, generator, log=True).sqrt()
    amplitude = uniform(count, *distortion, generator) * size
    rim = uniform(count, *softness, generator).clamp(min=1e-3)
    angle = uniform(count, 0.0, math.pi, generator)
    centre_x = uniform(count, 0.0, float(width), generator)
    centre_y = uniform(count, 0.0, float(height), generator)

    displacement = coarse_field(count, 2, height, width, 8, generator) * _per_patch(amplitude)
    # All but the distance is linear in the coordinates, so that the nodes of the field will do.
    rows, columns = displacement.shape[2:]
    x = torch.linspace(0.5, width - 0.5, columns, device=device, dtype=torch.float32).view(
        1, 1, 1, -1
    )
    y = torch.linspace(0.5, height - 0.5, rows, device=device, dtype=torch.float32).view(
        1, 1, -1, 1
    )
    offset_x = x - _per_patch(centre_x) + displacement[:, :1]
    offset_y = y - _per_patch(centre_y) + displacement[:, 1:]
    cosine, sine = _per_patch(angle.cos()), _per_patch(angle.sin())
    along = (offset_x * cosine + offset_y * sine) / _per_patch(size * stretch)
    across = (offset_y * cosine - offset_x * sine) / _per_patch((size / stretch).clamp(min=0.6))
    distance = torch.hypot(enlarge(along, height, width), enlarge(across, height, width))
    masks = distance.neg_().add_(1.0).div_(_per_patch(rim)).clamp_(0.0, 1.0)
    return masks, displacement


def _per_patch(values: Tensor) -> Tensor:
    """Shape (count,) → (count, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
