"""Lines, polygons, blotches and smears to draw artificial defects with.

Points are pairs (row, column) in pixels. The shapes are independent of those of the corruptions
that detectors are trained on.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

Floats = NDArray[np.float64]
Shape = tuple[int, int]


def random_walk(
    start: Floats, heading: float, length: float, random_state: np.random.RandomState
) -> Floats:
    """Draw points (m, 2) of a path with a random-walk heading."""
    n_steps = 12
    headings = heading + np.cumsum(random_state.normal(0, 0.4, n_steps))
    steps = length / n_steps * np.column_stack([np.sin(headings), np.cos(headings)])
    return np.vstack([start, start + np.cumsum(steps, axis=0)])


def add_line(coverage: Floats, points: Floats, width: float) -> None:
    """Draw an antialiased line through points, in place, by the maximum of the coverages."""
    rows, columns = np.indices(coverage.shape)
    for first, last in itertools.pairwise(points):
        along = last - first
        position = ((rows - first[0]) * along[0] + (columns - first[1]) * along[1]) / (
            along @ along
        )
        position = np.clip(position, 0, 1)
        distance = np.hypot(
            rows - first[0] - position * along[0], columns - first[1] - position * along[1]
        )
        np.maximum(coverage, np.clip((width + 1) / 2 - distance, 0, 1), out=coverage)


def random_polygon(
    shape: Shape, random_state: np.random.RandomState, area: float
) -> NDArray[np.bool_]:
    """Draw a bool image (h, w) of a polygon that covers a fraction of about `area` of a square."""
    size = min(shape)
    n_corners = random_state.randint(4, 8)
    angles = 2 * np.pi * (np.arange(n_corners) + random_state.uniform(-0.3, 0.3, n_corners))
    angles = angles / n_corners + random_state.uniform(0, 2 * np.pi)
    radii = random_state.uniform(0.7, 1.3, n_corners) * np.sqrt(1.3 * area / np.pi) * size
    stretch = random_state.uniform(1, 1.4)
    center = random_state.uniform(0.28, 0.72, 2) * shape
    corners = np.column_stack([radii * np.sin(angles) * stretch, radii * np.cos(angles) / stretch])
    return draw.polygon2mask(shape, center + corners)


def turned_rectangle(
    shape: Shape, center: Floats, half_sides: Floats, angle: float
) -> NDArray[np.bool_]:
    """Draw a bool image (h, w) of a rectangle whose first side has the direction `angle`."""
    direction = np.array([np.sin(angle), np.cos(angle)])
    normal = direction[::-1] * [1, -1]
    corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * half_sides
    polygon = center + corners[:, :1] * direction + corners[:, 1:] * normal
    return draw.polygon2mask(shape, polygon)


def random_blotch(
    shape: Shape, random_state: np.random.RandomState, area: tuple[float, float]
) -> Floats:
    """Draw the coverage (h, w), from 0 to 1, of a level set of a Gaussian random field.

    It is centred on a random point and covers a fraction of the image within the range `area`.
    """
    size = min(shape)
    rows, columns = np.indices(shape)
    center = random_state.uniform(0.25, 0.75, 2) * shape
    distance = np.hypot(rows - center[0], columns - center[1]) / size
    field = ndimage.gaussian_filter(random_state.normal(size=shape), 0.07 * size)
    field = field / field.std() - (distance / random_state.uniform(0.1, 0.18)) ** 2
    n_pixels = max(1, int(random_state.uniform(*area) * field.size))
    level = np.sort(field, axis=None)[-n_pixels]
    # An edge of about two pixels at a side of 64, since blotches have sharp edges.
    coverage = ndimage.gaussian_filter((field > level).astype(float), 0.8 * size / 64)
    coverage[coverage < 0.02] = 0
    return coverage


def average_along(image: Floats, support: NDArray[np.bool_], angle: float, reach: float) -> Floats:
    """Average the image (h, w) along one direction at each of m pixels of the support: (m,)."""
    direction = np.array([np.sin(angle), np.cos(angle)])
    offsets = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) + 1)
    pixels = np.argwhere(support).T[:, np.newaxis]
    along = direction[:, np.newaxis, np.newaxis] * offsets[:, np.newaxis]
    means: Floats = ndimage.map_coordinates(image, pixels + along, order=1, mode="reflect").mean(
        axis=0
    )
    return means
