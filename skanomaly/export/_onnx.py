"""Export of a fitted detector as one ONNX graph."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from .._arrays import integer_scale
from .._device import usual_torch_state
from .._files import atomic_write, check_output_file, expand_user
from .._logging import log_progress
from ..detectors._base import BaseAutoencoderDetector
from ..model_selection import ConformalDetector
from ..model_selection._conformal_file import unfrozen
from ._graph import OUTPUTS, DetectorGraph

_IMAGE_DTYPES = ("uint8", "uint16", "float32")
_ROW_DTYPES = ("float64", "float32")
# Largest difference of a graph from its detector, as a fraction of the largest value.
_TOLERANCE = 1e-4


@usual_torch_state()
def to_onnx(
    detector: BaseAutoencoderDetector | ConformalDetector,
    path: str | PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    input_dtype: DTypeLike | None = None,
) -> None:
    """Write a fitted detector as one ONNX graph, from raw pixels to decisions.

    The graph holds all steps of the detector: scaling, local contrast, network, map, score and
    thresholds. It reads batches of any number of images. Before it is written, its outputs on noise
    are computed with onnxruntime and compared with the detector's, for three image sizes if it
    reads any size. With ``verbose=1`` of the detector, the steps are logged as in `fit`.

    Parameters
    ----------
    detector : SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE or ConformalDetector
        Fitted. It is not changed. A :class:`~skanomaly.model_selection.ConformalDetector` must hold
        one of the others, without `cv`; the graph then has the thresholds of the ConformalDetector.
    path : str or path-like
        The file to write, in a folder that exists. An existing file is replaced after all checks.
    image_size : (int, int), default=None
        Height and width in pixels of the images that the graph reads. None is any size, for which
        the network must read images of any size, as the named networks of this library do. Must be
        None for rows.
    input_dtype : {"uint8", "uint16", "float32"} or {"float64", "float32"}, default=None
        Dtype of the images, or of the rows, that the graph reads; None is the first. Integers are
        divided by the value of white, as in the detector: 255 in uint8 equals 1.0 in float32. NumPy
        dtypes are accepted; graphs read the machine's byte order.

    Raises
    ------
    TypeError
        If the detector is not of this library. Take it out of a pipeline or another wrapper.
    sklearn.exceptions.NotFittedError
        If the detector is not fitted.
    ValueError
        If a parameter is invalid, torch cannot export the network, onnxruntime cannot run it, or
        the outputs of the graph differ from the detector's. Nothing is written then. Also if a
        ConformalDetector holds several detectors.
    ImportError
        If onnx, onnxscript or onnxruntime is not installed.

    Notes
    -----
    The input is named "images", of shape (n, height, width) for one channel and
    (n, height, width, c) for several, channels last; or "rows", of shape (n, n_features). The
    outputs are named after the methods that give the same results:

    ===================  ==============================================  =======
    "anomaly_map"        (n, height, width) or (n, n_features)           float32
    "predict_mask"       of that shape                                   bool
    "score_samples"      (n,), higher is more normal                     float32
    "decision_function"  (n,), at least 0 is normal                      float32
    "predict"            (n,), 1 for normal and -1 for anomalous         int64
    ===================  ==============================================  =======

    The network computes in float32, and in float64 for rows, whatever ``precision`` is. Scores that
    the detector computes in bfloat16 agree only to the precision of bfloat16. The thresholds are
    the current ``offset_`` and ``map_threshold_``; the file's metadata hold them too.

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
    if isinstance(detector, ConformalDetector):
        detector = _with_its_thresholds(detector)
    if not isinstance(detector, BaseAutoencoderDetector):
        raise TypeError(
            "detector must be a SelfSupervisedAutoencoderDetector, DenoisingAE or ContractiveAE, "
            f"alone or in a ConformalDetector, got {type(detector).__name__} instead. Pass the "
            "fitted detector inside a pipeline or another wrapper."
        )
    check_is_fitted(detector, "model_")
    path = expand_user(path)
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
    log_progress("exporting the network to ONNX", verbose=detector.verbose)
    model = _export(graph, detector, image_size, input_dtype)
    _describe(model, detector)
    content = model.SerializeToString()
    log_progress("comparing the ONNX graph with the detector", verbose=detector.verbose)
    _check_agreement(content, graph, detector, image_size, input_dtype)
    onnx.checker.check_model(content)
    with atomic_write(path) as aside:
        aside.write_bytes(content)


def _with_its_thresholds(conformal: ConformalDetector) -> Any:
    """The detector inside, with the thresholds of the ConformalDetector."""
    check_is_fitted(conformal)
    if len(conformal.detectors_) > 1:
        raise ValueError(
            "detector must hold one detector to be exported, got a ConformalDetector with "
            f"{len(conformal.detectors_)} of them, from cv={conformal.cv!r}, instead. Fit it with "
            "cv=None."
        )
    detector = unfrozen(conformal.detectors_[0])
    if isinstance(detector, BaseAutoencoderDetector):
        detector = copy.copy(detector)
        detector.model_ = copy.copy(detector.model_)
        detector.offset_, detector.map_threshold_ = conformal.offset_, conformal.map_threshold_
    return detector


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
            f"{input_dtype!r} instead."
        )
    return name


def _check_size(image_size: Any, detector: BaseAutoencoderDetector) -> None:
    if image_size is None:
        return
    if len(detector.image_shape_) != 3:
        raise ValueError(
            f"image_size must be None for a detector of rows, got {image_size!r} instead."
        )
    sides = tuple(image_size) if np.iterable(image_size) else ()
    if len(sides) != 2 or not all(isinstance(s, (int, np.integer)) and s > 0 for s in sides):
        raise ValueError(
            f"image_size must be None or (height, width), two positive integers, got "
            f"{image_size!r} instead."
        )


def _export(
    graph: DetectorGraph,
    detector: BaseAutoencoderDetector,
    image_size: tuple[int, int] | None,
    input_dtype: str,
) -> Any:
    """Trace the graph to an onnx.ModelProto."""
    shape = _input_shape(detector, image_size)
    axes = {0: "n"}
    if graph.is_image and image_size is None:
        axes |= {1: "height", 2: "width"}
    # With a single image, the exporter would fix the number of images.
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
    except Exception as error:  # The exporter raises errors of any type.
        hint = "" if len(axes) == 1 else " It may work for one size: pass image_size."
        raise ValueError(
            f"torch could not export network={detector.network!r}; see the error above.{hint}"
        ) from error
    assert program is not None
    return program.model_proto


def _describe(model: Any, detector: BaseAutoencoderDetector) -> None:
    """Add metadata about the detector, and remove the paths of source files of this machine."""
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
    except Exception as error:  # Such as an operator that onnxruntime lacks in float64.
        raise ValueError(
            f"onnxruntime cannot run network={detector.network!r}; see the error above."
        ) from error
    reference = copy.copy(detector)
    reference.model_, reference.device_ = graph.model, torch.device("cpu")
    # The graph reads images, where the detector may read flattened ones.
    reference.precision, reference.image_shape = "float32", None
    shape = _input_shape(detector, image_size)
    shapes, hint = [(1, *shape)], ""
    if graph.is_image and image_size is None:
        # Other, odd sizes show what depends on the traced one; a larger one is cut into windows.
        shapes.append((3, shape[0] + 3, shape[1] + 5, *shape[2:]))
        shapes.append((3, max(1, shape[0] - 3), max(1, shape[1] - 5), *shape[2:]))
        hint = " Pass image_size if the network reads one size only."
    for tried in shapes:
        X = _noise(tried, detector, input_dtype)
        try:
            got = session.run(["anomaly_map", "score_samples"], {_input_name(graph): X})
            # With channels, so that narrow images do not look like one image with channels.
            images = X[..., np.newaxis] if graph.is_image and X.ndim == 3 else X
            expected = reference.anomaly_map(images), reference.score_samples(images)
        except Exception as error:  # Nodes of a graph raise errors of any type.
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
    """Suppress the output of the exporter; errors are raised."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    output = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(output):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
