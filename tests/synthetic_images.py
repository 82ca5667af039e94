"""Small images and defects for tests."""

import numpy as np


def make_images(count, *, size=(32, 32), channels=None, seed=0):
    """Stripes of random phase with a little noise: float (count, h, w[, channels]) in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(size)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    images = 0.5 + 0.25 * np.sin(rows / 2.5 + columns / 5 + phase)
    images = images + rng.normal(0, 0.01, images.shape)
    if channels is not None:
        tint = np.linspace(0.6, 1.0, channels)
        images = images[..., None] * tint
    return images.clip(0, 1)


def plant_defects(images):
    """Invert the brightness of a square in each image; return images and masks.

    Every value is one that normal images have too: only the pattern is broken.
    """
    damaged, masks = images.copy(), np.zeros(images.shape[:3], dtype=bool)
    height, width = images.shape[1:3]
    for index in range(len(images)):
        top, left = 2 + 5 * index % (height - 9), 2 + 7 * index % (width - 9)
        masks[index, top : top + 7, left : left + 7] = True
    middle = 0.5 * (images.min() + images.max())
    damaged[masks] = 2 * middle - damaged[masks]
    return damaged, masks


def lit_parts(count, side=64, turned=True, seed=0):
    """Bars at any angle, or at one, that are bright where they face the left and dark elsewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    images = []
    for angle in rng.uniform(0, 2 * np.pi, count) if turned else rng.normal(1, 0.02, count):
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        edge = 0.1 + 0.1 * (along < -0.2)
        part = (np.abs(along) < 0.35) & (np.abs(across) < edge)
        light = 1 + 0.35 * (np.cos(angle) + across / edge * np.sin(angle))
        images.append(np.where(part, light, 0))
    return np.stack(images) + rng.normal(scale=0.02, size=(count, side, side))
