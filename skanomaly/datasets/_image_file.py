"""Read and resize image files, with errors that name the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MODES = ("auto", "gray", "rgb")
# Only the formats of these suffixes are opened, whatever a file is named: Pillow would start
# Ghostscript for EPS.
IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000")

# Tags of TIFF, and of EXIF.
_ORIENTATION = 0x0112
_PHOTOMETRIC = 0x0106
_SAMPLE_FORMAT = 0x0153
# EXIF orientations that swap rows and columns.
_SWAPPED = (5, 6, 7, 8)
# Where Pillow looks for the orientation: most files have none of these, and getexif is slow.
_METADATA = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}

_GRAY_8_BIT = ("1", "L", "LA", "La")
_GRAY_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with Pillow's bilinear filter, whose support grows when it shrinks an image.

    Parameters
    ----------
    image : ndarray of shape (h, w) or (h, w, 3), dtype uint8, uint16 or float32
        Colour images are uint8 unless they are a repeated grey channel.
    size : tuple of (height, width)
        New size in pixels.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3)
        Same dtype as `image`.
    """
    from PIL import Image

    if image.shape[:2] == size:
        return image
    height, width = size
    if image.dtype == np.uint8:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.array(resized)
    # Pillow resizes other depths than 8 bits reliably only in its float mode.
    values = Image.fromarray(image.astype(np.float32))
    floats = np.array(values.resize((width, height), Image.Resampling.BILINEAR))
    if image.dtype == np.float32:
        return floats
    return np.clip(np.rint(floats), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def read_image(
    path: Path,
    size: tuple[int, int] | None = None,
    mode: str = "auto",
    on_pages: Callable[[Path, int], None] | None = None,
) -> np.ndarray:
    """Read one image file, rotated by its EXIF orientation.

    Parameters
    ----------
    path : Path
        The file.
    size : tuple of (height, width), optional
        Size in pixels to resize to. None keeps the stored size.
    mode : {"auto", "gray", "rgb"}, default="auto"
        "auto" reads grey images as grey and all others as RGB.
    on_pages : callable, optional
        Called with `path` and the number of pages if the file has more than one.

    Returns
    -------
    ndarray of shape (h, w) or (h, w, 3), dtype uint8, uint16 or float32

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a regular file or cannot be read as an image, claims to hold more pixels
        than Pillow's limit against decompression bombs, or holds NaN or infinity.
    """
    with open_image(path) as opened:
        image = upright(_to_array(opened, mode), opened)
        n_pages = 1 if on_pages is None else count_pages(opened)
    if on_pages is not None and n_pages > 1:
        on_pages(path, n_pages)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"The image file '{path}' contains NaN or infinity.")
    if size is not None:
        image = resize_image(image, size)
    if mode == "rgb" and image.ndim == 2:
        image = np.repeat(image[..., np.newaxis], 3, axis=2)
    return image


def read_image_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Read size and kind of an image from the file header, without decoding.

    Returns
    -------
    size : tuple of (height, width)
    is_color : bool

    Raises
    ------
    FileNotFoundError, ValueError
        As in `read_image`, except for errors that only decoding shows.
    """
    with open_image(path) as opened:
        if opened.format == "PNG" and _has_late_metadata(path):
            opened.load()
        width, height = opened.size
        # Whether and when Pillow swaps the sides of a rotated TIFF depends on its version.
        tags = _tags(opened)
        width, height = tags.get(256, width), tags.get(257, height)
        if _orientation(opened) in _SWAPPED:
            width, height = height, width
        return (height, width), not opened.mode.startswith(("1", "L", "I", "F"))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; errors of the decoder become errors that name the file."""
    from PIL import Image

    try:
        # Opening a FIFO would block.
        name = os.fspath(path)
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise ValueError("it is not a regular file")
        with Image.open(name, formats=FORMATS) as opened:
            if opened.format == "TIFF" and _tags(opened).get(_ORIENTATION) in _SWAPPED:
                # Pillow 13 maps such a file into memory with its sides swapped, unless it has no
                # name.
                opened.filename = ""
            yield opened
    except FileNotFoundError as error:
        raise FileNotFoundError(f"No such image file: '{path}'.") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"The file '{path}' is not an image file that can be read. The accepted formats are "
            f"{', '.join(FORMATS)}; of TIFF, integers of up to 16 bits and 32-bit floats in up to "
            "4 channels."
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"The image file '{path}' claims to be too large: {error} If you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    # Decoders raise all kinds of errors on damaged files.
    except Exception as error:
        raise ValueError(f"Could not read the image file '{path}': {error}.") from error


def upright(image: np.ndarray, opened: Image.Image) -> np.ndarray:
    """Rotate or flip decoded pixels by the EXIF orientation of their file."""
    # Read after decoding: Pillow then has rotated TIFF files and dropped the tag.
    orientation = _orientation(opened)
    if orientation in _SWAPPED:
        image, orientation = image.swapaxes(0, 1), orientation - 4
    if orientation in (2, 3):
        image = image[:, ::-1]
    if orientation in (3, 4):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _tags(opened: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF file; empty for other formats."""
    return getattr(opened, "tag_v2", {})


def _orientation(opened: Image.Image) -> int:
    if not (_METADATA & opened.info.keys() or opened.format == "TIFF"):
        return 1
    try:
        orientation = opened.getexif().get(_ORIENTATION, 1)
    # With damaged metadata, pixels stay as stored, as in viewers.
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _has_late_metadata(path: Path) -> bool:
    """Whether a PNG file has metadata after its pixels, which Pillow reads on decoding."""
    with path.open("rb") as file:
        file.seek(8)
        is_late = False
        while len(chunk := file.read(8)) == 8:
            is_late |= chunk[4:] == b"IDAT"
            if is_late and chunk[4:] in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                return True
            file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)
    return False


def count_pages(opened: Image.Image) -> int:
    """Return the number of pages or frames of a file."""
    # Further images of an MPO photograph are previews and depth maps.
    return 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)


def read_gray(opened: Image.Image) -> np.ndarray:
    """Read the values of one channel, with white above black."""
    values = np.array(opened)
    # Pillow inverts files whose white is 0 only if they have up to 8 bits.
    is_inverted = opened.mode in _GRAY_16_BIT and _tags(opened).get(_PHOTOMETRIC) == 0
    return np.uint16(65535) - values if is_inverted else values


def _to_array(opened: Image.Image, mode: str) -> np.ndarray:
    stored = opened.mode
    tags = _tags(opened)
    if (stored == "I" and opened.format not in ("PNG", "PPM")) or 2 in tags.get(_SAMPLE_FORMAT, ()):
        raise ValueError("signed and 32-bit integers are not supported; save it with 8 or 16 bits")
    if isinstance(opened.info.get("transparency"), bytes):
        # Pillow warns of another conversion.
        opened = opened.convert("RGBA")
    # Grey 16-bit PGM files, and PNG files up to Pillow 11, open in 32-bit mode.
    if stored in _GRAY_16_BIT or (stored == "I" and opened.format in ("PNG", "PPM")):
        return read_gray(opened).astype(np.uint16)
    if stored == "F":
        return np.array(opened, dtype=np.float32)
    if mode == "gray" or (stored in _GRAY_8_BIT and mode != "rgb"):
        # Drop alpha first: Pillow does not convert "PA" to "L" correctly.
        flat = opened if stored in _GRAY_8_BIT else opened.convert("RGB")
        return _bytes(flat if stored == "L" else flat.convert("L"))
    return _bytes(opened if stored == "RGB" else opened.convert("RGB"))


def _bytes(image: Image.Image) -> np.ndarray:
    # As np.array, in half the time for small images.
    shape = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(shape).copy()
