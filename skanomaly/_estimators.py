"""Detectors inside pipelines and searches, and their results in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, _safe_indexing, indexable
from sklearn.utils.validation import _num_samples

# Number of images whose maps are computed at once.
_BATCH_SIZE = 32


def layers(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and those inside pipelines, searches and so on, down to the detector."""
    while True:
        yield estimator
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return


def find_attribute(estimator: Any, name: str) -> Any:
    """Return an attribute of the outermost layer that has it, or None."""
    return next((getattr(layer, name) for layer in layers(estimator) if hasattr(layer, name)), None)


def find_threshold(detector: Any) -> float | None:
    """Return the threshold of a detector's scores, if it has one."""
    offset = find_attribute(detector, "offset_")
    # OneClassSVM has an array of one element.
    return None if offset is None else float(np.ravel(offset)[0])


def find_parameter(estimator: Any, name: str) -> Any:
    """Return a parameter of the detector, also inside a ConformalDetector, or None."""
    *_, detector = layers(estimator)
    if hasattr(detector, name):
        return getattr(detector, name)
    inner = getattr(detector, "detector", None)
    return None if inner is None else find_parameter(inner, name)


def find_method(estimator: Any, name: str) -> Callable[[Any], Any] | None:
    """Return a method of the outermost layer that has it, or None.

    Its input is that of the whole estimator; earlier steps of pipelines are applied first.
    """
    steps: list[Pipeline] = []
    for layer in layers(estimator):
        method = getattr(layer, name, None)
        if method is not None:
            return _after(steps, method) if steps else method
        if isinstance(layer, Pipeline) and len(layer) > 1:
            steps.append(layer[:-1])
    return None


def _after(steps: list[Pipeline], method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(X: Any) -> Any:
        for step in steps:
            X = step.transform(X)
        return method(X)

    return call


def detect(estimator: Any, X: Any, *names: str) -> Bunch:
    """Compute the results of methods, in one pass if the estimator has `detect_batches`.

    Methods that the estimator lacks are skipped.
    """
    methods = _find_methods(estimator, names)
    if "detect_batches" not in methods:
        return Bunch(**{name: np.asarray(method(X)) for name, method in methods.items()})
    return join(detect_batches(estimator, X, *names))


def detect_batches(estimator: Any, X: Any, *names: str) -> Iterator[Bunch]:
    """Compute the results of `detect` batch by batch."""
    methods = _find_methods(estimator, names)
    in_one_pass = methods.pop("detect_batches", None)
    if in_one_pass is not None:
        for batch in in_one_pass(X):
            yield Bunch(**{name: batch[name] for name in methods})
        return
    for part in iterate_batches(X):
        yield Bunch(**{name: np.asarray(method(part)) for name, method in methods.items()})


def join(batches: Iterator[Bunch]) -> Bunch:
    """Concatenate the fields of at least one batch."""
    parts = list(batches)
    return Bunch(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _find_methods(estimator: Any, names: tuple[str, ...]) -> dict[str, Callable[[Any], Any]]:
    """Find methods by name, with `detect_batches` if it saves a pass."""
    found = {name: find_method(estimator, name) for name in names}
    methods = {name: method for name, method in found.items() if method is not None}
    in_one_pass = find_method(estimator, "detect_batches")
    if in_one_pass is not None and len(methods) > 1:
        methods["detect_batches"] = in_one_pass
    return methods


def iterate_batches(X: Any) -> Iterator[Any]:
    """Split images into batches."""
    (X,) = indexable(X)
    # At least one batch, so that the detector raises an error for empty X.
    for start in range(0, max(1, _num_samples(X)), _BATCH_SIZE):
        yield _safe_indexing(X, slice(start, start + _BATCH_SIZE))
