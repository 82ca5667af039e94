"""What the values of an array of images mean."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_pixel_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether this is uint8 or uint16, in any byte order, which tell what white is."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def integer_scale(dtype: np.dtype[Any]) -> float:
    """What white is in images of this dtype."""
    return float(np.iinfo(dtype).max) if is_pixel_dtype(dtype) else 1.0


def check_unmasked(values: Any, name: str = "X") -> None:
    """Refuse a masked array that masks anything, which NumPy would forget.

    Raises
    ------
    ValueError
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} must hold no masked values, got {np.ma.count_masked(values)} of them. Replace "
            f"them by a usual value, as with its method filled(value)."
        )
