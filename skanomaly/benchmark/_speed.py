"""Speed of training and scoring, relative to a matrix product measured at the same time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.callback import FitCallback
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ..detectors import SelfSupervisedAutoencoderDetector
from ..training import autocast, resolve_device, resolve_precision
from ._evaluation import Row, describe_environment, peak_memory, reset_peak_memory
from ._processes import fresh_process
from ._speed_onnx import measure_onnx

# After these steps, the optimiser and the libraries have allocated their memory.
_WARM_UP_STEPS = 2
_WARM_UP_SIZE = 16
# Detectors report up to 100 steps to callbacks one by one.
MOST_REPEATS = 100 - _WARM_UP_STEPS
# Minimum duration of a burst of calls.
_BURST_SECONDS = 0.1
_N_OPERATORS = 5
# Side of the matrices.
_SIDES = {"cpu": 1024}
_LARGE_SIDE = 8192


@dataclass(frozen=True)
class SpeedCase:
    """Images and precision to measure.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    channels : int
        1 is grey, 3 RGB.
    precision : {"float32", "bfloat16"}
    batch_size : int
        Batch size of training; twice as many images are scored.
    device : str
        As in a detector.
    repeats : int
        Number of measurements, up to 98, of which the median is reported.
    with_onnx : bool
        Whether to measure the exported graph, too: see `measure_onnx`.
    detector : SelfSupervisedAutoencoderDetector
        Not fitted by the measurement, which fits clones.
    """

    size: int
    channels: int
    precision: str
    batch_size: int = 16
    device: str = "auto"
    repeats: int = 5
    with_onnx: bool = False
    detector: SelfSupervisedAutoencoderDetector = field(
        default_factory=SelfSupervisedAutoencoderDetector
    )

    def __str__(self) -> str:
        return f"{describe_images(self.size, self.channels)}, {self.precision}"


def describe_images(size: int, channels: int) -> str:
    """Return the name of images in the tables."""
    return f"{size} px {'grey' if channels == 1 else 'RGB'}"


def measure_speed(case: SpeedCase, environment: Mapping[str, str]) -> Row:
    """Measure training and scoring, each in its own process.

    Parameters
    ----------
    case : SpeedCase
    environment : mapping of str to str
        Environment variables of the processes.

    Returns
    -------
    dict
        The case: "size", "channels", "precision", "batch_size", "device", "repeats". For
        "training" and for "scoring": "…_images_per_second"; "…_of_product", the FLOPs per second of
        the network divided by those of a matrix product; "…_operators", the torch operators with
        the longest own time, and their fractions of the total; "…_memory_mb", the rise of the peak
        memory of a process that had already processed small images, in 10⁶ bytes or None, and
        "…_memory_batches", the same in units of a float32 input batch of the network. For the
        forward pass of the network: "flops_per_image", "forward_flops_per_second" and
        "forward_of_product". For the matrix product: "product_side" and
        "product_flops_per_second". The output of `measure_onnx`, if requested, and of
        `describe_environment`.
    """
    with fresh_process(environment) as process:
        row, fitted = process.submit(_measure_times, case).result()
    # In a new process: the peak of training would hide that of scoring.
    with fresh_process(environment) as process:
        memory = process.submit(_measure_scoring_memory, case, fitted).result()
    row["scoring_memory_mb"] = memory
    batch = 4 * case.batch_size * np.prod(row.pop("network_shape")) / 1e6
    for kind in ("training", "scoring"):
        memory = row[f"{kind}_memory_mb"]
        row[f"{kind}_memory_batches"] = None if memory is None else memory / batch
    return row


def _measure_times(case: SpeedCase) -> tuple[Row, Any]:
    """Measure all except the memory of scoring, and return the fitted detector, too."""
    device = resolve_device(case.device)
    dtype = resolve_precision(case.precision, device)
    X = _warm_up(case)
    product = Product(dtype, device)
    steps = _Steps(device, product)
    detector = _set_up(case).set_params(max_iter=_WARM_UP_STEPS + case.repeats)
    detector.set_callbacks(steps).fit(X).set_callbacks()
    shape = _network_shape(detector, X)
    flops, training_flops = count_flops(detector.network_, shape)
    batch = torch.randn(case.batch_size, *shape, device=device)

    def pass_forward() -> None:
        with autocast(device, dtype):
            detector.network_(batch)

    scoring, forward = [], []
    for _ in range(case.repeats):
        beside = product.flops_per_second()
        forward.append((case.batch_size / seconds_per_call(pass_forward, device), beside))
        start = now(device)
        detector.score_samples(X)
        scoring.append((len(X) / (now(device) - start), beside))
    training = [(case.batch_size / seconds, beside) for seconds, beside in steps.measured]
    row: Row = {
        "size": case.size,
        "channels": case.channels,
        "precision": case.precision,
        "batch_size": case.batch_size,
        "device": device.type,
        "repeats": case.repeats,
        "training_images_per_second": median(rate for rate, _ in training),
        "training_of_product": median(training_flops * rate / each for rate, each in training),
        "training_operators": slowest_operators(
            lambda: _set_up(case).set_params(max_iter=_WARM_UP_STEPS).fit(X)
        ),
        "training_memory_mb": steps.memory,
        "scoring_images_per_second": median(rate for rate, _ in scoring),
        "scoring_of_product": median(flops * rate / each for rate, each in scoring),
        "scoring_operators": slowest_operators(lambda: detector.score_samples(X)),
        "flops_per_image": flops,
        "forward_flops_per_second": median(flops * rate for rate, _ in forward),
        "forward_of_product": median(flops * rate / each for rate, each in forward),
        "product_side": product.side,
        "product_flops_per_second": median(each for _, each in training + scoring),
        "network_shape": list(shape),
        **(measure_onnx(detector, X, case.repeats) if case.with_onnx else {}),
        **describe_environment(),
    }
    return row, detector


def _measure_scoring_memory(case: SpeedCase, detector: Any) -> float | None:
    X = _warm_up(case)
    memory = _MemoryRise(detector.device_)
    detector.score_samples(X)
    return memory.measure()


def _set_up(case: SpeedCase) -> Any:
    return clone(case.detector).set_params(
        crop_size=None,  # "auto" would take crops of this noise
        batch_size=case.batch_size,
        precision=case.precision,
        device=case.device,
        random_state=0,
    )


def _warm_up(case: SpeedCase) -> NDArray[np.uint8]:
    """Train and score small images, and return the images of the case."""

    def make_images(size: int) -> NDArray[np.uint8]:
        shape = (2 * case.batch_size, size, size, case.channels)
        return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)

    small = make_images(min(_WARM_UP_SIZE, case.size))
    _set_up(case).set_params(max_iter=_WARM_UP_STEPS).fit(small).score_samples(small)
    return make_images(case.size)


class _MemoryRise:
    """How far the peak of memory has risen since this was created."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            reset_peak_memory()
        self._before = self._peak()

    def _peak(self) -> float | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6
        return peak_memory()

    def measure(self) -> float | None:
        """Return it in 10⁶ bytes, None if unknown."""
        after = self._peak()
        if self._before is None or after is None:
            return None
        return max(after - self._before, 0.0)  # Linux counts pages approximately


@dataclass
class _Steps(FitCallback):
    """Callback of scikit-learn that measures the steps of a fit.

    Attributes
    ----------
    measured : list of (float, float)
        Seconds of a step, and FLOPs per second of the product after it.
    memory : float or None
        Rise of the peak memory by the first steps, in 10⁶ bytes.
    """

    device: torch.device
    product: Product
    measured: list[tuple[float, float]] = field(default_factory=list)
    memory: float | None = None

    def setup(self, estimator: Any, context: Any) -> None:
        """Start the measurement."""
        self._rise = _MemoryRise(self.device)
        self._done, self._start = 0, now(self.device)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Measure the step that has ended."""
        if context.parent is None:
            return
        end = now(self.device)
        self._done += 1
        if self._done == _WARM_UP_STEPS:
            self.memory = self._rise.measure()
        if self._done > _WARM_UP_STEPS:
            self.measured.append((end - self._start, self.product.flops_per_second()))
        self._start = now(self.device)


class Product:
    """A product of square matrices.

    Parameters
    ----------
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.device = device
        self.side = _SIDES.get(device.type, _LARGE_SIDE)
        self._matrices = torch.randn(2, self.side, self.side, dtype=dtype, device=device)
        # The first call takes longer.
        self.flops_per_second()

    def flops_per_second(self) -> float:
        """Measure the current speed."""
        left, right = self._matrices
        return 2 * self.side**3 / seconds_per_call(lambda: torch.mm(left, right), self.device)


def now(device: torch.device) -> float:
    """Return the time in seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return perf_counter()


def seconds_per_call(function: Callable[[], object], device: torch.device) -> float:
    """Return the median time of calls in a short burst, without gradients."""
    times: list[float] = []
    with torch.inference_mode():
        while sum(times) < _BURST_SECONDS:
            start = now(device)
            function()
            times.append(now(device) - start)
    return median(times)


def count_flops(network: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Count the FLOPs of convolutions and matrix products for one image.

    Parameters
    ----------
    network : torch.nn.Module
        Not changed.
    shape : (int, int, int)
        Channels, height and width of its input.

    Returns
    -------
    forward, training : int
        FLOPs of a forward pass, and of a forward and a backward pass.
    """
    # In training mode, no layers are fused into operators unknown to the counter.
    network = copy.deepcopy(network).train()
    images = torch.zeros(1, *shape, device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        output = network(images)
        forward = counter.get_total_flops()
        output.sum().backward()
    return forward, counter.get_total_flops()


def slowest_operators(function: Callable[[], object]) -> dict[str, float]:
    """Return the operators with the longest own time in a call, and their fractions."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        function()
    # Kernels are events of their own, whose time is also that of the operator that starts them.
    cpu = torch.autograd.DeviceType.CPU
    events = [event for event in profiler.key_averages() if event.device_type == cpu]
    times = {e.key: float(e.self_device_time_total) for e in events}
    if not any(times.values()):
        times = {e.key: float(e.self_cpu_time_total) for e in events}
    slowest = sorted(times, key=lambda name: times[name], reverse=True)[:_N_OPERATORS]
    return {name: times[name] / sum(times.values()) for name in slowest}


def _network_shape(detector: Any, X: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return channels, height and width of the network input, with local contrast as a channel."""
    shapes: list[torch.Size] = []
    hook = detector.network_.register_forward_pre_hook(
        lambda module, arguments: shapes.append(arguments[0].shape)
    )
    with hook:
        detector.score_samples(X[:1])
    return tuple(shapes[0][1:])
