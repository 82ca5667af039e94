"""Types of command-line arguments."""

from __future__ import annotations

import argparse
import math
import re


def image_size(text: str) -> tuple[int, int]:
    """Parse ``128`` or ``96x128`` (height, width), in pixels."""
    match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a size in pixels such as 128 or 96x128 (height x width), got {text!r}"
        )
    return size


def fraction(text: str) -> float:
    """Parse a fraction above 0 and up to one half."""
    value = _number(text)
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0 and up to 0.5 such as 0.02, got {text!r}"
        )
    return value


def score(text: str) -> float:
    """Parse a score, which is at most 0."""
    value = _number(text)
    if not -math.inf < value <= 0:
        raise argparse.ArgumentTypeError(f"expected a score, 0 or less such as -1.5, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
