"""Crops, mirror images and right-angle turns."""

from __future__ import annotations

import torch
from torch import Tensor

AUGMENTATIONS = ("flip_horizontal", "flip_vertical", "rotate")


def augment(images: Tensor, augmentation: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Mirror and turn each image at random.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
    augmentation : tuple of str
        Any of "flip_horizontal", "flip_vertical" and "rotate"; the last turns by multiples of
        90° where the images are square, and by 180° where they are not.
    generator : torch.Generator
        Source of the random numbers, on the device of ``images``.

    Returns
    -------
    Tensor of shape (b, c, h, w)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import augment
    >>> images = torch.arange(4.0).expand(50, 1, 1, 4)
    >>> turned = augment(images, ("flip_horizontal",), torch.Generator().manual_seed(0))
    >>> turned.flatten(1).unique(dim=0)
    tensor([[0., 1., 2., 3.],
            [3., 2., 1., 0.]])
    """

    def coin() -> Tensor:
        draw = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
        return draw < 0.5

    if "rotate" in augmentation:
        images = torch.where(coin(), images.flip((-2, -1)), images)
        if images.shape[-1] == images.shape[-2]:
            images = torch.where(coin(), images.rot90(1, (-2, -1)), images)
    if "flip_horizontal" in augmentation:
        images = torch.where(coin(), images.flip(-1), images)
    if "flip_vertical" in augmentation:
        images = torch.where(coin(), images.flip(-2), images)
    return images


def random_crops(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cut one crop out of each image, anywhere within it.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
    size : (int, int)
        Height and width of the crops, no larger than the images.
    generator : torch.Generator
        Source of the random numbers, on the device of ``images``.

    Returns
    -------
    Tensor of shape (b, c, *size)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import random_crops
    >>> random_crops(torch.zeros(8, 3, 64, 64), (32, 48), torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 32, 48])
    """
    batch, channels, height, width = images.shape
    device = images.device
    top = torch.randint(height - size[0] + 1, (batch, 1), generator=generator, device=device)
    left = torch.randint(width - size[1] + 1, (batch, 1), generator=generator, device=device)
    rows = (top + torch.arange(size[0], device=device)).view(batch, 1, size[0], 1)
    columns = (left + torch.arange(size[1], device=device)).view(batch, 1, 1, size[1])
    image = torch.arange(batch, device=device).view(batch, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, channels, 1, 1)
    return images[image, channel, rows, columns]
