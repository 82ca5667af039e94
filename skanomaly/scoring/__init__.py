"""Difference maps, the steps that make anomaly maps of them, image scores and thresholds."""

from ._expected_map import ExpectedMap
from ._frame_term import FrameTerm, frame_sums
from ._map_step import MapStep
from ._maps import aggregate, difference_map, smooth
from ._surroundings import Surroundings
from ._thresholds import map_threshold, score_offset

# Taken in this order between `ExpectedMap` and `FrameTerm`, by detectors whose parameters ask for it.
OPTIONAL_STEPS: tuple[type[MapStep], ...] = (Surroundings,)
# Those that files of fitted detectors may name.
MAP_STEPS: dict[str, type[MapStep]] = {
    step.__name__: step for step in (ExpectedMap, *OPTIONAL_STEPS, FrameTerm)
}

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
