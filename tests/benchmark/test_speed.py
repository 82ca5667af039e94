"""The profile of training and scoring, and its command."""

import itertools
import json
import shutil

import pytest
import torch
from torch import nn

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import _operations, _speed_command, _stages, describe_environment
from skanomaly.benchmark._command import main
from skanomaly.benchmark._operations import Peaks, count_operations
from skanomaly.benchmark._speed import SpeedCase, _measure_times
from skanomaly.benchmark._stages import SCORING_STAGES, TRAINING_STAGES
from skanomaly.corruption import PatchCorruption
from skanomaly.detectors._images import ValidatedInput
from skanomaly.detectors._standardization import Standardization
from skanomaly.networks import ConvolutionalAutoencoder

SMALL = ["speed", "--batch-size", "4", "--repeats", "1"]
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
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_stages, "perf_counter", clock)
    return clock


@pytest.fixture
def short_bursts(monkeypatch):
    monkeypatch.setattr(_operations, "_BURST_SECONDS", 1e-9)


class SmallNetwork(ConvolutionalAutoencoder):
    def __init__(self, image_shape):
        super().__init__(image_shape, width=4)


def measure(**parameters):
    detector = SelfSupervisedAutoencoderDetector(**{"network": SmallNetwork, **parameters})
    case = SpeedCase(16, 1, "float32", batch_size=4, device="cpu", repeats=1, detector=detector)
    row, fitted = _measure_times(case)
    assert fitted.n_iter_ == 4 and not hasattr(detector, "network_")
    return row


def slow_forward(clock, monkeypatch):
    monkeypatch.setattr(SmallNetwork, "forward", clock.slow(SmallNetwork.forward))


def slow_backward(clock, monkeypatch):
    forward = SmallNetwork.forward

    def with_hook(self, images):
        output = forward(self, images)
        if output.requires_grad:
            output.register_hook(clock.slow(lambda gradient: gradient))
        return output

    monkeypatch.setattr(SmallNetwork, "forward", with_hook)


def slow_method(owner, name):
    def install(clock, monkeypatch):
        monkeypatch.setattr(owner, name, clock.slow(getattr(owner, name)))

    return install


@pytest.mark.parametrize(
    ("make_slow", "stage", "scoring_stage"),
    [
        (slow_method(ValidatedInput, "load"), "data", "reading"),
        (slow_method(ValidatedInput, "scale"), "data", "reading"),
        (slow_method(PatchCorruption, "corrupt"), "corruption", None),
        (slow_method(Standardization, "represent"), "representation", "reading"),
        (slow_forward, "forward", "network"),
        (slow_backward, "backward", None),
        (slow_method(torch.optim.AdamW, "step"), "optimiser", None),
        (slow_method(nn.utils, "clip_grad_norm_"), "optimiser", None),
        # Of the mean of the largest values of a map.
        (slow_method(torch, "topk"), None, "maps"),
    ],
)
def test_what_is_slow_has_the_larger_share(make_slow, stage, scoring_stage, clock, monkeypatch):
    make_slow(clock, monkeypatch)
    row = measure(score_aggregation=0.5)
    kinds = (("training", TRAINING_STAGES, stage), ("scoring", SCORING_STAGES, scoring_stage))
    for kind, stages, slow in kinds:
        shares = {name: row[f"{kind}_share_{name}"] for name in stages}
        assert sum(shares.values()) == pytest.approx(1)
        if slow is None:
            assert max(shares.values()) < 0.9
        else:
            assert shares[slow] > 0.98


def test_onnxruntime_scores_the_same_images(clock, monkeypatch):
    """Here it takes no time: each look at the clock is a tick, and a scoring of ours a second."""
    pytest.importorskip("onnxruntime")
    slow_method(SelfSupervisedAutoencoderDetector, "score_samples")(clock, monkeypatch)
    detector = SelfSupervisedAutoencoderDetector(network=SmallNetwork)
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
    slow_method(PatchCorruption, "corrupt")(clock, monkeypatch)
    row = measure()
    assert row["training_images_per_second"] == pytest.approx(4 / 1.0, rel=0.01)
    # 8 images, and nobody looks at the clock meanwhile.
    assert row["scoring_images_per_second"] == pytest.approx(8 / TICK)
    batch, channels, height, width = row["convolution_shape"]
    convolution = 2 * 9 * channels**2 * batch * height * width
    assert row["convolution_operations_per_second"] == pytest.approx(convolution / TICK)
    product = 2 * row["product_side"] ** 3
    assert row["product_operations_per_second"] == pytest.approx(product / TICK)
    operations = row["operations_per_image"]
    assert row["forward_operations_per_second"] == pytest.approx(4 * operations / TICK)
    assert row["forward_of_convolution"] == pytest.approx(4 * operations / convolution)
    assert row["forward_of_product"] == pytest.approx(4 * operations / product)
    assert row["scoring_of_convolution"] == pytest.approx(8 * operations / convolution)
    # A step takes three times as many operations, save for gradients of the images.
    whole = row["training_of_convolution"] * convolution / TICK / row["training_images_per_second"]
    assert 2.5 * operations < whole < 3 * operations


def test_nothing_stays_patched(monkeypatch, short_bursts):
    backward, corruption, calls = torch.Tensor.backward, PatchCorruption(), []
    measure(corruption=corruption)
    assert torch.Tensor.backward is backward
    corrupt = PatchCorruption.corrupt

    def fail_late(self, images, generator):
        calls.append(torch.Tensor.backward)
        if calls[-1] is not backward:
            raise RuntimeError("in a step that is measured by stages")
        return corrupt(self, images, generator)

    monkeypatch.setattr(PatchCorruption, "corrupt", fail_late)
    with pytest.raises(RuntimeError, match="by stages"):
        measure(corruption=corruption)
    assert len(calls) == 5
    assert torch.Tensor.backward is backward and "corrupt" not in vars(corruption)


def test_operations_are_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 1),
    ).eval()
    mean = network[1].running_mean.clone()
    operations = count_operations(network, (2, 12, 10))
    first, second, third = 2 * 9 * 2 * 8 * 120, 2 * 9 * 8 * 16 * 30, 2 * 16 * 16 * 30
    assert operations.forward == first + second + third
    # Gradients of weights cost as much, and so do those of the inputs, save for the images.
    assert operations.training == 3 * operations.forward - first
    assert operations.heaviest == (8, 6, 5)
    assert not network.training and torch.equal(network[1].running_mean, mean)


def test_the_product_takes_about_as_many_operations(clock):
    peaks = Peaks((4, 16, 12, 12), torch.bfloat16, torch.device("cpu"))
    convolution = 2 * 9 * 16 * 16 * 4 * 12 * 12
    assert 2 * peaks.side**3 == pytest.approx(convolution, rel=0.03)


@pytest.mark.usefixtures("in_this_process", "short_bursts")
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
    assert len(tables) == 5
    for heading, stages in (
        ("Training, batches of 4", TRAINING_STAGES),
        ("Scoring", SCORING_STAGES),
    ):
        for line in tables[heading]:
            assert sum(float(line[stage]) for stage in stages) == pytest.approx(1, abs=0.005)
            assert float(line["images/s"]) > 0 and float(line["of convolution"]) > 0
    for row in rows:
        figures = [value for value in row.values() if isinstance(value, float)]
        assert len(figures) == 24 and min(figures) >= 0


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


@pytest.mark.usefixtures("in_this_process", "short_bursts")
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
        (["--sizes", "0"], "positive integer, got '0'"),
        (["--sizes"], "expected at least one argument"),
        (["--channels", "2"], "invalid choice"),
        (["--precision", "auto"], "invalid choice"),
        (["--threads", "many"], "positive integer, got 'many'"),
        (["--device", "abacus"], "abacus"),
        (["--json", "no/such/folder.json"], "must lie in a folder"),
        (["--json", "."], "must not be a folder"),
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
