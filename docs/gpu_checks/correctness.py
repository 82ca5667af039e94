"""Detectors on a device against the same ones on the CPU: a check that fails raises."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from setting import ROOT, TOLERANCES, Skipped, difference, on_device, require, tf32
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import skanomaly
from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.metrics import projection_report

# Run in a process that sees no GPU: scores of a pickle and of a model file, and a pickle back.
ON_THE_CPU = """
import pickle, sys, numpy as np, torch, skanomaly
folder = sys.argv[1]
assert not torch.cuda.is_available()
images = np.load(f"{folder}/images.npy")
detector = pickle.load(open(f"{folder}/detector.pickle", "rb"))
assert detector.device_.type == "cpu"
scores = detector.score_samples(images), skanomaly.load(f"{folder}/model").score_samples(images)
np.save(f"{folder}/scores.npy", scores)
pickle.dump(detector, open(f"{folder}/back.pickle", "wb"))
"""


def all_results(detector, X):
    found = detector.detect(X)
    return {
        "scores": found.score_samples,
        "maps": found.anomaly_map,
        "reconstructions": detector.reconstruct(X / 255.0 if X.dtype == np.uint8 else X),
    }


def check_fits(setting):
    """All detectors can be trained on the device."""
    setting.figures["fitted"] = len(setting.fitted)
    assert not setting.fit_errors, setting.fit_errors


def check_device_against_cpu(setting):
    """Scores, maps and reconstructions of all detectors, in each precision."""
    for name, (detector, X) in setting.fitted.items():
        expected = all_results(on_device(detector, "cpu"), X)
        for kind in TOLERANCES:
            precision = "bfloat16" if kind == "bfloat16" else "float32"
            with tf32(kind != "float32"):
                found = all_results(on_device(detector, setting.device, precision), X)
            for what, value in found.items():
                label = f"{what}, {kind}"
                largest = setting.figures.get(label, (0.0, ""))
                setting.figures[label] = max(largest, (difference(value, expected[what]), name))
    for label, (value, name) in setting.figures.items():
        require(value, TOLERANCES[label.partition(", ")[2]], f"{name}, {label}")


def check_training_finds_defects(setting):
    """Image AUROC after training on the device and on the CPU, in each precision."""
    data, figures = setting.images, setting.figures
    steps = 4 if setting.small else 200
    there = str(setting.device)
    for device, precision in (("cpu", "float32"), (there, "float32"), (there, "bfloat16")):
        detector = setting.make(device=device, precision=precision, max_iter=steps)
        scores = detector.fit(data.X_train).score_samples(data.X_test)
        assert np.isfinite(detector.loss_curve_).all()
        setting.figures[f"{device}, {precision}"] = roc_auc_score(data.y_test, scores)
    worst = min(figures.values())
    slack = 1.0 if setting.small else 0.1
    assert worst >= next(iter(figures.values())) - slack, figures


def check_the_device_in_use(setting):
    """Weights are on the device, and tensors there are scored like arrays."""
    for name, (detector, X) in setting.fitted.items():
        assert detector.device_.type == setting.device.type, name
        assert {p.device.type for p in detector.network_.parameters()} == {setting.device.type}
        scores = detector.score_samples(X)
        there = detector.score_samples(torch.from_numpy(np.ascontiguousarray(X)).to(setting.device))
        np.testing.assert_array_equal(there, scores, err_msg=name)
        batches = [batch.score_samples for batch in detector.detect_batches(X)]
        np.testing.assert_array_equal(np.concatenate(batches), scores, err_msg=name)
        back = on_device(on_device(detector, "cpu"), setting.device)
        np.testing.assert_array_equal(back.score_samples(X), scores, err_msg=name)


def check_files_without_a_gpu(setting):
    """Pickle and model file are read in a process without a GPU, whose pickle is read here."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    for name, (detector, X) in setting.fitted.items():
        if name not in ("SelfSupervisedAutoencoderDetector", "rows"):
            continue
        folder = Path(tempfile.mkdtemp(dir=setting.scratch))
        np.save(folder / "images.npy", X)
        with open(folder / "detector.pickle", "wb") as file:
            pickle.dump(detector, file)
        detector.save(folder / "model")
        command = [sys.executable, "-c", ON_THE_CPU, str(folder)]
        subprocess.run(command, check=True, env=environment, timeout=max(30, setting.seconds_left))
        scores = detector.score_samples(X)
        for kind, other in zip(
            ("pickle", "model file"), np.load(folder / "scores.npy"), strict=True
        ):
            worst = require(difference(other, scores), TOLERANCES["float32 with TF32"], name)
            setting.figures[f"{name}, {kind}"] = worst
        with open(folder / "back.pickle", "rb") as file:
            back = pickle.load(file)
        for loaded in (back, skanomaly.load(folder / "model")):
            assert loaded.device_.type == setting.device.type
            np.testing.assert_array_equal(loaded.score_samples(X), scores)


def check_onnx(setting):
    """The graph of a detector on the device gives its scores and maps."""
    if not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise Skipped("onnx, onnxscript and onnxruntime are not installed")
    import onnxruntime

    from skanomaly.export import to_onnx

    names = ("rows",) if setting.small else ("SelfSupervisedAutoencoderDetector", "rows")
    for name in names:
        detector, X = setting.fitted[name]
        path = setting.scratch / "graph.onnx"
        to_onnx(detector, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        scores, maps = session.run(["score_samples", "anomaly_map"], {given.name: X})
        with tf32(False):
            expected = detector.detect(X)
        limit = TOLERANCES["float32"]
        setting.figures[name] = require(difference(scores, expected.score_samples), limit, name)
        require(difference(maps, expected.anomaly_map), limit, f"{name}, maps")


def check_tiles(setting):
    """An image that is scored in tiles."""
    height, width = (1600, 40) if setting.small else (2000, 2400)
    image = np.random.default_rng(0).integers(0, 256, (1, height, width), dtype=np.uint8)
    detector, _ = setting.fitted["SelfSupervisedAutoencoderDetector"]
    expected = on_device(detector, "cpu").detect(image)
    with tf32(False):
        found = detector.detect(image)
    limit = TOLERANCES["float32"]
    for name in ("anomaly_map", "score_samples"):
        setting.figures[name] = require(difference(found[name], expected[name]), limit, name)


def check_calibrate_and_partial_fit(setting):
    """Detectors calibrated and trained further on the device score alike on the CPU."""
    for name in ("SelfSupervisedAutoencoderDetector", "rows"):
        detector, X = setting.fitted[name]
        detector = on_device(detector, setting.device).calibrate(X).partial_fit(X)
        assert detector.device_.type == setting.device.type
        with tf32(False):
            scores = detector.score_samples(X)
        other = on_device(detector, "cpu").score_samples(X)
        setting.figures[name] = require(difference(scores, other), TOLERANCES["float32"], name)


class Interrupt:
    """Callback that presses Ctrl-C half way."""

    def __init__(self, step):
        self.step = step

    def setup(self, estimator, context):
        self.done = 0

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.done += context.task_name == "gradient steps"
        if self.done == self.step:
            self.step = None
            signal.raise_signal(signal.SIGINT)

    def teardown(self, estimator, context):
        pass


def check_resumed_checkpoint(setting):
    """A training that was interrupted ends like one that was not, in bfloat16 to the bit."""
    X = setting.images.X_train
    detector = setting.make(precision="bfloat16")
    straight = clone(detector).fit(X)
    resumed = clone(detector).set_params(checkpoint=setting.scratch / "checkpoint")
    # Processes in the background may ignore Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        resumed.set_callbacks(Interrupt(detector.max_iter // 2)).fit(X)
    except KeyboardInterrupt:
        resumed.set_callbacks().fit(X)
    else:
        raise AssertionError("the training was not interrupted")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert resumed.n_iter_ == straight.n_iter_
    compare_bits(resumed, straight, X)


def check_refit(setting):
    """A second training with one seed gives the same weights in bfloat16, to the bit."""
    X = setting.images.X_train
    for cls in (SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE):
        detector = setting.make(cls, precision="bfloat16")
        first, second = clone(detector).fit(X), clone(detector).fit(X)
        compare_bits(first, second, X)


def compare_bits(first, second, X):
    weights = [each.network_.state_dict().values() for each in (first, second)]
    scores = [each.score_samples(X) for each in (first, second)]
    are_equal = all(map(torch.equal, *weights))
    assert are_equal, f"weights differ, and scores by {difference(*scores):.2g} of their size"
    np.testing.assert_array_equal(*scores)


def check_threads(setting):
    """Several threads score on the device at once."""
    detector, X = setting.fitted["SelfSupervisedAutoencoderDetector"]
    expected = detector.score_samples(X)
    with ThreadPoolExecutor(4) as threads:
        for scores in threads.map(detector.score_samples, [X] * 12):
            np.testing.assert_array_equal(scores, expected)


def check_projection_report(setting):
    """The report of a detector on the device and on the CPU."""
    detector, X = setting.fitted["SelfSupervisedAutoencoderDetector"]
    # The same damage on both: each device draws its own.
    damaged = X[:4].copy()
    damaged[:, 4:9, 4:9] = 255 - damaged[:, 4:9, 4:9]
    reports = []
    for device in (setting.device, "cpu"):
        with tf32(False):
            report = projection_report(
                on_device(detector, device),
                X[:4],
                corrupted=damaged,
                tangent_dimension=4,
                n_tangent_spaces=1,
            )
        figures = report.to_dict()
        del figures["n_samples"], figures["tangent_dimension"]
        reports.append([value or 0.0 for value in figures.values()])
    setting.figures["difference"] = require(difference(*reports), 1e-2, "difference")


@contextmanager
def short_of_memory(setting, detector, run):
    """Leave less memory than `run` took before; on the CPU, room for one image is pretended."""
    if setting.device.type != "cuda":

        def fail(network, arguments):
            if len(arguments[0]) > 1:
                raise torch.cuda.OutOfMemoryError("no room")

        with detector.network_.register_forward_pre_hook(fail):
            yield
        return
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(setting.device)
    before = torch.cuda.memory_allocated(setting.device)
    run()
    rise = torch.cuda.max_memory_allocated(setting.device) - before
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    limit = torch.cuda.memory_reserved(setting.device) + 0.6 * rise
    torch.cuda.set_per_process_memory_fraction(limit / total, setting.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        torch.cuda.empty_cache()


def check_out_of_memory(setting):
    """Scoring halves its batches where memory runs out; training says what to change."""
    count, side = (4, 24) if setting.small else (128, 256)
    X = np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)
    detector = on_device(setting.fitted["DenoisingAE"][0], setting.device)
    expected = detector.score_samples(X)
    with (
        short_of_memory(setting, detector, lambda: detector.score_samples(X)),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        scores = detector.score_samples(X)
    said = [str(each.message) for each in caught if "Out of memory" in str(each.message)]
    assert said, "the limit on memory was not met: no warning"
    worst = require(difference(scores, expected), TOLERANCES["float32 with TF32"], "scores")
    setting.figures |= {"halved": len(said), "scores": worst}
    if setting.device.type == "cuda":
        large, X = setting.make(DenoisingAE, max_iter=1, batch_size=32), X[:32]
        with short_of_memory(setting, None, lambda: clone(large).fit(X)):
            try:
                large.fit(X)
            except torch.cuda.OutOfMemoryError as error:
                assert any("batch_size" in note for note in getattr(error, "__notes__", []))
            else:
                raise AssertionError("the limit on memory was not met in training")


CHECKS = [
    check_fits,
    check_device_against_cpu,
    check_the_device_in_use,
    check_files_without_a_gpu,
    check_refit,
    check_resumed_checkpoint,
    check_calibrate_and_partial_fit,
    check_tiles,
    check_out_of_memory,
    check_threads,
    check_projection_report,
    check_training_finds_defects,
    check_onnx,
]
