"""Masks and maps in all forms that the pixel metrics accept, checked image by image."""

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
    """Yield the mask and the map of each image, checked; read no further than that.

    Parameters
    ----------
    masks, maps
        As in the public metrics; `masks` yields pairs if `maps` is None.

    Yields
    ------
    tuple (defective, values)
        ndarrays of one shape, (h, w) or (n_features,): bool, and finite float64.
    """
    half = None if maps is None else _half(masks)
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
        if mask.dtype != bool:
            if not is_known:
                half = _agree(half, mask, index)
            mask = mask > (half or 0.5)
        values = anomaly_map.astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            what = "NaN" if np.isnan(values).any() else "infinity"
            raise ValueError(
                f"Input contains {what}: 'maps' must hold finite numbers. See index {index}."
            )
        yield mask, values
    if index < 0:
        raise ValueError("Found array with 0 sample(s) in 'masks': 1 image is required.")


def _pairs(masks: Any, maps: Any) -> Iterator[tuple[Any, Any]]:
    if maps is None:
        for index, pair in enumerate(_open(masks, "masks", "an iterable of pairs (mask, map)")):
            if not (isinstance(pair, tuple) and len(pair) == 2):
                got = type(pair).__name__
                if isinstance(pair, np.ndarray):
                    got += f" of shape {pair.shape}"
                elif isinstance(pair, tuple):
                    got += f" of length {len(pair)}"
                raise ValueError(
                    "Without 'maps', 'masks' must be an iterable of tuples (mask, map). At index "
                    f"{index}, got {got} instead."
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
    # A 0-dimensional array has __iter__, which fails only when it is called.
    try:
        return iter(images)
    except TypeError:
        raise ValueError(f"'{name}' must be {expected}. Got {images!r} instead.") from None


def _check_image(image: Any, name: str, index: int) -> NDArray[Any]:
    check_unmasked(image, f"'{name}'")
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"'{name}' must hold images of bool or real numbers. Got dtype {array.dtype} at index "
            f"{index} instead."
        )
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"'{name}' must have shape (n, h, w), or be a list of images of shape (h, w). Got an "
            f"image of shape {array.shape} at index {index} instead."
        )
    return array


def _half(masks: Any) -> float | None:
    """Return the value that defective pixels exceed in all masks; None for an iterator."""
    if isinstance(masks, Iterator):
        return None
    half = 0.5
    for index, mask in enumerate(_open(masks, "masks", _IMAGES)):
        mask = _check_image(mask, "masks", index)
        if mask.dtype != bool:
            half = max(half, _own_half(mask) or half)
    return half


def _agree(half: float | None, mask: NDArray[Any], index: int) -> float | None:
    """Return the value that defective pixels exceed, from this mask and the earlier ones."""
    own = _own_half(mask)
    if half is not None and own not in (None, half):
        raise ValueError(
            f"'masks' must all be numbers from 0 to 1, or all from 0 to 255. At index {index}, a "
            f"mask holds values up to {mask.max()}, and an earlier one has the other range. An "
            "iterator is read only once, so that each mask must show its range. Pass bool masks."
        )
    return half or own


def _own_half(mask: NDArray[Any]) -> float | None:
    """Return the value that defective pixels exceed, if this mask alone shows its range."""
    lowest, highest = mask.min(), mask.max()
    if not (lowest >= 0 and highest <= 255):
        got = "NaN" if np.isnan(lowest) else f"values from {lowest} to {highest}"
        raise ValueError(
            f"'masks' must be bool, or numbers from 0 to 1 or from 0 to 255. Got {got} instead."
        )
    if highest > 1:
        return 127.5
    return 0.5 if highest > 0.5 else None
