"""What X may come in: arrays, tensors, lists of images and data frames; the rest is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from .._arrays import check_unmasked, integer_scale

_TIMES = (np.datetime64, np.timedelta64, date, timedelta)
_TIME_COLUMNS = ("date", "time", "duration", "period", "interval")


def open_container(X: Any, *, is_flat: bool = False) -> Any:
    """Bring tensors and lists of images to arrays; leave arrays and data frames as they are.

    Parameters
    ----------
    X : object
        As the user gave it; no ImageSequence.
    is_flat : bool, default=False
        Whether images come as rows.

    Raises
    ------
    TypeError
        If X is one or several paths, a torch Dataset or DataLoader, or an iterator.
    ValueError
        If X is empty, holds no numbers or masked values, or images that do not go together.
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
        raise ValueError(f"X must hold numbers, got an array of dtype {X.dtype}.")
    if kind == "O" and _holds_dates(np.asarray(X)):
        raise ValueError("X must hold numbers, got dates or times.")
    for name, dtype in _columns(X):
        if any(word in dtype for word in _TIME_COLUMNS):
            raise ValueError(f"X must hold numbers, got the column {name!r} of dtype {dtype}.")
    return X


def refuse_streams(X: Any) -> None:
    """Refuse paths, torch Datasets and DataLoaders, and iterators by a TypeError."""
    if isinstance(X, (str, bytes, PathLike, Dataset, DataLoader, Iterator)):
        _refuse(f"{type(X).__name__} {X!r}" if isinstance(X, (str, PathLike)) else type(X).__name__)


def frame_dtype(X: Any) -> np.dtype[Any] | None:
    """Tell the dtype of the pixels in a data frame, which validation may change.

    Returns
    -------
    dtype
        uint8 or uint16 if all columns are of it, nullable or not; else None.

    Raises
    ------
    ValueError
        If white is not the same in all columns.
    """
    found: dict[float, str] = {}
    for _, column in _columns(X):
        name = re.sub(r"^sparse\[", "", column)
        base = re.match(r"uint(?:8|16)\b", name)
        found[integer_scale(np.dtype(base[0])) if base else 1.0] = column
    if len(found) > 1:
        raise ValueError(
            f"The columns of X must have one dtype, got {' and '.join(sorted(found.values()))} "
            "instead, which leaves open what white is. Convert them, as with X.astype('uint8')."
        )
    white = next(iter(found), 1.0)
    return None if white == 1.0 else np.dtype("uint8" if white == 255 else "uint16")


def _refuse(what: str) -> None:
    raise TypeError(
        "X must be an array of images or rows, a tensor, a list of images or an ImageSequence, got "
        f"{what} instead. Files are read by skanomaly.datasets.ImageSequence(paths); images of a "
        "Dataset or a generator are stacked to an array."
    )


def _from_tensor(X: Any) -> Any:
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    # NumPy knows no bfloat16.
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def _stack(X: list[Any], *, is_flat: bool) -> NDArray[Any]:
    """Stack a list of images, which have to be of one size and one scale."""
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
            f"X must hold images of one shape, got a list of images of shapes {listed}. Resize "
            "them, or read them with ImageSequence(paths, size=...)."
        )
    if is_flat or any(array.ndim > 1 for array in arrays):
        dtypes = {integer_scale(array.dtype): array.dtype.name for array in arrays}
        if len(dtypes) > 1:
            raise ValueError(
                f"X must hold images of one dtype, got {' and '.join(sorted(dtypes.values()))} "
                "instead, which leaves open what white is: convert them."
            )
    return np.asarray(images)


def _holds_dates(values: NDArray[Any]) -> bool:
    """Whether there are dates in the first image or row, which would become plain numbers."""
    first = values[:1].flat if values.ndim else ()
    return any(isinstance(value, _TIMES) for value in first)


def _columns(X: Any) -> list[tuple[Any, str]]:
    """Names and dtypes, in small letters, of the columns of a data frame."""
    if len(getattr(X, "shape", ())) != 2 or not hasattr(X, "dtypes"):
        return []
    return [(name, str(dtype).lower()) for name, dtype in zip(X.columns, X.dtypes, strict=True)]
