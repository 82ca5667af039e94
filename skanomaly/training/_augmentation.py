"""Crops, mirror images, right-angle turns and mixtures, and which of them are safe."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

SYMMETRIES = ("flip_horizontal", "flip_vertical", "rotate")
AUGMENTATIONS = (*SYMMETRIES, "mixup")

# Standard deviation of the fraction of another image that "mixup" adds.
_MIXUP_STANDARD_DEVIATION = 0.2

# Images that symmetries are looked for in, and the side in pixels that they are brought to.
SYMMETRY_LIMIT = 300
_SYMMETRY_SIDE = 64
_COARSE_SIDE = 16
_SPECTRUM_SIDE = 21
# Changed images may be so many times as far from the nearest image as images are from one another.
_MOST_DISTANCE = 1.1
# Squared distance of the mean spectra of images and changed images, over the spread of spectra.
_MOST_TURN = 0.35


def find_symmetries(batches: Iterable[Tensor]) -> tuple[str, ...]:
    """Find the augmentations under which normal images stay what they are.

    A change is one if it passes two tests. *Arrangement*: a changed image is, in the median, no
    further than 1.1 times as far from the nearest of the other images as an unchanged one is, at
    16 × 16 pixels. *Direction*: the mean logarithmic power spectrum stays, up to 0.35 of the
    variance of the images' spectra. So parts that lie at any angle and textures without direction
    are found to be symmetric, and aligned parts, or light from one side, are not. This library's
    own.

    Parameters
    ----------
    batches : iterable of Tensor of shape (b, c, h, w)
        Normal images, standardised.

    Returns
    -------
    tuple of str
        Of ``SYMMETRIES``.

    Examples
    --------
    Noise has no direction; noise that grows brighter from left to right has one:

    >>> import torch
    >>> from skanomaly.training import find_symmetries
    >>> noise = torch.randn(40, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> find_symmetries([noise])
    ('flip_horizontal', 'flip_vertical', 'rotate')
    >>> find_symmetries([noise + torch.linspace(-2, 2, 32)])
    ('flip_vertical',)
    """
    images = torch.cat([_shrink(batch).cpu() for batch in batches])
    if len(images) < 2:
        return ()
    coarse, spectra = _coarse(images), _spectra(images)
    usual = _nearest(coarse, coarse)
    spread = (spectra - spectra.mean(0)).square().sum(1).mean()

    def is_symmetry(changed: Tensor) -> bool:
        ratio = _nearest(_coarse(changed), coarse) / usual.clamp(min=1e-12)
        turn = (spectra.mean(0) - _spectra(changed).mean(0)).square().sum()
        return bool(ratio.log().median() <= math.log(_MOST_DISTANCE)) and bool(
            turn <= _MOST_TURN * spread
        )

    height, width = images.shape[2:]
    turned = [images.flip((-2, -1))] + ([images.rot90(1, (-2, -1))] if height == width else [])
    changes = {
        "flip_horizontal": [images.flip(-1)],
        "flip_vertical": [images.flip(-2)],
        "rotate": turned,
    }
    return tuple(name for name, changed in changes.items() if all(map(is_symmetry, changed)))


def _shrink(images: Tensor) -> Tensor:
    height, width = (min(_SYMMETRY_SIDE, side) for side in images.shape[2:])
    return functional.adaptive_avg_pool2d(images, (height, width))


def _coarse(images: Tensor) -> Tensor:
    """Bring images to few pixels: (n, c, h, w) → (n, c · 256)."""
    return functional.adaptive_avg_pool2d(images, _COARSE_SIDE).flatten(1)


def _spectra(images: Tensor) -> Tensor:
    """Compute logarithmic power spectra of grey images: (n, c, h, w) → (n, 441)."""
    grey = images.mean(1)
    height, width = grey.shape[1:]
    window = torch.hann_window(height, dtype=grey.dtype).view(-1, 1) * torch.hann_window(
        width, dtype=grey.dtype
    )
    power = torch.fft.fftshift(torch.fft.fft2(grey * window).abs().square(), dim=(-2, -1))
    # Of an even side, the first frequency has no counterpart on the other side of zero.
    power = power[:, 1 - height % 2 :, 1 - width % 2 :].unsqueeze(1)
    power = functional.adaptive_avg_pool2d(power, _SPECTRUM_SIDE).flatten(1)
    return (power + 1e-3 * power.mean(1, keepdim=True) + 1e-12).log()


def _nearest(images: Tensor, others: Tensor) -> Tensor:
    """Distance to the nearest of others, but for the one of the same number: (n,)."""
    return torch.cdist(images, others).fill_diagonal_(math.inf).amin(1)


def augment(images: Tensor, augmentation: tuple[str, ...], generator: torch.Generator) -> Tensor:
    r"""Mirror, turn and mix images at random.

    "mixup" replaces each image x by :math:`x + \varepsilon (x' - x)`, where x' is another image of
    the batch and :math:`\varepsilon \sim N(0, 0.2^2)`, after Zhang et al., *mixup: Beyond empirical
    risk minimization*, arXiv 1710.09412. As the mixture is both what is corrupted and what is to be
    restored, the network learns to leave the differences between normal images as they are, and not
    the training images by heart.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
    augmentation : tuple of str
        Any of ``AUGMENTATIONS``. "rotate" turns by multiples of 90° where the images are square,
        and by 180° where they are not.
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
        draw = torch.rand(
            len(images), 1, 1, 1, generator=generator, device=images.device, dtype=torch.float32
        )
        return draw < 0.5

    if "rotate" in augmentation:
        images = torch.where(coin(), images.flip((-2, -1)), images)
        if images.shape[-1] == images.shape[-2]:
            images = torch.where(coin(), images.rot90(1, (-2, -1)), images)
    if "flip_horizontal" in augmentation:
        images = torch.where(coin(), images.flip(-1), images)
    if "flip_vertical" in augmentation:
        images = torch.where(coin(), images.flip(-2), images)
    if "mixup" in augmentation:
        fraction = torch.randn(
            len(images), 1, 1, 1, generator=generator, device=images.device, dtype=torch.float32
        )
        images = torch.lerp(images, images.roll(1, 0), _MIXUP_STANDARD_DEVIATION * fraction)
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
