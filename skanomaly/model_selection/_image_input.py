"""Images in every form that detectors take, read a few at a time and given back in that form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array


class ImageInput:
    """Images as an array, a list, a tensor, flattened rows or a lazy sequence of files.

    Parameters
    ----------
    X : array-like, tensor or ImageSequence
        Images (n, h, w) or (n, h, w, c), or rows of them.
    image_shape : tuple of int or None
        Shape (h, w) or (h, w, c) of images that come as rows.

    Attributes
    ----------
    source : ndarray or ImageSequence
        X, as an array unless it is lazy.
    image_shape : (h, w, c)
        Shape of one image.

    Raises
    ------
    ValueError, TypeError
        If X holds no images.
    """

    def __init__(self, X: Any, image_shape: tuple[int, ...] | None = None) -> None:
        # A lazy sequence reads its files when asked to, and knows its shape.
        is_lazy = callable(getattr(X, "read", None)) and hasattr(X, "shape")
        self.source = X if is_lazy else _to_array(X)
        shape = self.source.shape
        if len(shape) == 2:
            self.image_shape = _check_rows(shape, image_shape)
        elif len(shape) in (3, 4):
            self.image_shape = (*shape[1:], 1)[:3]
        else:
            raise ValueError(
                "X must hold images of shape (n, h, w) or (n, h, w, c), or rows of shape "
                f"(n, n_features) that are flattened images, got shape {shape}."
            )
        if 0 in self.image_shape:
            raise ValueError(f"X must hold images of at least one pixel, got shape {shape}.")
        if len(self) == 0:
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> NDArray[Any]:
        """Read one image, (h, w, c)."""
        image = np.asarray(self.source[index]).reshape(self.image_shape)
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ValueError(f"Input X contains NaN or infinity, in the image {index}.")
        return image

    def restore(self, images: NDArray[Any]) -> NDArray[Any]:
        """Bring images (m, h, w, c) into the shape that they came in: rows, or without channel."""
        return images.reshape(len(images), *self.source.shape[1:])


def find_image_shape(estimator: Any) -> tuple[int, ...] | None:
    """Find the parameter `image_shape` of a detector, or of a pipeline's last step."""
    if isinstance(estimator, FrozenEstimator):
        return find_image_shape(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return find_image_shape(estimator[-1])
    for inner in ("best_estimator_", "detector"):
        if hasattr(estimator, inner):
            return find_image_shape(getattr(estimator, inner))
    return getattr(estimator, "image_shape", None)


def _to_array(X: Any) -> NDArray[Any]:
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        # NumPy knows no bfloat16.
        X = (X.float() if str(X.dtype) == "torch.bfloat16" else X).numpy()
    shapes = {np.shape(image) for image in X} if isinstance(X, (list, tuple)) else set()
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise ValueError(
            f"X must hold images of one shape, got a list of images of shapes {listed}."
        )
    kind = getattr(getattr(X, "dtype", None), "kind", "O")
    array: NDArray[Any] = check_array(
        X,
        dtype=None if kind in "buif" else "numeric",
        allow_nd=True,
        ensure_2d=False,
        ensure_all_finite=False,
        ensure_min_features=0,
    )
    return array


def _check_rows(shape: tuple[int, ...], image_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if image_shape is None:
        raise ValueError(
            f"X has shape {shape}: plain vectors have no places that a defect could be drawn at. "
            "If the rows are flattened images, pass image_shape=(h, w) or (h, w, c) to "
            "SyntheticDefectScorer or to the detector."
        )
    image_shape = tuple(image_shape)
    if len(image_shape) not in (2, 3) or np.prod(image_shape) != shape[1]:
        raise ValueError(
            f"X has {shape[1]} features, but image_shape={image_shape} makes "
            f"{np.prod(image_shape)}."
        )
    return (*image_shape, 1)[:3]
