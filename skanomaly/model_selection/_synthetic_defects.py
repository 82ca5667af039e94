"""Artificial defects on images with any number of channels.

They are independent of the corruption that detectors train on. Each drawing function takes the
image (h, w, c) with values from 0 to 1, another image of the same shape, and the random state. It
returns the coverage of each pixel, (h, w) from 0 to 1, and the content that covers it, (h, w, c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .._drawing import (
    Floats,
    add_line,
    average_along,
    random_blotch,
    random_polygon,
    random_walk,
    turned_rectangle,
)

Drawing = tuple[Floats, Floats]

# Smallest and largest fraction of the image that a defect covers; log-uniform.
_AREA = (0.005, 0.12)
# Smallest coverage of a pixel that belongs to the defect. Other pixels are unchanged.
_LEAST_COVERAGE = 0.1
# Accepted mean change, as a fraction of the range, and the number of draws before a smaller one is.
_VISIBLE_CHANGE = 0.01
_N_DRAWS = 8


def _draw_crack(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A thin dark or bright line along a random walk, sometimes with a branch."""
    shape = image.shape[:2]
    size = min(shape)
    coverage = np.zeros(shape)
    start = random_state.uniform(0.2, 0.8, 2) * shape
    heading = random_state.uniform(0, 2 * np.pi)
    length = random_state.uniform(0.15, 1.2) * size
    width = random_state.uniform(1, 1 + size / 32)
    points = random_walk(start, heading, length, random_state)
    add_line(coverage, points, width)
    if random_state.uniform() < 0.4:
        turn = random_state.choice([-1, 1]) * random_state.uniform(0.5, 1.1)
        branch = random_walk(points[len(points) // 2], heading + turn, 0.4 * length, random_state)
        add_line(coverage, branch, 0.7 * width)
    return coverage, np.broadcast_to(_extreme_color(image, random_state), image.shape)


def _draw_blob(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """An opaque blotch of one dark or bright colour."""
    area = _random_area(random_state)
    coverage = random_blotch(image.shape[:2], random_state, area=(area, area))
    return coverage, np.broadcast_to(_extreme_color(image, random_state), image.shape)


def _draw_smear(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A rotated rectangle blurred along one of its sides."""
    shape = image.shape[:2]
    size = min(shape)
    angle = random_state.uniform(0, np.pi)
    center = random_state.uniform(0.2, 0.8, 2) * shape
    half_sides = random_state.uniform([0.12, 0.06], [0.3, 0.16]) * size
    support = turned_rectangle(shape, center, half_sides, angle)
    content = image.copy()
    for channel in range(image.shape[2]):
        content[support, channel] = average_along(
            image[..., channel], support, angle, reach=max(half_sides[0], 3)
        )
    return support.astype(float), content


def _draw_missing(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A region filled smoothly from its surroundings, as if a part were missing."""
    area = _random_area(random_state)
    support = random_polygon(image.shape[:2], random_state, area)
    sigma = max(1.0, 0.5 * np.sqrt(area) * min(support.shape))
    known = (~support).astype(float)
    # The mean of the image fills pixels far from known ones.
    weight = ndimage.gaussian_filter(known, sigma) + 1e-6
    mean = image.mean(axis=(0, 1))
    content = np.stack(
        [
            (ndimage.gaussian_filter(known * image[..., channel], sigma) + 1e-6 * mean[channel])
            / weight
            for channel in range(image.shape[2])
        ],
        axis=-1,
    )
    return support.astype(float), content


def _draw_doubled(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A region that shows another part of the same image."""
    support = random_polygon(image.shape[:2], random_state, _random_area(random_state))
    return support.astype(float), _moved(image, random_state)


def _draw_color(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A region that is brighter, darker or of another hue, with its texture."""
    area = _random_area(random_state)
    if random_state.uniform() < 0.5:
        coverage = random_blotch(image.shape[:2], random_state, area=(area, area))
    else:
        coverage = random_polygon(image.shape[:2], random_state, area).astype(float)
    shift = random_state.uniform(0.2, 0.6) * random_state.choice([-1, 1])
    # Channels shift together or apart: some shifts change the brightness alone, some the hue.
    apart = random_state.uniform(0, 1) * random_state.normal(0, 0.3, image.shape[2])
    return coverage, image + shift + apart


def _draw_texture(image: Floats, other: Floats, random_state: np.random.RandomState) -> Drawing:
    """A region with stripes of random direction and width, or a part of another image."""
    shape = image.shape[:2]
    support = random_polygon(shape, random_state, _random_area(random_state))
    if random_state.uniform() < 0.5:
        return support.astype(float), _moved(other, random_state)
    rows, columns = np.indices(shape)
    pattern = random_state.normal(0, 0.5, shape)
    for _ in range(random_state.randint(1, 3)):
        angle, phase = random_state.uniform(0, np.pi), random_state.uniform(0, 2 * np.pi)
        wavelength = random_state.uniform(3, max(4, min(shape) / 5))
        along = rows * np.sin(angle) + columns * np.cos(angle)
        pattern += np.sin(2 * np.pi * along / wavelength + phase)
    mean, std = image.mean(axis=(0, 1)), image.std(axis=(0, 1))
    return support.astype(float), mean + std * pattern[..., np.newaxis]


DEFECTS: dict[str, Callable[[Floats, Floats, np.random.RandomState], Drawing]] = {
    "crack": _draw_crack,
    "blob": _draw_blob,
    "smear": _draw_smear,
    "missing": _draw_missing,
    "doubled": _draw_doubled,
    "color": _draw_color,
    "texture": _draw_texture,
}


class ValueRange(NamedTuple):
    """Smallest and largest value of each channel, ndarrays of shape (c,), float64."""

    low: Floats
    high: Floats


def add_defect(
    image: NDArray,
    other: NDArray,
    kind: str,
    strength: tuple[float, float],
    value_range: ValueRange,
    random_state: np.random.RandomState,
) -> tuple[NDArray, NDArray[np.bool_]] | None:
    """Draw one defect on an image.

    Draws up to eight times until the defect is visible, and else takes the most visible draw.

    Parameters
    ----------
    image, other : ndarray of shape (h, w, c)
        The image, and another one of the same dtype, whose content may be used.
    kind : str
        A key of `DEFECTS`.
    strength : (float, float)
        Range of the weight, above 0 and up to 1, with which the defect is mixed into the image.
    value_range : ValueRange
        Bounds of the result.
    random_state : RandomState
        Generator of the random numbers.

    Returns
    -------
    damaged : ndarray of shape (h, w, c)
        In the dtype of `image`.
    mask : ndarray of shape (h, w), dtype bool
        The region of the defect. Pixels outside are unchanged; a few pixels inside may be, such as
        those that are equal in a shifted copy.

    Returns None if no draw changes anything.
    """
    width = value_range.high - value_range.low
    width = np.where(width > 0, width, 1.0)
    scaled, scaled_other = ((values - value_range.low) / width for values in (image, other))
    best, most = None, 0.0
    for _ in range(_N_DRAWS):
        weight = random_state.uniform(*strength)
        coverage, content = DEFECTS[kind](scaled, scaled_other, random_state)
        mask = coverage >= _LEAST_COVERAGE
        if not mask.any():
            continue
        opacity = weight * coverage[..., np.newaxis]
        mixed = scaled + opacity * (content - scaled)
        damaged = _to_dtype(value_range.low + width * mixed, image.dtype, value_range)
        damaged = np.where(mask[..., np.newaxis], damaged, image).astype(image.dtype, copy=False)
        change = np.abs(damaged[mask].astype(np.float64) - image[mask]) / width
        if change.mean() > most:
            best, most = (damaged, mask), change.mean()
        if most >= _VISIBLE_CHANGE:
            break
    return best


def _to_dtype(values: Floats, dtype: np.dtype, value_range: ValueRange) -> NDArray:
    values = np.clip(values, value_range.low, value_range.high)
    return (values if dtype.kind == "f" else np.rint(values)).astype(dtype)


def _random_area(random_state: np.random.RandomState) -> float:
    return float(np.exp(random_state.uniform(*np.log(_AREA))))


def _extreme_color(image: Floats, random_state: np.random.RandomState) -> Floats:
    """A colour (c,) near the dark or the bright end of the range."""
    low = 0.0 if random_state.uniform() < 0.6 else 0.8
    return low + random_state.uniform(0, 0.2, image.shape[2:])


def _moved(image: Floats, random_state: np.random.RandomState) -> Floats:
    """The image rolled by an eighth to a half of its sides, sometimes mirrored."""
    sides = np.array(image.shape[:2])
    offset = np.rint(random_state.uniform(0.125, 0.5, 2) * sides).astype(int)
    offset *= random_state.choice([-1, 1], 2)
    moved = np.roll(image, tuple(offset), axis=(0, 1))
    return moved[:, ::-1] if random_state.uniform() < 0.3 else moved
