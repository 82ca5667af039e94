"""Datasets: image files, MVTec AD folders, textures with defects, and known projections."""

from ._bar_images import make_bar_images
from ._curves import make_circle, make_sine_curve
from ._image_folder import load_image_folder
from ._image_sequence import ImageSequence
from ._mvtec_ad import load_mvtec_ad
from ._textured_surfaces import make_textured_surfaces

__all__ = [
    "ImageSequence",
    "load_image_folder",
    "load_mvtec_ad",
    "make_bar_images",
    "make_circle",
    "make_sine_curve",
    "make_textured_surfaces",
]
