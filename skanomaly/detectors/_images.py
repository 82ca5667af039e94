"""Validation of X: every kind of input becomes batches of one form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._arrays import integer_scale, is_pixel_dtype
from ..datasets import ImageSequence
from ._containers import frame_dtype, open_container
from ._layout import Shape, check_layout, find_remedy

# Beyond these, squares of standardised values could leave the range of the floats that images and
# rows are computed in.
_LARGEST_PIXEL = 1e10
_LARGEST_IN_ROWS = 1e100


@dataclass(frozen=True)
class ValidatedInput:
    """Checked images or rows, read batch by batch.

    Attributes
    ----------
    source : ndarray of shape (n, h, w, c) or (n, n_features), or ImageSequence
    shape : (h, w, c) or (n_features,)
        Shape of one of them.
    """

    source: Any
    shape: Shape

    @property
    def is_image(self) -> bool:
        """Whether these are images rather than plain rows."""
        return len(self.shape) == 3

    @property
    def map_shape(self) -> Shape:
        """Shape of the maps of all of them: (n, h, w) or (n, n_features)."""
        return len(self), *(self.shape[:2] if self.is_image else self.shape)

    def __len__(self) -> int:
        return len(self.source)

    def subset(self, count: int) -> ValidatedInput:
        """At most ``count`` of them, spread evenly."""
        if len(self) <= count:
            return self
        return self.take(np.linspace(0, len(self) - 1, count).astype(np.intp))

    def take(self, indices: NDArray[np.intp]) -> ValidatedInput:
        """Those of these indices."""
        return ValidatedInput(self.source[indices], self.shape)

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read some of them, scaled."""
        return self.scale(self.load(indices))

    def load(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read some of them as they are: (b, h, w, c) or (b, n_features)."""
        if isinstance(self.source, ImageSequence):
            batch = self.source.read(indices).reshape(len(indices), *self.shape)
            _check_magnitude(batch, _LARGEST_PIXEL)
            return batch
        return np.asarray(self.source[indices])

    def load_ahead(self, batches: Iterable[NDArray[np.intp]]) -> Iterator[NDArray[Any]]:
        """Load batch after batch; of files, the next one while this one is in use."""
        if not isinstance(self.source, ImageSequence):
            yield from map(self.load, batches)
            return
        with ThreadPoolExecutor(max_workers=1) as reader:
            waiting = None
            for indices in batches:
                upcoming = reader.submit(self.load, indices)
                if waiting is not None:
                    yield waiting.result()
                waiting = upcoming
            if waiting is not None:
                yield waiting.result()

    def scale(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring values to floats, of images or of parts of them.

        Unsigned integers of images are divided by their largest value, as in scikit-image, so
        that an image means the same as uint8 and as float.

        Returns
        -------
        ndarray of the shape of values, float32, or float64 of rows
        """
        if not self.is_image:
            return values.astype(np.float64)
        return np.divide(values, np.float32(integer_scale(values.dtype)), dtype=np.float32)


def channels_first(values: NDArray[Any]) -> torch.Tensor:
    """Make a tensor (b, c, h, w) of images (b, h, w, c), and one of rows as they are."""
    tensor = torch.from_numpy(values)
    return tensor.permute(0, 3, 1, 2) if values.ndim == 4 else tensor


def to_image_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Bring what `ValidatedInput.read` has scaled back to its own dtype and range."""
    values = values * integer_scale(dtype)
    if dtype.kind == "f":
        # float16 ends at 65504, beyond which a reconstruction may lie a little.
        limits = np.finfo(dtype)
        return np.clip(values, limits.min, limits.max).astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    # float32 does not hold the largest of 32 bits.
    return np.clip(np.rint(values.astype(np.float64)), low, high).astype(dtype)


def validate_input(
    estimator: BaseEstimator,
    X: Any,
    *,
    image_shape: Shape | None,
    fitted_shape: Shape | None = None,
    reset: bool = False,
    minimum: int = 1,
) -> ValidatedInput:
    """Check X and bring it into one form.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_`` where ``reset`` is true.
    X : array-like, tensor or ImageSequence
        Images of shape (n, h, w) or (n, h, w, c), or rows.
    image_shape : tuple of int or None
        The shape (h, w) or (h, w, c) of images that come as flattened rows.
    fitted_shape : tuple of int or None
        What the estimator was fitted on, as `ValidatedInput.shape`.
    reset : bool, default=False
        Whether this is a first fit.
    minimum : int, default=1
        Fewest images or rows.

    Raises
    ------
    ValueError, TypeError
        In scikit-learn's words, naming what was got and what is accepted.
    """
    name = type(estimator).__name__
    shape: Shape
    is_tensor = isinstance(X, torch.Tensor)
    if isinstance(X, ImageSequence):
        if len(X) < minimum:
            raise ValueError(
                f"Found ImageSequence with {len(X)} image(s) while a minimum of {minimum} is "
                f"required by {name}."
            )
        shape = tuple(X.shape)
        checked = ValidatedInput(X, shape[1:] if len(shape) == 4 else (*shape[1:], 1))
    else:
        X = open_container(X, is_flat=image_shape is not None)
        shape = tuple(getattr(X, "shape", ()))
        if len(shape) in (3, 4):
            checked = _check_image_array(X, minimum, estimator)
        elif len(shape) == 2:
            _check_flat(shape, image_shape, fitted_shape, name)
            checked = _check_rows(X, image_shape, minimum, estimator, reset=reset)
        else:
            checked = _check_rows(X, None, minimum, estimator, reset=reset)
    # Sequences of files always have their axes in order.
    is_array = not isinstance(X, ImageSequence) and len(shape) in (3, 4)
    if is_array and image_shape is not None and checked.shape != image_shape:
        raise ValueError(
            f"X holds images of shape {checked.shape}, but image_shape={image_shape} was given."
            f"{find_remedy(shape, image_shape, is_tensor=is_tensor)}"
        )
    if reset:
        estimator.n_features_in_ = int(np.prod(checked.shape))  # type: ignore[attr-defined]
    elif fitted_shape is not None:
        remedy = find_remedy(shape, fitted_shape, is_tensor=is_tensor) if is_array else ""
        _check_against_fit(checked, fitted_shape, name, remedy)
    if is_array and image_shape is None:
        check_layout(shape, fitted_shape, name, is_tensor=is_tensor)
    return checked


def normalize_image_shape(image_shape: Any) -> Shape | None:
    """Check the parameter ``image_shape`` and complete it to (h, w, c)."""
    if image_shape is None:
        return None
    shape = tuple(image_shape) if np.iterable(image_shape) else (image_shape,)
    valid = all(isinstance(side, (int, np.integer)) and side > 0 for side in shape)
    if len(shape) not in (2, 3) or not valid:
        raise ValueError(
            f"image_shape must be None, (h, w) or (h, w, c) with positive integers, got "
            f"{image_shape!r}."
        )
    return shape if len(shape) == 3 else (*shape, 1)


def _check_image_array(X: Any, minimum: int, estimator: BaseEstimator) -> ValidatedInput:
    kind = getattr(getattr(X, "dtype", None), "kind", "O")
    if kind not in "buif":
        # Complex numbers, text and objects: let scikit-learn say what is wrong with them.
        X = check_array(X, allow_nd=True, ensure_2d=False, dtype="numeric", estimator=estimator)
    array = np.asarray(
        check_array(
            X,
            allow_nd=True,
            ensure_2d=False,
            dtype=None,
            ensure_min_samples=minimum,
            ensure_min_features=0,
            estimator=estimator,
        )
    )
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if 0 in array.shape[1:]:
        raise ValueError(f"X must hold images of at least one pixel, got shape {np.shape(X)}.")
    _check_magnitude(array, _LARGEST_PIXEL)
    return ValidatedInput(array, array.shape[1:])


def _check_rows(
    X: Any, image_shape: Shape | None, minimum: int, estimator: BaseEstimator, *, reset: bool
) -> ValidatedInput:
    """Check plain rows, or images that come as rows."""
    if image_shape is not None:
        dtype = frame_dtype(X)
        rows = validate_data(estimator, X, reset=reset, dtype=None, ensure_min_samples=minimum)
        if dtype is not None:
            rows = rows.astype(dtype, copy=False)
        elif rows.dtype.kind not in "buif":
            rows = rows.astype(np.float64)
        _check_magnitude(rows, _LARGEST_PIXEL)
        if rows.shape[1] != np.prod(image_shape):
            raise ValueError(
                f"X has {rows.shape[1]} features, but image_shape={image_shape} makes "
                f"{np.prod(image_shape)}."
            )
        return ValidatedInput(rows.reshape(len(rows), *image_shape), image_shape)
    if getattr(getattr(X, "dtype", None), "kind", "") in ("S", "U"):
        raise ValueError(f"X must hold numbers, got an array of dtype {X.dtype}.")
    numbers = [np.float64, np.float32]
    rows = validate_data(estimator, X, reset=reset, dtype=numbers, ensure_min_samples=minimum)
    _check_magnitude(rows, _LARGEST_IN_ROWS)
    return ValidatedInput(rows, (rows.shape[1],))


def _check_magnitude(values: NDArray[Any], largest: float) -> None:
    if values.dtype.kind == "b" or is_pixel_dtype(values.dtype):
        return
    extreme = max(float(values.max()), -float(values.min()))
    if extreme > largest:
        raise ValueError(
            f"X must hold values up to ±{largest:g}, got {extreme:.3g}: scale it down."
        )


def _check_flat(
    shape: Shape, image_shape: Shape | None, fitted_shape: Shape | None, name: str
) -> None:
    """Refuse a single image, (h, w), where rows that are images or images are asked for."""
    if image_shape is not None:
        if shape == image_shape[:2] and shape[1] != np.prod(image_shape):
            raise ValueError(
                f"X must hold flattened images of shape (n, {np.prod(image_shape)}), got shape "
                f"{shape}. A single image is X[None]."
            )
    elif fitted_shape is not None and len(fitted_shape) == 3:
        _refuse_kind(shape[1:], fitted_shape, name)


def _check_against_fit(
    checked: ValidatedInput, fitted_shape: Shape, name: str, remedy: str = ""
) -> None:
    if checked.is_image != (len(fitted_shape) == 3):
        _refuse_kind(checked.shape, fitted_shape, name)
    if checked.is_image and checked.shape[2] != fitted_shape[2]:
        raise ValueError(
            f"X holds images with {checked.shape[2]} channel(s), but {name} was fitted on images "
            f"with {fitted_shape[2]} channel(s).{remedy}"
        )


def _refuse_kind(shape: Shape, fitted_shape: Shape, name: str) -> None:
    fitted, got, remedy = "rows", "images", ""
    if len(fitted_shape) == 3:
        fitted, got, remedy = "images", "rows", " Flattened images need image_shape."
        if fitted_shape[2] == 1:
            remedy = " A single image is X[None]; flattened images need image_shape."
    raise ValueError(
        f"X holds {got} of shape {shape}, but {name} was fitted on {fitted} of shape "
        f"{fitted_shape}.{remedy}"
    )
