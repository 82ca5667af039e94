"""Smooth random fields, the raw material of shapes and textures."""

import torch
from torch import Tensor
from torch.nn import functional


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
    """
    longer = max(height, width)
    # One value more than cells, so that the border is interpolated like every other place.
    rows = max(2, min(height, round(cells * height / longer)) + 1)
    columns = max(2, min(width, round(cells * width / longer)) + 1)
    coarse = torch.randn(
        count, channels, rows, columns, generator=generator, device=generator.device
    )
    return functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def multiscale_noise(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw Perlin-like noise: octaves of smooth fields, weighted at random.

    A random fall-off from octave to octave makes clouds of some draws and grain of others.

    Returns
    -------
    Tensor of shape (count, 1, height, width), float32
        About mean 0 and standard deviation 1 in each field.
    """
    device = generator.device
    fall_off = torch.rand(count, 1, 1, 1, generator=generator, device=device) * 1.2 + 0.2
    octaves: list[Tensor] = []
    cells = 2
    while cells < max(height, width) or not octaves:
        octaves.append(smooth_field(count, 1, height, width, cells, generator))
        cells *= 4
    octaves.append(torch.randn(count, 1, height, width, generator=generator, device=device))
    weights = fall_off ** torch.arange(len(octaves), device=device).view(1, -1, 1, 1)
    stacked = torch.cat(octaves, dim=1) * weights
    return stacked.sum(1, keepdim=True) / weights.square().sum(1, keepdim=True).sqrt()


def uniform(
    count: int, low: float, high: float, generator: torch.Generator, *, log: bool = False
) -> Tensor:
    """Draw ``count`` numbers between ``low`` and ``high``, on a log scale if asked.

    Returns
    -------
    Tensor of shape (count,), float32
    """
    share = torch.rand(count, generator=generator, device=generator.device)
    if log and low > 0:
        return low * (high / low) ** share
    return low + (high - low) * share
