"""Models that commands read from files, and batchwise scoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._command_line import one_line
from .._load import load
from .._tensor_file import ModelFileError
from ..datasets._image_file import read_image
from ..detectors._base import BaseAutoencoderDetector
from ..model_selection import ConformalDetector
from ..model_selection._conformal_file import unfrozen

_MODES = {1: "gray", 3: "rgb"}
# Pixels of a batch, which limits memory.
_BATCH_PIXELS = 2**20


class Scored(NamedTuple):
    """Score and map of an image, or an error."""

    score: float = np.nan
    anomaly_map: NDArray[np.float64] | None = None
    error: str = ""


@dataclass(frozen=True)
class Model:
    """A fitted detector, with size and mode of its images.

    Attributes
    ----------
    detector : BaseAutoencoderDetector or ConformalDetector
        Fitted.
    trained : list of BaseAutoencoderDetector
        The detector alone, or the detectors inside a ConformalDetector.
    size : tuple of (height, width)
        Size in pixels to which images are resized.
    mode : {"gray", "rgb"}
        Mode of the images.
    """

    detector: BaseAutoencoderDetector | ConformalDetector
    trained: list[BaseAutoencoderDetector]
    size: tuple[int, int]
    mode: str

    def score(self, paths: Sequence[Path]) -> Iterator[Scored]:
        """Score images batch by batch, with one pass of the network."""
        step = max(1, _BATCH_PIXELS // (self.size[0] * self.size[1]))
        batches = [paths[start : start + step] for start in range(0, len(paths), step)]
        # Read the next batch while this one is scored.
        with ThreadPoolExecutor(max_workers=1) as reader:
            upcoming = reader.submit(self._read, batches[0] if batches else [])
            for following in [*batches[1:], []]:
                images, scored = upcoming.result()
                upcoming = reader.submit(self._read, following)
                # uint8 and uint16 differ in scale, and cannot share an array.
                for dtype in {image.dtype for image in images.values()}:
                    alike = {key: image for key, image in images.items() if image.dtype == dtype}
                    scored |= self._score_arrays(alike)
                yield from (scored[index] for index in sorted(scored))

    def _read(self, paths: Sequence[Path]) -> tuple[dict[int, NDArray[Any]], dict[int, Scored]]:
        """Return images by their indices, and errors of those that cannot be read."""
        images, errors = {}, {}
        for index, path in enumerate(paths):
            try:
                images[index] = read_image(path, self.size, self.mode)
            except (OSError, ValueError) as error:
                errors[index] = Scored(error=one_line(error))
        return images, errors

    def _score_arrays(self, images: Mapping[int, NDArray[Any]]) -> dict[int, Scored]:
        try:
            result = self.detector.detect(np.stack(list(images.values())))
        except ValueError as error:
            if len(images) == 1:
                return dict.fromkeys(images, Scored(error=one_line(error)))
            # The detector refuses one of them.
            parts = [self._score_arrays({index: image}) for index, image in images.items()]
            return {index: each for part in parts for index, each in part.items()}
        pairs = zip(result.score_samples.tolist(), result.anomaly_map, strict=True)
        return {index: Scored(*pair) for index, pair in zip(images, pairs, strict=True)}


def load_model(path: Path) -> Model:
    """Read a model: any saved detector of images.

    Raises
    ------
    ModelFileError
        If the file does not exist, or does not hold a detector of images.
    """
    if not path.is_file():
        problem = "is not a regular file" if path.exists() else "does not exist"
        problem = "is a folder" if path.is_dir() else problem
        raise ModelFileError(f"The model file '{path}' {problem}.")
    try:
        detector = load(path)
    except PermissionError as error:
        raise ModelFileError(
            f"The model file '{path}' cannot be read: {error.strerror}."
        ) from error
    # Images are read like the training images.
    trained = [unfrozen(each) for each in getattr(detector, "detectors_", [detector])]
    shape = trained[0].image_shape_
    if len(shape) != 3 or shape[2] not in _MODES or trained[0].image_shape is not None:
        raise ModelFileError(
            f"'{path}' holds a detector of arrays of shape {shape}. The command line needs one of "
            "grey or RGB images."
        )
    return Model(detector, trained, (shape[0], shape[1]), _MODES[shape[2]])
