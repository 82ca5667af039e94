"""A list of image files that looks like an array and is read batch by batch."""

from __future__ import annotations

import math
import numbers
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._memory import require_memory
from ._image_file import check_mode, check_size, expand_user, read_image

_NAMED = 5


class _Layout:
    """Shape and dtype that all images must share, read once from a reference file.

    A sequence and all selections made from it hold the same layout, so that a fold of a
    cross-validation judges its images by the same first file as the whole, and that file is read
    once.
    """

    def __init__(self, reference: Path, size: tuple[int, int] | None, mode: str) -> None:
        self.reference = reference
        self.size = size
        self.mode = mode
        self.warns_of_pages = True
        self._known: tuple[tuple[int, ...], np.dtype] | None = None

    def get(self) -> tuple[tuple[int, ...], np.dtype]:
        """Return the shape of one image and the dtype."""
        if self._known is None:
            first = self._read(self.reference)
            self._known = first.shape, first.dtype
        return self._known

    def read(self, path: Path) -> np.ndarray:
        """Read one image and check it against the reference."""
        return self.check(path, self._read(path))

    def _read(self, path: Path) -> np.ndarray:
        on_pages = self._warn_of_pages if self.warns_of_pages else None
        return read_image(path, self.size, self.mode, on_pages)

    def _warn_of_pages(self, path: Path, n_pages: int) -> None:
        self.warns_of_pages = False
        warnings.warn(
            f"'{path}' holds {n_pages} pages, of which only the first is read: {n_pages - 1} "
            "page(s) are left out. Other files of this ImageSequence may hold several, too; save "
            "each page as a file of its own.",
            UserWarning,
            stacklevel=5,
        )

    def check(self, path: Path, image: np.ndarray) -> np.ndarray:
        """Check an image against the reference."""
        if self._known is None and path == self.reference:
            self._known = image.shape, image.dtype
        shape, dtype = self.get()
        if image.shape == shape and image.dtype == dtype:
            return image
        parameters = []
        if image.shape[:2] != shape[:2]:
            parameters.append("size=(height, width)")
        if image.shape[2:] != shape[2:]:
            parameters.append("mode='gray' or mode='rgb'")
        remedy = (
            f"Pass {' and '.join(parameters)} to make them alike."
            if parameters
            else "Save all images with the same bit depth: size= and mode= do not change it."
        )
        raise ValueError(
            f"All images must have the same shape and dtype. '{path}' has shape {image.shape} and "
            f"dtype {image.dtype}, while the first image, '{self.reference}', has shape {shape} "
            f"and dtype {dtype}. {remedy}"
        )


class _Substitutes:
    """Reads the next readable file in place of one that is not, and keeps a record."""

    def __init__(self, paths: list[Path], size: tuple[int, int] | None, mode: str) -> None:
        self.paths = paths
        self.size = size
        self.mode = mode
        self.position = {path: index for index, path in enumerate(paths)}
        self.errors: dict[Path, str] = {}

    def read(self, path: Path) -> tuple[Path, np.ndarray]:
        """Return a readable file and its image."""
        start = self.position[path]
        for candidate in self.paths[start:] + self.paths[:start]:
            if candidate in self.errors:
                continue
            try:
                return candidate, read_image(candidate, self.size, self.mode)
            except (OSError, ValueError) as error:
                self.errors[candidate] = str(error)
        raise ValueError(
            f"None of the {len(self.paths)} image files can be read. The first: "
            f"{self.errors[self.paths[0]]}"
        )

    def warn(self) -> None:
        """Count and name what was left out."""
        if not self.errors:
            return
        named = " ".join(list(self.errors.values())[:_NAMED])
        more = f" And {len(self.errors) - _NAMED} more." if len(self.errors) > _NAMED else ""
        warnings.warn(
            f"{len(self.errors)} of {len(self.paths)} image files could not be read and were left "
            f"out of training: {named}{more}",
            UserWarning,
            stacklevel=2,
        )


@contextmanager
def training_images(X: Any) -> Iterator[Any]:
    """X as `fit` reads it: an `ImageSequence` that skips, if it says so; a warning at the end."""
    if not isinstance(X, ImageSequence) or X.on_error == "raise":
        yield X
        return
    images = X[:]
    substitutes = _Substitutes(images._paths, X.size, X.mode)
    reference, _ = substitutes.read(images._paths[0])
    images._substitutes = substitutes
    images._layout = _Layout(reference, X.size, X.mode)
    yield images
    substitutes.warn()


class ImageSequence(Sequence):
    """Lazy sequence of image files, read when they are asked for.

    It has the length, shape and indexing of an array (n, h, w) or (n, h, w, 3), and holds no
    pixels: an integer reads one image, a slice, a mask or a list of integers gives a shorter
    sequence. scikit-learn splits it in cross-validation and grid search without reading it. Making
    one touches no file.

    Parameters
    ----------
    paths : iterable of str or path-like
        The image files: PNG, JPEG, BMP, TIFF, PNM, GIF, WebP or JPEG 2000, however they are named.
        A leading ~ stands for the home folder.
    size : int or tuple of (height, width), default=None
        Size in pixels to which each image is resized on reading, with Pillow's antialiased bilinear
        filter. An int stands for a square. None keeps the images as they are; they must then all
        have the same size.
    mode : {"auto", "gray", "rgb"}, default="auto"
        "gray" gives images (h, w), "rgb" gives images (h, w, 3). With "auto", grey files stay grey
        and all others become RGB; they must then all be of the kind of the first.
    on_error : {"raise", "skip"}, default="raise"
        What the `fit` and `partial_fit` of this library's detectors do about a file that cannot be
        read. "skip" takes the next file that can be read in its place, and one warning at the end
        counts and names the files. All other reading raises: an image that is to be scored is
        never left out in silence.

    Attributes
    ----------
    paths : list of pathlib.Path
        The files.
    size : tuple of (height, width) or None
        The size to which images are resized.
    mode : str
        The mode given.
    on_error : str
        The policy given.
    shape : tuple of int
        (n, h, w) or (n, h, w, 3). The first use reads the first image.
    ndim : int
        3 or 4.
    dtype : numpy.dtype
        uint8; uint16 for 16-bit grey files; float32 for float TIFF files.

    Raises
    ------
    TypeError
        If `paths` is not an iterable of paths, or `size` is not made of integers.
    ValueError
        If `paths` is empty, `size` is not positive, or `mode` or `on_error` is unknown. While
        reading: if a file is no regular file or no image, is truncated, claims to be too large,
        holds NaN or infinity, or differs from the first in shape or dtype.
    FileNotFoundError
        While reading, if a file is missing.

    See Also
    --------
    load_image_folder : Makes an ImageSequence of the images in a folder.

    Notes
    -----
    An alpha channel is dropped, palette images become RGB, and colour files with 16 bits per
    channel are read with 8. Grey is ITU-R 601 luma. Images are turned upright by their EXIF
    orientation, as viewers and OpenCV do. Of a file with several pages or frames the first is read,
    and a warning says so. Sequences of the same `size`, `mode` and `on_error` can be added.

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
        if on_error not in ("raise", "skip"):
            raise ValueError(
                "The 'on_error' parameter must be a str among {'raise', 'skip'}. Got "
                f"{on_error!r} instead."
            )
        if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
            raise TypeError(
                f"The 'paths' parameter must be an iterable of paths. Got {paths!r} instead. Use "
                "load_image_folder for all images of a folder."
            )
        files = []
        for path in paths:
            if not isinstance(path, (str, os.PathLike)):
                raise TypeError(
                    "The 'paths' parameter must be made of str or path-like objects. Got an "
                    f"element of type {type(path).__name__} instead."
                )
            files.append(expand_user(path))
        if not files:
            raise ValueError("Found array with 0 sample(s): 'paths' is empty, 1 file is required.")
        self._paths = files
        self._layout = _Layout(files[0], check_size(size), check_mode(mode))
        self._on_error = on_error
        self._substitutes: _Substitutes | None = None

    @property
    def paths(self) -> list[Path]:
        """The image files, a list of pathlib.Path."""
        return list(self._paths)

    @property
    def size(self) -> tuple[int, int] | None:
        """The size (height, width) to which images are resized, or None."""
        return self._layout.size

    @property
    def mode(self) -> str:
        """The mode given: "auto", "gray" or "rgb"."""
        return self._layout.mode

    @property
    def on_error(self) -> str:
        """The policy given: "raise" or "skip"."""
        return self._on_error

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w) or (n, h, w, 3); the first use reads the first image."""
        return (len(self), *self._layout.get()[0])

    @property
    def ndim(self) -> int:
        """Number of axes, 3 or 4; the first use reads the first image."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images; the first use reads the first image."""
        return self._layout.get()[1]

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"ImageSequence({len(self)} files, size={self.size}, mode={self.mode!r})"

    def __add__(self, other: ImageSequence) -> ImageSequence:
        """Append another sequence, as a list does."""
        if not isinstance(other, ImageSequence):
            return NotImplemented
        for name in ("size", "mode", "on_error"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(
                    f"Sequences that are added must have the same {name}. Got "
                    f"{getattr(self, name)!r} and {getattr(other, name)!r} instead."
                )
        # An empty selection has no image that the others must be like.
        like = self if len(self) or not len(other) else other
        return like._with_paths(self._paths + other._paths)

    def __getitem__(self, key: Any) -> Any:
        """Read one image, or select a shorter sequence.

        Parameters
        ----------
        key : int, slice, array-like of int or bool, or tuple of one of these and an Ellipsis
            What to select along the first axis.

        Returns
        -------
        ndarray of shape (h, w) or (h, w, 3) or ImageSequence
            An image for an integer, else a lazy sequence.

        Raises
        ------
        IndexError
            If the key is out of range, of a wrong type, or selects along another axis than the
            first.
        """
        if isinstance(key, tuple):
            # scikit-learn selects rows of an array by `array[key, ...]`.
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(
                    "An ImageSequence is indexed along its first axis alone. Use "
                    "np.asarray(images) to load all images into an array."
                )
            key = key[0]
        if isinstance(key, np.ndarray) and key.ndim == 0:
            key = key[()]
        if isinstance(key, numbers.Integral) and not isinstance(key, bool):
            return self._read(self._paths[int(key)])
        return self._select(key)

    def read(self, indices: slice | ArrayLike) -> np.ndarray:
        """Read a batch of images into an array.

        Parameters
        ----------
        indices : slice or array-like of int or bool of shape (b,)
            Which images.

        Returns
        -------
        ndarray of shape (b, h, w) or (b, h, w, 3)
            The images.

        Raises
        ------
        IndexError
            If an index is out of range or `indices` is not one-dimensional.
        ValueError
            If a file cannot be read or differs from the first image.
        MemoryError
            If the images surely take more memory than is free.
        """
        selected = self._select(indices)
        shape, dtype = self._layout.get()
        total = (len(selected), *shape)
        require_memory(
            math.prod(total) * dtype.itemsize,
            f"images of shape {total}",
            "Pass the ImageSequence itself, which is read batch by batch, or a smaller size=.",
        )
        images = np.empty(total, dtype=dtype)
        for position, path in enumerate(selected._paths):
            images[position] = self._read(path)
        return images

    def _read(self, path: Path) -> np.ndarray:
        if self._substitutes is None:
            return self._layout.read(path)
        return self._layout.check(*self._substitutes.read(path))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Load all images."""
        if copy is False:
            raise ValueError("An ImageSequence cannot be turned into an array without a copy.")
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def _select(self, key: Any) -> ImageSequence:
        if isinstance(key, slice):
            paths = self._paths[key]
        else:
            paths = [self._paths[index] for index in self._to_indices(key)]
        return self._with_paths(paths)

    def _with_paths(self, paths: list[Path]) -> ImageSequence:
        selection = object.__new__(ImageSequence)
        selection._paths = paths
        selection._layout = self._layout
        selection._on_error = self._on_error
        selection._substitutes = self._substitutes
        return selection

    def _to_indices(self, key: Any) -> list[int]:
        indices = np.asarray(key)
        if indices.ndim != 1:
            raise IndexError(
                "The index of an ImageSequence must be an int, a slice or a one-dimensional array "
                f"of int or bool. Got {key!r} instead."
            )
        if indices.size == 0 and indices.dtype != bool:
            return []
        if indices.dtype == bool:
            if len(indices) != len(self):
                raise IndexError(
                    f"A boolean index must have one value for each of the {len(self)} images. Got "
                    f"{len(indices)} values instead."
                )
            return np.flatnonzero(indices).tolist()
        if not np.issubdtype(indices.dtype, np.integer):
            raise IndexError(
                "Arrays used as indices must be of integer (or boolean) type. Got dtype "
                f"{indices.dtype} instead."
            )
        outside = indices[(indices < -len(self)) | (indices >= len(self))]
        if outside.size:
            raise IndexError(
                f"Index {outside[0]} is out of bounds for an ImageSequence of {len(self)} images."
            )
        return indices.tolist()
