"""Which flips and rotations leave normal images what they are."""

import numpy as np
import pytest
import torch
from synthetic_images import lit_parts

from skanomaly.datasets import make_bar_images, make_textured_surfaces
from skanomaly.training import SYMMETRIES, find_symmetries, is_unaligned


def batches(images):
    tensor = torch.from_numpy(np.asarray(images)).float()
    tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    tensor = tensor - tensor.mean((1, 2, 3), keepdim=True)
    return (tensor / tensor.std((1, 2, 3), keepdim=True)).split(7)


def found(images):
    return find_symmetries(batches(images))


@pytest.mark.parametrize("count", [20, 100])
def test_a_texture_without_direction_has_all(count):
    data = make_textured_surfaces("gravel", image_size=64, n_train=count, random_state=0)
    assert set(found(data.X_train)) >= {"flip_horizontal", "flip_vertical"}


def test_a_texture_with_a_direction_is_not_rotated():
    brick = make_textured_surfaces("brick", image_size=64, random_state=0).X_train
    assert "rotate" not in found(brick)


def test_parts_at_any_angle_have_all():
    images = make_bar_images(n_train=200, random_state=0).X_train
    assert found(images) == SYMMETRIES


def test_parts_at_any_angle_are_unaligned_even_if_light_comes_from_one_side():
    images = lit_parts(200)
    assert found(images) != SYMMETRIES
    assert is_unaligned(batches(images))
    assert not is_unaligned(batches(lit_parts(200, turned=False)))


@pytest.mark.parametrize("axis", [1, 2])
def test_textures_with_a_direction_are_unaligned_unless_they_have_a_border(axis):
    noise = np.random.default_rng(0).normal(size=(60, 64, 160))
    streaks = noise + 3 * noise.mean(axis, keepdims=True) * noise.shape[axis] ** 0.5
    assert "rotate" not in found(streaks) and is_unaligned(batches(streaks))
    streaks[:, :, :10] += 3
    assert not is_unaligned(batches(streaks))


@pytest.mark.parametrize("turned", [True, False])
def test_parts_in_oblong_images_are_judged_by_the_square_in_the_middle(turned):
    parts = lit_parts(100, turned=turned)
    images = np.random.default_rng(0).normal(scale=0.02, size=(100, 64, 100))
    images[:, :, 18:82] = parts
    assert is_unaligned(batches(images)) == turned


def aligned(count, shape, seed=0):
    """One odd part, always in the same pose, with noise."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    image[shape[0] // 8 : shape[0] // 3, shape[1] // 8 : shape[1] // 2] = 1
    image[shape[0] // 2 :, shape[1] // 8 : shape[1] // 5] = 2
    return image + rng.normal(scale=0.3, size=(count, *shape))


@pytest.mark.parametrize("count", [5, 20, 100])
@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (128, 128)])
def test_an_aligned_part_has_none(count, shape):
    assert found(aligned(count, shape)) == ()
    assert not is_unaligned(batches(aligned(count, shape)))


def test_a_part_that_is_its_own_mirror_image_is_flipped():
    images = aligned(40, (64, 64))
    mirrored = images + images[:, :, ::-1]
    assert found(mirrored) == ("flip_horizontal",)


def test_near_copies_do_not_make_a_flip_look_far_or_near():
    """The data set has several near copies of each image, but none of flipped ones."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(10, 64, 64)).repeat(4, 0)
    images = np.stack([np.kron(image[:8, :8], np.ones((8, 8))) for image in images])
    assert found(images + rng.normal(scale=0.05, size=images.shape)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (16, 16), (65, 64)])
def test_images_of_any_size_have_an_answer(shape):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, *shape, 3))
    assert set(found(images)) <= set(SYMMETRIES)
    assert is_unaligned(batches(images)) in (True, False)


def test_equal_images_and_a_single_one_have_an_answer():
    assert found(np.random.default_rng(0).normal(size=(1, 8, 8))) == ()
    flat = torch.zeros(5, 1, 16, 16)
    assert set(find_symmetries([flat])) <= set(SYMMETRIES)
