"""Validation of images in all forms that detectors take."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._arrays import open_container
from .._validation import ValidatedInput, normalize_image_shape, validate_input
from ..datasets import ImageSequence


def validate_images(
    X: Any, image_shape: tuple[int, ...] | None, estimator: BaseEstimator
) -> ValidatedInput:
    """Check images, or flattened images if their shape is given.

    Parameters
    ----------
    X : array-like, tensor or ImageSequence
        Images (n, h, w) or (n, h, w, c), or flattened images (n, n_features).
    image_shape : tuple of int or None
        Shape (h, w) or (h, w, c) of flattened images.
    estimator : BaseEstimator
        Named in messages, and gets ``n_features_in_`` and the names of columns: not to be kept.

    Raises
    ------
    ValueError, TypeError
        If X does not hold images.
    """
    if not isinstance(X, ImageSequence):
        opened = open_container(X, is_flat=image_shape is not None)
        # Messages about arrays and tensors name what was passed.
        is_column = len(getattr(X, "shape", ())) == 1
        X = opened if isinstance(X, (list, tuple)) or is_column else X
    shape = tuple(np.shape(X))
    n_dims = len(shape)
    if n_dims not in (2, 3, 4) or (n_dims == 2 and image_shape is None):
        got = f"shape {shape}" if n_dims else repr(X)
        raise ValueError(
            f"X must hold images of shape (n, h, w) or (n, h, w, c), got {got} instead. Pass a "
            "single image as X[np.newaxis]. For flattened images, set image_shape=(h, w) or "
            "(h, w, c) of the detector or the scorer. Plain vectors have no pixels to draw on."
        )
    pixels = normalize_image_shape(image_shape)
    # Arrays may have another size than image_shape; the same size confirms the order of axes.
    if n_dims > 2 and (isinstance(X, ImageSequence) or (*shape[1:], 1)[:3] != pixels):
        pixels = None
    return validate_input(estimator, X, image_shape=pixels, reset=True)
