"""Arrays, tensors, lists of images and data frames as X, and the scale of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, timedelta
from numbers import Number
from os import PathLike
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

_TIMES = (np.datetime64, np.timedelta64, date, timedelta)
_TIME_COLUMNS = ("date", "time", "duration", "period", "interval")
_TEXT_COLUMNS = ("object", "str", "string")


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
    """Convert tensors, sequences and array-likes to arrays; return arrays and frames unchanged.

    Parameters
    ----------
    X : object
        Anything but an ImageSequence.
    is_flat : bool, default=False
        Whether images come as rows.

    Raises
    ------
    TypeError
        If X is one or several paths, a torch Dataset or DataLoader, an iterator, or no array-like.
    ValueError
        If X is empty, not numeric or masked, or holds images of several shapes or dtypes.
    """
    refuse_streams(X)
    X = _from_tensor(X)
    if not hasattr(X, "shape") and _is_array_like(X):
        X = _to_array(X)
    # Not ndim, which data frames of polars lack.
    shape = getattr(X, "shape", None)
    is_list = shape is None
    if is_list and not isinstance(X, Sequence):
        _refuse(type(X).__name__)
    if is_list or (shape is not None and len(shape) == 1):
        if len(X) == 0:
            raise ValueError(
                "X must hold images of shape (n, h, w) or (n, h, w, c), or rows of shape (n, "
                f"n_features), got an empty {type(X).__name__} instead."
            )
        first = next(iter(X))
        is_item = _is_array_like(first) or isinstance(first, (Sequence, Number))
        if isinstance(first, (str, bytes, PathLike)) or (is_list and not is_item):
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
    columns = _columns(X)
    for name, dtype in columns:
        if any(word in dtype for word in _TIME_COLUMNS):
            raise ValueError(f"X must hold numbers, got the column {name!r} of dtype {dtype}.")
    if any(dtype in _TEXT_COLUMNS for _, dtype in columns) and len(X):
        for (name, _), value in zip(columns, np.asarray(X[:1])[0], strict=True):
            if not _is_number(value):
                _refuse(f"a data frame with the column {name!r} of {type(value).__name__}")
    return X


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        # None stands for a missing number.
        return value is None
    return True


def refuse_streams(X: Any) -> None:
    """Raise a TypeError for paths, torch Datasets and DataLoaders, iterators, dicts and sets."""
    is_stream = isinstance(X, (str, bytes, bytearray, PathLike, Dataset, DataLoader, Iterator))
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
    if X.is_nested or X.is_meta or X.is_quantized or X.layout != torch.strided:
        raise TypeError(
            "X must be a dense tensor with values, got a nested, sparse, quantized or meta tensor "
            "instead. Convert it, for example with X.to_dense() or X.dequantize()."
        )
    X = X.detach().cpu()
    # NumPy has no bfloat16, and none of the smaller ones.
    if X.is_floating_point() and X.dtype not in (torch.float16, torch.float32, torch.float64):
        X = X.float()
    return X.numpy()


def _is_array_like(X: Any) -> bool:
    return any(hasattr(X, name) for name in ("shape", "__array__", "__array_interface__"))


def _to_array(X: Any) -> NDArray[Any]:
    # NumPy reads the indices into the palette.
    if getattr(X, "mode", None) in ("P", "PA") and hasattr(X, "palette"):
        raise ValueError(
            "X must hold images without a palette, got a Pillow image of mode "
            f"{X.mode!r} instead. Convert it, for example with image.convert('RGB')."
        )
    return np.asarray(X)


def _stack(X: list[Any], *, is_flat: bool) -> NDArray[Any]:
    """Stack images of one shape and one scale."""
    images = [_from_tensor(image) for image in X]
    for image in images:
        check_unmasked(image)
    arrays = [_to_array(image) for image in images if _is_array_like(image)]
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
    try:
        return np.asarray(images)
    except ValueError as error:
        raise ValueError(
            "X must be a list of images or rows of one shape, got a list that is no array instead: "
            f"{error} Pass images without labels, and dense arrays."
        ) from error


def _columns(X: Any) -> list[tuple[Any, str]]:
    """Names and lower-case dtypes of the columns of a data frame."""
    if len(getattr(X, "shape", ())) != 2 or not hasattr(X, "dtypes"):
        return []
    return [(name, str(dtype).lower()) for name, dtype in zip(X.columns, X.dtypes, strict=True)]
