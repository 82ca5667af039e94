"""The file that ``fit`` writes and ``score`` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._tensor_file import ModelFileError
from ..detectors import load
from ..detectors._base import BaseAutoencoderDetector

_MODES = {1: "gray", 3: "rgb"}


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


def load_model(path: Path) -> Model:
    """Read a model, which any detector of images that was saved is.

    Raises
    ------
    ModelFileError
        If there is no such file, or it holds something else.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelFileError(f"The model file '{path}' {problem}.")
    try:
        detector = load(path)
    except PermissionError as error:
        raise ModelFileError(
            f"The model file '{path}' cannot be read: {error.strerror}."
        ) from error
    # Images are read as those were that the detector has learned from.
    shape = detector.image_shape_
    if len(shape) != 3 or shape[2] not in _MODES or detector.image_shape is not None:
        raise ModelFileError(
            f"'{path}' holds a detector of arrays of shape {shape}, where 'skanomaly score' reads "
            "grey images or colour images."
        )
    return Model(detector, (shape[0], shape[1]), _MODES[shape[2]])
