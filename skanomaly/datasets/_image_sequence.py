"""A list of image files that looks like an array and is read batch by batch."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._device import require_memory
from .._files import expand_user
from .._logging import warn
from ._checks import check_choice, check_size
from ._image_file import MODES, read_image

_NAMED = 5


@dataclass(eq=False, repr=False)
class Reader:
    """Reads images that must have the shape and dtype of a reference file.

    A sequence and all selections from it share one reader: a fold of a cross-validation is compared
    with the same first file as the whole, and this file is read once.

    Parameters
    ----------
    reference : Path
    size, mode, on_error
        As of `ImageSequence`, checked.
    substitutes : list of Path
        Files to try instead of one that cannot be read. If empty, that is an error.
    counted : frozenset of Path
        Files with several pages that a warning has counted.
    """

    reference: Path
    size: tuple[int, int] | None
    mode: str
    on_error: str
    substitutes: list[Path] = field(default_factory=list)
    warns_of_pages: bool = True
    counted: frozenset[Path] = frozenset()
    errors: dict[Path, str] = field(default_factory=dict)
    _layout: tuple[tuple[int, ...], np.dtype] | None = None

    def __post_init__(self) -> None:
        self._position = {path: index for index, path in enumerate(self.substitutes)}

    @property
    def layout(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape of one image, and dtype; the first use reads the reference."""
        if self._layout is None:
            self.reference, image = self._open(self.reference)
            self._layout = image.shape, image.dtype
        return self._layout

    def read(self, path: Path) -> np.ndarray:
        """Read one image and compare it with the reference."""
        path, image = self._open(path)
        if self._layout is None and path == self.reference:
            self._layout = image.shape, image.dtype
        shape, dtype = self.layout
        if image.shape == shape and image.dtype == dtype:
            return image
        parameters = ["size=(height, width)"] if image.shape[:2] != shape[:2] else []
        parameters += ["mode='gray' or mode='rgb'"] if image.shape[2:] != shape[2:] else []
        remedy = "Save all images with the same bit depth: size= and mode= do not change it."
        if parameters:
            remedy = f"Pass {' and '.join(parameters)}."
        raise ValueError(
            f"All images must have the same shape and dtype. '{path}' has shape {image.shape} and "
            f"dtype {image.dtype}, while the first image, '{self.reference}', has shape {shape} "
            f"and dtype {dtype}. {remedy}"
        )

    def _open(self, path: Path) -> tuple[Path, np.ndarray]:
        """Read a file, or a substitute for it."""
        start = self._position.get(path, 0)
        for each in [*self.substitutes[start:], *self.substitutes[:start]] or [path]:
            try:
                if each not in self.errors:
                    on_pages = self._warn_of_pages if self.warns_of_pages else None
                    return each, read_image(each, self.size, self.mode, on_pages)
            except (OSError, ValueError) as error:
                if not self.substitutes:
                    raise
                self.errors[each] = str(error)
        raise ValueError(
            f"None of the {len(self.substitutes)} image files can be read. The first: "
            f"{self.errors[self.substitutes[0]]}"
        )

    def _warn_of_pages(self, path: Path, n_pages: int) -> None:
        if path in self.counted:
            return
        self.warns_of_pages = False
        warn(
            f"'{path}' holds {n_pages} pages, of which only the first is read: {n_pages - 1} "
            "page(s) are skipped. Other files of this ImageSequence may hold several, too. Save "
            "each page as a file of its own.",
        )


@contextmanager
def training_images(X: Any) -> Iterator[Any]:
    """Yield X as `fit` reads it; warn at the end of files that were skipped."""
    if not isinstance(X, ImageSequence) or X.on_error == "raise":
        yield X
        return
    images = X[:]
    paths = images._paths
    reader = images._reader = Reader(paths[0], X.size, X.mode, X.on_error, substitutes=paths)
    reader.warns_of_pages, reader.counted = X._reader.warns_of_pages, X._reader.counted
    _ = reader.layout
    yield images
    if reader.errors:
        named = " ".join(list(reader.errors.values())[:_NAMED])
        more = f" And {len(reader.errors) - _NAMED} more." if len(reader.errors) > _NAMED else ""
        warn(
            f"{len(reader.errors)} of {len(paths)} image files could not be read and were skipped "
            f"in training: {named}{more}",
        )


class ImageSequence(Sequence):
    """Lazy sequence of image files.

    It has the length, shape and indexing of an array (n, h, w) or (n, h, w, 3), but holds no
    pixels: an integer index reads one image; a slice, a boolean mask or a list of integers returns
    a shorter sequence. scikit-learn can split it in cross-validation and grid search without
    reading it. The constructor opens no file.

    Parameters
    ----------
    paths : iterable of str or path-like
        The image files: PNG, JPEG, BMP, TIFF, PNM, GIF, WebP or JPEG 2000, with any suffix. A
        leading ~ is the home folder.
    size : int or tuple of (height, width), default=None
        Size in pixels to which images are resized, with Pillow's antialiased bilinear filter. An
        int means a square. None keeps the images as they are; all must then have the same size.
    mode : {"auto", "gray", "rgb"}, default="auto"
        "gray" reads images as (h, w), "rgb" as (h, w, 3). "auto" reads grey files as grey and all
        others as RGB; all must then be of the same kind.
    on_error : {"raise", "skip"}, default="raise"
        Behaviour of `fit`, `partial_fit` and `calibrate` of this library's detectors if a file
        cannot be read. "skip" reads the next readable file instead, and a warning at the end lists
        the skipped files. All other methods raise an error: scoring never skips an image.

    Attributes
    ----------
    paths : list of pathlib.Path
        The files.
    size : tuple of (height, width) or None
        Size to which images are resized.
    mode, on_error : str
        The parameters.
    shape : tuple of int
        (n, h, w) or (n, h, w, 3). Read from the first image on first use.
    ndim : int
        3 or 4.
    dtype : numpy.dtype
        uint8; uint16 for 16-bit grey files; float32 for float TIFF files.

    Raises
    ------
    TypeError
        If `paths` is not an iterable of paths, or `size` does not hold integers.
    ValueError
        If `paths` is empty, `size` is not positive, or `mode` or `on_error` is unknown. On reading,
        if a file is not a regular file or an image, is truncated, claims to be too large, holds NaN
        or infinity, or differs from the first image in shape or dtype.
    FileNotFoundError
        On reading, if a file is missing.

    See Also
    --------
    load_image_folder : ImageSequence of the images in a folder.

    Notes
    -----
    An alpha channel is dropped, palette images become RGB, and colour files with 16 bits per
    channel are read with 8. Grey is ITU-R 601 luma. Images are rotated by their EXIF orientation,
    as in viewers and OpenCV. Of a file with several pages or frames, only the first is read, with a
    warning. Sequences with the same `size`, `mode` and `on_error` can be added.

    Examples
    --------
    >>> from pathlib import Path
    >>> import skimage
    >>> from skanomaly.datasets import ImageSequence
    >>> folder = Path(skimage.__file__).parent / "data"
    >>> names = ["brick.png", "grass.png", "gravel.png"]
    >>> images = ImageSequence([folder / name for name in names], size=64)
    >>> images.shape, images.dtype
    ((3, 64, 64), dtype('uint8'))
    >>> images[0].shape
    (64, 64)
    >>> images[1:]
    ImageSequence(2 files, size=(64, 64), mode='auto')
    >>> images.read([0, 2]).shape
    (2, 64, 64)
    >>> images + images[:1]
    ImageSequence(4 files, size=(64, 64), mode='auto')
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        size: int | tuple[int, int] | None = None,
        mode: str = "auto",
        on_error: str = "raise",
    ) -> None:
        check_choice(on_error, "on_error", ("raise", "skip"))
        if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
            raise TypeError(
                f"The 'paths' parameter must be an iterable of paths. Got {paths!r} instead. Use "
                "load_image_folder for all images of a folder."
            )
        files = []
        for path in paths:
            if not isinstance(path, (str, os.PathLike)):
                raise TypeError(
                    "The 'paths' parameter must hold str or path-like objects. Got an element of "
                    f"type {type(path).__name__} instead."
                )
            files.append(expand_user(path))
        if not files:
            raise ValueError("Found array with 0 sample(s): 'paths' is empty, 1 file is required.")
        check_choice(mode, "mode", MODES)
        self._paths = files
        self._reader = Reader(files[0], check_size(size), mode, on_error)

    @property
    def paths(self) -> list[Path]:
        """The image files, a list of pathlib.Path."""
        return list(self._paths)

    @property
    def size(self) -> tuple[int, int] | None:
        """The size (height, width) to which images are resized, or None."""
        return self._reader.size

    @property
    def mode(self) -> str:
        """The parameter: "auto", "gray" or "rgb"."""
        return self._reader.mode

    @property
    def on_error(self) -> str:
        """The parameter: "raise" or "skip"."""
        return self._reader.on_error

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w) or (n, h, w, 3); the first use reads the first image."""
        return (len(self), *self._reader.layout[0])

    @property
    def ndim(self) -> int:
        """Number of axes, 3 or 4; the first use reads the first image."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images; the first use reads the first image."""
        return self._reader.layout[1]

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"ImageSequence({len(self)} files, size={self.size}, mode={self.mode!r})"

    def __add__(self, other: ImageSequence) -> ImageSequence:
        """Append another sequence, as lists do."""
        if not isinstance(other, ImageSequence):
            return NotImplemented
        for name in ("size", "mode", "on_error"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(
                    f"Sequences that are added must have the same {name}. Got "
                    f"{getattr(self, name)!r} and {getattr(other, name)!r} instead."
                )
        # An empty selection does not determine the shape of the others.
        like = self if len(self) or not len(other) else other
        return like._with_paths(self._paths + other._paths)

    def __getitem__(self, key: Any) -> Any:
        """Read one image, or select a shorter sequence.

        Parameters
        ----------
        key : int, slice, array-like of int or bool, or tuple of one of these and an Ellipsis
            Index along the first axis.

        Returns
        -------
        ndarray of shape (h, w) or (h, w, 3) or ImageSequence
            An image for an integer, else a lazy sequence.

        Raises
        ------
        IndexError
            If the key is out of range or of a wrong type, or indexes another axis.
        """
        if isinstance(key, tuple):
            # scikit-learn selects rows of an array by `array[key, ...]`.
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(
                    "An ImageSequence is indexed along its first axis only. Use "
                    "np.asarray(images) to load all images into an array."
                )
            key = key[0]
        if isinstance(key, np.ndarray) and key.ndim == 0:
            key = key[()]
        if isinstance(key, numbers.Integral) and not isinstance(key, bool):
            return self._reader.read(self._paths[int(key)])
        return self._select(key)

    def read(self, indices: slice | ArrayLike) -> np.ndarray:
        """Read a batch of images into an array.

        Parameters
        ----------
        indices : slice or array-like of int or bool of shape (b,)
            Indices of the images.

        Returns
        -------
        ndarray of shape (b, h, w) or (b, h, w, 3)

        Raises
        ------
        IndexError
            If an index is out of range or `indices` is not one-dimensional.
        ValueError
            If a file cannot be read or differs from the first image.
        MemoryError
            If the images need more memory than is available.
        """
        selected = self._select(indices)
        shape, dtype = self._reader.layout
        total = (len(selected), *shape)
        require_memory(
            math.prod(total) * dtype.itemsize,
            f"images of shape {total}",
            "Pass the ImageSequence itself, which is read batch by batch, or a smaller size=.",
        )
        images = np.empty(total, dtype=dtype)
        for position, path in enumerate(selected._paths):
            images[position] = self._reader.read(path)
        return images

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Load all images."""
        if copy is False:
            raise ValueError("An ImageSequence cannot be turned into an array without a copy.")
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def _select(self, key: Any) -> ImageSequence:
        if not isinstance(key, slice):
            indices = np.asarray(key)
            if indices.ndim != 1:
                raise IndexError(
                    "The index of an ImageSequence must be an int, a slice or a one-dimensional "
                    f"array of int or bool. Got {key!r} instead."
                )
            # NumPy takes an empty list for floats.
            key = indices if indices.size or indices.dtype == bool else indices.astype(int)
        return self._with_paths([self._paths[index] for index in np.arange(len(self))[key]])

    def _with_paths(self, paths: list[Path]) -> ImageSequence:
        selection = object.__new__(ImageSequence)
        selection._paths = paths
        selection._reader = self._reader
        return selection
