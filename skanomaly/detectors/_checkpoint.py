"""The checkpoint of a training: its exclusive use, and what it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import isfunction, ismethod
from numbers import Integral
from pathlib import Path
from types import CellType, CodeType
from typing import Any

import joblib
import numpy as np
from torch import nn

from .._files import check_output_file, exclusive_use, expand_user
from .._validation import ValidatedInput
from ..datasets import ImageSequence

# Parameters that do not change the training.
_IGNORED = {
    *("checkpoint", "verbose", "smoothing_size", "smoothing_passes"),
    *("normalize_map", "region_size", "score_aggregation"),
}


@contextmanager
def checkpoint_in_use(checkpoint: Any) -> Iterator[None]:
    """Reserve a checkpoint for one fit, or raise a RuntimeError if another fit uses it."""
    with ExitStack() as stack:
        try:
            is_ours = stack.enter_context(exclusive_use(expand_user(checkpoint)))
        except (OSError, TypeError, ValueError):
            # Raised later, where parameters are checked.
            is_ours = True
        if not is_ours:
            raise RuntimeError(
                f"checkpoint={str(checkpoint)!r} is in use by another fit. Pass another path for "
                "each fit. In a search, cross-validation or ensemble, whose clones share the path, "
                "set checkpoint=None."
            )
        yield


def check_checkpoint(checkpoint: Path) -> None:
    """Check before training that the checkpoint can be written."""
    try:
        check_output_file(checkpoint, "checkpoint")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}. Training has not begun") from error


def fingerprint(detector: Any, data: ValidatedInput, network: nn.Module, continued: bool) -> str:
    """Hash everything that must be equal for a training to be resumed: parameters and data."""
    parameters = {
        name: _described(value)
        for name, value in sorted(detector.get_params(deep=False).items())
        if name not in _IGNORED
    }
    if not isinstance(detector.random_state, Integral):
        # The seed that was drawn is stored in the checkpoint.
        parameters["random_state"] = None
    starts = [
        # The initial weights of a new network follow from the seed.
        (name, tuple(value.shape), value.cpu().numpy() if continued else None)
        for name, value in network.state_dict().items()
    ]
    device = next(network.parameters()).device.type
    return str(
        joblib.hash((type(detector).__name__, parameters, starts, device, _data_digest(data)))
    )


def _described(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """Describe a parameter so that equal ones agree in another process, where addresses differ.

    ``inside`` holds the addresses of functions and classes that are being described, which may
    refer to themselves.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_described(each, inside) for each in value]
    if isinstance(value, dict):
        return [_described(item, inside) for item in value.items()]
    if isinstance(value, partial):
        return _described([value.func, value.args, value.keywords], inside)
    if isinstance(value, type) or isfunction(value):
        name = [value.__module__, value.__qualname__]
        if id(value) in inside:
            return name
        inside |= {id(value)}
        if isinstance(value, type):
            return name, _described(_members(value), inside)
        filled = [cell for cell in value.__closure__ or () if cell != CellType()]
        bound = [value.__defaults__, value.__kwdefaults__, [cell.cell_contents for cell in filled]]
        return name, _described_code(value.__code__), _described(bound, inside)
    if ismethod(value):
        return _described([value.__func__, value.__self__], inside)
    if hasattr(value, "get_params"):
        return _described([type(value), value.get_params(deep=False)], inside)
    try:
        return joblib.hash(value)
    except Exception:  # not every object can be pickled
        return type(value).__qualname__


def _members(kind: type) -> list[Any]:
    """Functions of a class, also those of static methods and properties, and public attributes."""
    found: list[Any] = []
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isfunction(function):
            found.append(function)
        elif not name.startswith("_"):
            found.append([name, member])
    return found


def _described_code(code: CodeType) -> Any:
    """Describe the code of a function, without file name and line."""
    constants: list[Any] = []
    for each in code.co_consts:
        if isinstance(each, CodeType):
            constants.append(_described_code(each))
        else:
            # The order of a set differs from one process to the next.
            constants.append(sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each))
    return code.co_code, constants, code.co_names


def _data_digest(data: ValidatedInput) -> str:
    """Hash arrays by all their values, and files by all their sizes and the values of some."""
    digest = hashlib.sha256(repr((len(data), data.shape)).encode())
    some = np.arange(len(data))
    if isinstance(data.source, ImageSequence):
        # Reading all files may be slow.
        digest.update(repr([path.stat().st_size for path in data.source.paths]).encode())
        some = np.linspace(0, len(data) - 1, min(len(data), 100)).astype(np.intp)
    for indices in np.array_split(some, -(-len(some) // 16)):
        digest.update(np.ascontiguousarray(data.read(indices)).data)
    return digest.hexdigest()
