"""Arrays, tensors, lists of images and data frames as X, and the scale of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from datetime import date, timedelta
from os import PathLike
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

_TIMES = (np.datetime64, np.timedelta64, date, timedelta)
_TIME_COLUMNS = ("date", "time", "duration", "period", "interval")


def is_pixel_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is uint8 or uint16, in any byte order, whose largest value is white."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def integer_scale(dtype: np.dtype[Any]) -> float:
    """Value of white in images of this dtype."""
    return float(np.iinfo(dtype).max) if is_pixel_dtype(dtype) else 1.0


def check_unmasked(values: Any, name: str = "X") -> None:
    """Raise a ValueError for a masked array with masked values, whose mask NumPy would drop."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} must hold no masked values, got {np.ma.count_masked(values)} of them instead. "
            "Replace them by a usual value, for example with its method filled(value)."
        )


def open_container(X: Any, *, is_flat: bool = False) -> Any:
    """Convert tensors and lists of images to arrays; return arrays and data frames unchanged.

    Parameters
    ----------
    X : object
        Anything but an ImageSequence.
    is_flat : bool, default=False
        Whether images come as rows.

    Raises
    ------
    TypeError
        If X is one or several paths, a torch Dataset or DataLoader, or an iterator.
    ValueError
        If X is empty, not numeric or masked, or holds images of several shapes or dtypes.
    """
    refuse_streams(X)
    X = _from_tensor(X)
    # Not ndim, which data frames of polars lack.
    shape = getattr(X, "shape", None)
    is_list = isinstance(X, (list, tuple))
    if is_list or (shape is not None and len(shape) == 1):
        if len(X) == 0:
            raise ValueError(
                "X must hold images of shape (n, h, w) or (n, h, w, c), or rows of shape (n, "
                f"n_features), got an empty {type(X).__name__} instead."
            )
        first = next(iter(X))
        if isinstance(first, (str, bytes, PathLike)):
            _refuse(f"a {type(X).__name__} of {type(first).__name__}")
        if is_list or len(getattr(first, "shape", ())):
            X = _stack(list(X), is_flat=is_flat)
    check_unmasked(X)
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind in ("m", "M", "V"):
        raise ValueError(f"X must hold numbers, got an array of dtype {X.dtype} instead.")
    # Dates in the first image or row would become plain numbers.
    if kind == "O" and any(isinstance(value, _TIMES) for value in np.asarray(X)[:1].flat):
        raise ValueError("X must hold numbers, got dates or times instead.")
    for name, dtype in _columns(X):
        if any(word in dtype for word in _TIME_COLUMNS):
            raise ValueError(f"X must hold numbers, got the column {name!r} of dtype {dtype}.")
    return X


def refuse_streams(X: Any) -> None:
    """Raise a TypeError for paths, torch Datasets and DataLoaders, iterators, dicts and sets."""
    is_stream = isinstance(X, (str, bytes, PathLike, Dataset, DataLoader, Iterator))
    # A sparse array in dictionary form is a mapping, and gets scikit-learn's message.
    if is_stream or (isinstance(X, (Mapping, Set)) and not hasattr(X, "shape")):
        _refuse(f"{type(X).__name__} {X!r}" if isinstance(X, (str, PathLike)) else type(X).__name__)


def frame_dtype(X: Any) -> np.dtype[Any] | None:
    """Return uint8 or uint16 if all columns of a data frame, nullable or not, are of it.

    Raises
    ------
    ValueError
        If columns have dtypes with different values of white.
    """
    found: dict[float, str] = {}
    for _, column in _columns(X):
        base = re.match(r"uint(?:8|16)\b", re.sub(r"^sparse\[", "", column))
        found[integer_scale(np.dtype(base[0])) if base else 1.0] = column
    if len(found) > 1:
        raise ValueError(
            f"The columns of X must have one dtype, got {' and '.join(sorted(found.values()))} "
            "instead, so that the value of white is ambiguous. Convert them, for example with "
            "X.astype('uint8')."
        )
    white = next(iter(found), 1.0)
    return None if white == 1.0 else np.dtype("uint8" if white == 255 else "uint16")


def _refuse(got: str) -> NoReturn:
    raise TypeError(
        "X must be an array of images or rows, a tensor, a list of images or an ImageSequence, got "
        f"{got} instead. Read files with skanomaly.datasets.ImageSequence(paths); stack the images "
        "of a Dataset or a generator to an array."
    )


def _from_tensor(X: Any) -> Any:
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    # NumPy has no bfloat16.
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def _stack(X: list[Any], *, is_flat: bool) -> NDArray[Any]:
    """Stack images of one shape and one scale."""
    images = [_from_tensor(image) for image in X]
    for image in images:
        check_unmasked(image)
    arrays = [
        np.asarray(image)
        for image in images
        if hasattr(image, "shape") or hasattr(image, "__array_interface__")
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise ValueError(
            f"X must hold images of one shape, got a list of images of shapes {listed} instead. "
            "Resize them, or read them with ImageSequence(paths, size=...)."
        )
    dtypes = {integer_scale(array.dtype): array.dtype.name for array in arrays}
    if len(dtypes) > 1 and (is_flat or any(array.ndim > 1 for array in arrays)):
        raise ValueError(
            f"X must hold images of one dtype, got {' and '.join(sorted(dtypes.values()))} "
            "instead, so that the value of white is ambiguous. Convert them to one dtype."
        )
    return np.asarray(images)


def _columns(X: Any) -> list[tuple[Any, str]]:
    """Names and lower-case dtypes of the columns of a data frame."""
    if len(getattr(X, "shape", ())) != 2 or not hasattr(X, "dtypes"):
        return []
    return [(name, str(dtype).lower()) for name, dtype in zip(X.columns, X.dtypes, strict=True)]
