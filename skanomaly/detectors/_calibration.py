"""Map steps and thresholds of a model, from the maps of normal images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..scoring import (
    OPTIONAL_STEPS,
    ExpectedMap,
    FrameTerm,
    MapStep,
    aggregate,
    map_threshold,
    score_offset,
)
from ._images import ValidatedInput
from ._inference import Inference, apply_step
from ._model import DetectorModel
from ._standardization import Standardization

# Images that the expected map is averaged over.
_EXPECTED_MAP_LIMIT = 1000


def calibrate(
    detector: Any,
    standardization: Standardization,
    network: torch.nn.Module,
    data: ValidatedInput,
    held_out: NDArray[np.bool_] | None,
    inference: Inference,
) -> DetectorModel:
    """Make the model of a detector.

    Takes one pass over the images that the expected map is averaged over, and one over all.

    Parameters
    ----------
    detector : estimator
        Its parameters say how maps and scores are made.
    standardization : Standardization
    network : torch.nn.Module
        Trained, in evaluation mode.
    data : ValidatedInput
        Normal images.
    held_out : ndarray of shape (n,), bool, or None
        Which of them the network was not trained on.
    inference : Inference

    Returns
    -------
    DetectorModel
    """
    aggregation = detector.score_aggregation
    model = DetectorModel(
        standardization,
        network,
        smoothing_size=int(detector.smoothing_size),
        smoothing_passes=int(detector.smoothing_passes),
        aggregation=aggregation if isinstance(aggregation, str) else float(aggregation),
    )
    expected = _expected_map(detector, model, data, held_out, inference)
    parameters = detector.get_params(deep=False)
    optional = (kind.from_parameters(parameters, data.shape) for kind in OPTIONAL_STEPS)
    steps: list[MapStep] = [expected, *(step for step in optional if step is not None)]

    # A number for contamination is a fraction of these very images, as `predict` takes them.
    shared = detector.normalize_map and not data.is_image and detector.contamination == "auto"
    shared = shared and len(data) <= _EXPECTED_MAP_LIMIT
    scores: list[float] = []
    maxima: list[float] = []
    # Numbers, not tensors: small tensors kept between large ones scatter the heap.
    frames: list[list[float]] = []
    for maps, frame in inference.difference_maps(model, data):
        maps = expected.leave_one_out(maps, len(data)) if shared else expected(maps, frame)
        for step in steps[1:]:
            maps = apply_step(step, maps, frame)
        scores.extend((-aggregate(maps, model.aggregation)).tolist())
        maxima.extend(maps.flatten(1).amax(1).tolist())
        frames.extend(frame.tolist())
    model.offset = score_offset(np.array(scores), detector.contamination, held_out)
    model.map_threshold = map_threshold(np.array(maxima), detector.contamination, held_out)
    if data.is_image:
        steps.append(
            FrameTerm.fit(
                torch.tensor(frames, dtype=torch.float64),
                # In units of the threshold, so that it flags an image of whatever map.
                weight=-model.offset or 1.0,
                brightness=not standardization.per_image,
                aggregation=model.aggregation,
            )
        )
    model.steps.extend(steps)
    return model


def _expected_map(
    detector: Any,
    model: DetectorModel,
    data: ValidatedInput,
    held_out: NDArray[np.bool_] | None,
    inference: Inference,
) -> ExpectedMap:
    if not detector.normalize_map:
        shape = (1, 1, 1) if data.is_image else (1, *data.shape)
        return ExpectedMap(expected=torch.ones(shape, dtype=torch.float64))
    # What was trained on is reconstructed better than anything new.
    if data.is_image and held_out is not None and held_out.any():
        data = data.take(np.flatnonzero(held_out))
    return ExpectedMap.fit(
        (maps.mean((2, 3), keepdim=True) if data.is_image else maps).cpu()
        for maps, _ in inference.difference_maps(model, data.subset(_EXPECTED_MAP_LIMIT))
    )
