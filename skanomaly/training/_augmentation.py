"""Crops, flips, rotations and mixup, and the automatic choice of all but mixup."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SYMMETRIES = ("flip_horizontal", "flip_vertical", "rotate")
AUGMENTATIONS = (*SYMMETRIES, "mixup")

# Standard deviation of the weight of the other image in "mixup".
_MIXUP_STANDARD_DEVIATION = 0.2

# Number of images to search for symmetries, and their largest side in pixels in the search.
SYMMETRY_LIMIT = 300
_SYMMETRY_SIDE = 64
_COARSE_SIDE = 16
_SPECTRUM_SIDE = 21
# Largest accepted ratio of nearest-neighbour distances, transformed to original.
_MOST_DISTANCE = 1.1
# Largest accepted ratio of mean distances, transformed to original, of images without alignment.
_MOST_MEAN_DISTANCE = 1.05
# Largest accepted squared distance of mean spectra, in units of the variance of the spectra.
_MOST_TURN = 0.35


def find_symmetries(batches: Iterable[Tensor]) -> tuple[str, ...]:
    """Find the flips and rotations that map normal images to normal images.

    A transformation is a symmetry if it passes two tests. *Arrangement*: the distance of the
    transformed image to the nearest other image, divided by that of the original, has a median of
    at most 1.1, at 16 × 16 pixels. *Direction*: the squared distance between the mean logarithmic
    power spectra before and after is at most 0.35 of the variance of the spectra. Parts at any
    angle and isotropic textures pass; aligned parts and a gradient of light over the image do not.
    A fine relief that is lit from one side may pass, since spectra do not tell a bump from a dent:
    name the symmetries then. This is a method of this library.

    Parameters
    ----------
    batches : iterable of Tensor of shape (b, c, h, w)
        Normal images, standardised.

    Returns
    -------
    tuple of str
        A subset of ``SYMMETRIES``.

    Examples
    --------
    Noise is isotropic; noise with a horizontal gradient is not:

    >>> import torch
    >>> from skanomaly.training import find_symmetries
    >>> noise = torch.randn(40, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> find_symmetries([noise])
    ('flip_horizontal', 'flip_vertical', 'rotate')
    >>> find_symmetries([noise + torch.linspace(-2, 2, 32)])
    ('flip_vertical',)
    """
    images = torch.cat([_downsample(batch) for batch in batches])
    if len(images) < 2:
        return ()
    coarse = _coarse(images)
    usual = _nearest(coarse, coarse)

    def is_symmetry(changed: Tensor) -> bool:
        ratio = _nearest(_coarse(changed), coarse) / usual.clamp(min=1e-12)
        is_near = bool(ratio.log().median() <= math.log(_MOST_DISTANCE))
        return is_near and _keeps_directions(changed, images)

    height, width = images.shape[2:]
    turned = [images.flip((-2, -1))] + ([images.rot90(1, (-2, -1))] if height == width else [])
    changes = zip(SYMMETRIES, ([images.flip(-1)], [images.flip(-2)], turned), strict=True)
    return tuple(name for name, changed in changes if all(map(is_symmetry, changed)))


def is_unaligned(batches: Iterable[Tensor]) -> bool:
    r"""Whether normal images are not aligned, as textures and parts at any angle are not.

    Either the images may be shifted, circularly, by half of their height and width, or the squares
    in their middle may be flipped and rotated. The changed images must be *arranged* alike:
    their mean distance to the other images is at most 1.05 times that of unchanged ones, at
    16 × 16 pixels. The difference is half of the energy distance
    :math:`2 E|X - Y'| - E|X - X'| - E|Y - Y'|` of the two distributions (Székely and Rizzo, Journal
    of Statistical Planning and Inference 143, 2013). Flips and rotations must also keep
    *directions*, as in `find_symmetries`. Unlike there, parts at any angle pass even if lighting
    from one side shows how they are turned, and textures with a direction pass by the shifts.

    Parameters
    ----------
    batches : iterable of Tensor of shape (b, c, h, w)
        Normal images, standardised.

    Returns
    -------
    bool
        False for fewer than two images.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import is_unaligned
    >>> noise = torch.randn(40, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> is_unaligned([noise]), is_unaligned([noise + torch.linspace(-2, 2, 32)])
    (True, False)
    """
    pairs = [(_coarse(batch), _downsample(_middle_square(batch))) for batch in batches]
    coarse, squares = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    if len(coarse) < 2:
        return False
    maps = coarse.unflatten(1, (-1, _COARSE_SIDE, _COARSE_SIDE))
    half = _COARSE_SIDE // 2
    shifted = (maps.roll(shift, (-2, -1)) for shift in ((half, 0), (0, half), (half, half)))
    if all(_is_arranged_like(images.flatten(1), coarse) for images in shifted):
        return True
    turned = [squares.flip(-1), squares.flip(-2)]
    turned += [squares.flip((-2, -1)), squares.rot90(1, (-2, -1))]
    coarse = _coarse(squares)
    return all(
        _is_arranged_like(_coarse(changed), coarse) and _keeps_directions(changed, squares)
        for changed in turned
    )


def _downsample(images: Tensor) -> Tensor:
    """Reduce images to at most 64 pixels on each side."""
    height, width = (min(_SYMMETRY_SIDE, side) for side in images.shape[2:])
    return functional.adaptive_avg_pool2d(images, (height, width)).cpu()


def _middle_square(images: Tensor) -> Tensor:
    """Cut off the ends of the longer side: (n, c, h, w) → (n, c, s, s)."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


def _coarse(images: Tensor) -> Tensor:
    """Downsample images: (n, c, h, w) → (n, c · 256)."""
    return functional.adaptive_avg_pool2d(images, _COARSE_SIDE).flatten(1).cpu()


def _spectra(images: Tensor) -> Tensor:
    """Compute logarithmic power spectra of grey images: (n, c, h, w) → (n, 441)."""
    grey = images.mean(1)
    height, width = grey.shape[1:]
    rows, columns = (torch.hann_window(side, dtype=grey.dtype) for side in (height, width))
    window = rows.view(-1, 1) * columns
    power = torch.fft.fftshift(torch.fft.fft2(grey * window).abs().square(), dim=(-2, -1))
    # For an even side, the first frequency has no negative counterpart.
    power = power[:, 1 - height % 2 :, 1 - width % 2 :].unsqueeze(1)
    power = functional.adaptive_avg_pool2d(power, _SPECTRUM_SIDE).flatten(1)
    return (power + 1e-3 * power.mean(1, keepdim=True) + 1e-12).log()


def _keeps_directions(changed: Tensor, images: Tensor) -> bool:
    """Whether transformed images have the mean spectrum of the images."""
    spectra = _spectra(images)
    mean = spectra.mean(0)
    turn = (mean - _spectra(changed).mean(0)).square().sum()
    return bool(turn <= _MOST_TURN * (spectra - mean).square().sum(1).mean())


def _is_arranged_like(changed: Tensor, images: Tensor) -> bool:
    """Whether changed images are as far from the others as the images are, in the mean."""
    distances, usual = (
        torch.cdist(points, images).fill_diagonal_(0).sum() for points in (changed, images)
    )
    return bool(distances <= _MOST_MEAN_DISTANCE * usual)


def _nearest(images: Tensor, others: Tensor) -> Tensor:
    """Compute the distance to the nearest of ``others`` of another index: (n,)."""
    return torch.cdist(images, others).fill_diagonal_(math.inf).amin(1)


def augment(images: Tensor, augmentation: tuple[str, ...], generator: torch.Generator) -> Tensor:
    r"""Flip, rotate and mix images at random.

    "mixup" replaces each image x by :math:`x + \varepsilon (x' - x)`, where x' is the previous
    image of the batch and :math:`\varepsilon \sim N(0, 0.2^2)` (after Zhang et al., *mixup: Beyond
    empirical risk minimization*, arXiv 1710.09412). The mixture is both the image to corrupt and
    the target, so the network learns to preserve the differences between normal images instead of
    memorising the training images.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
    augmentation : tuple of str
        A subset of ``AUGMENTATIONS``. "rotate" rotates square images by multiples of 90°, others
        by 180°.
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
    shape = (len(images), 1, 1, 1)
    options: dict[str, Any] = {
        "generator": generator,
        "device": images.device,
        "dtype": torch.float32,
    }

    def randomly(changed: Tensor) -> Tensor:
        return torch.where(torch.rand(shape, **options) < 0.5, changed, images)

    if "rotate" in augmentation:
        images = randomly(images.flip((-2, -1)))
        if images.shape[-1] == images.shape[-2]:
            images = randomly(images.rot90(1, (-2, -1)))
    if "flip_horizontal" in augmentation:
        images = randomly(images.flip(-1))
    if "flip_vertical" in augmentation:
        images = randomly(images.flip(-2))
    if "mixup" in augmentation:
        fraction = _MIXUP_STANDARD_DEVIATION * torch.randn(shape, **options)
        images = torch.lerp(images, images.roll(1, 0), fraction)
    return images


def random_crops(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Crop each image at a random position.

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
