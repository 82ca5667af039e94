"""Training that is interrupted at any moment resumes from its checkpoint with equal results."""

import errno
import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupted_training import (
    ROWS,
    AtStep,
    assert_same_weights,
    fit_and_store,
    press_ctrl_c,
    weights,
)
from PIL import Image
from synthetic_images import make_images

from skanomaly import PatchCorruption, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import ImageSequence
from skanomaly.networks import ConvolutionalAutoencoder
from skanomaly.training import _checkpoint, _loop

IMAGES = make_images(12, size=(16, 16))
SMALL = partial(ConvolutionalAutoencoder, width=4, n_blocks=1)


def make(checkpoint=None, **parameters):
    options = dict(network=SMALL, max_iter=40, batch_size=2, crop_size=8, random_state=0)
    options |= {"augmentation": "rotate", "precision": "float32", "checkpoint": checkpoint}
    return SelfSupervisedAutoencoderDetector(**options | parameters)


@pytest.fixture(autouse=True)
def answered_interrupts():
    """Handle Ctrl-C also if the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(detector, X, step=17):
    detector.set_callbacks(AtStep(step, press_ctrl_c))
    with pytest.raises(KeyboardInterrupt):
        detector.fit(X)
    detector.set_callbacks()


ON_ROWS = {"network": "auto", "crop_size": None, "augmentation": None, "early_stopping": True}


@pytest.mark.parametrize("X, options", [(IMAGES, {}), (ROWS, ON_ROWS)], ids=["images", "rows"])
def test_ctrl_c_writes_a_checkpoint_and_the_next_fit_ends_the_same(X, options, tmp_path):
    straight = make(**options).fit(X)
    path = tmp_path / "state"
    interrupted = make(path, **options)
    interrupt(interrupted, X)
    assert not hasattr(interrupted, "network_") and not hasattr(interrupted, "n_features_in_")
    interrupt(interrupted, X, step=10)
    steps = []
    resumed = make(path, **options)
    resumed.set_callbacks(AtStep(1, lambda: steps.append(1)), counter := AtStep(99, None)).fit(X)
    # The step during which a signal arrives is the last.
    assert counter.done in (40 - 18 - 11, 40 - 17 - 10)
    assert_same_weights(weights(resumed), weights(straight))
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_drawn_seed_is_taken_from_the_checkpoint(tmp_path):
    straight = make(random_state=np.random.RandomState(5)).fit(IMAGES)
    path = tmp_path / "state"
    interrupt(make(path, random_state=np.random.RandomState(5)), IMAGES)
    for random_state in (None, np.random.RandomState(6)):
        resumed = make(path, random_state=random_state).fit(IMAGES)
        assert_same_weights(weights(resumed), weights(straight))
    free, other = make(random_state=None).fit(IMAGES), make(random_state=None).fit(IMAGES)
    assert free.loss_curve_ != other.loss_curve_


def test_the_checkpoint_is_of_no_concern_to_partial_fit(tmp_path):
    path = tmp_path / "state"
    make(path).fit(IMAGES)
    before = path.read_bytes()
    make(path).partial_fit(IMAGES[:6])
    assert path.read_bytes() == before


@pytest.mark.parametrize("checkpoint", [False, True])
def test_ctrl_c_leaves_a_fitted_detector_as_it_was(checkpoint, tmp_path):
    detector = make().fit(IMAGES)
    scores, before = detector.score_samples(IMAGES), weights(detector)
    other = make_images(10, size=(12, 20), channels=3)
    if checkpoint:
        detector.set_params(checkpoint=tmp_path / "state")
    interrupt(detector, other)
    np.testing.assert_array_equal(detector.score_samples(IMAGES), scores)
    assert_same_weights(weights(detector), before)
    assert (tmp_path / "state").exists() == checkpoint


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_happens_while_thresholds_are_taken_leaves_nothing_half_fitted(error, monkeypatch):
    detector = make().fit(IMAGES)
    before = dict(vars(detector))

    def fail(*arguments):
        raise error

    monkeypatch.setattr("skanomaly.detectors._fitting.calibrate", fail)
    fresh = make()
    for candidate in (detector, fresh):
        with pytest.raises(error):
            candidate.fit(IMAGES + 0.1)
    assert vars(detector).keys() == before.keys()
    assert all(vars(detector)[name] is before[name] for name in before)
    assert not [name for name in vars(fresh) if name.endswith("_")]


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def twice():
        press_ctrl_c()
        press_ctrl_c()

    detector = make(tmp_path / "state").set_callbacks(AtStep(3, twice))
    with pytest.raises(KeyboardInterrupt):
        detector.fit(IMAGES)
    assert not (tmp_path / "state").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_stays(tmp_path):
    pressed = []
    usual = signal.signal(signal.SIGINT, lambda *arguments: pressed.append(1))
    try:
        detector = make(tmp_path / "state").set_callbacks(AtStep(3, press_ctrl_c)).fit(IMAGES)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert pressed == [1] and detector.n_iter_ == 40


def one_value_changed(images):
    images = images.copy()
    images[7, 3, 3] += 0.01
    return images


OTHERS = {
    "seed": ({"random_state": 1}, IMAGES),
    "rate": ({"learning_rate": 1e-3}, IMAGES),
    "steps": ({"max_iter": 41}, IMAGES),
    "corruption": ({"corruption__radius": 0.1}, IMAGES),
    "network": ({"network": partial(ConvolutionalAutoencoder, width=8, n_blocks=1)}, IMAGES),
    "order": ({}, IMAGES[::-1]),
    "value": ({}, one_value_changed(IMAGES)),
    "fewer": ({}, IMAGES[:-1]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_parameters_or_data_are_refused_and_touch_nothing(name, tmp_path):
    path = tmp_path / "state"
    interrupt(make(path), IMAGES)
    content = path.read_bytes()
    parameters, X = OTHERS[name]
    detector = make(path).set_params(**parameters)
    with pytest.raises(ValueError, match="written with other parameters or other data"):
        detector.fit(X)
    assert path.read_bytes() == content
    assert not [name for name in vars(detector) if name.endswith("_")]


def test_functions_of_one_name_and_another_shape_are_other_parameters(tmp_path):
    path = tmp_path / "state"
    interrupt(make(path, network=lambda shape: SMALL(shape)), IMAGES)
    with pytest.raises(ValueError, match="other parameters"):
        make(path, network=lambda shape: SMALL(shape, n_blocks=2)).fit(IMAGES)
    make(path, network=lambda shape: SMALL(shape)).fit(IMAGES)


def scaled(factor):
    class Scaled(ConvolutionalAutoencoder):
        def __init__(self, shape):
            super().__init__(shape, width=4, n_blocks=1)

        def forward(self, images):
            return factor * super().forward(images)

    return Scaled


def negative():
    class Scaled(ConvolutionalAutoencoder):
        def __init__(self, shape):
            super().__init__(shape, width=4, n_blocks=1)

        def forward(self, images):
            return -super().forward(images)

    Scaled.__qualname__ = scaled(1).__qualname__
    return Scaled


def with_weights(multiply):
    def network(shape):
        made = SMALL(shape)
        with torch.no_grad():
            made.head.weight.mul_(multiply)
        return made

    return network


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (with_weights(2), with_weights(2), with_weights(3)),
        (scaled(1), scaled(1), scaled(2)),
        (scaled(1), scaled(1), negative()),
        (partial(SMALL, width=4), partial(SMALL, width=np.int64(4)), partial(SMALL, stem=2)),
        (lambda shape: SMALL(shape), lambda shape: SMALL(shape), lambda shape: SMALL(shape).eval()),
    ],
)
def test_functions_of_one_name_are_told_apart_by_what_they_do(one, same, other, tmp_path):
    path = tmp_path / "state"
    interrupt(make(path, network=one), IMAGES)
    with pytest.raises(ValueError, match="other parameters"):
        make(path, network=other).fit(IMAGES)
    make(path, network=same).fit(IMAGES)


def made_of(texture):
    class Corruption(PatchCorruption):
        def __init__(self, texture=None):
            self.own = texture
            super().__init__()

        def corrupt(self, images, generator):
            corrupted, masks = super().corrupt(images, generator)
            return torch.where(masks > 0, self.own(corrupted), images), masks

        def get_params(self, deep=True):
            return {"texture": self.own}

    return Corruption(texture)


def test_another_texture_of_the_same_name_is_another_parameter(tmp_path):
    path = tmp_path / "state"
    interrupt(make(path, corruption=made_of(lambda content: 0.5 * content)), IMAGES)
    with pytest.raises(ValueError, match="other parameters"):
        make(path, corruption=made_of(lambda content: -0.5 * content)).fit(IMAGES)
    make(path, corruption=made_of(lambda content: 0.5 * content)).fit(IMAGES)


class Dimming(PatchCorruption):
    opaque = 0.5

    def corrupt(self, images, generator):
        corrupted, masks = super().corrupt(images, generator)
        return self.dim(corrupted) * self.factor * self.opaque, masks

    @staticmethod
    def dim(images):
        return 0.5 * images

    @property
    def factor(self):
        return 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("opaque", 0.9),
        ("dim", staticmethod(lambda images: 0.9 * images)),
        ("factor", property(lambda self: 0.9)),
    ],
)
def test_attributes_of_a_class_are_parameters(name, value, tmp_path, monkeypatch):
    path = tmp_path / "state"
    interrupt(make(path, corruption=Dimming()), IMAGES)
    with monkeypatch.context() as context:
        context.setattr(Dimming, name, value)
        with pytest.raises(ValueError, match="other parameters"):
            make(path, corruption=Dimming()).fit(IMAGES)
    make(path, corruption=Dimming()).fit(IMAGES)


def test_equal_numbers_of_other_types_are_the_same_parameters(tmp_path):
    path = tmp_path / "state"
    interrupt(make(path, learning_rate=2e-3, batch_size=2), IMAGES)
    make(path, learning_rate=np.float64(2e-3), batch_size=np.int64(2)).fit(IMAGES)


@pytest.mark.skipif(os.name != "posix", reason="locks are of POSIX")
@pytest.mark.parametrize("random_state", [None, 0])
def test_a_checkpoint_belongs_to_one_fit_at_a_time(random_state, tmp_path):
    path = tmp_path / "state"
    errors = []

    def second():
        with pytest.raises(RuntimeError, match=r"checkpoint=.*state' is in use by another fit"):
            make(path, random_state=random_state).fit(IMAGES)
        errors.append(1)
        make(tmp_path / "other", random_state=random_state, max_iter=2).fit(IMAGES)

    first = make(path, random_state=random_state)
    first.set_callbacks(AtStep(3, second)).fit(IMAGES)
    assert errors == [1] and first.n_iter_ == 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other", "state"]
    make(path, random_state=random_state).fit(IMAGES)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are of POSIX")
def test_a_checkpoint_must_be_a_regular_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="checkpoint must be a regular file"):
        make(path).fit(IMAGES)
    assert path.is_fifo()


def test_a_warm_start_from_other_weights_is_another_training(tmp_path):
    path = tmp_path / "state"
    detector = make(path, warm_start=True)
    interrupt(detector.fit(IMAGES).set_params(checkpoint=tmp_path / "second"), IMAGES)
    resumed = detector.fit(IMAGES)
    straight = make(warm_start=True).fit(IMAGES).fit(IMAGES)
    assert_same_weights(weights(resumed), weights(straight))
    with pytest.raises(ValueError, match="other parameters"):
        detector.fit(IMAGES)


def test_one_value_of_many_rows_is_other_data(tmp_path):
    rows = np.tile(ROWS, (40, 1))
    path = tmp_path / "state"
    interrupt(make(path, **ON_ROWS), rows)
    rows[3, 3] += 1e-6
    with pytest.raises(ValueError, match="other data"):
        make(path, **ON_ROWS).fit(rows)


def test_a_file_that_has_changed_is_other_data(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (120, 16, 16)).astype(np.uint8)
    paths = [tmp_path / f"{index:03}.png" for index in range(len(noise))]
    for image, path in zip(noise, paths, strict=True):
        Image.fromarray(image).save(path)
    checkpoint = tmp_path / "state"
    interrupt(make(checkpoint), ImageSequence(paths))
    Image.fromarray(noise[5] // 100).save(paths[5])
    with pytest.raises(ValueError, match="other data"):
        make(checkpoint).fit(ImageSequence(paths))


def test_a_checkpoint_cut_short_or_altered_by_a_byte_is_one_clear_error(tmp_path):
    path = tmp_path / "state"
    interrupt(make(path), IMAGES)
    whole = path.read_bytes()
    places = random.Random(0)
    damaged = [whole[:length] for length in (0, 1, 30, 60, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"\0", b"PK" + whole, b"hello"]
    for _ in range(300):
        place, bit = places.randrange(len(whole)), 1 << places.randrange(8)
        damaged.append(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as a checkpoint of skanomaly"):
            _checkpoint.load_checkpoint(path, "")
        assert path.read_bytes() == content
    for random_state in (0, None):
        detector = make(path, random_state=random_state)
        with pytest.raises(ValueError, match=r"checkpoint=.*state.*cannot be read"):
            detector.fit(IMAGES)
        assert not hasattr(detector, "n_features_in_")


def fails_on_the_third_flush(monkeypatch):
    real, flushes = os.fsync, []

    def fsync(handle):
        flushes.append(handle)
        # One of the file and one of its folder for each checkpoint.
        if len(flushes) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_folder_that_cannot_be_written_to_is_found_before_training(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere but here
        folder = Path("/proc")
        if not folder.is_dir():
            pytest.skip("no folder here that cannot be written to")
    detector = make(checkpoint=folder / "a.pt", max_iter=10**9)
    with pytest.raises(OSError, match="a.pt.* Training has not begun") as caught:
        detector.fit(IMAGES)
    assert caught.value.errno
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(_loop, "_CHECKPOINT_INTERVAL", 10)
    path = tmp_path / "state"
    detector = make(path)
    with monkeypatch.context() as patched:
        fails_on_the_third_flush(patched)
        with pytest.raises(OSError, match="No space left on device.*is intact") as caught:
            detector.fit(IMAGES)
    assert caught.value.errno == errno.ENOSPC and str(path) in str(caught.value)
    assert not hasattr(detector, "network_")
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    resumed = make(path).set_callbacks(counter := AtStep(99, None)).fit(IMAGES)
    assert counter.done == 20
    assert_same_weights(weights(resumed), weights(make().fit(IMAGES)))


def test_a_write_that_is_cut_off_leaves_the_checkpoint_before_whole(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "state"
    interrupt(make(path), IMAGES)
    content = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, hard))
    try:
        with pytest.raises(OSError, match="could not be written"):
            make(path).fit(IMAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


class Tally(dict):
    def add(self, name):
        self[name] = self.get(name, 0) + 1


def train_and_kill(folder, kills, seed):
    """Kill that many trainings at random moments, and compare the results of each."""
    context = multiprocessing.get_context("forkserver")
    # Slow imports, once for all processes.
    context.set_forkserver_preload(["skanomaly.detectors", "torch._dynamo"])
    moments, tally = random.Random(seed), Tally()

    def start(checkpoint, out):
        ours, theirs = context.Pipe()
        process = context.Process(target=fit_and_store, args=(checkpoint, out, theirs))
        process.start()
        theirs.close()
        assert ours.recv() == "training"
        return process, ours

    process, _ = start(None, folder / "straight.npz")
    process.join()
    process, _ = start(folder / "whole", folder / "out.npz")
    began = time.monotonic()
    process.join()
    longest = time.monotonic() - began
    straight = dict(np.load(folder / "straight.npz"))
    while tally.get("killed", 0) < kills:
        checkpoint, out = folder / f"state {len(tally)} {tally.get('ended', 0)}", folder / "out.npz"
        reached = 0
        while True:
            process, _ = start(checkpoint, out)
            process.join(moments.uniform(0, longest) if tally.get("killed", 0) < kills else None)
            # It may just have ended by itself.
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            tally.add("killed")
            torn = [file for file in folder.iterdir() if file.suffix == ".part"]
            for file in torn:
                tally.add("while a checkpoint was written")
                file.unlink()
            state = _checkpoint._read(checkpoint)
            step = 0 if state is None else state["step"]
            # No step of a checkpoint is lost.
            assert step >= reached
            reached = step
        assert_same_weights(dict(np.load(out)), straight)
        tally.add("ended")
    return tally


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_killed_trainings_end_the_same(tmp_path):
    assert train_and_kill(tmp_path, 3, seed=0)["ended"] >= 1


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_many_killed_trainings_end_the_same(tmp_path, capsys):
    tally = train_and_kill(tmp_path, 60, seed=1)
    with capsys.disabled():
        print(f"\ntrainings: {dict(tally)}")
    assert tally["killed"] == 60 and tally["while a checkpoint was written"] > 0


def test_training_that_stops_early_writes_a_checkpoint_and_is_not_continued(tmp_path):
    options = dict(early_stopping=True, n_iter_no_change=2, learning_rate=0.5, max_iter=60)
    path = tmp_path / "training.pt"
    first = make(path, **options).fit(IMAGES)
    assert first.n_iter_ < 60 and path.is_file()
    again = make(path, **options).fit(IMAGES)
    assert again.loss_curve_ == first.loss_curve_
    assert_same_weights(weights(again), weights(first))


def test_a_fit_in_another_thread_has_a_checkpoint(tmp_path):
    with ThreadPoolExecutor() as pool:
        fitted = pool.submit(make(tmp_path / "state", max_iter=2).fit, IMAGES).result()
    assert fitted.n_iter_ == 2 and (tmp_path / "state").is_file()
