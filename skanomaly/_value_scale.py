"""A warning of images on another scale than those of training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import integer_scale, is_pixel_dtype
from ._logging import warn
from ._validation import ValidatedInput
from .datasets import ImageSequence

# Values are on another scale if this fraction of them (defects and broken pixels are fewer) exceed
# 2 and this multiple of the usual training value, or if all are fractions where the usual training
# value is at least that of bytes.
_FAR_FRACTION = 0.1
_FAR = 50
_USUAL_OF_BYTES = 20
# The usual training value of 8-bit values in 16 bits, if white is 1.
_BYTES_IN_16_BITS = (1 / 4096, 255 / 65535)
# Largest number of images, and of rows and columns of each, that are checked for their scale.
_SAMPLED = 64


def warn_of_other_scale(data: ValidatedInput, usual: float | None) -> None:
    """Warn if images seem to be on another scale than the training images.

    Inverted, black, white or noisy images on the same scale do not warn.

    Parameters
    ----------
    data : ValidatedInput
    usual : float or None
        Usual absolute value in the training images; None for rows.
    """
    if not data.is_image or usual is None:
        return
    dtype = data.source.dtype
    # Of uint8, a detector of uint8 accepts all values.
    if dtype.kind == "b" or (dtype == np.uint8 and _BYTES_IN_16_BITS[1] < usual <= _USUAL_OF_BYTES):
        return
    if isinstance(data.source, ImageSequence):
        sample = data.load(np.array([0]))
    else:
        steps = (-(-count // _SAMPLED) for count in data.source.shape[:3])
        sample = data.source[tuple(slice(None, None, step) for step in steps)]
    if not _is_other_scale(sample, usual):
        return
    top = np.abs(sample.astype(np.float64)).max()
    of_white = f" ({top / integer_scale(dtype):.3g} of white)" if is_pixel_dtype(dtype) else ""
    warn(
        f"X of dtype {dtype} holds values up to {top:.3g}{of_white}, on another scale than the "
        f"images that the detector was fitted on, with values of about {usual:.3g}. uint8 and "
        "uint16 are divided by 255 and 65535, other dtypes are not scaled. Convert X to the dtype "
        "and scale of the training images, for example with X.astype('uint8'), X / 255 or X * 255.",
    )


def _is_other_scale(sample: NDArray[Any], usual: float) -> bool:
    """Whether images are on another scale than those with this usual value, with white 1."""
    tells_white, white = is_pixel_dtype(sample.dtype), integer_scale(sample.dtype)
    size = np.abs(sample.astype(np.float64)) / white
    top, mean = size.max(), size.mean()
    low, high = _BYTES_IN_16_BITS
    # Bright images are ordinary, unless those of fit held 8-bit values in 16 bits.
    bright = 0.0 if tells_white and low < usual <= high else 2.0
    if np.mean(size > max(bright, _FAR * usual)) > _FAR_FRACTION:
        return True
    # The largest value of a black image with noise is a small fraction, or not one.
    if usual > _USUAL_OF_BYTES and 0.25 < top <= 1 and sample.min() >= 0:
        return tells_white or bool((sample != np.rint(sample)).any())
    # 8-bit values in 16 bits, where those of fit need more than 12. Black images are darker yet.
    is_dark = usual / 1028 < mean < usual / _FAR
    return bool(is_dark and top * white <= 255 and usual * white > 4095)
