"""Image data: lazy lists of files, folders in MVTec AD layout, textures with artificial defects."""

from ._image_folder import load_image_folder
from ._image_sequence import ImageSequence
from ._mvtec_ad import load_mvtec_ad
from ._textured_surfaces import make_textured_surfaces

__all__ = ["ImageSequence", "load_image_folder", "load_mvtec_ad", "make_textured_surfaces"]
