"""Artificial defects on grey tiles, drawn differently from the library's training corruption.

Each function draws one kind of defect. It takes the tile as float64 grey levels (h, w) from 0 to
255, tiles of other textures (m, h, w) and the random state, and returns the changed tile and a bool
support (h, w) that contains all changes. Lengths are fractions of the tile's side, or pixels for a
tile of 64 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from .._drawing import (
    add_line,
    average_along,
    random_blotch,
    random_polygon,
    random_walk,
    turned_rectangle,
)

_REFERENCE_SIZE = 64
_SENSOR_NOISE = 3.0

Random = np.random.RandomState
Defect = tuple[np.ndarray, np.ndarray]


def _draw_crack(tile: np.ndarray, others: np.ndarray, random: Random) -> Defect:
    """Draw a dark or bright line of 1 to 3 pixels along a random walk, sometimes with a branch."""
    size = len(tile)
    scale = size / _REFERENCE_SIZE
    coverage = np.zeros(tile.shape)
    start = random.uniform(0.2, 0.8, 2) * size
    heading = random.uniform(0, 2 * np.pi)
    length = random.uniform(0.6, 1.3) * size
    width = random.uniform(1.5, 3.0) * scale
    points = random_walk(start, heading, length, random)
    add_line(coverage, points, width)
    if random.uniform() < 0.5:
        fork = points[len(points) // 2]
        turn = random.choice([-1, 1]) * random.uniform(0.5, 1.1)
        add_line(coverage, random_walk(fork, heading + turn, 0.4 * length, random), 0.7 * width)
    is_dark = random.uniform() < 0.6
    level = random.uniform(0, 30) if is_dark else random.uniform(215, 250)
    opacity = random.uniform(0.85, 1.0) * coverage
    return tile + opacity * (level - tile), coverage > 0


def _draw_stain(tile: np.ndarray, others: np.ndarray, random: Random) -> Defect:
    """Darken or brighten a region of a thresholded Gaussian random field."""
    coverage = random_blotch(tile.shape, random, area=(0.03, 0.11))
    is_dark = random.uniform() < 0.6
    factor = random.uniform(0.35, 0.55) if is_dark else random.uniform(1.5, 1.9)
    return tile * (1 + coverage * (factor - 1)), coverage > 0


def _draw_smear(tile: np.ndarray, others: np.ndarray, random: Random) -> Defect:
    """Blur a rotated rectangle along one direction."""
    size = len(tile)
    angle = random.uniform(0, np.pi)
    center = random.uniform(0.3, 0.7, 2) * size
    half_sides = np.array([random.uniform(0.18, 0.26), random.uniform(0.1, 0.14)]) * size
    support = turned_rectangle(tile.shape, center, half_sides, angle)
    smeared = average_along(tile, support, angle, reach=max(0.14 * size, 10))
    changed = tile.copy()
    changed[support] = _add_sensor_noise(smeared, random)
    return changed, support


def _draw_hole(tile: np.ndarray, others: np.ndarray, random: Random) -> Defect:
    """Fill a polygon with a constant grey level and sensor noise."""
    support = random_polygon(tile.shape, random, area=random.uniform(0.02, 0.09))
    around = tile[support].mean()
    levels = np.array([random.uniform(5, 45), random.uniform(200, 245)])
    level = levels[int(random.uniform() < 0.35)]
    if abs(level - around) < 40:
        level = levels[np.argmax(np.abs(levels - around))]
    flat = _add_sensor_noise(np.full(tile.shape, level), random)
    return np.where(support, flat, tile), support


def _draw_foreign(tile: np.ndarray, others: np.ndarray, random: Random) -> Defect:
    """Fill a polygon with another texture."""
    support = random_polygon(tile.shape, random, area=random.uniform(0.05, 0.11))
    other = others[random.randint(len(others))]
    # Grass and gravel look alike: require another roughness or grey level.
    shift = abs(other[support].mean() - tile.mean()) / tile.std()
    roughness = _roughness(other)[support].mean() / _roughness(tile).mean()
    if shift < 0.9 and 0.55 < roughness < 1.8:
        return tile, support
    return np.where(support, other, tile), support


DEFECTS: dict[str, Callable[[np.ndarray, np.ndarray, Random], Defect]] = {
    "crack": _draw_crack,
    "stain": _draw_stain,
    "smear": _draw_smear,
    "hole": _draw_hole,
    "foreign": _draw_foreign,
}

_MAX_DRAWS = 50
_AREA_RANGE = (0.01, 0.12)
_MIN_CHANGE = 10.0
_MIN_CONTRAST = {"crack": 1.8, "stain": 1.1, "smear": 0.55, "hole": 1.0, "foreign": 0.7}


def add_defect(tile: np.ndarray, others: np.ndarray, kind: str, random: Random) -> Defect | None:
    """Put one defect on a tile.

    Draws are repeated until the defect covers 1 to 12 % of the tile and is clearly visible. A smear
    on an even surface never is.

    Parameters
    ----------
    tile : ndarray of shape (h, w), dtype uint8
        The clean tile.
    others : ndarray of shape (m, h, w), dtype uint8
        Tiles of other textures.
    kind : str
        A key of `DEFECTS`.
    random : RandomState
        Source of random numbers.

    Returns
    -------
    image : ndarray of shape (h, w), dtype uint8
        The tile with the defect.
    mask : ndarray of shape (h, w), dtype bool
        True where it was changed by more than 10 grey levels, with small gaps inside the defect
        closed.

    Or None, if no such defect is found in 50 draws.
    """
    clean = tile.astype(float)
    # Coarse tiles hide defects, thin lines more than large regions.
    least_contrast = max(15.0, _MIN_CONTRAST[kind] * clean.std())
    for _ in range(_MAX_DRAWS):
        changed, support = DEFECTS[kind](clean, others, random)
        image = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        change = np.abs(image - clean)
        mask = _close_gaps(change > _MIN_CHANGE, support)
        is_visible = mask.any() and change[mask].mean() >= least_contrast
        if is_visible and _AREA_RANGE[0] <= mask.mean() <= _AREA_RANGE[1]:
            return np.where(mask, image, tile), mask
    return None


def _close_gaps(changed: np.ndarray, support: np.ndarray) -> np.ndarray:
    radius = max(1, len(changed) // 16)
    closed = ndimage.binary_closing(np.pad(changed, radius), iterations=radius)
    return closed[radius:-radius, radius:-radius] & support


def _roughness(image: np.ndarray) -> np.ndarray:
    return np.hypot(*np.gradient(image.astype(float)))


def _add_sensor_noise(image: np.ndarray, random: Random) -> np.ndarray:
    return image + random.normal(0, _SENSOR_NOISE, image.shape)
