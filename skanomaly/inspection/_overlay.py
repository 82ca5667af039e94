"""An image with its anomaly map overlaid, as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from .._arrays import check_unmasked

# From dark violet to pale yellow: the upper four fifths of matplotlib's "inferno" (CC0).
_COLORS = np.array(
    [[59, 101, 143, 183, 219, 243, 252, 246, 252]]
    + [[15, 21, 36, 55, 80, 120, 165, 215, 255]]
    + [[112, 110, 105, 84, 59, 25, 10, 70, 164]],
    dtype=np.float64,
).T
_OUTLINE_COLOR = (0, 255, 255)
_OPACITY = (0.35, 0.6)
# The outline gets one pixel wider for every so many pixels of the longer side.
_WIDER_OUTLINE = 512


def overlay_anomaly_map(
    image: ArrayLike, anomaly_map: ArrayLike, threshold: float, *, saturation: float = 8.0
) -> NDArray[np.uint8]:
    """Overlay an anomaly map on its image.

    Pixels with a map value of at most `threshold` are unchanged. Others are coloured by the
    logarithm of the map, from dark violet at `threshold` to pale yellow at `saturation` times the
    threshold and above, and surrounded by a cyan outline. Overlays with the same threshold are
    comparable.

    Parameters
    ----------
    image : array-like of shape (h, w), (h, w, 1) or (h, w, 3)
        Grey or RGB. uint8 is shown as it is; other dtypes are scaled from minimum to maximum.
    anomaly_map : array-like of shape (map_h, map_w)
        Higher is more anomalous. It is brought to the size of the image, enlarged by linear
        interpolation or reduced by the maximum, so that small defects stay visible.
    threshold : float
        Map value above which pixels are coloured, above 0; usually ``map_threshold_``.
    saturation : float, default=8.0
        Multiple of `threshold` at the end of the colour scale, above 1.

    Returns
    -------
    ndarray of shape (h, w, 3), dtype uint8
        RGB.

    Raises
    ------
    ValueError
        If a shape or number is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.inspection import overlay_anomaly_map
    >>> image = np.full((6, 8), 100, dtype=np.uint8)
    >>> anomaly_map = np.zeros((3, 4))
    >>> anomaly_map[1, 2] = 5.0
    >>> overlay = overlay_anomaly_map(image, anomaly_map, threshold=1.0)
    >>> overlay.shape, overlay[0, 0].tolist()
    ((6, 8, 3), [100, 100, 100])
    """
    check_unmasked(image, "'image'")
    check_unmasked(anomaly_map, "'anomaly_map'")
    pixels = to_rgb(np.asarray(image))
    values = np.asarray(anomaly_map, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"'anomaly_map' must have shape (h, w). Got shape {values.shape} instead.")
    if not threshold > 0:
        raise ValueError(f"'threshold' must be above 0. Got {threshold!r} instead.")
    if not saturation > 1:
        raise ValueError(f"'saturation' must be above 1. Got {saturation!r} instead.")
    values = resize_map(values, pixels.shape[:2])
    mask = values > threshold
    if not mask.any():
        return pixels

    fraction = np.zeros(values.shape)
    fraction[mask] = np.clip(np.log(values[mask] / threshold) / np.log(saturation), 0, 1)
    opacity = (_OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * fraction[mask])[:, np.newaxis]
    stops = np.linspace(0, 1, len(_COLORS))
    colors = np.column_stack([np.interp(fraction[mask], stops, channel) for channel in _COLORS.T])
    result = pixels.copy()
    result[mask] = np.rint((1 - opacity) * pixels[mask] + opacity * colors)

    outline = find_boundaries(mask, mode="outer")
    wider = max(pixels.shape[:2]) // _WIDER_OUTLINE
    if wider:
        outline = ndimage.binary_dilation(outline, iterations=wider)
    result[outline] = _OUTLINE_COLOR
    return result


def resize_map(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Enlarge a map (h, w) by linear interpolation or reduce it by the maximum, axis by axis."""
    for axis, length in enumerate(shape):
        if values.shape[axis] > length:
            starts = np.arange(length) * values.shape[axis] // length
            values = np.maximum.reduceat(values, starts, axis=axis)
    if values.shape != shape:
        values = resize(values, shape, order=1, mode="edge", anti_aliasing=False)
    return values


def to_rgb(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return an image as uint8 (h, w, 3)."""
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(
            f"'image' must have shape (h, w), (h, w, 1) or (h, w, 3). Got {image.shape} instead."
        )
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        lowest, highest = values.min(), values.max()
        scale = 255 / (highest - lowest) if highest > lowest else 0.0
        image = np.rint((values - lowest) * scale).astype(np.uint8)
    return np.array(np.broadcast_to(image, (*image.shape[:2], 3)), dtype=np.uint8)
