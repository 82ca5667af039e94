"""The speed of training and scoring, and its command."""

import itertools
import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import skanomaly
from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import _speed, _speed_command, _speed_onnx, describe_environment
from skanomaly.benchmark._command import main
from skanomaly.benchmark._speed import (
    SpeedCase,
    _measure_times,
    _network_shape,
    count_flops,
    slowest_operators,
)
from skanomaly.corruption import PatchCorruption
from skanomaly.networks import ConvolutionalAutoencoder

SMALL = ["speed", "--batch-size", "4", "--repeats", "1"]
# The fewest steps of a map, quick to export.
SHORT_MAP = {"contrast_size": None, "region_size": None, "smoothing_passes": 0}
TICK = 1e-3
MEMORY_COLUMNS = [
    f"{kind}_memory_{unit}" for kind in ("training", "scoring") for unit in ("mb", "batches")
]


class Clock:
    """Time stands still, but for a tick each time that somebody looks, and for what is slow."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        self.time += TICK
        return self.time

    def slow(self, function):
        def slower(*arguments, **options):
            self.time += 1.0
            return function(*arguments, **options)

        return slower


@pytest.fixture
def small_product(monkeypatch):
    monkeypatch.setattr(_speed, "_SIDES", {"cpu": 128})


@pytest.fixture
def clock(monkeypatch, small_product):
    """The clock of the measurements, of a hundred products each."""
    clock = Clock()
    monkeypatch.setattr(_speed, "perf_counter", clock)
    monkeypatch.setattr(_speed_onnx, "perf_counter", clock)
    return clock


@pytest.fixture
def short_bursts(monkeypatch, small_product):
    monkeypatch.setattr(_speed, "_BURST_SECONDS", 1e-9)


@pytest.fixture
def short_networks(monkeypatch):
    """The cases of the command have a network of few operators, with FLOPs enough to be seen."""
    network = partial(ConvolutionalAutoencoder, depth=1, n_blocks=1, dilations=(1,))
    detector = SelfSupervisedAutoencoderDetector(network=network, **SHORT_MAP)
    monkeypatch.setattr(_speed_command, "SpeedCase", partial(SpeedCase, detector=detector))


class SmallNetwork(ConvolutionalAutoencoder):
    def __init__(self, image_shape):
        super().__init__(image_shape, width=4)


def measure(**parameters):
    detector = SelfSupervisedAutoencoderDetector(**{"network": SmallNetwork, **parameters})
    case = SpeedCase(16, 1, "float32", batch_size=4, device="cpu", repeats=1, detector=detector)
    row, fitted = _measure_times(case)
    assert fitted.n_iter_ == 3 and not hasattr(detector, "network_")
    return row


def slow_method(owner, name, clock, monkeypatch):
    monkeypatch.setattr(owner, name, clock.slow(getattr(owner, name)))


def test_onnxruntime_scores_the_same_images(clock, monkeypatch):
    """Here it takes no time: each look at the clock is a tick, and a scoring of ours a second."""
    pytest.importorskip("onnxruntime")
    slow_method(SelfSupervisedAutoencoderDetector, "score_samples", clock, monkeypatch)
    detector = SelfSupervisedAutoencoderDetector(network=SmallNetwork, **SHORT_MAP)
    case = SpeedCase(
        16, 1, "float32", batch_size=4, device="cpu", repeats=2, with_onnx=True, detector=detector
    )
    row, _ = _measure_times(case)
    assert row["onnx_images_per_second"] == pytest.approx(8 / TICK)
    assert row["of_onnx"] == pytest.approx(TICK / (1 + TICK))
    assert row["onnx_single_images_per_second"] == pytest.approx(8 / TICK)
    assert row["single_of_onnx"] == pytest.approx(TICK / (8 + TICK))
    assert "onnxruntime images/s" in _speed_command.speed_report(
        [row | dict.fromkeys(MEMORY_COLUMNS, 1.0)]
    )


def test_rates_and_ratios_are_those_of_the_clock(clock, monkeypatch):
    slow_method(PatchCorruption, "corrupt", clock, monkeypatch)
    row = measure()
    assert row["training_images_per_second"] == pytest.approx(4 / 1.0, rel=0.01)
    # 8 images, and nobody looks at the clock meanwhile.
    assert row["scoring_images_per_second"] == pytest.approx(8 / TICK)
    product = 2 * row["product_side"] ** 3
    assert row["product_flops_per_second"] == pytest.approx(product / TICK)
    flops = row["flops_per_image"]
    assert row["forward_flops_per_second"] == pytest.approx(4 * flops / TICK)
    assert row["forward_of_product"] == pytest.approx(4 * flops / product)
    assert row["scoring_of_product"] == pytest.approx(8 * flops / product)
    # A step takes three times as many FLOPs, save for gradients of the images.
    whole = row["training_of_product"] * product / TICK / row["training_images_per_second"]
    assert 2.5 * flops < whole < 3 * flops


def test_the_operators_that_take_the_time_are_named():
    matrix = torch.rand(400, 400)
    fractions = slowest_operators(lambda: [matrix @ matrix for _ in range(20)])
    assert next(iter(fractions)) == "aten::mm" and fractions["aten::mm"] > 0.5
    row = measure()
    for kind in ("training", "scoring"):
        fractions = list(row[f"{kind}_operators"].values())
        assert len(fractions) == 5 and fractions == sorted(fractions, reverse=True)
        assert 0 < fractions[-1] and sum(fractions) <= 1


def test_the_network_reads_local_contrast_too():
    detector = SelfSupervisedAutoencoderDetector(network=SmallNetwork, max_iter=1, random_state=0)
    X = torch.rand(4, 16, 20, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert _network_shape(detector.fit(X), X) == (4, 16, 20)
    detector.set_params(contrast_size=None)
    assert _network_shape(detector.fit(X), X) == (3, 16, 20)


def test_no_shipped_code_patches_anything():
    folder = Path(skanomaly.__file__).parent
    for path in folder.rglob("*.py"):
        assert not re.search(r"unittest|\bpatch\.object|monkeypatch", path.read_text()), path


def test_flops_are_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 1),
    ).eval()
    mean = network[1].running_mean.clone()
    forward, training = count_flops(network, (2, 12, 10))
    first, second, third = 2 * 9 * 2 * 8 * 120, 2 * 9 * 8 * 16 * 30, 2 * 16 * 16 * 30
    assert forward == first + second + third
    # Gradients of weights cost as much, and so do those of the inputs, save for the images.
    assert training == 3 * forward - first
    assert not network.training and torch.equal(network[1].running_mean, mean)


@pytest.mark.usefixtures("in_this_process", "short_bursts", "short_networks")
def test_the_command_prints_and_writes_all_cases(tmp_path, capsys):
    path = tmp_path / "speed.json"
    options = ["--sizes", "16", "24", "16", "--precision", "bfloat16", "float32"]
    assert main([*SMALL, *options, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert f"torch {describe_environment()['torch']}" in out
    assert "[8/8] 24 px RGB, float32" in err
    tables = {}
    for heading, *_, table in (part.partition("\n\n") for part in out.split("## ")[1:]):
        head, _, *lines = (
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in itertools.takewhile(lambda line: line, table.splitlines())
        )
        tables[heading] = [dict(zip(head, line, strict=True)) for line in lines]
    rows = json.loads(path.read_text())
    expected = list(itertools.product((16, 24), (1, 3), ("bfloat16", "float32")))
    assert [(row["size"], row["channels"], row["precision"]) for row in rows] == expected
    for table in tables.values():
        names = [(line["images"], line["precision"]) for line in table]
        assert names == [(f"{s} px {'grey' if c == 1 else 'RGB'}", p) for s, c, p in expected]
    assert len(tables) == 4
    for heading in ("Training, batches of 4", "Scoring"):
        for line in tables[heading]:
            assert float(line["images/s"]) > 0 and float(line["of product"]) > 0
            assert line["operators"].count("aten::") >= 3
    for row in rows:
        figures = [value for value in row.values() if isinstance(value, float)]
        assert len(figures) == 11 and min(figures) >= 0


def test_processes_of_their_own_measure_memory(tmp_path):
    path = tmp_path / "speed.json"
    options = ["--sizes", "32", "--channels", "3", "--precision", "float32", "--threads", "1"]
    assert main([*SMALL, *options, "--device", "cpu", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())
    assert row["threads"] == "1" and row["device"] == "cpu"
    # The network reads local contrast as a fourth channel.
    batch = 4 * 4 * 4 * 32 * 32 / 1e6
    if row["training_memory_mb"] is not None:
        assert row["training_memory_mb"] > batch
        assert row["training_memory_batches"] == pytest.approx(row["training_memory_mb"] / batch)


@pytest.mark.usefixtures("in_this_process", "short_bursts", "short_networks")
def test_a_case_that_fails_leaves_the_others(monkeypatch, capsys):
    def measure_speed(case, environment):
        if case.size == 16:
            raise MemoryError("not\nenough")
        return measure_others(case, environment)

    measure_others = _speed_command.measure_speed
    monkeypatch.setattr(_speed_command, "measure_speed", measure_speed)
    options = ["--sizes", "16", "24", "--channels", "1", "--precision", "float32"]
    assert main([*SMALL, *options]) == 1
    out, err = capsys.readouterr()
    assert "failed: 16 px grey, float32: not enough\n" in err
    assert "| 24 px grey |" in out and "16 px" not in out


def test_an_interruption(monkeypatch, capsys):
    def interrupt(case, environment):
        raise KeyboardInterrupt

    monkeypatch.setattr(_speed_command, "measure_speed", interrupt)
    assert main(SMALL) == 130
    assert capsys.readouterr().err.endswith("speed: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "0"], "1 or more, got '0'"),
        (["--sizes"], "expected at least one argument"),
        (["--channels", "2"], "invalid choice"),
        (["--precision", "auto"], "invalid choice"),
        (["--threads", "many"], "1 or more, got 'many'"),
        (["--device", "abacus"], "abacus"),
        (["--repeats", "99"], "from 1 to 98"),
        (["--json", "no/such/folder.json"], "must lie in a folder"),
        (["--json", "."], "must be a file"),
        (["bars"], "unrecognized arguments: bars"),
    ],
)
def test_wrong_usage_is_one_line_and_comes_before_any_case(arguments, message, capsys):
    try:
        code = main(["speed", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1] and out == ""
    assert err.count("\n") == 1 or err.startswith("usage: python -m skanomaly.benchmark speed")


def test_a_dataset_called_speed(stripes, tmp_path, monkeypatch, in_this_process, capsys):
    shutil.copytree(stripes, tmp_path / "speed")
    monkeypatch.chdir(tmp_path)
    assert main(["./speed", "--size", "16", "--seeds", "0", "--set", "max_iter=1"]) == 0
    assert "## speed, 16 px" in capsys.readouterr().out
