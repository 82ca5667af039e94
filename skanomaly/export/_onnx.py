"""A fitted detector as one ONNX graph."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from .._arrays import integer_scale
from .._files import atomic_write, check_output_file
from ..detectors._base import BaseAutoencoderDetector
from ..detectors._torch_state import usual_torch_state
from ._graph import OUTPUTS, DetectorGraph

_IMAGE_DTYPES = ("uint8", "uint16", "float32")
_ROW_DTYPES = ("float64", "float32")
# By how much a graph may differ from its detector, as a fraction of the largest value.
_TOLERANCE = 1e-4


@usual_torch_state()
def to_onnx(
    detector: BaseAutoencoderDetector,
    path: str | PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    input_dtype: DTypeLike | None = None,
) -> None:
    """Write a fitted detector as one ONNX graph, from the pixels of a camera to the decision.

    The graph holds all that the detector does to an image: scaling, local contrast, network, map,
    score and thresholds. It reads batches of any number of images. Before it is written it is run
    with onnxruntime on noise, of two sizes if it is to read any, and compared to the detector.

    Parameters
    ----------
    detector : SelfSupervisedAutoencoderDetector, DenoisingAE or ContractiveAE
        Fitted. It is left as it is, on the device where it is.
    path : str or path-like
        The file to write, in a folder that exists. A file that is there is replaced once all is
        well.
    image_size : (int, int), default=None
        Height and width in pixels of the images that the graph reads. None is any size, which
        takes a network that reads any: those that this library names do. Rows have none.
    input_dtype : {"uint8", "uint16", "float32"} or {"float64", "float32"}, default=None
        Of the images, or of the rows, that the graph reads; None is the first. As everywhere,
        integers are divided by the value of white: 255 means the same as 1.0 in float32. A dtype of
        NumPy will do, too; graphs read the machine's byte order.

    Raises
    ------
    TypeError
        If this is no detector of this library: take it out of a pipeline or another wrapper.
    sklearn.exceptions.NotFittedError
        If the detector is not fitted.
    ValueError
        If a parameter is not acceptable, torch cannot export the network, onnxruntime cannot run
        it, or the graph does not give what the detector gives. Nothing is written then.
    ImportError
        If one of onnx, onnxscript and onnxruntime is not installed.

    Notes
    -----
    The input is named "images", of shape (n, height, width) for one channel and
    (n, height, width, c) for several, channels last; or "rows", of shape (n, n_features). The
    outputs are named after the methods whose results they are, with floats in float32:

    ===================  ==============================================  =======
    "anomaly_map"        (n, height, width) or (n, n_features)           float32
    "predict_mask"       of that shape                                   bool
    "score_samples"      (n,), higher is more normal                     float32
    "decision_function"  (n,), at least 0 is normal                      float32
    "predict"            (n,), 1 for normal and -1 for anomalous         int64
    ===================  ==============================================  =======

    The network computes in float32, and rows in float64, whatever ``precision`` says: scores that
    a detector computes in bfloat16 agree to bfloat16's digits only. The thresholds are
    ``offset_`` and ``map_threshold_`` as they are now; the file's metadata name them.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, onnxruntime
    >>> from skanomaly import DenoisingAE
    >>> from skanomaly.export import to_onnx
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> detector = DenoisingAE(max_iter=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(detector, f"{folder}/rows.onnx")
    ...     session = onnxruntime.InferenceSession(f"{folder}/rows.onnx")
    >>> (scores,) = session.run(["score_samples"], {"rows": X})
    >>> np.allclose(scores, detector.score_samples(X), rtol=1e-4)
    True
    """
    if not isinstance(detector, BaseAutoencoderDetector):
        raise TypeError(
            "detector must be a SelfSupervisedAutoencoderDetector, DenoisingAE or ContractiveAE, "
            f"got {type(detector).__name__}. Of a pipeline or another wrapper, pass the fitted "
            "detector inside."
        )
    check_is_fitted(detector, "model_")
    path = Path(path)
    check_output_file(path, "path")
    input_dtype = _check_dtype(input_dtype, detector)
    _check_size(image_size, detector)
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Export needs onnx, onnxscript and onnxruntime: pip install "skanomaly[onnx]"'
        ) from error
    graph = DetectorGraph(detector, input_dtype).eval()
    model = _export(graph, detector, image_size, input_dtype)
    _describe(model, detector)
    content = model.SerializeToString()
    _check_agreement(content, graph, detector, image_size, input_dtype)
    onnx.checker.check_model(content)
    with atomic_write(path) as aside:
        aside.write_bytes(content)


def _check_dtype(input_dtype: DTypeLike | None, detector: BaseAutoencoderDetector) -> str:
    accepted = _IMAGE_DTYPES if len(detector.image_shape_) == 3 else _ROW_DTYPES
    if input_dtype is None:
        return accepted[0]
    try:
        name = np.dtype(input_dtype).name
    except TypeError:
        name = ""
    if name not in accepted:
        kind = "images" if accepted is _IMAGE_DTYPES else "rows"
        raise ValueError(
            f"input_dtype must be one of {list(accepted)} for a detector of {kind}, got "
            f"{input_dtype!r}."
        )
    return name


def _check_size(image_size: Any, detector: BaseAutoencoderDetector) -> None:
    if image_size is None:
        return
    if len(detector.image_shape_) != 3:
        raise ValueError(f"image_size must be None for a detector of rows, got {image_size!r}.")
    sides = tuple(image_size) if np.iterable(image_size) else ()
    if len(sides) != 2 or not all(isinstance(s, (int, np.integer)) and s > 0 for s in sides):
        raise ValueError(
            f"image_size must be None or (height, width), two positive integers, got "
            f"{image_size!r}."
        )


def _export(
    graph: DetectorGraph,
    detector: BaseAutoencoderDetector,
    image_size: tuple[int, int] | None,
    input_dtype: str,
) -> Any:
    """Make the onnx.ModelProto."""
    shape = _input_shape(detector, image_size)
    axes = {0: "n"}
    if graph.is_image and image_size is None:
        axes |= {1: "height", 2: "width"}
    # One image would be taken for a fixed number of them.
    example = torch.zeros(2, *shape, dtype=getattr(torch, input_dtype))
    try:
        with _silence():
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=[_input_name(graph)],
                output_names=list(OUTPUTS),
                dynamic_shapes=(axes,),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # The exporter passes on whatever went wrong in it.
        hint = "" if len(axes) == 1 else " It may do so for one size: give image_size."
        raise ValueError(
            f"torch could not export network={detector.network!r}; the error above says why.{hint}"
        ) from error
    assert program is not None
    return program.model_proto


def _describe(model: Any, detector: BaseAutoencoderDetector) -> None:
    """Say whose graph this is; take out where on this machine its lines of code stand."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.producer_name, model.producer_version = "skanomaly", __version__
    properties = {
        "detector": type(detector).__name__,
        "image_shape": detector.image_shape_,
        "offset": float(detector.offset_),
        "map_threshold": float(detector.map_threshold_),
    }
    for name, value in properties.items():
        model.metadata_props.add(key=name, value=str(value))


def _check_agreement(
    content: bytes,
    graph: DetectorGraph,
    detector: BaseAutoencoderDetector,
    image_size: tuple[int, int] | None,
    input_dtype: str,
) -> None:
    """Compare the graph with the detector, in the precision and on the device of the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options)
    except Exception as error:  # An operator, or its float64 version, that onnxruntime lacks.
        raise ValueError(
            f"onnxruntime cannot run network={detector.network!r}; the error above says why."
        ) from error
    reference = copy.copy(detector)
    reference.model_, reference.device_ = graph.model, torch.device("cpu")
    # The graph reads images of other shapes than the one that flattened ones have.
    reference.precision, reference.image_shape = "float32", None
    shape = _input_shape(detector, image_size)
    shapes, hint = [(1, *shape)], ""
    if graph.is_image and image_size is None:
        # Another size, and odd: what depends on the one that was traced shows.
        shapes.append((3, shape[0] + 3, shape[1] + 5, *shape[2:]))
        hint = " A network that does not read any size needs image_size."
    for tried in shapes:
        X = _noise(tried, detector, input_dtype)
        try:
            got = session.run(["anomaly_map", "score_samples"], {_input_name(graph): X})
            expected = reference.anomaly_map(X), reference.score_samples(X)
        except Exception as error:  # Each node of a graph has its own ways to fail.
            raise ValueError(f"The graph does not run on input of shape {tried}.{hint}") from error
        for name, one, other in zip(("maps", "scores"), got, expected, strict=True):
            difference, largest = np.abs(one - other).max(), np.abs(other).max()
            if not difference <= _TOLERANCE * largest:
                raise ValueError(
                    f"The graph's {name} of input of shape {tried} differ from the detector's by "
                    f"up to {difference:.2g}, at values up to {largest:.2g}.{hint}"
                )


def _input_name(graph: DetectorGraph) -> str:
    return "images" if graph.is_image else "rows"


def _input_shape(
    detector: BaseAutoencoderDetector, image_size: tuple[int, int] | None
) -> tuple[int, ...]:
    """Shape of one image or row, without a last axis of one channel."""
    shape = detector.image_shape_
    if len(shape) == 1:
        return tuple(shape)
    height, width = shape[:2] if image_size is None else image_size
    return (height, width) if shape[2] == 1 else (height, width, shape[2])


def _noise(
    shape: tuple[int, ...], detector: BaseAutoencoderDetector, input_dtype: str
) -> NDArray[Any]:
    """Normal noise with the mean and standard deviation of the training data."""
    mean = detector.model_.standardization.mean.numpy()
    deviation = detector.model_.standardization.deviation.numpy()
    values = mean + deviation * np.random.default_rng(0).normal(size=shape)
    dtype = np.dtype(input_dtype)
    if dtype.kind == "u":
        white = integer_scale(dtype)
        values = np.rint(white * values).clip(0, white)
    return values.astype(dtype)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back what the exporter says on its way; what fails is raised."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
