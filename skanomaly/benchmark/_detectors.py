"""Detectors by name, their labels in tables, and their identity."""

from __future__ import annotations

import inspect
import itertools
import pkgutil
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
        Name of a detector of skanomaly, or import path of a class, which is called without
        arguments, or of an estimator, which is cloned.
    parameters : mapping of str to object
        Passed to `set_params`.

    Raises
    ------
    ValueError
        If the name is unknown, or a parameter is unknown or invalid.
    TypeError
        If it does not have the methods of a detector.
    """
    found = _find(name)
    try:
        detector = found() if isinstance(found, type) else clone(found)
    except TypeError as error:
        raise TypeError(f"The detector '{name}' cannot be created: {error}") from error
    _check_methods(detector, f"'{name}'")
    detector.set_params(**parameters)
    check_detector(detector)
    return detector


def _find(name: str) -> Any:
    """Import a class or an object."""
    own = [each for each in own_detectors.__all__ if each != "load"]
    if name in own:
        return getattr(own_detectors, name)
    if "." not in name:
        raise ValueError(
            f"A detector must be one of {', '.join(own)}, or an import path such as "
            f"sklearn.ensemble.IsolationForest. Got {name!r} instead."
        )
    try:
        return pkgutil.resolve_name(":".join(name.rsplit(".", 1)))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"The detector '{name}' cannot be imported: {error}.") from error


def check_detector(detector: Any) -> None:
    """Raise TypeError if this is not a detector, ValueError if a parameter is invalid."""
    _check_methods(detector, repr(detector))
    # Now, and not in `fit` of each run.
    if hasattr(detector, "_parameter_constraints"):
        detector._validate_params()


def _check_methods(detector: Any, name: str) -> None:
    missing = [method for method in _METHODS if not hasattr(detector, method)]
    if missing or isinstance(detector, type):
        lack = f"lacks {', '.join(missing)}" if missing else "is a class and not an object"
        raise TypeError(f"A detector must have {', '.join(_METHODS)}. Got {name}, which {lack}.")


def has_parameter(detector: Any, name: str) -> bool:
    """Whether a detector has a parameter, or the object of ``object__name``."""
    return name.partition("__")[0] in detector.get_params(deep=False)


def label_detectors(detectors: Any) -> dict[str, Any]:
    """Label detectors; duplicates are dropped.

    Parameters
    ----------
    detectors : estimator, iterable of estimator, or mapping of str to estimator
        The keys of a mapping are the labels.
    """
    if isinstance(detectors, Mapping):
        for detector in detectors.values():
            check_detector(detector)
        return {str(label): detector for label, detector in detectors.items()}
    labelled: dict[str, Any] = {}
    known = set()
    # Ensembles are iterable, too.
    single = hasattr(detectors, "get_params") or not isinstance(detectors, Iterable)
    for detector in [detectors] if single else detectors:
        check_detector(detector)
        if (description := describe(detector)) in known:
            continue
        known.add(description)
        plain = detector_label(detector)
        labels = itertools.chain([plain], (f"{plain} #{count}" for count in itertools.count(2)))
        labelled[next(label for label in labels if label not in labelled)] = detector
    return labelled


def detector_label(detector: Any) -> str:
    """Return the class name and the non-default parameters, in one line."""
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
    """Describe a detector or a parameter completely, and equally in each process.

    Raises
    ------
    ValueError
        If it holds a lambda function, which has no identity.
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
            f"A parameter is a function without a name, '{path}', which cannot be identified. "
            "Define it with def, or use functools.partial."
        )
    return path
