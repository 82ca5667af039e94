"""The tests on a device, its speed and memory, and quality over training time."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
from PIL import Image
from setting import ROOT, Skipped

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark._speed import SpeedCase, measure_speed
from skanomaly.datasets import load_mvtec_ad, make_textured_surfaces
from skanomaly.metrics import image_report

# Of tests that do not name a device. Bit-equal trainings are a matter of the CPU, or of bfloat16.
TESTS = [
    *("networks", "scoring", "corruption", "metrics/test_projection_report.py"),
    *("training", "export/test_onnx.py", "inspection/test_one_pass.py"),
    *(
        f"detectors/test_{name}.py"
        for name in (
            *("image_contract", "layout_and_containers", "tiles", "streaming", "model_file"),
            *("one_pass", "calibrate", "thresholds", "standardization", "bad_input"),
            *("value_scale", "closed_forms", "automatic_choices"),
        )
    ),
]
DATASETS = ("magnetic_tile", "bottle")
SPEED = ("images_per_second", "memory_mb")
QUALITY = ("image_roc_auc", "pixel_roc_auc", "per_region_overlap")


def run_tests(setting):
    """Run tests whose detectors take the first GPU, as device="auto" does."""
    if not find_spec("pytest"):
        raise Skipped("pytest is not installed")
    selection = ["training/test_objective.py"] if setting.small else TESTS
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    if find_spec("xdist") and not setting.small:
        command += ["-n", "8", "--dist", "loadfile"]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if setting.device.type == "cpu" else {}
    try:
        done = subprocess.run(
            [*command, *(f"tests/{each}" for each in selection)],
            cwd=ROOT,
            env=os.environ | {"MPLBACKEND": "Agg"} | hidden,
            capture_output=True,
            text=True,
            timeout=setting.seconds_left,
        )
    except subprocess.TimeoutExpired:
        raise Skipped("the tests did not end in time") from None
    lines = done.stdout.splitlines() or [done.stderr[-500:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    assert done.returncode == 0, "\n".join([*failed[:30], lines[-1]])
    setting.figures["tests"] = lines[-1]


def speed_case(size, precision):
    """Make a measurement of throughput and peak memory."""

    def measure(setting):
        if setting.seconds_left < (0 if setting.small else 20):
            raise Skipped("no time is left")
        case = SpeedCase(
            size=16 if setting.small else size,
            channels=1,
            precision=precision,
            batch_size=4 if setting.small else 16,
            device=str(setting.device),
            repeats=1 if setting.small else 20,
        )
        row = measure_speed(case, {})
        for kind in ("training", "scoring"):
            for name in SPEED:
                setting.figures[f"{kind} {name}"] = row[f"{kind}_{name}"]

    return measure


def quality_of(dataset):
    """Make trainings of a few lengths on a dataset: quality over training time."""

    def train(setting):
        if setting.small:
            folder, size, steps = write_dataset(setting.scratch / dataset), 24, (2, 4)
        elif setting.data is None or not (setting.data / dataset).is_dir():
            raise Skipped(f"no folder {dataset} in --data {setting.data}")
        else:
            folder, size, steps = setting.data / dataset, 256, (300, 1000, 3000)
        # Half of the time that is left is for each dataset, but for the last.
        datasets_left = len(DATASETS) - DATASETS.index(dataset)
        end = time.monotonic() + setting.seconds_left / datasets_left
        data = load_mvtec_ad(folder, size=size)
        X_train, X_test = np.asarray(data.X_train), np.asarray(data.X_test)
        points = setting.figures["points"] = []
        for number in steps:
            start = time.monotonic()
            expected = points[-1]["total seconds"] * number / points[-1]["steps"] if points else 0
            if start + expected > end:
                raise Skipped(f"{number} steps would take about {expected:.0f} s")
            detector = SelfSupervisedAutoencoderDetector(
                max_iter=number, device=str(setting.device), random_state=0
            )
            detector.fit(X_train)
            point = {"steps": number, "training seconds": time.monotonic() - start}
            found = detector.detect(X_test)
            report = image_report(
                data.masks_test, found.anomaly_map, y_true=data.y_test, scores=found.score_samples
            )
            point |= {name: float(report[name]) for name in QUALITY}
            points.append(point | {"total seconds": time.monotonic() - start})

    return train


def write_dataset(folder):
    """Write small images in the layout of MVTec AD."""
    data = make_textured_surfaces("brick", image_size=24, n_train=8, random_state=0)
    for name, images in (
        ("train/good", data.X_train),
        ("test/good", data.X_test[data.y_test == 1]),
    ):
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{index:03}.png")
    for name, values in (("test/bad", data.X_test), ("ground_truth/bad", data.masks_test)):
        (folder / name).mkdir(parents=True)
        suffix = "_mask" if name.startswith("ground") else ""
        for index in np.flatnonzero(data.y_test == -1):
            image = values[index] if values.dtype == np.uint8 else 255 * values[index].astype("u1")
            Image.fromarray(image).save(folder / name / f"{index:03}{suffix}.png")
    return folder


SPEED_CHECKS = {
    f"{size} px, {precision}": speed_case(size, precision)
    for size in (128, 256)
    for precision in ("bfloat16", "float32")
}
QUALITY_CHECKS = {dataset: quality_of(dataset) for dataset in DATASETS}
