"""Detectors by name, what a table calls them, and what tells one from another."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import joblib
from sklearn.base import clone

from .. import detectors as own_detectors

_METHODS = ("fit", "score_samples", "get_params", "set_params")
_LONGEST_VALUE = 40


def make_detector(name: str, parameters: Mapping[str, Any]) -> Any:
    """Make a detector by its name.

    Parameters
    ----------
    name : str
        That of a detector of skanomaly, or the import path of a class, which is made without
        arguments, or of an estimator, which is cloned.
    parameters : mapping of str to object
        Passed to `set_params`.

    Raises
    ------
    ValueError
        If there is nothing of that name, or a parameter is unknown or has no valid value.
    TypeError
        If it has not the methods of a detector.
    """
    found = _find(name)
    try:
        detector = found() if isinstance(found, type) else clone(found)
    except TypeError as error:
        raise TypeError(f"No detector can be made of '{name}': {error}") from error
    _check_methods(detector, f"'{name}'")
    detector.set_params(**parameters)
    check_detector(detector)
    return detector


def _find(name: str) -> Any:
    """Import a class or an object."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        names = [each for each in own_detectors.__all__ if each != "load"]
        if name not in names:
            raise ValueError(
                f"A detector must be one of {', '.join(names)}, or an import path "
                f"such as sklearn.ensemble.IsolationForest. Got {name!r} instead."
            )
        return getattr(own_detectors, name)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"The detector '{name}' cannot be imported: {error}.") from error
    if not hasattr(module, attribute):
        raise ValueError(
            f"The detector '{name}' cannot be imported: '{module_name}' has no '{attribute}'."
        )
    return getattr(module, attribute)


def check_detector(detector: Any) -> None:
    """Raise TypeError if this is not a detector, ValueError if a parameter has no valid value."""
    _check_methods(detector, repr(detector))
    # `fit` would complain as well, but in each run, and hours later.
    if hasattr(detector, "_parameter_constraints"):
        detector._validate_params()


def _check_methods(detector: Any, name: str) -> None:
    missing = [method for method in _METHODS if not hasattr(detector, method)]
    if missing or isinstance(detector, type):
        lack = f"lacks {', '.join(missing)}" if missing else "is a class and not an object"
        raise TypeError(f"A detector must have {', '.join(_METHODS)}. Got {name}, which {lack}.")


def has_parameter(detector: Any, name: str) -> bool:
    """Whether a detector has a parameter, or the object that ``object__name`` speaks of."""
    return name.partition("__")[0] in detector.get_params(deep=False)


def label_detectors(detectors: Any) -> dict[str, Any]:
    """Give each detector a name; the same one twice counts once.

    Parameters
    ----------
    detectors : estimator, iterable of estimator, or mapping of str to estimator
        A mapping says the names itself.
    """
    if isinstance(detectors, Mapping):
        for detector in detectors.values():
            check_detector(detector)
        return {str(label): detector for label, detector in detectors.items()}
    labelled: dict[str, Any] = {}
    known = set()
    # An ensemble is iterable too.
    single = hasattr(detectors, "get_params") or not isinstance(detectors, Iterable)
    for detector in [detectors] if single else detectors:
        check_detector(detector)
        if (description := describe(detector)) in known:
            continue
        known.add(description)
        label = plain = detector_label(detector)
        count = 1
        while label in labelled:
            count += 1
            label = f"{plain} #{count}"
        labelled[label] = detector
    return labelled


def detector_label(detector: Any) -> str:
    """Name the class and the parameters that are not at their default, in a line."""
    return _label(detector, skip=("random_state",))


def _label(value: Any, skip: tuple[str, ...] = ()) -> str:
    if hasattr(value, "get_params") and not isinstance(value, type):
        defaults = inspect.signature(type(value)).parameters
        changed = {
            name: parameter
            for name, parameter in value.get_params(deep=False).items()
            if name not in skip
            and (name not in defaults or describe(parameter) != describe(defaults[name].default))
        }
        return type(value).__name__ + _arguments(changed)
    if isinstance(value, partial):
        return value.func.__name__ + _arguments(value.keywords)
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _arguments(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    return "(" + ", ".join(f"{name}={_label(value)}" for name, value in values.items()) + ")"


def describe(value: Any) -> str:
    """Write down all that a detector or a parameter consists of, the same in each process.

    Raises
    ------
    ValueError
        If it holds a function without a name, which cannot be told from another.
    """
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(describe, value))})"
    if isinstance(value, Mapping):
        return _describe_call(dict, {str(key): value[key] for key in value})
    if isinstance(value, partial):
        positions = {str(index): argument for index, argument in enumerate(value.args)}
        return _describe_call(value.func, {**positions, **value.keywords})
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _describe_call(type(value), value.get_params(deep=False))
    if inspect.isroutine(value) or isinstance(value, type):
        return _path(value)
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value)
    return f"{_path(type(value))} {joblib.hash(value)}"


def _describe_call(function: Callable[..., Any], values: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name}={describe(values[name])}" for name in sorted(values))
    return f"{_path(function)}({inside})"


def _path(value: Any) -> str:
    path = f"{value.__module__}.{value.__qualname__}"
    if "<lambda>" in path:
        raise ValueError(
            f"A parameter is a function without a name, '{path}', and cannot be told from another. "
            "Define it with def, or use functools.partial."
        )
    return path
