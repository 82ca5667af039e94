import hashlib
import io
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from skanomaly._device import has_fast_bfloat16
from skanomaly.benchmark import describe_environment
from skanomaly.training import (
    Checkpointing,
    EarlyStopping,
    NonFiniteLossError,
    _checkpoint,
    augment,
    random_crops,
    resolve_device,
    resolve_precision,
    train,
)
from skanomaly.training._loop import learning_rate_fraction


def fit_line(network, **options):
    """Train a linear map to double its input."""
    data = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    settings = dict(
        max_iter=200,
        learning_rate=0.05,
        weight_decay=0.0,
        dtype=torch.float32,
        generator=torch.Generator().manual_seed(0),
    )
    settings.update(options)

    def objective(network, batch, generator):
        noise = 0.01 * torch.randn(batch.shape, generator=generator)
        return (network(batch + noise) - 2 * batch).square().mean()

    return train(network, lambda step: data[step % 4 :: 4], objective, **settings)


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def test_training_learns():
    network = linear()
    result = fit_line(network)
    assert len(result.loss_curve) == 200
    assert np.mean(result.loss_curve[-20:]) < 0.01 * result.loss_curve[0]
    np.testing.assert_allclose(network.weight.detach(), 2 * np.eye(3), atol=0.05)
    assert not network.training


def test_the_schedule_warms_up_and_decays_to_nothing():
    rates = [learning_rate_fraction(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert learning_rate_fraction(0, 1) == 1.0


@pytest.mark.parametrize("bad_step", [0, 1, 73])
def test_a_non_finite_loss_keeps_the_last_good_weights(bad_step):
    network = linear()
    data = torch.randn(16, 3)

    def draw_batch(step):
        return data * math.nan if step == bad_step else data

    def objective(network, batch, generator):
        return (network(batch) - batch).square().mean()

    with pytest.raises(NonFiniteLossError, match=f"step {bad_step + 1} of 100.*learning_rate"):
        train(
            network,
            draw_batch,
            objective,
            max_iter=100,
            learning_rate=0.1,
            weight_decay=0.0,
            dtype=torch.float32,
            generator=torch.Generator(),
        )
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    moved = bool((network.weight != linear().weight).any())
    assert moved == (bad_step == 73)


def test_early_stopping_restores_the_best_weights():
    network = linear()
    losses = iter([5.0, 3.0, 4.0, 4.0, 4.0, 4.0])
    seen = []

    def validation_loss(network):
        seen.append(network.weight.detach().clone())
        return next(losses)

    result = fit_line(network, early_stopping=EarlyStopping(validation_loss, 10, 30))
    assert [step for step, _ in result.validation_curve] == [10, 20, 30, 40, 50]
    assert len(result.loss_curve) == 50
    assert bool((network.weight == seen[1]).all())


def test_a_training_taken_up_again_ends_with_the_same_weights(tmp_path):
    straight, interrupted, resumed = linear(), linear(), linear()
    whole = fit_line(straight, max_iter=500)
    checkpointing = Checkpointing(tmp_path / "state.pt", "these parameters")
    fit_line(
        interrupted,
        max_iter=500,
        checkpointing=checkpointing,
        on_step=lambda step, loss: step == 333,
    )
    steps = []
    result = fit_line(
        resumed,
        max_iter=500,
        checkpointing=checkpointing,
        on_step=lambda step, loss: bool(steps.append(step)),
    )
    assert steps[0] == 200 and len(result.loss_curve) == 500
    assert bool((resumed.weight == straight.weight).all())
    assert result.loss_curve == whole.loss_curve
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_foreign_or_damaged_checkpoint_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "state.pt"
    fit_line(linear(), max_iter=200, checkpointing=Checkpointing(path, "these parameters"))
    content = path.read_bytes()
    with pytest.raises(ValueError, match="other parameters or other data"):
        fit_line(linear(), checkpointing=Checkpointing(path, "others"))
    assert path.read_bytes() == content
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        fit_line(linear(), checkpointing=Checkpointing(path, "these parameters"))


def test_augmentation_only_moves_pixels():
    images = torch.arange(64 * 2 * 16.0).reshape(64, 2, 4, 4)
    generator = torch.Generator().manual_seed(0)
    turned = augment(images, ("flip_horizontal", "flip_vertical", "rotate"), generator)
    assert turned.shape == images.shape
    torch.testing.assert_close(turned.flatten(2).sort()[0], images.flatten(2).sort()[0])
    variants = {
        tuple((t[0] - i[0, 0, 0]).flatten().tolist()) for t, i in zip(turned, images, strict=True)
    }
    assert len(variants) == 8
    wide = torch.arange(32 * 6.0).reshape(32, 1, 2, 3)
    halves = augment(wide, ("rotate",), generator)
    variants = {
        tuple((t[0] - i[0, 0, 0]).flatten().tolist()) for t, i in zip(halves, wide, strict=True)
    }
    assert len(variants) == 2
    assert augment(images, (), generator) is images


def test_mixup_adds_a_fraction_of_the_difference_to_another_image():
    images = torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    added = augment(images, ("mixup",), generator) - images
    difference = images.roll(1, 0) - images
    fractions = (added * difference).sum((1, 2, 3)) / difference.square().sum((1, 2, 3))
    torch.testing.assert_close(added, fractions.view(-1, 1, 1, 1) * difference)
    # Normal with mean 0 and standard deviation 0.2, within four standard errors.
    assert abs(fractions.mean()) < 4 * 0.2 / 20
    assert abs(fractions.std() - 0.2) < 4 * 0.2 / 800**0.5
    alone = augment(images[:1], ("mixup",), generator)
    torch.testing.assert_close(alone, images[:1])


def test_crops_are_pieces_of_their_image():
    images = torch.arange(2 * 5 * 6.0).reshape(1, 2, 5, 6).repeat(50, 1, 1, 1)
    crops = random_crops(images, (3, 2), torch.Generator().manual_seed(0))
    assert crops.shape == (50, 2, 3, 2)
    corners = set()
    for crop in crops:
        top, left = divmod(int(crop[0, 0, 0]), 6)
        corners.add((top, left))
        torch.testing.assert_close(crop, images[0, :, top : top + 3, left : left + 2])
    assert {t for t, _ in corners} == {0, 1, 2} and {x for _, x in corners} == {0, 1, 2, 3, 4}


def test_device_and_precision_by_name():
    cpu = resolve_device("cpu")
    assert cpu.type == "cpu" and resolve_device("auto").type in ("cpu", "cuda")
    for wrong in ("gpu", "cuda:99", 7.5, "meta", "hpu", torch.device("meta")):
        with pytest.raises(ValueError, match="device must be 'auto' or the name"):
            resolve_device(wrong)
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    fast = has_fast_bfloat16(cpu)
    assert resolve_precision("auto", cpu) == (torch.bfloat16 if fast else torch.float32)
    with pytest.raises(ValueError, match="precision must be one of"):
        resolve_precision("half", cpu)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
    ],
)
def test_bfloat16_is_picked_where_the_processor_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_fast_bfloat16(torch.device("cpu")) is expected
    assert describe_environment()["bfloat16 in hardware"] == str(expected)


def store(path, content):
    path.write_bytes(_checkpoint._MAGIC + hashlib.sha256(content).digest() + content)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fingerprint": "", "seed": 0, "code": Path("a")}, "Weights only load failed"),
        ({"fingerprint": ""}, "'seed'"),
        ({"seed": 0}, "'fingerprint'"),
        ([1, 2], "list indices"),
    ],
)
def test_a_whole_file_of_other_content_is_refused(state, message, tmp_path):
    path = tmp_path / "state.pt"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    store(path, buffer.getvalue())
    for read in (_checkpoint.checkpoint_seed, partial(_checkpoint.load_checkpoint, fingerprint="")):
        with pytest.raises(ValueError, match=f"(?s)cannot be read as a checkpoint.*{message}"):
            read(path)


def test_a_file_that_is_no_checkpoint_is_told_from_a_damaged_one(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"a letter, longer than the start of a checkpoint and the digest that follows")
    with pytest.raises(ValueError, match="not a checkpoint, or of another version"):
        _checkpoint.checkpoint_seed(path)
    store(path, b"state")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="checksum mismatch, the file is truncated or damaged"):
        _checkpoint.checkpoint_seed(path)
