"""Difference maps, the steps that make anomaly maps of them, image scores and thresholds."""

from ._expected_map import ExpectedMap
from ._frame_term import FrameTerm, frame_sums
from ._map_step import MapStep
from ._maps import aggregate, difference_map, smooth
from ._surroundings import Surroundings
from ._thresholds import map_threshold, score_offset

# Taken between `ExpectedMap` and `FrameTerm`, in this order, by detectors whose parameters ask for
# them.
OPTIONAL_STEPS: tuple[type[MapStep], ...] = (Surroundings,)
# Those that files of fitted detectors may name.
_STEPS: tuple[type[MapStep], ...] = (ExpectedMap, *OPTIONAL_STEPS, FrameTerm)
MAP_STEPS = {step.__name__: step for step in _STEPS}

__all__ = [
    "MAP_STEPS",
    "OPTIONAL_STEPS",
    "ExpectedMap",
    "FrameTerm",
    "MapStep",
    "Surroundings",
    "aggregate",
    "difference_map",
    "frame_sums",
    "map_threshold",
    "score_offset",
    "smooth",
]
