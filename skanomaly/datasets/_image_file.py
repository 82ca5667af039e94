"""Reading and resizing one image file, with errors that name the file."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MODES = ("auto", "gray", "rgb")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_GRAY_8_BIT = ("1", "L", "LA", "La")
_GRAY_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")


def check_size(size: Any) -> tuple[int, int] | None:
    """Return `size` as (height, width), or None.

    Raises
    ------
    TypeError
        If `size` is not None, an integer or a pair of integers.
    ValueError
        If a side is smaller than one pixel.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, numbers.Integral) else size
    if (
        isinstance(size, (bool, str))
        or not isinstance(sides, (tuple, list, np.ndarray))
        or len(sides) != 2
        or not all(isinstance(side, numbers.Integral) for side in sides)
    ):
        raise TypeError(
            "The 'size' parameter must be None, an int or a tuple (height, width) of ints. "
            f"Got {size!r} instead."
        )
    if min(sides) < 1:
        raise ValueError(f"The sides in 'size' must be 1 pixel or more. Got {size!r} instead.")
    return int(sides[0]), int(sides[1])


def check_mode(mode: Any) -> str:
    """Return `mode` if it is a known one.

    Raises
    ------
    ValueError
        If `mode` is not one of "auto", "gray" and "rgb".
    """
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(
            f"The 'mode' parameter must be a str among {set(MODES)}. Got {mode!r} instead."
        )
    return mode


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with Pillow's bilinear filter, whose support grows when it shrinks an image.

    Parameters
    ----------
    image : ndarray of shape (h, w) or (h, w, 3), dtype uint8, uint16 or float32
        Colour images are uint8 unless they are a repeated grey channel.
    size : tuple of (height, width)
        The size wanted, in pixels.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3)
        Of the dtype of `image`.
    """
    from PIL import Image

    if image.shape[:2] == size:
        return image
    height, width = size
    if image.dtype == np.uint8:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.array(resized)
    # Pillow resizes other depths than 8 bits dependably in its float mode alone.
    values = Image.fromarray(image.astype(np.float32))
    floats = np.array(values.resize((width, height), Image.Resampling.BILINEAR))
    if image.dtype == np.float32:
        return floats
    return np.clip(np.rint(floats), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def read_image(path: Path, size: tuple[int, int] | None = None, mode: str = "auto") -> np.ndarray:
    """Read one image file.

    Parameters
    ----------
    path : Path
        The file.
    size : tuple of (height, width), optional
        The size to resize to, in pixels. None keeps the size stored.
    mode : {"auto", "gray", "rgb"}, default="auto"
        "auto" keeps grey images grey and turns all others into RGB.

    Returns
    -------
    ndarray of shape (h, w) or (h, w, 3), dtype uint8, uint16 or float32

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as an image, claims to hold more pixels than Pillow's limit
        against decompression bombs, or holds NaN or infinity.
    """
    with _open(path) as opened:
        image = _to_array(opened, path, mode)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"The image file '{path}' contains NaN or infinity.")
    if size is not None:
        image = resize_image(image, size)
    if mode == "rgb" and image.ndim == 2:
        image = np.repeat(image[..., np.newaxis], 3, axis=2)
    return image


def read_stored_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file from its header, without decoding it."""
    with _open(path) as opened:
        width, height = opened.size
    return height, width


def _open(path: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"No such image file: '{path}'.") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"'{path}' is not an image file that Pillow can read.") from error
    except Exception as error:
        raise _unreadable(path, error) from error


def _to_array(opened: Image.Image, path: Path, mode: str) -> np.ndarray:
    try:
        stored = opened.mode
        # Up to Pillow 11, a grey 16-bit PNG opens in the 32-bit mode.
        if stored in _GRAY_16_BIT or (stored == "I" and opened.format == "PNG"):
            return np.array(opened).astype(np.uint16)
        if stored == "F":
            return np.array(opened, dtype=np.float32)
        if stored == "I":
            raise ValueError("32-bit integers are not supported; save it with 8 or 16 bits")
        if mode == "gray" or (stored in _GRAY_8_BIT and mode != "rgb"):
            # Alpha must go first: Pillow turns "RGBA" into "L" well, but not "PA".
            flat = opened if stored in _GRAY_8_BIT else opened.convert("RGB")
            return np.array(flat.convert("L"))
        return np.array(opened.convert("RGB"))
    # A damaged file can make a decoder raise anything.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"Could not read the image file '{path}': {error}.")
