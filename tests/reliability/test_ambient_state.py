"""Results do not depend on other threads or on the global state of torch."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from synthetic_images import make_images
from torch import nn

import skanomaly
from skanomaly import (
    ContractiveAE,
    DenoisingAE,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly.export import to_onnx
from skanomaly.metrics import projection_report
from skanomaly.networks import ConvolutionalAutoencoder

IMAGES = make_images(8, size=(16, 16))
ROWS = IMAGES.reshape(8, -1)[:, :40]
OPTIONS = dict(max_iter=3, batch_size=4, random_state=3, device="cpu", precision="float32")
SMALL = partial(ConvolutionalAutoencoder, width=4, n_blocks=1)


def weights(detector):
    return {name: value.clone() for name, value in detector.network_.state_dict().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype and torch.equal(value, second[name]), name


@contextmanager
def drawing_thread():
    """Draw from torch's generator, and seed it, in another thread."""
    ended = Event()

    def draw():
        while not ended.is_set():
            torch.rand(1000)
            torch.manual_seed(5)

    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(draw)
        try:
            yield
        finally:
            ended.set()
            drawing.result()


@pytest.mark.parametrize(("network", "X"), [("plain", IMAGES), ("dense", ROWS)])
@pytest.mark.parametrize(
    ("fits", "threads"),
    [(16, 4), pytest.param(1000, 8, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_threads_do_not_matter(network, X, fits, threads):
    def fit(_):
        detector = SelfSupervisedAutoencoderDetector(network=network, **OPTIONS).fit(X)
        return detector.offset_, detector.map_threshold_, weights(detector)

    alone = fit(0)
    with drawing_thread(), ThreadPoolExecutor(threads) as pool:
        # One by one, as the weights of all of them would fill the memory.
        for *thresholds, found in pool.map(fit, range(fits)):
            assert tuple(thresholds) == alone[:2]
            assert_same_weights(found, alone[2])


@pytest.mark.parametrize("network", ["sdcc", SMALL], ids=["named", "callable"])
def test_generators_of_the_process_are_neither_used_nor_changed(network):
    detector = SelfSupervisedAutoencoderDetector(network=network, **OPTIONS)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    first = weights(detector.fit(IMAGES))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_equal(np.random.get_state(), numpy_before)  # noqa: NPY002
    torch.manual_seed(2)
    assert_same_weights(weights(detector.fit(IMAGES)), first)


def test_a_named_network_never_seeds_the_generator_of_the_process(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError

    for name in ("fork_rng", "manual_seed", "set_rng_state"):
        monkeypatch.setattr(torch.random, name, fail)
    monkeypatch.setattr(torch, "default_generator", None)
    DenoisingAE(**OPTIONS).fit(ROWS)
    SelfSupervisedAutoencoderDetector(**OPTIONS).fit(IMAGES)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


STATES = {
    "float64": partial(default_dtype, torch.float64),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "meta": partial(default_device, "meta"),
    "anomaly": partial(torch.autograd.set_detect_anomaly, True),
}
CASES = {
    "named": (SelfSupervisedAutoencoderDetector, {"augmentation": "auto"}, IMAGES),
    "callable": (SelfSupervisedAutoencoderDetector, {"network": SMALL, "crop_size": 8}, IMAGES),
    "rows": (SelfSupervisedAutoencoderDetector, {"early_stopping": True}, ROWS),
    "denoising": (DenoisingAE, {"early_stopping": True}, IMAGES),
    "contractive": (ContractiveAE, {"early_stopping": True}, ROWS),
    "contractive images": (ContractiveAE, {}, IMAGES),
}


def everything(cls, options, X, path):
    """Compute all results of a detector, also after further training, saving and loading."""
    network = {"network": options["network"]} if "network" in options else {}
    results = []
    detector = cls(**OPTIONS | options).fit(X).partial_fit(X)
    detector.save(path)
    for candidate in (detector, skanomaly.load(path, **network), detector.calibrate(X[::-1])):
        found = candidate.detect(X)
        results += [found[name] for name in sorted(found)]
        results += [candidate.reconstruct(X), candidate.score_samples(X)]
        results += [candidate.anomaly_map(X), candidate.predict_mask(X)]
        results += [batch.score_samples for batch in candidate.detect_batches(X)]
        results += [value.numpy() for value in weights(candidate).values()]
        results += [candidate.offset_, candidate.map_threshold_, candidate.expected_map_]
    return [np.asarray(result) for result in results]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    return {name: everything(*case, path) for name, case in CASES.items()}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("state", STATES)
def test_what_torch_was_told_does_not_matter(state, case, usual, tmp_path):
    with STATES[state]():
        found = everything(*CASES[case], tmp_path / "model")
    for value, expected in zip(found, usual[case], strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)


def corrupt():
    inputs = [(IMAGES, None), (IMAGES[..., None].repeat(3, 3), IMAGES[:3]), (ROWS, None)]
    for X, textures in inputs:
        yield from PatchCorruption(texture_images=textures, random_state=0)(X)


@cache
def fitted():
    """Detectors of rows, and of images with fewer and more values than a whole Jacobian takes."""
    options = OPTIONS | {"network": SMALL}
    return [(DenoisingAE(**OPTIONS).fit(ROWS), ROWS)] + [
        (SelfSupervisedAutoencoderDetector(**options).fit(X), X)
        for X in (IMAGES[:, :8, :8], np.tile(IMAGES, (1, 2, 2))[:, :24, :24])
    ]


def report():
    for detector, X in fitted():
        report = projection_report(detector, X, n_tangent_spaces=1, random_state=0)
        yield np.array(list(report.to_dict().values()), dtype=float)


def export():
    pytest.importorskip("onnxscript")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        to_onnx(fitted()[0][0], path)
        yield np.frombuffer(path.read_bytes(), np.uint8)


@cache
def usual_results(compute):
    return list(compute())


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("compute", [corrupt, report, export])
def test_what_torch_was_told_does_not_matter_to_functions(compute, state):
    expected = usual_results(compute)
    with STATES[state]():
        found = list(compute())
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, other, strict=True)


def test_a_stream_leaves_the_state_between_batches_alone(usual):
    detector = DenoisingAE(**OPTIONS).fit(IMAGES)
    with torch.inference_mode(), default_device("meta"):
        for _ in detector.detect_batches(IMAGES):
            assert torch.is_inference_mode_enabled()
            assert torch.zeros(1).device.type == "meta"


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_a_loss_that_is_not_finite_is_told_where_anomalies_are_looked_for():
    detector = DenoisingAE(**OPTIONS | {"learning_rate": 1e30, "max_iter": 50})
    messages = []
    for is_on in (False, True):
        with (
            torch.autograd.set_detect_anomaly(is_on),
            pytest.raises(skanomaly.NonFiniteLossError) as caught,
        ):
            detector.fit(ROWS)
        messages.append(str(caught.value).partition(":")[0])
    assert messages[0] == messages[1] and len(detector.score_samples(ROWS)) == len(ROWS)


@pytest.mark.parametrize("X", [IMAGES, ROWS], ids=["images", "rows"])
def test_a_network_without_weights_is_refused(X):
    class Frozen(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, batch):
            return batch + self.weight

    for network in (lambda shape: nn.Identity(), Frozen):
        detector = DenoisingAE(network=network, **OPTIONS)
        with pytest.raises(ValueError, match="network must have weights to train, got"):
            detector.fit(X)
        assert not hasattr(detector, "model_")
