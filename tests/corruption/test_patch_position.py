"""Where patches are centred."""

import numpy as np
import pytest
import torch

from skanomaly.corruption import PatchCorruption, soft_patches


def random_images(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize(
    ("focus", "least", "most"),
    [(0, 0.05, 0.15), (2, 0.7, 0.9), (1000, 0.99, 1), ((0, 2), 0.3, 0.7)],
)
def test_patches_are_centred_on_parts(focus, least, most):
    """The image is flat but for a sixteenth of it, far from 0, with two channels of other range."""
    images = np.full((200, 64, 48, 2), 1000.0)
    part = random_images((200, 16, 12, 2)) * [1.0, 50.0]
    images[:, 32:48, 24:36] += part
    options = dict(n_patches=1, radius=0.02, elongation=1, distortion=0, softness=0, random_state=0)
    _, masks = PatchCorruption(focus=focus, **options)(images)
    on_part = masks[:, 30:50, 22:38].any(axis=(1, 2))
    assert least <= on_part.mean() <= most


def test_even_contrast_changes_no_draw():
    images = random_images((6, 48, 32))
    even, uniform = (PatchCorruption(focus=f, random_state=0)(images) for f in (2, 0))
    np.testing.assert_array_equal(even, uniform)


@pytest.mark.parametrize("shape", [(50, 1, 1), (50, 2, 40), (50, 40, 40), (50, 33, 70)])
def test_patches_of_flat_images_lie_anywhere(shape):
    _, masks = PatchCorruption(focus=2, n_patches=4, radius=0.2, random_state=0)(np.ones(shape))
    covered = (masks > 0).any(axis=0)
    for half in np.array_split(covered, 2, axis=0):
        assert all(part.any() for part in np.array_split(half, 2, axis=1) if part.size)


def test_centres_follow_the_density():
    """A patch of less than a pixel lies in a cell as often as the density says."""
    count, density = 20_000, torch.tensor([[0.0, 2.0, 1.0], [4.0, 0.0, 3.0]])
    masks, _ = soft_patches(
        count,
        40,
        60,
        radius=(0.02, 0.02),
        elongation=(1, 1),
        distortion=(0, 0),
        softness=(1, 1),
        generator=torch.Generator().manual_seed(0),
        density=density.expand(count, 2, 3),
    )
    brightest = masks.flatten(1).argmax(1)
    row, column = brightest // 60 // 20, brightest % 60 // 20
    shares = torch.bincount(3 * row + column, minlength=6) / count
    # Rounding to pixels moves a few centres into the next cell.
    np.testing.assert_allclose(shares, density.flatten() / 10, atol=0.015)
