"""How fast detectors are trained and score, beside plain operations in the same minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from ..corruption import PatchCorruption
from ..detectors import SelfSupervisedAutoencoderDetector, _fitting
from ..training import autocast, resolve_device, resolve_precision, train
from ._evaluation import Row, describe_environment
from ._memory import peak_memory, reset_peak_memory
from ._operations import Operations, Peaks, count_operations, seconds_per_call
from ._processes import fresh_process
from ._speed_onnx import measure_onnx
from ._stages import (
    SCORING_STAGES,
    TRAINING_STAGES,
    Stopwatch,
    entering,
    network_calls,
    now,
    scoring_stages,
    stage_shares,
)

# After the first steps, the optimiser and the libraries have what they keep.
_WARM_UP_STEPS = 2
_WARM_UP_SIZE = 16


@dataclass(frozen=True)
class SpeedCase:
    """Images and a precision to measure the speed for.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    channels : int
        1 is grey, 3 RGB.
    precision : {"float32", "bfloat16"}
    batch_size : int
        Of training; scored are twice as many images.
    device : str
        As for a detector.
    repeats : int
        How often each figure is measured; what is reported is the median.
    with_onnx : bool
        Whether to measure the exported graph too, see `measure_onnx`.
    detector : SelfSupervisedAutoencoderDetector
        Unfitted; it stays so.
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
    """Name the images of a case in a table."""
    return f"{size} px {'grey' if channels == 1 else 'RGB'}"


def measure_speed(case: SpeedCase, environment: Mapping[str, str]) -> Row:
    """Measure training and scoring, each in a process of its own.

    Parameters
    ----------
    case : SpeedCase
    environment : mapping of str to str
        Environment variables of the processes.

    Returns
    -------
    dict
        The case: "size", "channels", "precision", "batch_size", "device", "repeats". For
        "training" and for "scoring": "…_images_per_second"; "…_of_convolution", the operations per
        second of the network's products over those of the plain convolution; "…_share_<stage>",
        which add up to 1; "…_memory_mb", how far it raised the peak of a process that had done the
        same with small images, in 10⁶ bytes or None, and "…_memory_batches", the same in batches as
        the network reads them in float32. Of the
        network's forward pass alone: "operations_per_image", "forward_operations_per_second",
        "forward_of_convolution" and "forward_of_product". Of what it is compared with:
        "convolution_shape", "convolution_operations_per_second", "product_side" and
        "product_operations_per_second". What `measure_onnx` returns, if asked for. And what
        `describe_environment` returns.
    """
    with fresh_process(environment) as process:
        row, fitted = process.submit(_measure_times, case).result()
    # What training has held would hide what scoring holds.
    with fresh_process(environment) as process:
        memory = process.submit(_measure_scoring_memory, case, fitted).result()
    row["scoring_memory_mb"] = memory
    channels, height, width = row.pop("network_shape")
    batch = 4 * case.batch_size * channels * height * width / 1e6
    for kind in ("training", "scoring"):
        memory = row[f"{kind}_memory_mb"]
        row[f"{kind}_memory_batches"] = None if memory is None else memory / batch
    return row


def _measure_times(case: SpeedCase) -> tuple[Row, Any]:
    """Return all but the memory of scoring, and the fitted detector."""
    device = resolve_device(case.device)
    X = _warm_up(case)
    trained = _Training(device, resolve_precision(case.precision, device))
    detector = trained.fit(_set_up(case), X, case.repeats)
    assert trained.peaks is not None and trained.operations is not None
    scored = list(_measure_scoring(detector, X, trained, case))
    forward = [each.beside for each in scored]
    peaks = [each.beside for each in trained.measured] + forward
    operations = trained.operations
    row: Row = {
        "size": case.size,
        "channels": case.channels,
        "precision": case.precision,
        "batch_size": case.batch_size,
        "device": device.type,
        "repeats": case.repeats,
        **_summarize("training", trained.measured, operations.training),
        "training_memory_mb": trained.memory,
        **_summarize("scoring", scored, operations.forward),
        "operations_per_image": operations.forward,
        "forward_operations_per_second": median(each["forward"] for each in forward),
        "forward_of_convolution": median(e["forward"] / e["convolution"] for e in forward),
        "forward_of_product": median(e["forward"] / e["product"] for e in forward),
        "convolution_shape": list(trained.peaks.shape),
        "convolution_operations_per_second": median(each["convolution"] for each in peaks),
        "product_side": trained.peaks.side,
        "product_operations_per_second": median(each["product"] for each in peaks),
        "network_shape": list(trained.network_shape),
        **(measure_onnx(detector, X, case.repeats) if case.with_onnx else {}),
        **describe_environment(),
    }
    return row, detector


def _measure_scoring_memory(case: SpeedCase, detector: Any) -> float | None:
    X = _warm_up(case)
    memory = _memory_above(detector.device_)
    detector.score_samples(X)
    return memory()


def _set_up(case: SpeedCase) -> Any:
    return clone(case.detector).set_params(
        batch_size=case.batch_size,
        precision=case.precision,
        device=case.device,
        random_state=0,
    )


def _warm_up(case: SpeedCase) -> NDArray[np.uint8]:
    """Load what the libraries load when first used, and return the images to measure with."""

    def make_images(size: int) -> NDArray[np.uint8]:
        shape = (2 * case.batch_size, size, size, case.channels)
        return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)

    small = make_images(min(_WARM_UP_SIZE, case.size))
    _set_up(case).set_params(max_iter=_WARM_UP_STEPS).fit(small).score_samples(small)
    return make_images(case.size)


def _memory_above(device: torch.device) -> Callable[[], float | None]:
    """Make a function that returns how far the peak of memory has risen since, in 10⁶ bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak_memory()

    def peak() -> float | None:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / 1e6
        return peak_memory()

    before = peak()

    def above() -> float | None:
        after = peak()
        return None if before is None or after is None else after - before

    return above


@dataclass(frozen=True)
class _Measured:
    """One step, or one scoring, and what was measured beside it.

    Attributes
    ----------
    images_per_second : float
    stages : dict of str to float
        Seconds of each stage, measured next to it.
    beside : dict of str to float
        Operations per second of what was measured between the two: "convolution", "product" and,
        with scoring, the network's "forward" pass alone.
    """

    images_per_second: float
    stages: Mapping[str, float]
    beside: Mapping[str, float]


class _Training:
    """Measures the steps of a real fit: one by stages, one as a whole, and so on.

    Attributes
    ----------
    measured : list of _Measured
        For each repetition.
    memory : float or None
        How far training has raised the peak, in 10⁶ bytes.
    network_shape : (int, int, int)
        Channels, height and width of what the network reads.
    operations : Operations
    peaks : Peaks
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self.measured: list[_Measured] = []
        self.memory: float | None = None
        self.network_shape: tuple[int, ...] = ()
        self.operations: Operations | None = None
        self.peaks: Peaks | None = None
        self._watch = Stopwatch(device, TRAINING_STAGES)
        self._marks = ExitStack()

    def fit(self, detector: Any, X: NDArray[np.uint8], repeats: int) -> Any:
        """Fit a detector to images while its steps are measured, and return it."""
        corruption = PatchCorruption() if detector.corruption is None else detector.corruption
        detector.set_params(corruption=corruption, max_iter=_WARM_UP_STEPS + 2 * repeats)
        self._memory_above = _memory_above(self.device)
        with (
            entering(self._watch, corruption, "corrupt", "corruption", "representation"),
            patch.object(_fitting, "train", self._train),
            # Marks are taken off should a step fail.
            self._marks,
        ):
            return detector.fit(X)

    def _train(
        self,
        network: nn.Module,
        draw_batch: Callable[[int], Tensor],
        objective: Any,
        *,
        on_step: Callable[[int, float], bool],
        **options: Any,
    ) -> Any:
        """Train as `train` does."""

        def begin_step(step: int) -> Tensor:
            by_stages = step >= _WARM_UP_STEPS and (step - _WARM_UP_STEPS) % 2 == 0
            if by_stages:
                self._mark()
                self._watch.start("data")
            self._start = now(self.device)
            batch = draw_batch(step)
            self._watch.enter("other")
            return batch

        def end_step(step: int, loss: float) -> bool:
            seconds = now(self.device) - self._start
            if self._watch.is_running:
                self._stages = self._watch.stop()
                self._marks.close()
                self._measure_beside(network)
            elif step >= _WARM_UP_STEPS:
                rate = self._batch_size / seconds
                self.measured.append(_Measured(rate, self._stages, self._beside))
            return on_step(step, loss)

        return train(network, begin_step, objective, on_step=end_step, **options)

    def _mark(self) -> None:
        """Have the stages entered, which are not known beforehand: the network and the rest."""

        def before(images: Tensor) -> None:
            self._batch_size = len(images)
            self.network_shape = tuple(images.shape[1:])
            self._watch.enter("forward")

        self._marks.enter_context(network_calls(before, lambda: self._watch.enter("other")))
        self._marks.enter_context(
            entering(self._watch, torch.Tensor, "backward", "backward", "optimiser")
        )

    def _measure_beside(self, network: nn.Module) -> None:
        if self.peaks is None:
            self.memory = self._memory_above()
            self.operations = count_operations(network, self.network_shape)
            shape = (self._batch_size, *self.operations.heaviest)
            self.peaks = Peaks(shape, self.dtype, self.device)
        self._beside = self.peaks.measure()


def _measure_scoring(
    detector: Any, X: NDArray[np.uint8], trained: _Training, case: SpeedCase
) -> Iterator[_Measured]:
    """Measure what a fitted detector takes to score images, and its network alone."""
    assert trained.peaks is not None and trained.operations is not None
    device, network = trained.device, detector.network_
    batch = torch.randn(case.batch_size, *trained.network_shape, device=device)

    def pass_forward() -> None:
        with autocast(device, trained.dtype):
            network(batch)

    operations = case.batch_size * trained.operations.forward
    watch = Stopwatch(device, SCORING_STAGES)
    for _ in range(case.repeats):
        with scoring_stages(watch):
            watch.start("other")
            detector.score_samples(X)
            stages = watch.stop()
        forward = operations / seconds_per_call(pass_forward, device)
        beside = {**trained.peaks.measure(), "forward": forward}
        start = now(device)
        detector.score_samples(X)
        yield _Measured(len(X) / (now(device) - start), stages, beside)


def _summarize(kind: str, measured: list[_Measured], operations_per_image: int) -> Row:
    return {
        f"{kind}_images_per_second": median(each.images_per_second for each in measured),
        f"{kind}_of_convolution": median(
            operations_per_image * each.images_per_second / each.beside["convolution"]
            for each in measured
        ),
        **{
            f"{kind}_share_{stage}": share
            for stage, share in stage_shares([each.stages for each in measured]).items()
        },
    }
