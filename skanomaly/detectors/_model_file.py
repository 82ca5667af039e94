"""Fitted detectors in files that hold numbers and names, and no code."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._device import usual_torch_state
from .._files import expand_user
from .._tensor_file import ModelFileError, parse_json, read_tensor_file, write_tensor_file
from .._validation import Shape
from ..networks import NETWORKS, ROW_NETWORKS
from ..scoring import MAP_STEPS, ExpectedMap
from ..training import to_channels_last
from ._model import DetectorModel, Standardization
from ._network import make_network
from ._parameters import LARGEST_WINDOW, MOST_PASSES, WIDEST_FILTER, FittedAttributes

KIND = "skanomaly model"
FORMAT_VERSION = 3
# Format of a ConformalDetector. That of detectors stays, so that older releases read them.
CONFORMAL_VERSION = 4

Arrays = dict[str, NDArray[Any]]
Network = Callable[..., nn.Module] | None
Restore = Callable[[Any, Arrays, Mapping[str, type], Network], Any]

# A limit on the cost of scoring by a model from a file, far beyond useful values.
_LONGEST_SIDE = 2**17
# An untrusted model must not choose the file that training writes to.
_NOT_STORED = ("checkpoint",)


def save_detector(detector: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector; see `BaseAutoencoderDetector.save`."""
    check_is_fitted(detector, "model_")
    describe = partial(detector_data, detector)
    write_model(path, [detector], describe, restore_detector, FORMAT_VERSION)


@usual_torch_state()
def write_model(
    path: str | os.PathLike[str],
    parts: Sequence[Any],
    describe: Callable[[Arrays], dict[str, Any]],
    restore: Restore,
    version: int,
) -> None:
    """Write an estimator to a model file.

    Parameters
    ----------
    path : str or path
    parts : sequence of estimator
        Estimators that are stored, the last one a detector.
    describe : callable
        Returns the contents of the file as JSON types, and adds arrays to the dict it is given.
    restore : callable
        Inverse of `describe`; it is called to check that the file can be read.
    version : int
        Version of the format.
    """
    from .. import __version__

    path = expand_user(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
    arrays: Arrays = {}
    data = describe(arrays)
    try:
        text = json.dumps(data, allow_nan=False)
        # Restore it once, so that a file that is written can be read.
        own = parts[-1].network if callable(parts[-1].network) else None
        values = [value for part in parts for value in (part, *part.get_params().values())]
        objects = [type(value) for value in values if hasattr(value, "get_params")]
        classes = {class_name(each): each for each in objects}
        restore(parse_json(text), dict(arrays), classes, own)
    except ValueError as error:
        refused = isinstance(error, ModelFileError)
        why = str(error)
        if refused:
            why = f"the file would be rejected, because it {error}. Fit the detector again if "
            why += "parameters were changed after fit"
        raise ValueError(f"This detector cannot be stored as a model file: {why}") from error
    metadata = {
        "format": KIND,
        "format_version": str(version),
        "skanomaly_version": __version__,
        "detector": text,
    }
    try:
        write_tensor_file(path, metadata, arrays)
    except OSError as error:
        message = f"The model could not be written: {error.strerror}"
        raise OSError(error.errno, message, str(path)) from error


def class_name(cls: type) -> str:
    """Name of a class in a file; with its module if it is not from this library."""
    if cls.__module__.partition(".")[0] == "skanomaly":
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


@usual_torch_state()
def load_detector(
    path: str | os.PathLike[str],
    classes: Mapping[str, type],
    network: Network,
    restore: Restore,
) -> Any:
    """Read a fitted estimator that consists of these classes, by `class_name`."""
    path = expand_user(path)
    versions = FORMAT_VERSION, CONFORMAL_VERSION
    metadata, arrays = read_tensor_file(path, kind=KIND, versions=versions)
    try:
        return restore(parse_json(metadata["detector"]), arrays, classes, network)
    except Exception as error:  # invalid data can fail anywhere
        # The message may quote the file at any length.
        words = str(error)[:500]
        message = words if isinstance(error, ModelFileError) else f"is invalid: {words}"
        raise ModelFileError(f"'{path}' {message}.") from error


def to_data(name: str, value: Any, arrays: Arrays) -> Any:
    """Convert a parameter to JSON types, with a tag for other types."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [to_data(name, item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [to_data(name, item, arrays) for item in value]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: to_data(name, item, arrays) for key, item in value.items()}}
    if isinstance(value, np.ndarray):
        array_name = f"parameters.{len(arrays)}"
        arrays[array_name] = value
        return {"array": array_name}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if hasattr(value, "get_params") and not isinstance(value, type):
        parameters = value.get_params(deep=False).items()
        stored = {key: to_data(key, item, arrays) for key, item in parameters}
        return {"object": [class_name(type(value)), stored]}
    raise TypeError(
        f"{name}={value!r} cannot be stored as data. Set it to None or a number with "
        "set_params, or store the detector with joblib."
    )


def from_data(value: Any, arrays: Arrays, classes: Mapping[str, type]) -> Any:
    """Undo `to_data`."""
    if isinstance(value, list):
        return [from_data(item, arrays, classes) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(from_data(item, arrays, classes) for item in content)
    if tag == "dict":
        return {key: from_data(item, arrays, classes) for key, item in content.items()}
    if tag == "array":
        return arrays.pop(content)
    if tag == "device":
        _require(isinstance(content, str), "device")
        return torch.device(content)
    if tag == "object":
        name, stored = content
        require_class(name, classes)
        parameters = {key: from_data(item, arrays, classes) for key, item in stored.items()}
        return classes[name](**parameters)
    raise ModelFileError(f"holds something unknown, {tag!r}")


def parameters_data(detector: Any, arrays: Arrays) -> dict[str, Any]:
    """Class and parameters of a detector, with the repr of a callable network."""
    is_own = callable(detector.network)
    return {
        "class": class_name(type(detector)),
        "parameters": {
            name: to_data(name, value, arrays)
            for name, value in detector.get_params(deep=False).items()
            if name not in _NOT_STORED and not (name == "network" and is_own)
        },
        "network": repr(detector.network) if is_own else None,
    }


def detector_data(detector: Any, arrays: Arrays) -> dict[str, Any]:
    """Class, parameters and learned state of a detector."""
    return {**parameters_data(detector, arrays), **_learned_data(detector, arrays)}


def _learned_data(detector: Any, arrays: Arrays) -> dict[str, Any]:
    """Return fitted attributes; weights, maps and curves go into ``arrays``."""
    state = detector.__getstate__()  # with weights on the CPU
    model = state["model_"]
    if not np.isfinite([model.offset, model.map_threshold]).all():
        raise ValueError(
            "This detector cannot be stored as a model file: offset_ and map_threshold_ must be "
            f"finite, got {model.offset:g} and {model.map_threshold:g} instead."
        )
    for name, value in model.state_dict().items():
        arrays[name] = value.contiguous().numpy()
    arrays["loss_curve"] = np.array(state["loss_curve_"])
    if state["validation_curve_"]:
        arrays["validation_curve"] = np.array(state["validation_curve_"], dtype=np.float64)
    names = state.get("feature_names_in_")
    return {
        "image_shape": [int(side) for side in state["image_shape_"]],
        "n_features_in": int(state["n_features_in_"]),
        "feature_names_in": None if names is None else [str(name) for name in names],
        "model": model.config(),
        "standardization": model.standardization.config(),
        "steps": [[type(step).__name__, step.config()] for step in model.steps],
    }


def restore_parameters(
    data: Any, arrays: Arrays, classes: Mapping[str, type], network: Network
) -> Any:
    """Make an unfitted detector from untrusted data in the form of `parameters_data`."""
    require_class(data["class"], classes)
    parameters = {
        name: from_data(value, arrays, classes) for name, value in data["parameters"].items()
    }
    if any(name in parameters for name in _NOT_STORED):
        raise ModelFileError(f"sets one of {list(_NOT_STORED)}, which no model does")
    if data["network"] is not None:
        if network is None:
            raise ModelFileError(
                f"has a network of its own, {str(data['network'])[:150]}, whose code is not in the "
                "file: pass the callable that makes it as load(path, network=...)"
            )
        parameters["network"] = network
    elif network is not None:
        raise ModelFileError("has a network of this library: leave network out")
    # Unknown names are a TypeError of the constructor.
    detector = classes[data["class"]](**parameters)
    detector._validate_params()
    return detector


def restore_detector(
    data: Any, arrays: Arrays, classes: Mapping[str, type], network: Network
) -> Any:
    """Make a fitted detector from `detector_data`, trusting none of it."""
    detector = restore_parameters(data, arrays, classes, network)
    shape = tuple(data["image_shape"])
    _require(
        len(shape) in (1, 3) and all(type(side) is int and side > 0 for side in shape), "shape"
    )
    _require(len(shape) == 1 or max(shape[:2]) <= _LONGEST_SIDE, "image_shape")
    losses = arrays.pop("loss_curve").tolist()
    curve = arrays.pop("validation_curve", np.empty((0, 2))).tolist()
    learned: FittedAttributes = {
        "model_": _restore_model(detector, data, shape, arrays),
        "image_shape_": shape,
        "loss_curve_": losses,
        "validation_curve_": [(int(step), loss) for step, loss in curve],
        "n_iter_": len(losses),
        "n_features_in_": math.prod(shape),
    }
    _require(data["n_features_in"] == learned["n_features_in_"], "n_features_in")
    names = data["feature_names_in"]
    if names is not None:
        _require(len(names) == math.prod(shape), "feature_names_in")
        _require(all(isinstance(name, str) for name in names), "feature_names_in")
        learned["feature_names_in_"] = np.array(names, dtype=object)
    # As in unpickling, moves the network to the device of the parameters, or else to the CPU.
    detector.__setstate__(learned)
    return detector


def _restore_model(detector: Any, data: Any, shape: Shape, arrays: Arrays) -> DetectorModel:
    """Make the model; its size is limited by that of the arrays in the file."""
    is_image = len(shape) == 3
    for name, array in arrays.items():
        # Limits of a step may be infinite, weights may not.
        is_right = ~np.isnan(array) if name.startswith("steps.") else np.isfinite(array)
        _require(bool(is_right.all()), f"array {name!r}, with NaN or infinity,")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    settings: dict[str, Any] = _numbers(data["standardization"])
    standardization = Standardization(**settings, **take(tensors, "standardization."))
    contrast_size = standardization.contrast_size
    scaling = standardization.mean, standardization.deviation
    _require(all(_is_float64(value, shape[-1:]) for value in scaling), "standardization")
    _require(type(standardization.per_image) is bool, "standardization")
    _require_numbers(standardization, "contrast_mean", "contrast_deviation")
    _require(contrast_size is None or (is_image and type(contrast_size) is int), "contrast_size")
    _require(0 < (contrast_size or 1) <= WIDEST_FILTER, "contrast_size")
    steps = [
        MAP_STEPS[name].restore(_numbers(config), take(tensors, f"steps.{number}."))
        for number, (name, config) in enumerate(data["steps"])
    ]
    first = steps[0]
    if not isinstance(first, ExpectedMap) or not (is_image or len(steps) == 1):
        raise ModelFileError("is damaged: its steps are invalid")
    expected = first.expected
    _require(len(expected) in (1, 2), "expected map")
    _require(_is_float64(expected, (len(expected), *((1, 1) if is_image else shape))), "map")
    channels = shape[-1] + (contrast_size is not None)
    read_by_network = (*shape[:2], channels) if is_image else shape
    network = _restore_network(detector, read_by_network, take(tensors, "network."))
    _require(not tensors, "content")
    settings = dict(data["model"])
    # Files of earlier versions have no window.
    window = settings.pop("window", None)
    _require(window is None or (is_image and _is_size(window)), "window")
    model = DetectorModel(standardization, network, steps, window=window, **_numbers(settings))
    _require_numbers(model, "smoothing_size", "smoothing_passes", "offset", "map_threshold")
    _require(0 < model.smoothing_size <= WIDEST_FILTER, "smoothing_size")
    _require(0 <= model.smoothing_passes <= MOST_PASSES, "smoothing_passes")
    aggregation = model.aggregation
    is_fraction = type(aggregation) is float and 0 < aggregation <= 1
    _require(aggregation in ("max", "mean") or is_fraction, "aggregation")
    for step in steps:
        _require(getattr(step, "size", 1) <= min(*shape[:2], WIDEST_FILTER) + 1, "steps")
        _require(getattr(step, "aggregation", aggregation) == aggregation, "aggregation")
        _require(all(value.dtype == torch.float64 for value in step.buffers()), "steps")
    return model


def take(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Remove and return the tensors or arrays of one part."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _numbers(config: Any) -> dict[str, Any]:
    """Check that settings are numbers, strings and None."""
    accepted = (int, float, bool, str, type(None))
    _require(isinstance(config, dict), "model")
    _require(all(type(value) in accepted for value in config.values()), "model")
    return config


def _is_size(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 2
        and all(type(side) is int and 0 < side <= LARGEST_WINDOW for side in value)
    )


def _is_float64(tensor: Tensor, shape: Shape) -> bool:
    return tensor.dtype == torch.float64 and tuple(tensor.shape) == tuple(shape)


def _restore_network(detector: Any, shape: Shape, weights: dict[str, Tensor]) -> nn.Module:
    """Make the network and load its weights."""
    is_image = len(shape) == 3
    if callable(detector.network):
        network = make_network(detector.network, shape, 0)
    else:
        automatic = detector.network == "auto"
        name = detector._auto_network(is_image) if automatic else detector.network
        _require((name in ROW_NETWORKS) != is_image, "network")
        # Takes no memory before the weights of the file are known to fit.
        with torch.device("meta"):
            network = NETWORKS[name](shape if is_image else shape[0]).float()
    own = network.state_dict()
    if {n: (v.shape, v.dtype) for n, v in own.items()} != {
        n: (v.shape, v.dtype) for n, v in weights.items()
    }:
        raise ModelFileError("holds weights that do not fit its network")
    network.load_state_dict(weights, assign=True)
    network = network.eval()
    return to_channels_last(network) if is_image else network


def require_class(name: Any, classes: Mapping[str, type]) -> None:
    if not isinstance(name, str) or name not in classes:
        raise ModelFileError(
            f"holds an object of an unknown class, {str(name)[:150]!r}: if you trust that class, "
            "pass it as load(path, classes=[...])"
        )


def _require_numbers(module: nn.Module, *names: str) -> None:
    for name in names:
        _require(type(getattr(module, name)) in (int, float), name)


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise ModelFileError(f"is damaged: its {name} is invalid")
