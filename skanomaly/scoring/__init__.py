"""Difference maps, the steps from them to anomaly maps, image scores and thresholds."""

from ._expected_map import ExpectedMap
from ._frame_term import FrameTerm, frame_sums
from ._maps import MapStep, aggregate, difference_map, smooth
from ._surroundings import Surroundings
from ._thresholds import score_offset

# Steps between `ExpectedMap` and `FrameTerm`, in this order, if the parameters ask for them.
OPTIONAL_STEPS: tuple[type[MapStep], ...] = (Surroundings,)
# Steps that model files may hold, by name.
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
    "score_offset",
    "smooth",
]
