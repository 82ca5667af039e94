"""The speed of a detector beside that of its ONNX graph."""

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
    """Score images with a detector and, in turn, with onnxruntime on the exported graph.

    Parameters
    ----------
    detector : detector
        Fitted, on the CPU; it runs with the precision that it has, the graph in float32.
    X : ndarray of shape (n, h, w, c), uint8
    repeats : int
        How often each is measured.

    Returns
    -------
    dict
        "onnx_images_per_second", of all images at once, and "onnx_single_images_per_second", of
        one after the other; "of_onnx" and "single_of_onnx", the detector's rate over them.

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
    # Grey images have no axis of channels there.
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
