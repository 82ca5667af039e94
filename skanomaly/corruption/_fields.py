"""Smooth random fields, the raw material of shapes and textures."""

import torch
from torch import Tensor
from torch.nn import functional

# From here on, matrix products take longer than an interpolation does.
_MANY_NODES = 16


def smooth_field(
    count: int, channels: int, height: int, width: int, cells: int, generator: torch.Generator
) -> Tensor:
    """Draw smooth Gaussian fields by scaling a coarse one up.

    Parameters
    ----------
    count, channels, height, width : int
        Shape of the result.
    cells : int
        Number of independent values along the longer side; the field changes over about
        ``max(height, width) / cells`` pixels.
    generator : torch.Generator
        Source of the random numbers; the field lives on its device.

    Returns
    -------
    Tensor of shape (count, channels, height, width), float32
        Mean 0, and a standard deviation of about 0.7: interpolation takes the rest.

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
    """Draw what `smooth_field` scales up: (count, channels, rows, columns)."""
    longer = max(height, width)
    # One value more than cells, so that the border is interpolated like every other pixel.
    rows = max(2, min(height, round(cells * height / longer)) + 1)
    columns = max(2, min(width, round(cells * width / longer)) + 1)
    return torch.randn(
        count,
        channels,
        rows,
        columns,
        generator=generator,
        device=generator.device,
        dtype=torch.float32,
    )


def enlarge(coarse: Tensor, height: int, width: int) -> Tensor:
    """Scale coarse fields up: (count, channels, height, width).

    Linear between the nodes, of which the outer ones lie on the outer pixels: so what is linear
    in the coordinates may be computed for the nodes alone.
    """
    if max(coarse.shape[2:]) > _MANY_NODES:
        return functional.interpolate(
            coarse, size=(height, width), mode="bilinear", align_corners=True
        )
    rows = _node_weights(coarse.shape[2], height, coarse.device)
    columns = _node_weights(coarse.shape[3], width, coarse.device)
    return rows @ coarse @ columns.T


def _node_weights(nodes: int, size: int, device: torch.device) -> Tensor:
    """How much each node counts at each of so many pixels between them: (size, nodes)."""
    pixels = torch.linspace(0, nodes - 1, size, device=device, dtype=torch.float32).view(-1, 1)
    return (1 - (pixels - torch.arange(nodes, device=device)).abs()).clamp_(min=0)


def multiscale_noise(
    count: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    chosen: Tensor | None = None,
) -> Tensor:
    """Draw Perlin-like noise: octaves of smooth fields, weighted at random.

    A random fall-off from octave to octave makes clouds of some draws and grain of others.

    Parameters
    ----------
    count, height, width : int
        Shape of the result.
    generator : torch.Generator
        Source of the random numbers; the noise lives on its device.
    chosen : Tensor of shape (m,), int64, or None
        Which of the fields to compute, if not all. Random numbers are drawn for all of them.

    Returns
    -------
    Tensor of shape (count or m, 1, height, width), float32
        About mean 0 and standard deviation 1 in each field.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import multiscale_noise
    >>> multiscale_noise(2, 32, 48, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 32, 48])
    """
    device = generator.device
    fall_off = (
        torch.rand(count, 1, 1, 1, generator=generator, device=device, dtype=torch.float32) * 1.2
        + 0.2
    )
    octaves: list[Tensor] = []
    cells = 2
    while cells < max(height, width) or not octaves:
        octaves.append(coarse_field(count, 1, height, width, cells, generator))
        cells *= 4
    octaves.append(
        torch.randn(
            count, 1, height, width, generator=generator, device=device, dtype=torch.float32
        )
    )
    if chosen is not None:
        fall_off, octaves = fall_off[chosen], [octave[chosen] for octave in octaves]
    weights = fall_off ** torch.arange(len(octaves), device=device).view(1, -1, 1, 1)
    weights = weights / weights.square().sum(1, keepdim=True).sqrt()
    total = octaves[-1] * weights[:, -1:]
    for position, coarse in enumerate(octaves[:-1]):
        total.addcmul_(enlarge(coarse, height, width), weights[:, position : position + 1])
    return total


def uniform(
    count: int, low: float, high: float, generator: torch.Generator, *, log: bool = False
) -> Tensor:
    """Draw ``count`` numbers between ``low`` and ``high``, on a log scale if asked.

    Returns
    -------
    Tensor of shape (count,), float32
    """
    fraction = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float32)
    if log and low > 0:
        return low * (high / low) ** fraction
    return low + (high - low) * fraction
