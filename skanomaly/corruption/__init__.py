"""Artificial damage to normal images, made of shape, texture and opacity."""

from ._noise import NOISES, add_noise
from ._patch_corruption import PatchCorruption
from ._shapes import multiscale_noise, smooth_field, soft_patches
from ._textures import TEXTURES, replacement_textures

__all__ = [
    "NOISES",
    "TEXTURES",
    "PatchCorruption",
    "add_noise",
    "multiscale_noise",
    "replacement_textures",
    "smooth_field",
    "soft_patches",
]
