"""The file that ``fit`` writes and ``score`` reads."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import joblib

from .._files import written_aside
from ..detectors._base import BaseAutoencoderDetector

TRUST_WARNING = (
    "A model file is loaded with joblib, which runs code that the file holds: load only models "
    "that you trust."
)

_FORMAT = "skanomaly model 1"


class ModelFileError(Exception):
    """A file does not hold a model."""


@dataclass(frozen=True)
class Model:
    """A fitted detector and how its images are read.

    Attributes
    ----------
    detector : BaseAutoencoderDetector
        Fitted.
    size : tuple of (height, width)
        Size in pixels that images are resized to on reading.
    mode : {"gray", "rgb"}
        What images are read as.
    """

    detector: BaseAutoencoderDetector
    size: tuple[int, int]
    mode: str


def save_model(model: Model, path: Path) -> None:
    """Write a model; what was there is replaced only once all is written."""
    content = {
        "format": _FORMAT,
        "detector": model.detector,
        "size": model.size,
        "mode": model.mode,
    }
    with written_aside(path) as aside:
        joblib.dump(content, aside, compress=3)


def load_model(path: Path) -> Model:
    """Read a model.

    Raises
    ------
    ModelFileError
        If there is no such file, or it holds something else.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelFileError(f"The model file '{path}' {problem}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = joblib.load(path)
    except PermissionError as error:
        raise ModelFileError(
            f"The model file '{path}' cannot be read: {error.strerror}."
        ) from error
    except Exception as error:  # Bytes that are no pickle raise all kinds of errors.
        raise ModelFileError(
            f"'{path}' is not a model that 'skanomaly fit' wrote, or is damaged."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelFileError(f"'{path}' is not a model that 'skanomaly fit' of this version wrote.")
    return Model(content["detector"], content["size"], content["mode"])
