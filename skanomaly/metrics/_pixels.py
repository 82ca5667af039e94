"""Masks and maps in all forms that the pixel metrics take, checked one image at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import check_unmasked

Pixels = tuple[NDArray[np.bool_], NDArray[np.float64]]

_IMAGES = "of shape (n, h, w), or a list or iterator of images"
_MISSING = object()


def iterate_pixels(masks: Any, maps: Any) -> Iterator[Pixels]:
    """Give each image's mask and map, checked, and read no further than that.

    Parameters
    ----------
    masks, maps
        As the public metrics take them; `masks` gives pairs if `maps` is None.

    Yields
    ------
    tuple (defective, values)
        ndarrays of one shape, (h, w) or (n_features,): bool, and finite float64.
    """
    half = _half(masks) if maps is not None else None
    is_known = half is not None
    index = -1
    for index, (mask, anomaly_map) in enumerate(_pairs(masks, maps)):
        mask = _check_image(mask, "masks", index)
        anomaly_map = _check_image(anomaly_map, "maps", index)
        if mask.shape != anomaly_map.shape:
            raise ValueError(
                f"Each mask must have the shape of its map. At index {index}, the mask has shape "
                f"{mask.shape} and the map has shape {anomaly_map.shape}."
            )
        if mask.dtype == bool:
            defective = mask
        else:
            if not is_known:
                half = _agree(half, mask, index)
            defective = mask > (half or 0.5)
        values = anomaly_map.astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            what = "NaN" if np.isnan(values).any() else "infinity"
            raise ValueError(
                f"Input contains {what}: 'maps' must be made of finite numbers. See index {index}."
            )
        yield defective, values
    if index < 0:
        raise ValueError("Found array with 0 sample(s) in 'masks': 1 image is required.")


def _pairs(masks: Any, maps: Any) -> Iterator[tuple[Any, Any]]:
    if maps is None:
        for index, pair in enumerate(_open(masks, "masks", "an iterable of pairs (mask, map)")):
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise ValueError(
                    "Without 'maps', 'masks' must be an iterable of tuples (mask, map). At index "
                    f"{index}, got {_describe(pair)} instead."
                )
            yield pair
        return
    images = _open(masks, "masks", _IMAGES), _open(maps, "maps", _IMAGES)
    if isinstance(masks, Sized) and isinstance(maps, Sized) and len(masks) != len(maps):
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: 'masks' has "
            f"{len(masks)} images, 'maps' has {len(maps)}."
        )
    for index, pair in enumerate(zip_longest(*images, fillvalue=_MISSING)):
        for image, name in zip(pair, ("masks", "maps"), strict=True):
            if image is _MISSING:
                raise ValueError(
                    "Found input variables with inconsistent numbers of samples: "
                    f"'{name}' has {index} images, and the other one has more."
                )
        yield pair


def _open(images: Any, name: str, expected: str) -> Iterator[Any]:
    # An array without dimensions has __iter__, and fails only when it is called.
    try:
        return iter(images)
    except TypeError:
        raise ValueError(f"'{name}' must be {expected}. Got {images!r} instead.") from None


def _check_image(image: Any, name: str, index: int) -> NDArray[Any]:
    check_unmasked(image, f"'{name}'")
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"'{name}' must be made of images of bool or real numbers. Got dtype {array.dtype} at "
            f"index {index}."
        )
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"'{name}' must have shape (n, h, w), or be a list of images of shape (h, w). "
            f"Got an image of shape {array.shape} at index {index} instead."
        )
    return array


def _half(masks: Any) -> float | None:
    """Value that defective pixels exceed, from all masks; None if they can be read only once."""
    if isinstance(masks, Iterator):
        return None
    half = 0.5
    for index, mask in enumerate(_open(masks, "masks", _IMAGES)):
        mask = _check_image(mask, "masks", index)
        if mask.dtype != bool:
            half = max(half, _own_half(mask) or half)
    return half


def _agree(half: float | None, mask: NDArray[Any], index: int) -> float | None:
    """Value that defective pixels exceed, from the masks before and this one."""
    own = _own_half(mask)
    if half is not None and own not in (None, half):
        raise ValueError(
            "'masks' must all be numbers from 0 to 1, or all from 0 to 255. At index "
            f"{index}, a mask holds values up to {mask.max()}, and one before it does not go by "
            "the same range. An iterator is read only once, so that each mask must show the "
            "range: pass bool masks."
        )
    return half or own


def _own_half(mask: NDArray[Any]) -> float | None:
    """Value that defective pixels exceed, as this mask alone tells; None if none can be."""
    lowest, highest = mask.min(), mask.max()
    if not (lowest >= 0 and highest <= 255):
        got = "NaN" if np.isnan(lowest) else f"values from {lowest} to {highest}"
        raise ValueError(
            f"'masks' must be bool, or numbers from 0 to 1 or from 0 to 255. Got {got} instead."
        )
    if highest > 1:
        return 127.5
    return 0.5 if highest > 0.5 else None


def _describe(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"an array of shape {tuple(value.shape)}"
    length = f" of length {len(value)}" if isinstance(value, tuple) else ""
    return type(value).__name__ + length
