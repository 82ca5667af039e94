"""A fitted ConformalDetector in a model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from .._tensor_file import ModelFileError
from ..detectors._base import BaseAutoencoderDetector
from ..detectors._model_file import (
    CONFORMAL_VERSION,
    Arrays,
    Network,
    class_name,
    detector_data,
    from_data,
    parameters_data,
    require_class,
    restore_detector,
    restore_parameters,
    take,
    to_data,
    write_model,
)
from ._calibration import Calibration


def save_conformal(conformal: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted ConformalDetector; its method `save` documents it."""
    check_is_fitted(conformal)
    inner = [unfrozen(each) for each in (conformal.detector, *conformal.detectors_)]
    for each in inner:
        if not isinstance(each, BaseAutoencoderDetector):
            raise TypeError(
                "A model file holds a ConformalDetector around a SelfSupervisedAutoencoderDetector,"
                f" DenoisingAE or ContractiveAE, got one around {type(each).__name__} instead. "
                "Store it with pickle, joblib or skops."
            )
    describe = partial(_conformal_data, conformal, inner)
    write_model(path, [conformal, *inner], describe, restore_conformal, CONFORMAL_VERSION)


def unfrozen(detector: Any) -> Any:
    """Take a fitted detector out of a FrozenEstimator."""
    return detector.estimator if isinstance(detector, FrozenEstimator) else detector


def _conformal_data(conformal: Any, inner: list[Any], arrays: Arrays) -> dict[str, Any]:
    parameters = conformal.get_params(deep=False)
    is_frozen = isinstance(parameters.pop("detector"), FrozenEstimator)
    data = {
        "class": class_name(type(conformal)),
        "parameters": {name: to_data(name, each, arrays) for name, each in parameters.items()},
        # A frozen detector is the fitted one.
        "detector": None if is_frozen else parameters_data(inner[0], arrays),
        "rank": conformal._score_threshold.rank,
        "detectors": [],
    }
    for number, detector in enumerate(inner[1:]):
        own: Arrays = {}
        data["detectors"].append(detector_data(detector, own))
        own["calibration.indices"] = conformal.calibration_indices_[number].astype(np.int64)
        own["calibration.scores"] = conformal.calibration_scores_[number]
        own["calibration.map_maxima"] = -conformal._map_threshold.calibration[number]
        arrays.update({f"{number}.{name}": array for name, array in own.items()})
    return data


def restore_conformal(
    data: Any, arrays: Arrays, classes: Mapping[str, type], network: Network
) -> Any:
    """Make a ConformalDetector from the content of a file, trusting none of it."""
    require_class(data["class"], classes)
    calibrations = []
    for number, each in enumerate(data["detectors"]):
        own = take(arrays, f"{number}.")
        values = take(own, "calibration.")
        detector = restore_detector(each, own, classes, network)
        calibrations.append(Calibration(detector, **values))
    stored = data["parameters"].items()
    parameters = {name: from_data(value, arrays, classes) for name, value in stored}
    if data["detector"] is not None:
        detector = restore_parameters(data["detector"], arrays, classes, network)
    else:
        (only,) = calibrations
        detector = FrozenEstimator(only.detector)
        calibrations = [only._replace(detector=detector)]
    _check(calibrations, data["rank"])
    if arrays:
        raise ModelFileError("is damaged: it has unused arrays")
    conformal = classes[data["class"]](detector, **parameters)
    conformal._validate_params()
    conformal._set_thresholds(calibrations, data["rank"])
    return conformal


def _check(calibrations: list[Any], rank: Any) -> None:
    """Refuse calibration values that no fit gives."""
    kinds = {(type(each), each.image_shape_) for each in (unfrozen(c[0]) for c in calibrations)}
    is_right = len(kinds) == 1 and type(rank) is int
    for _, indices, scores, maxima in calibrations:
        shapes = {indices.shape, scores.shape, maxima.shape}
        is_right &= shapes == {(len(scores),)} and indices.dtype == np.int64
        is_right &= scores.dtype == maxima.dtype == np.float64
        is_right &= bool(np.isfinite(scores).all() and np.isfinite(maxima).all())
    if not is_right or not 0 <= rank <= sum(len(each.scores) for each in calibrations):
        raise ModelFileError("is damaged: its calibration values are invalid")
