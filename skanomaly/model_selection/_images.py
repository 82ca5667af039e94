"""Images in every form that detectors take, as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..detectors._images import ValidatedInput, normalize_image_shape, validate_input


def validate_images(
    X: Any, image_shape: tuple[int, ...] | None, estimator: BaseEstimator
) -> ValidatedInput:
    """Check images, or rows of them where their shape is given.

    Parameters
    ----------
    X : array-like, tensor or ImageSequence
        Images (n, h, w) or (n, h, w, c), or rows of them.
    image_shape : tuple of int or None
        Shape (h, w) or (h, w, c) of images that come as rows.
    estimator : BaseEstimator
        What messages name.

    Raises
    ------
    ValueError, TypeError
        If X holds no images.
    """
    # Of a list or a sequence of files, one image at most is looked at.
    is_list = isinstance(X, (list, tuple)) and len(X) > 0
    n_dims = 1 + np.ndim(X[0]) if is_list else len(getattr(X, "shape", np.shape(X)))
    if n_dims not in (2, 3, 4) or (n_dims == 2 and image_shape is None):
        got = f"shape {np.shape(X)}" if n_dims else repr(X)
        raise ValueError(
            f"X must hold images of shape (n, h, w) or (n, h, w, c), got {got} instead. A single "
            "image is X[np.newaxis]. Flattened images need image_shape=(h, w) or (h, w, c), of the "
            "detector or the scorer; plain vectors have no pixels to draw on."
        )
    return validate_input(
        estimator, X, image_shape=normalize_image_shape(image_shape) if n_dims == 2 else None
    )
