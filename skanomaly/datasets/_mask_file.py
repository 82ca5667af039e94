"""Find the mask files of an image, and read which pixels are defective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ._image_file import count_pages, open_image, read_gray, upright
from ._image_folder import find_images

# More distinct dark values than this come from a soft edge, and are not class ids.
_MOST_CLASSES = 8
_ALPHA = ("LA", "PA", "RGBA")
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class MaskFolder:
    """The mask files of a dataset.

    The mask of the image `<name>.<suffix>` is `<name>_mask`, else `<name>`, with any suffix of an
    image file; else its masks are all images in the folder `<name>`.

    Parameters
    ----------
    folder : Path
        It need not exist.

    Attributes
    ----------
    paths, others : list of Path
        Its image files, and its other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths, self.others = find_images(folder) if folder.is_dir() else ([], [])
        self._found: dict[Path, list[Path]] = {}
        for path in self.paths:
            name = path.relative_to(folder).with_suffix("")
            self._found.setdefault(name, []).append(path)
            self._found.setdefault(name.parent / "*", []).append(path)

    def find(self, image: Path) -> list[Path]:
        """Return the masks of an image, `<defect>/<name>.<suffix>`.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        name = image.with_suffix("")
        mask = name.with_name(f"{name.name}_mask")
        for key in (mask, name, name / "*"):
            if key in self._found:
                return self._found[key]
        raise FileNotFoundError(
            f"The image '{image}' has no mask: there must be a file '{self.folder / mask}.png' or "
            f"'{self.folder / name}.png', or masks in the folder '{self.folder / name}'."
        )


def read_mask(path: Path) -> np.ndarray:
    """Read a mask, rotated by its EXIF orientation.

    Returns
    -------
    ndarray of shape (h, w), dtype float32
        From 0, normal, to 1, defective; soft edges are in between.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as an image, or holds several pages, NaN, infinity or a negative
        value.
    """
    with open_image(path) as opened:
        if (n_pages := count_pages(opened)) > 1:
            raise ValueError(f"a mask must be of 1 page, and this file holds {n_pages}")
        # Palettes hold any colours; without black, the background is the first one.
        indices = np.array(opened.getchannel(0)) if opened.mode in ("P", "PA") else None
        has_alpha = opened.mode in _ALPHA or (
            "transparency" in opened.info and opened.mode in ("1", "L", "P", "RGB")
        )
        if has_alpha:
            *colors, alpha = np.moveaxis(np.array(opened.convert("RGBA")), 2, 0)
        elif opened.mode.startswith(("1", "L", "I", "F")):
            colors, alpha = [read_gray(opened)], None
        else:
            colors, alpha = list(np.moveaxis(np.array(opened.convert("RGB")), 2, 0)), None
        values = np.max(colors, axis=0)
        if indices is not None and (not values.any() or values.all()):
            values = indices
        if not np.isfinite(values).all() or values.min() < 0:
            raise ValueError("a mask must hold no NaN, infinity or negative value")
        # JPEG compression changes single pixels.
        can_have_classes = opened.format not in ("JPEG", "MPO")
        if alpha is None or alpha.min() == alpha.max():
            mask = _defective(values, can_have_classes=can_have_classes)
        else:
            mask = _defective(alpha, can_have_classes=True)
            visible = values[mask > 0.5]
            # A single colour on transparent ground is the defect, even if it is black.
            if visible.min() < visible.max():
                values = np.where(mask > 0.5, values, 0)
                mask = np.minimum(mask, _defective(values, can_have_classes=can_have_classes))
        return upright(mask, opened)


def _defective(values: np.ndarray, *, can_have_classes: bool) -> np.ndarray:
    """Scale values to [0, 1], where above half is defective.

    All class ids except 0 are defective. Soft edges are divided by white: the largest value of the
    dtype or, if all values are below half of it, the largest value of the mask.
    """
    marked = values > 0
    top = float(values.max())
    if top == 0 or values[marked].min() == top:
        return marked.astype(np.float32)
    full = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else top
    white = full if top > full / 2 else top
    dark = marked & (values <= white / 2)
    has_classes = can_have_classes and 0 < len(np.unique(values[dark])) <= _MOST_CLASSES
    if has_classes and np.count_nonzero(_is_plateau(values, dark)) > 0.5 * np.count_nonzero(dark):
        return marked.astype(np.float32)
    return np.minimum(values / white, 1).astype(np.float32)


def _is_plateau(values: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Whether dark pixels are no soft edge: in uniform squares, or without bright neighbours."""
    squares = dark[:-1, :-1].copy()
    for neighbour in (values[1:, :-1], values[:-1, 1:], values[1:, 1:]):
        squares &= values[:-1, :-1] == neighbour
    plateau = np.lib.stride_tricks.sliding_window_view(np.pad(squares, 1), (2, 2)).any(axis=(2, 3))
    marked = values > 0
    near_bright = ndimage.binary_propagation(marked & ~dark, structure=_NEIGHBOURS, mask=marked)
    return plateau | (dark & ~near_bright)
