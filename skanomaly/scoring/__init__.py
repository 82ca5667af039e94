"""Difference maps, smoothing, image scores and thresholds."""

from ._frame_term import FrameTerm, frame_sums
from ._maps import (
    aggregate,
    difference_map,
    expected_map,
    leave_one_out,
    resize_map,
    smooth,
)
from ._surroundings import Surroundings
from ._thresholds import map_threshold, score_offset

__all__ = [
    "FrameTerm",
    "Surroundings",
    "aggregate",
    "difference_map",
    "expected_map",
    "frame_sums",
    "leave_one_out",
    "map_threshold",
    "resize_map",
    "score_offset",
    "smooth",
]
