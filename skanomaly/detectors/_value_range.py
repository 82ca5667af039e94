"""A warning for images on another scale than those of the fit."""

from __future__ import annotations

import warnings

import numpy as np

from .._arrays import is_pixel_dtype
from ..datasets import ImageSequence
from ..scoring import FrameTerm
from ._images import ValidatedInput
from ._model import DetectorModel

# Values are on another scale beyond so many times the usual size of the training values, and beyond
# 2, which no image from black, 0, to white, 1, comes near.
_FAR = 50
_LEAST = 2.0
# Fraction of the values of X that are: broken pixels and defects are fewer.
_FRACTION = 0.1
# Images from 0 to 1 are on another scale than training values of this size.
_USUAL_OF_BYTES = 20
# Images, and rows and columns of each, that are looked at.
_LOOKED_AT = 64


def warn_of_other_scale(data: ValidatedInput, model: DetectorModel) -> None:
    """Warn if images seem to be on another scale than those of the fit.

    That is if their dtype leaves the scale open, and a tenth of the values are more than 50 times
    as large as values of the training images usually are, and larger than 2; or if all are
    fractions from 0 to 1, while those of the training images usually are 20 or more. Images on the
    same scale may be inverted, black, white or noisy.

    Parameters
    ----------
    data : ValidatedInput
    model : DetectorModel

    Warns
    -----
    UserWarning
    """
    term = next((step for step in model.steps if isinstance(step, FrameTerm)), None)
    if not data.is_image or term is None:
        return
    dtype = data.source.dtype
    if dtype.kind == "b" or is_pixel_dtype(dtype):
        return
    if isinstance(data.source, ImageSequence):
        sample = data.load(np.array([0]))
    else:
        steps = (-(-count // _LOOKED_AT) for count in data.source.shape[:3])
        sample = data.source[tuple(slice(None, None, step) for step in steps)]
    # Of images as a whole, in units of the standardisation.
    spread = term.variance**0.5
    mean = spread * max(abs(float(term.lowest[0])), abs(float(term.highest[0])))
    scaling = model.standardization
    usual = float((scaling.mean.abs() + scaling.deviation * (mean + spread)).max())
    size = np.abs(sample.astype(np.float64))
    too_large = np.mean(size > max(_LEAST, _FAR * usual)) > _FRACTION
    # Of a black image with noise, the largest value is a small fraction, or not one.
    fractions = usual > _USUAL_OF_BYTES and 0.25 < sample.max() <= 1 and sample.min() >= 0
    if too_large or (fractions and (sample != np.rint(sample)).any()):
        warnings.warn(
            f"X of dtype {dtype} holds values up to {size.max():.3g}, on another scale than the "
            f"images that the detector was fitted on, with values of about {usual:.3g}. uint8 and "
            "uint16 are divided by 255 and 65535, other dtypes are taken as they are: bring X to "
            "the scale of the fit, as with X / 255 or X * 255.",
            UserWarning,
            stacklevel=4,
        )
