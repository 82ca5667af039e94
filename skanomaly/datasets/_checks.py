"""Checks of parameters, with errors in the form of scikit-learn's."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np


def check_number(
    value: Any,
    name: str,
    kind: type[int] | type[float],
    lowest: float,
    highest: float = math.inf,
    reason: str = "",
) -> None:
    """Check a number and its range.

    Raises
    ------
    TypeError
        If it is a bool, or not an int or a float, as `kind` says.
    ValueError
        If it is NaN, infinite, or not from `lowest` to `highest`. `reason` says where this limit
        comes from.
    """
    what = f"The '{name}' parameter must be {'an int' if kind is int else 'a float'}"
    expected: Any = numbers.Integral if kind is int else numbers.Real
    if not isinstance(value, expected) or isinstance(value, bool):
        raise TypeError(f"{what}. Got {value!r} instead.")
    if not (lowest <= value <= highest and math.isfinite(value)):
        limits = f">= {lowest}" if math.isinf(highest) else f"from {lowest} to {highest}{reason}"
        raise ValueError(f"{what} {limits}. Got {value!r} instead.")


def check_choice(value: Any, name: str, choices: Collection[str]) -> None:
    """Raise ValueError if `value` is not one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"The '{name}' parameter must be a str among {set(choices)}. Got {value!r} instead."
        )


def check_size(size: Any) -> tuple[int, int] | None:
    """Return `size` as (height, width), or None.

    Raises
    ------
    TypeError
        If `size` is not None, an integer or a pair of integers.
    ValueError
        If a side is smaller than one pixel, or not below 2**31.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, numbers.Integral) else size
    if (
        isinstance(size, bool)
        or not isinstance(sides, (tuple, list, np.ndarray))
        or len(sides) != 2
        or not all(isinstance(side, numbers.Integral) for side in sides)
    ):
        raise TypeError(
            "The 'size' parameter must be None, an int or a tuple (height, width) of ints. "
            f"Got {size!r} instead."
        )
    if min(sides) < 1:
        raise ValueError(f"The sides in 'size' must be 1 pixel or more. Got {size!r} instead.")
    if max(sides) >= 2**31:
        raise ValueError(f"The sides in 'size' must be below 2**31 pixels. Got {size!r} instead.")
    return int(sides[0]), int(sides[1])
