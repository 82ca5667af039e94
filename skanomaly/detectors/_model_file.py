"""A fitted detector in a file that holds numbers and names, and no code."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .._tensor_file import ModelFileError, parse_json, read_tensor_file, write_tensor_file
from ..corruption import PatchCorruption
from ..networks import NETWORKS, ROW_NETWORKS
from ..scoring import FrameTerm, Surroundings
from ..training import to_channels_last
from ._images import Shape
from ._network import make_network
from ._standardization import Standardization

KIND = "skanomaly model"
FORMAT_VERSION = 2

Arrays = dict[str, NDArray[Any]]

# What a file may ask for in scoring, whatever it says; far beyond what is of use.
_MOST_PASSES = 1000
_WIDEST_FILTER = 2**14 + 1
_LONGEST_SIDE = 2**17
# Belongs to a machine: a model of a stranger is not to choose where training writes to.
_NOT_STORED = ("checkpoint",)


def save_detector(detector: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector; `BaseAutoencoderDetector.save` says what of it."""
    from .. import __version__

    check_is_fitted(detector, "network_")
    if not type(detector).__module__.startswith("skanomaly.detectors."):
        raise TypeError(
            f"{type(detector).__name__} is no class of this library, and its code cannot be "
            "stored as data. Store it with joblib instead."
        )
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
    arrays: Arrays = {}
    data = {
        "class": type(detector).__name__,
        "parameters": {
            name: _to_data(name, value, arrays)
            for name, value in detector.get_params(deep=False).items()
            if name not in _NOT_STORED and not (name == "network" and callable(value))
        },
        **_learned_data(detector, arrays),
    }
    try:
        text = json.dumps(data, allow_nan=False)
        # What is written can be read: better an error now than on the day that it is needed.
        own = detector.network if callable(detector.network) else None
        _restore(parse_json(text), dict(arrays), {data["class"]: type(detector)}, own)
    except ValueError as error:
        raise ValueError(f"This detector cannot be stored as a model file: {error}") from error
    metadata = {
        "format": KIND,
        "format_version": str(FORMAT_VERSION),
        "skanomaly_version": __version__,
        "detector": text,
    }
    try:
        write_tensor_file(path, metadata, arrays)
    except OSError as error:
        message = f"The model could not be written: {error.strerror}"
        raise OSError(error.errno, message, str(path)) from error


def load_detector(
    path: str | os.PathLike[str],
    classes: Mapping[str, type],
    network: Callable[..., nn.Module] | None = None,
) -> Any:
    """Read a fitted detector of one of these classes."""
    path = Path(path)
    metadata, arrays = read_tensor_file(path, kind=KIND, version=FORMAT_VERSION)
    try:
        return _restore(parse_json(metadata["detector"]), arrays, classes, network)
    except Exception as error:  # What makes no sense can go wrong anywhere.
        # Its words may quote what the file holds, at any length.
        words = str(error)[:500]
        message = words if isinstance(error, ModelFileError) else f"makes no sense: {words}"
        raise ModelFileError(f"'{path}' {message}.") from error


def _to_data(name: str, value: Any, arrays: Arrays) -> Any:
    """Turn a parameter into what JSON knows, with a tag where it does not."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_to_data(name, item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_to_data(name, item, arrays) for item in value]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _to_data(name, item, arrays) for key, item in value.items()}}
    if isinstance(value, np.ndarray):
        array_name = f"parameters.{len(arrays)}"
        arrays[array_name] = value
        return {"array": array_name}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if type(value) is PatchCorruption:
        parameters = value.get_params(deep=False).items()
        return {"corruption": {key: _to_data(key, item, arrays) for key, item in parameters}}
    raise TypeError(
        f"{name}={value!r} cannot be stored as data. Set it to something that can be, such as None "
        "or a number, by set_params, or store the detector with joblib."
    )


def _from_data(value: Any, arrays: Arrays) -> Any:
    """Undo `_to_data`."""
    if isinstance(value, list):
        return [_from_data(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(_from_data(item, arrays) for item in content)
    if tag == "dict":
        return {key: _from_data(item, arrays) for key, item in content.items()}
    if tag == "array":
        return arrays.pop(content)
    if tag == "device":
        return torch.device(content)
    if tag == "corruption":
        return PatchCorruption(**{key: _from_data(item, arrays) for key, item in content.items()})
    raise ModelFileError(f"holds something unknown, {tag!r}")


def _learned_data(detector: Any, arrays: Arrays) -> dict[str, Any]:
    """What `fit` has learned: numbers as they are, weights and maps into ``arrays``."""
    state = detector.__getstate__()  # Its weights are on the CPU.
    scaling, surroundings = state["_standardization"], state["_surroundings"]
    for name, value in state["network_"].state_dict().items():
        arrays[f"network.{name}"] = value.contiguous().numpy()
    arrays["expected_map"] = state["expected_map_"]
    arrays["mean"], arrays["deviation"] = scaling.mean.numpy(), scaling.deviation.numpy()
    arrays["loss_curve"] = np.array(state["loss_curve_"])
    frame = state["_frame_term"]
    if frame is not None:
        arrays["frame_range"] = torch.stack([frame.lowest, frame.highest, frame.margin]).numpy()
    if state["validation_curve_"]:
        arrays["validation_curve"] = np.array(state["validation_curve_"], dtype=np.float64)
    names = state.get("feature_names_in_")
    return {
        "network": repr(detector.network) if callable(detector.network) else None,
        "image_shape": list(state["image_shape_"]),
        "n_features_in": int(state["n_features_in_"]),
        "feature_names_in": None if names is None else [str(name) for name in names],
        "offset": float(state["offset_"]),
        "map_threshold": float(state["map_threshold_"]),
        "per_image": scaling.per_image,
        "contrast_size": scaling.contrast_size,
        "contrast": [float(scaling.contrast_mean), float(scaling.contrast_deviation)],
        "surroundings": None if surroundings is None else surroundings.size,
        "frame_term": None if frame is None else [frame.variance, frame.count, frame.weight],
    }


def _restore(
    data: Any,
    arrays: Arrays,
    classes: Mapping[str, type],
    network: Callable[..., nn.Module] | None,
) -> Any:
    """Make a detector of what `save_detector` stored, trusting none of it."""
    if data["class"] not in classes:
        raise ModelFileError(f"holds a detector of an unknown class, {str(data['class'])[:150]!r}")
    parameters = {name: _from_data(value, arrays) for name, value in data["parameters"].items()}
    if any(name in parameters for name in _NOT_STORED):
        raise ModelFileError(f"sets one of {list(_NOT_STORED)}, which no model does")
    if data["network"] is not None:
        if network is None:
            raise ModelFileError(
                f"has a network of its own, {str(data['network'])[:150]}, whose code is not in the "
                "file: give what makes it as load(path, network=...)"
            )
        parameters["network"] = network
    elif network is not None:
        raise ModelFileError("has a network of this library: leave network out")
    # Named parameters of a constructor that does no work: others are a TypeError.
    detector = classes[data["class"]](**parameters)
    detector._validate_params()
    _require(detector.smoothing_passes <= _MOST_PASSES, "smoothing_passes")
    _require(detector.smoothing_size <= _WIDEST_FILTER, "smoothing_size")

    shape = tuple(data["image_shape"])
    _require(
        len(shape) in (1, 3) and all(type(side) is int and side > 0 for side in shape), "shape"
    )
    is_image = len(shape) == 3
    if is_image:
        _require(max(shape[:2]) <= _LONGEST_SIDE, "image_shape")
    # Vectors and channels are no more than arrays in the file: nothing can be asked to be huge.
    maps, mean, deviation = (arrays.pop(name) for name in ("expected_map", "mean", "deviation"))
    places = shape[:2] if is_image else shape
    _require(maps.dtype == np.float64, "expected_map")
    _require(maps.shape[1:] == ((1, 1) if is_image else shape), "expected_map")
    _require(maps.shape[0] in (1, 2), "expected_map")
    _require(mean.dtype == deviation.dtype == np.float64, "mean")
    _require(mean.shape == deviation.shape == shape[-1:], "mean")
    contrast_size = data["contrast_size"]
    _require(contrast_size == (detector.contrast_size if is_image else None), "contrast_size")
    _require((contrast_size or 0) <= _WIDEST_FILTER, "contrast_size")
    scaling = Standardization(
        torch.from_numpy(mean),
        torch.from_numpy(deviation),
        data["per_image"] is True,
        contrast_size,
        *(_number(value) for value in data["contrast"]),
    )
    surroundings = None
    if data["surroundings"] is not None:
        size = data["surroundings"]
        _require(is_image and type(size) is int and size % 2 == 1, "surroundings")
        _require(0 < size <= min(min(places) + 1, _WIDEST_FILTER), "surroundings")
        surroundings = Surroundings(size)
    frame_term = None
    _require((data["frame_term"] is not None) == is_image, "frame_term")
    if is_image:
        variance, count, weight = (_number(value) for value in data["frame_term"])
        limits = arrays.pop("frame_range")
        _require(limits.dtype == np.float64 and limits.shape == (3, 3), "frame_range")
        # A statistic that does not count has an infinite margin.
        _require(bool(np.isfinite(limits[:2]).all() and (limits[2] > 0).all()), "frame_range")
        _require(variance > 0 and count > 0, "frame_term")
        lowest, highest, margin = torch.from_numpy(limits)
        frame_term = FrameTerm(variance, count, lowest, highest, margin, weight)

    losses = arrays.pop("loss_curve").tolist()
    curve = arrays.pop("validation_curve", np.empty((0, 2))).tolist()
    read_by_network = (*places, shape[-1] + (contrast_size is not None)) if is_image else shape
    learned = {
        "network_": _restore_network(detector, read_by_network, arrays),
        "image_shape_": shape,
        "loss_curve_": losses,
        "validation_curve_": [(int(step), loss) for step, loss in curve],
        "n_iter_": len(losses),
        "expected_map_": maps,
        "n_features_in_": math.prod(shape),
        "offset_": _number(data["offset"]),
        "map_threshold_": _number(data["map_threshold"]),
        "_standardization": scaling,
        "_surroundings": surroundings,
        "_frame_term": frame_term,
    }
    _require(data["n_features_in"] == learned["n_features_in_"], "n_features_in")
    names = data["feature_names_in"]
    if names is not None:
        _require(len(names) == math.prod(shape), "feature_names_in")
        _require(all(isinstance(name, str) for name in names), "feature_names_in")
        learned["feature_names_in_"] = np.array(names, dtype=object)
    # As unpickling does: onto the device that the parameters ask for, or the CPU.
    detector.__setstate__(learned)
    return detector


def _restore_network(detector: Any, shape: Shape, arrays: Arrays) -> nn.Module:
    """Make the network, and put in the weights, which are all that is left of ``arrays``."""
    is_image = len(shape) == 3
    if callable(detector.network):
        network = make_network(detector.network, shape, 0)
    else:
        automatic = detector.network == "auto"
        name = detector._auto_network(is_image) if automatic else detector.network
        _require((name in ROW_NETWORKS) != is_image, "network")
        # Takes no memory before the weights of the file have turned out to fit.
        with torch.device("meta"):
            network = NETWORKS[name](shape if is_image else shape[0])
    weights = {name: torch.from_numpy(array).clone() for name, array in arrays.items()}
    own = {f"network.{name}": value for name, value in network.state_dict().items()}
    if {n: (v.shape, v.dtype) for n, v in own.items()} != {
        n: (v.shape, v.dtype) for n, v in weights.items()
    }:
        raise ModelFileError("holds weights that do not fit its network")
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in weights.items()}, assign=True
    )
    network = network.eval()
    return to_channels_last(network) if is_image else network


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise ModelFileError(f"is damaged: its {name} makes no sense")


def _number(value: Any) -> float:
    _require(type(value) in (int, float), "number")
    return float(value)
