"""Smooth random fields, and the soft patches made with them."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Range = tuple[float, float]

# With more nodes than this, interpolation is faster than matrix products.
_MANY_NODES = 16
# Local contrast is computed in cells: this many on the shorter side, of at least so many pixels.
_CELLS = 16
_SMALLEST_CELL = 3
# Up to this multiple of the mean, contrast does not count, so that textures are as if without.
_USUAL_CONTRAST = 2.0


def random_options(generator: torch.Generator) -> dict[str, Any]:
    """Keyword arguments of `torch.rand`: float32 from a generator, on its device."""
    return {"generator": generator, "device": generator.device, "dtype": torch.float32}


def uniform(
    count: int, low: float, high: float, generator: torch.Generator, *, log: bool = False
) -> Tensor:
    """Draw ``count`` numbers between ``low`` and ``high``, log-uniformly if ``log``.

    Returns
    -------
    Tensor of shape (count,), float32
    """
    fraction = torch.rand(count, **random_options(generator))
    if log and low > 0:
        return low * (high / low) ** fraction
    return low + (high - low) * fraction


def smooth_field(
    count: int, channels: int, height: int, width: int, cells: int, generator: torch.Generator
) -> Tensor:
    """Draw smooth Gaussian fields by upsampling coarse ones.

    Parameters
    ----------
    count, channels, height, width : int
        Shape of the result.
    cells : int
        Number of cells along the longer side. The field varies over about
        ``max(height, width) / cells`` pixels.
    generator : torch.Generator
        Source of the random numbers. The field is created on its device.

    Returns
    -------
    Tensor of shape (count, channels, height, width), float32
        Mean 0 and standard deviation about 0.7, since interpolation reduces the variance.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import smooth_field
    >>> smooth_field(2, 1, 32, 48, 4, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 32, 48])
    """
    return enlarge(coarse_field(count, channels, height, width, cells, generator), height, width)


def coarse_field(
    count: int, channels: int, height: int, width: int, cells: int, generator: torch.Generator
) -> Tensor:
    """Draw the nodes of `smooth_field`: (count, channels, rows, columns)."""
    longer = max(height, width)
    # One node more than cells, so that border pixels are interpolated like all others.
    rows, columns = (
        max(2, min(side, round(cells * side / longer)) + 1) for side in (height, width)
    )
    return torch.randn(count, channels, rows, columns, **random_options(generator))


def enlarge(coarse: Tensor, height: int, width: int) -> Tensor:
    """Upsample coarse fields linearly: (count, channels, height, width).

    The outer nodes lie on the outer pixels. Functions that are linear in the coordinates can
    therefore be computed at the nodes only.
    """
    if max(coarse.shape[2:]) > _MANY_NODES:
        return functional.interpolate(
            coarse, size=(height, width), mode="bilinear", align_corners=True
        )
    rows = _node_weights(coarse.shape[2], height, coarse.device)
    columns = _node_weights(coarse.shape[3], width, coarse.device)
    return rows @ coarse @ columns.T


def _node_weights(nodes: int, size: int, device: torch.device) -> Tensor:
    """Linear interpolation weights of the nodes at each pixel: (size, nodes)."""
    pixels = torch.linspace(0, nodes - 1, size, device=device, dtype=torch.float32).view(-1, 1)
    return (1 - (pixels - torch.arange(nodes, device=device)).abs()).clamp_(min=0)


def multiscale_noise(
    count: int, height: int, width: int, generator: torch.Generator, *, chosen: Tensor | None = None
) -> Tensor:
    """Draw Perlin-like noise: a randomly weighted sum of octaves.

    The weight of an octave is a random number between 0.2 and 1.4 to the power of its index, so
    that the fields range from smooth clouds to fine grain.

    Parameters
    ----------
    count, height, width : int
        Shape of the result.
    generator : torch.Generator
        Source of the random numbers. The noise is created on its device.
    chosen : Tensor of shape (m,), int64, or None
        Indices of the fields to compute; None computes all. Random numbers are drawn for all.

    Returns
    -------
    Tensor of shape (count or m, 1, height, width), float32
        Mean 0 and standard deviation about 0.65 (smooth) to 0.9 (grainy).

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import multiscale_noise
    >>> multiscale_noise(2, 32, 48, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 32, 48])
    """
    fall_off = uniform(count, 0.2, 1.4, generator).view(-1, 1, 1, 1)
    octaves: list[Tensor] = []
    cells = 2
    while cells < max(height, width) or not octaves:
        octaves.append(coarse_field(count, 1, height, width, cells, generator))
        cells *= 4
    octaves.append(torch.randn(count, 1, height, width, **random_options(generator)))
    if chosen is not None:
        fall_off, octaves = fall_off[chosen], [octave[chosen] for octave in octaves]
    weights = fall_off ** torch.arange(len(octaves), device=fall_off.device).view(1, -1, 1, 1)
    weights = weights / weights.square().sum(1, keepdim=True).sqrt()
    total = octaves[-1] * weights[:, -1:]
    for position, coarse in enumerate(octaves[:-1]):
        total.addcmul_(enlarge(coarse, height, width), weights[:, position : position + 1])
    return total


def center_weights(images: Tensor) -> Tensor:
    r"""Compute how much the centres of patches prefer each cell of an image.

    The weight of a cell is :math:`\max(1, s / 2 \bar s)`, where s is the standard deviation of its
    pixels and :math:`\bar s` the mean of s over all cells. A small part on a plain background thus
    gets far more than its share of the patches, dark or smooth regions of a part still get some,
    and on even textures centres are uniform. NSA (Schlüter et al., ECCV 2022) masks the background
    instead.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width), float32

    Returns
    -------
    Tensor of shape (batch, rows, columns), float32
        Positive, with maximum 1.

    Examples
    --------
    Only a sixteenth of the image is not flat:

    >>> import torch
    >>> from skanomaly.corruption._shapes import center_weights
    >>> images = torch.zeros(1, 1, 64, 64)
    >>> images[..., :16, :16] = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    >>> weights = center_weights(images)[0]
    >>> weights.shape, round(float(weights[4:].mean() / weights[:4, :4].mean()), 2)
    (torch.Size([16, 16]), 0.13)
    """
    shorter = min(images.shape[2:])
    cell = min(shorter, max(_SMALLEST_CELL, shorter // _CELLS))
    # Squares of values far from 0 would lose precision.
    centred = images - images.mean((2, 3), keepdim=True)
    mean, mean_square = (functional.avg_pool2d(t, cell) for t in (centred, centred.square()))
    contrast = (mean_square - mean.square()).clamp(min=0).mean(1).sqrt()
    # A flat image has mean 0.
    usual = (_USUAL_CONTRAST * contrast.mean((1, 2), keepdim=True)).clamp(min=1e-30)
    weights = (contrast / usual).clamp(min=1)
    # Powers of numbers up to 1 do not overflow.
    return weights / weights.amax((1, 2), keepdim=True)


def _to_density(x: Tensor, y: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """Move uniform coordinates from 0 to 1, so that they follow a density.

    The inverse of the distribution function is applied to y, and given y, to x. Coordinates stay
    exactly what they are where the density is uniform.

    Parameters
    ----------
    x, y : Tensor of shape (count,), float32
    density : Tensor of shape (count, rows, columns), float32
    """
    moved_y, row = _quantile(y, density.sum(2))
    moved_x, _ = _quantile(x, density[torch.arange(len(row), device=row.device), row])
    even = density.amin((1, 2)) == density.amax((1, 2))
    return torch.where(even, x, moved_x), torch.where(even, y, moved_y)


def _quantile(fraction: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the quantiles, from 0 to 1, of a histogram of equal bins, and their bins."""
    bins = weights.shape[1]
    edges = functional.pad(weights.cumsum(1), (1, 0))
    reached = fraction.unsqueeze(1) * edges[:, -1:]
    # On the right side, since a bin without weight holds nothing.
    index = (torch.searchsorted(edges, reached, right=True) - 1).clamp(0, bins - 1)
    below, above = edges.gather(1, index), edges.gather(1, index + 1)
    inside = ((reached - below) / (above - below).clamp(min=1e-30)).clamp(0, 1)
    return ((index + inside) / bins).squeeze(1), index.squeeze(1)


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
    density: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw soft masks of distorted discs.

    Each patch is a disc that fades towards its rim, is stretched and rotated, and is displaced by
    a smooth random field. This gives blobs, stains, threads and scratches (SSAE, Bauer, Nakajima
    and Müller 2024).

    Parameters
    ----------
    count, height, width : int
        Number of patches and size of the image in pixels.
    radius : (float, float)
        Range of the radius of the disc, as a fraction of the image's shorter side; log-uniform.
        Stretching preserves the area.
    elongation : (float, float)
        Range of the ratio of the longer to the shorter axis, at least 1; log-uniform.
    distortion : (float, float)
        Range of the amplitude of the displacement field, in radii; uniform.
    softness : (float, float)
        Range of the fraction of the radius over which the patch fades out; uniform.
    generator : torch.Generator
        Source of the random numbers. The results are created on its device.
    density : Tensor of shape (count, rows, columns) or None, default=None
        Density of the centre over a grid of equal cells, at least 0, up to a factor; uniform by
        default.

    Returns
    -------
    masks : Tensor of shape (count, 1, height, width), float32
        Values from 0 (outside) to 1 (the patch's core).
    displacement : Tensor of shape (count, 2, rows, columns), float32
        The displacement field (x, y) of each patch in pixels, for use by textures. Its nodes are
        evenly spaced, the outer ones on the outer pixels.

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

    def draw(low: float, high: float, *, log: bool = False) -> Tensor:
        return uniform(count, low, high, generator, log=log).view(-1, 1, 1, 1)

    # A smaller patch could fall between the pixels.
    size = (draw(*radius, log=True) * min(height, width)).clamp(min=0.75)
    stretch = draw(*elongation, log=True).sqrt()
    amplitude = draw(*distortion) * size
    rim = draw(*softness).clamp(min=1e-3)
    angle = draw(0.0, math.pi)
    centre_x, centre_y = draw(0.0, 1.0), draw(0.0, 1.0)
    if density is not None:
        moved = _to_density(centre_x.flatten(), centre_y.flatten(), density)
        centre_x, centre_y = (value.view(-1, 1, 1, 1) for value in moved)
    centre_x, centre_y = centre_x * width, centre_y * height

    displacement = coarse_field(count, 2, height, width, 8, generator) * amplitude
    # All but the distance is linear in the coordinates, so it is computed at the nodes only.
    rows, columns = displacement.shape[2:]
    options: dict[str, Any] = {"device": generator.device, "dtype": torch.float32}
    x = torch.linspace(0.5, width - 0.5, columns, **options)
    y = torch.linspace(0.5, height - 0.5, rows, **options).view(-1, 1)
    offset_x = x - centre_x + displacement[:, :1]
    offset_y = y - centre_y + displacement[:, 1:]
    cosine, sine = angle.cos(), angle.sin()
    along = (offset_x * cosine + offset_y * sine) / (size * stretch)
    across = (offset_y * cosine - offset_x * sine) / (size / stretch).clamp(min=0.6)
    distance = torch.hypot(enlarge(along, height, width), enlarge(across, height, width))
    return distance.neg_().add_(1.0).div_(rim).clamp_(0.0, 1.0), displacement
