"""Validation of X and y: every kind of input becomes batches of one form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ._arrays import frame_dtype, integer_scale, is_pixel_dtype, open_container
from ._logging import warn
from .datasets import ImageSequence

Shape = tuple[int, ...]

# Squares of larger standardized values could overflow float32 (images) and float64 (rows).
LARGEST_PIXEL = 1e10
LARGEST_IN_ROWS = 1e100
# Numbers of channels that images usually have.
_USUAL_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class ValidatedInput:
    """Validated images or rows, read batch by batch.

    Attributes
    ----------
    source : ndarray of shape (n, h, w, c) or (n, n_features), or ImageSequence
    shape : (h, w, c) or (n_features,)
        Shape of one image or row.
    """

    source: Any
    shape: Shape

    @property
    def is_image(self) -> bool:
        """Whether these are images rather than plain rows."""
        return len(self.shape) == 3

    @property
    def map_shape(self) -> Shape:
        """Shape of all anomaly maps: (n, h, w) or (n, n_features)."""
        return len(self), *(self.shape[:2] if self.is_image else self.shape)

    def __len__(self) -> int:
        return len(self.source)

    def subset(self, count: int) -> ValidatedInput:
        """Select at most ``count`` samples, spread evenly."""
        if len(self) <= count:
            return self
        return self.take(np.linspace(0, len(self) - 1, count).astype(np.intp))

    def take(self, indices: NDArray[np.intp]) -> ValidatedInput:
        """Select samples by index."""
        return ValidatedInput(self.source[indices], self.shape)

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Load and scale samples."""
        return self.scale(self.load(indices))

    def load(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Load samples of shape (b, h, w, c) or (b, n_features) in their own dtype."""
        if isinstance(self.source, ImageSequence):
            batch = self.source.read(indices).reshape(len(indices), *self.shape)
            _check_magnitude(batch, LARGEST_PIXEL)
            return batch
        return np.asarray(self.source[indices])

    def load_ahead(self, batches: Iterable[NDArray[np.intp]]) -> Iterator[NDArray[Any]]:
        """Load batch after batch; the next files are read while a batch is in use."""
        if not isinstance(self.source, ImageSequence):
            yield from map(self.load, batches)
            return
        with ThreadPoolExecutor(max_workers=1) as reader:
            loads = (reader.submit(self.load, indices) for indices in batches)
            for loading, _ in pairwise(chain(loads, [None])):
                assert loading is not None
                yield loading.result()

    def scale(self, values: NDArray[Any]) -> NDArray[Any]:
        """Convert images, or parts of them, to float32 with white 1, and rows to float64.

        As in scikit-image, uint8 and uint16 are divided by their largest value.
        """
        if not self.is_image:
            return values.astype(np.float64)
        return np.divide(values, np.float32(integer_scale(values.dtype)), dtype=np.float32)


def channels_first(values: NDArray[Any]) -> torch.Tensor:
    """Convert images (b, h, w, c) to a tensor (b, c, h, w), and rows to a tensor of their shape."""
    tensor = torch.from_numpy(values)
    return tensor.permute(0, 3, 1, 2) if values.ndim == 4 else tensor


def to_image_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo `ValidatedInput.scale`, clipping to the range of the dtype."""
    values = values * integer_scale(dtype)
    if dtype.kind == "f":
        # A reconstruction may slightly exceed the largest float16.
        limits = np.finfo(dtype)
        return np.clip(values, limits.min, limits.max).astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    # float32 cannot represent the largest 32-bit integer.
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
    """Validate X and convert it to one form.

    Parameters
    ----------
    estimator : BaseEstimator
        Is named in messages, and gets ``n_features_in_`` if ``reset`` is true.
    X : array-like, tensor or ImageSequence
        Images of shape (n, h, w) or (n, h, w, c), or rows.
    image_shape : tuple of int or None
        Shape (h, w) or (h, w, c) of images that come as flattened rows.
    fitted_shape : tuple of int or None
        `ValidatedInput.shape` of the training data.
    reset : bool, default=False
        Whether this is a first fit.
    minimum : int, default=1
        Minimum number of images or rows.

    Raises
    ------
    ValueError, TypeError

    Warns
    -----
    UserWarning
        If an array seems to be one image with 3 or 4 channels.
    """
    name = type(estimator).__name__
    is_tensor = isinstance(X, torch.Tensor)
    is_array = False
    if isinstance(X, ImageSequence):
        if len(X) < minimum:
            raise ValueError(
                f"Found ImageSequence with {len(X)} image(s) while a minimum of {minimum} is "
                f"required by {name}."
            )
        shape: Shape = tuple(X.shape)
        checked = ValidatedInput(X, (*shape[1:], 1)[:3])
    else:
        X = open_container(X, is_flat=image_shape is not None)
        shape = tuple(getattr(X, "shape", ()))
        is_array = len(shape) in (3, 4)
        # A list of numbers has become an array.
        if len(shape) not in (2, 3, 4) and hasattr(X, "shape"):
            raise ValueError(
                f"X must hold images of shape (n, h, w) or (n, h, w, c), or rows of shape (n, "
                f"n_features), got shape {shape} instead. Reshape your data; a single image of "
                "shape (h, w) or (h, w, c) is X[None]."
            )
        if is_array:
            checked = _check_image_array(X, minimum, estimator)
        else:
            if len(shape) == 2:
                _check_flat(shape, image_shape, fitted_shape, name)
            flat_shape = image_shape if len(shape) == 2 else None
            checked = _check_rows(X, flat_shape, minimum, estimator, reset=reset)
    # The axes of files are always in order.
    if is_array and image_shape is not None and checked.shape != image_shape:
        raise ValueError(
            f"X holds images of shape {checked.shape}, but image_shape={image_shape} was given."
            f"{_axes_remedy(shape, image_shape, is_tensor)}"
        )
    if reset:
        estimator.n_features_in_ = int(np.prod(checked.shape))  # type: ignore[attr-defined]
        if is_array or isinstance(X, ImageSequence):
            # Names of an earlier fit; those of rows are set by scikit-learn.
            vars(estimator).pop("feature_names_in_", None)
    elif fitted_shape is not None:
        if checked.is_image != (len(fitted_shape) == 3):
            _refuse_kind(checked.shape, fitted_shape, name)
        if checked.is_image and checked.shape[2] != fitted_shape[2]:
            raise ValueError(
                f"X holds images with {checked.shape[2]} channel(s), but {name} was fitted on "
                f"images with {fitted_shape[2]} channel(s)."
                f"{_axes_remedy(shape, fitted_shape, is_tensor) if is_array else ''}"
            )
    if is_array and image_shape is None:
        _check_axes(shape, fitted_shape, name, is_tensor)
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
            f"{image_shape!r} instead."
        )
    return shape if len(shape) == 3 else (*shape, 1)


def _check_image_array(X: Any, minimum: int, estimator: BaseEstimator) -> ValidatedInput:
    options: dict[str, Any] = {"allow_nd": True, "ensure_2d": False, "estimator": estimator}
    if getattr(getattr(X, "dtype", None), "kind", "O") not in "buif":
        # scikit-learn says what is wrong with complex numbers, text and objects.
        X = check_array(X, dtype="numeric", **options)
    options |= {"ensure_min_samples": minimum, "ensure_min_features": 0}
    array = np.asarray(check_array(X, dtype=None, **options))
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if 0 in array.shape[1:]:
        raise ValueError(
            f"X must hold images of at least one pixel, got shape {np.shape(X)} instead."
        )
    _check_magnitude(array, LARGEST_PIXEL)
    return ValidatedInput(array, array.shape[1:])


def _check_rows(
    X: Any, image_shape: Shape | None, minimum: int, estimator: BaseEstimator, *, reset: bool
) -> ValidatedInput:
    """Check plain rows, or images that come as rows."""
    options: dict[str, Any] = {"reset": reset, "ensure_min_samples": minimum}
    if image_shape is not None:
        dtype = frame_dtype(X)
        rows = validate_data(estimator, X, dtype=None, **options)
        if dtype is not None:
            rows = rows.astype(dtype, copy=False)
        elif rows.dtype.kind not in "buif":
            rows = rows.astype(np.float64)
        _check_magnitude(rows, LARGEST_PIXEL)
        if rows.shape[1] != np.prod(image_shape):
            raise ValueError(
                f"X has {rows.shape[1]} features, but image_shape={image_shape} makes "
                f"{np.prod(image_shape)}."
            )
        return ValidatedInput(rows.reshape(len(rows), *image_shape), image_shape)
    if getattr(getattr(X, "dtype", None), "kind", "") in ("S", "U"):
        raise ValueError(f"X must hold numbers, got an array of dtype {X.dtype} instead.")
    rows = validate_data(estimator, X, dtype=[np.float64, np.float32], **options)
    _check_magnitude(rows, LARGEST_IN_ROWS)
    return ValidatedInput(rows, (rows.shape[1],))


def _check_magnitude(values: NDArray[Any], largest: float) -> None:
    if values.dtype.kind == "b" or is_pixel_dtype(values.dtype):
        return
    extreme = max(float(values.max()), -float(values.min()))
    if extreme > largest:
        raise ValueError(
            f"X must hold values up to ±{largest:g}, got {extreme:.3g} instead. Scale it down."
        )


def _check_flat(
    shape: Shape, image_shape: Shape | None, fitted_shape: Shape | None, name: str
) -> None:
    """Refuse a single image (h, w) where images or flattened images are expected."""
    if image_shape is None:
        if fitted_shape is not None and len(fitted_shape) == 3:
            _refuse_kind(shape[1:], fitted_shape, name)
    elif shape == image_shape[:2] and shape[1] != np.prod(image_shape):
        raise ValueError(
            f"X must hold flattened images of shape (n, {np.prod(image_shape)}), got shape "
            f"{shape} instead. A single image is X[None]."
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


def _check_axes(shape: Shape, fitted: Shape | None, name: str, is_tensor: bool) -> None:
    """Refuse arrays of images whose axes are not in order, and warn if they may not be.

    Channels seem to come first if there are 1, 3 or 4 rows and more channels, unless the detector
    was fitted on such images. An array (h, w, c) may be meant as one image.
    """
    usual, most = _USUAL_CHANNELS, max(_USUAL_CHANNELS)
    if fitted is None and len(shape) == 4 and shape[1] in usual and shape[3] > most:
        raise ValueError(
            f"X must hold images with channels last, (n, h, w, c), got shape {shape}, in which "
            f"they seem to come first. Pass {_channels_last(is_tensor)}. If the images do have "
            f"{shape[1]} row(s) and {shape[3]} channels, pass image_shape={shape[1:]}."
        )
    if len(shape) != 3 or shape[2] not in usual or (fitted and shape[2] == fitted[1]):
        return
    if fitted and shape[:2] == fitted[:2]:
        remedy = "A single image is X[None]."
        if shape[2] != fitted[2]:
            remedy = "Convert it to one channel, and pass X[None]."
        raise ValueError(
            f"X must hold images of shape (n, h, w), got shape {shape}: one image of the size that "
            f"{name} was fitted on, with {shape[2]} channel(s). {remedy}"
        )
    if shape[2] > 1 and shape[1] > most:
        warn(
            f"X of shape {shape} is read as {shape[0]} grey image(s) of {shape[1]} x {shape[2]} "
            f"pixels. If it is one image with {shape[2]} channels, pass X[None]. If not, "
            f"image_shape={shape[1:]} says so.",
        )


def _axes_remedy(shape: Shape, wanted: Shape, is_tensor: bool) -> str:
    """Say how X of this shape becomes images (h, w, c), if only its axes seem wrong."""
    channels = wanted[2] if len(wanted) == 3 else 0
    if len(shape) == 3 and shape[2] == channels:
        return " A single image is X[None]."
    if len(shape) == 3 and shape[0] == channels:
        turned = "X.permute(1, 2, 0)" if is_tensor else "np.moveaxis(X, 0, -1)"
        return f" A single image with channels first is {turned}[None]."
    if len(shape) == 4 and shape[1] == channels:
        return f" Channels come last: pass {_channels_last(is_tensor)}."
    return ""


def _channels_last(is_tensor: bool) -> str:
    return "X.permute(0, 2, 3, 1)" if is_tensor else "np.moveaxis(X, 1, -1)"


def warn_of_anomalies(y: Any, count: int) -> None:
    """Warn if y, with one label for each of ``count`` images, labels some as anomalous."""
    labels = np.asarray(y)
    if labels.shape != (count,):
        return
    if np.isin(labels, (0, 1)).all() and 0 < (labels == 1).sum() < count:
        warn(
            "y holds the labels 0 and 1, but fit ignores y and trains on all images. Pass the good "
            "ones only. Anomalies are labelled -1 in this library, and normal images 1.",
        )
    if not np.isin(labels, (1, -1)).all():
        return
    anomalous = int((labels == -1).sum())
    if anomalous:
        warn(
            f"y calls {anomalous} of {count} images anomalous (-1), but fit ignores y and trains "
            "on them as on normal ones. Pass X[y == 1]. In a search, cv=NormalOnlySplit() leaves "
            "them out of the folds, and refit=False keeps them from the detector fitted last.",
        )
