"""Speed of a detector relative to its ONNX graph."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..export import to_onnx
from ._evaluation import Row


def measure_onnx(detector: Any, X: NDArray[np.uint8], repeats: int) -> Row:
    """Score images alternately with a detector and with onnxruntime on the exported graph.

    Parameters
    ----------
    detector : detector
        Fitted, on the CPU. It uses its own precision, the graph uses float32.
    X : ndarray of shape (n, h, w, c), uint8
    repeats : int
        Number of measurements.

    Returns
    -------
    dict
        "onnx_images_per_second" for all images at once, and "onnx_single_images_per_second" one by
        one; "of_onnx" and "single_of_onnx", the rates of the detector divided by these.

    Raises
    ------
    ImportError
        If a package of the extra "onnx" is missing.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        to_onnx(detector, path)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options)
    # The graph takes grey images without an axis of channels.
    rank = len(session.get_inputs()[0].shape)

    def score_with_onnxruntime(images: NDArray[np.uint8]) -> Any:
        return session.run(["score_samples"], {"images": images.reshape(images.shape[:rank])})

    def rate(score: Any, step: int) -> float:
        start = perf_counter()
        for first in range(0, len(X), step):
            score(X[first : first + step])
        return len(X) / (perf_counter() - start)

    row: Row = {}
    for prefix, step in (("", len(X)), ("single_", 1)):
        ours, theirs = [], []
        score_with_onnxruntime(X[:step])
        for _ in range(repeats):
            ours.append(rate(detector.score_samples, step))
            theirs.append(rate(score_with_onnxruntime, step))
        row[f"onnx_{prefix}images_per_second"] = median(theirs)
        pairs = zip(ours, theirs, strict=True)
        row[f"{prefix}of_onnx"] = median(one / other for one, other in pairs)
    return row
