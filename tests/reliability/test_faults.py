"""Failures of files, memory and workers while a detector runs."""

import os
import struct
import warnings
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from networks_for_faults import NoRoomToTrain, ShortOfMemory, dying_network, tiny_network
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector, _device
from skanomaly._device import available_memory, training_memory
from skanomaly.datasets import ImageSequence, load_image_folder
from skanomaly.detectors._network import make_network

DETECTOR = SelfSupervisedAutoencoderDetector(
    network=tiny_network, max_iter=4, batch_size=4, random_state=0, device="cpu"
)
PICTURES = (255 * make_images(12, size=(16, 16))).astype(np.uint8)


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{index:02d}.png" for index in range(len(PICTURES))]
    for path, picture in zip(paths, PICTURES, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def spoil(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("bad", [[0], [3, 4, 5], [11]])
def test_skip_trains_on_the_readable_and_names_the_others(paths, bad):
    for index in bad:
        spoil(paths[index])
    with pytest.warns(UserWarning, match=f"{len(bad)} of 12 image files") as caught:
        detector = clone(DETECTOR).fit(ImageSequence(paths, on_error="skip"))
    (message,) = [str(w.message) for w in caught if "image files" in str(w.message)]
    assert all(paths[index].name in message for index in bad)
    readable = [path for index, path in enumerate(paths) if index not in bad]
    assert np.isfinite(detector.score_samples(ImageSequence(readable))).all()


def test_a_file_that_breaks_in_the_middle_of_an_epoch_is_skipped(paths, monkeypatch):
    images = ImageSequence(paths, on_error="skip")
    from skanomaly.detectors import _fitting

    train = _fitting.train

    def break_first(network, draw_batch, *args, **options):
        def draw(step):
            if step == 1:
                spoil(paths[6])
            return draw_batch(step)

        return train(network, draw, *args, **options)

    monkeypatch.setattr(_fitting, "train", break_first)
    with pytest.warns(UserWarning, match=r"1 of 12 image files .*06\.png"):
        detector = clone(DETECTOR).set_params(max_iter=20).fit(images)
    assert detector.n_iter_ == 20
    with pytest.raises(ValueError, match=r"06\.png"):
        clone(DETECTOR).fit(ImageSequence(paths))


def test_a_picture_to_be_scored_is_never_left_out(paths):
    images = ImageSequence(paths, on_error="skip")
    detector = clone(DETECTOR).fit(images)
    spoil(paths[5])
    for X in (images, images[3:8]):
        with pytest.raises(ValueError, match=r"05\.png"):
            detector.predict(X)


def test_a_file_of_another_size_is_no_unreadable_one(paths):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(paths[2])
    with pytest.raises(ValueError, match=r"02\.png.*size="):
        clone(DETECTOR).fit(ImageSequence(paths, on_error="skip"))


def test_nothing_to_train_on_is_an_error(paths):
    for path in paths:
        spoil(path)
    with pytest.raises(ValueError, match=r"None of the 12 image files.*00\.png"):
        clone(DETECTOR).fit(ImageSequence(paths, on_error="skip"))
    with pytest.raises(ValueError, match="on_error"):
        ImageSequence(paths, on_error="ignore")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_file_with_NaN_is_named(paths, tmp_path, value):
    floats = [path.with_suffix(".tiff") for path in paths]
    for path, picture in zip(floats, PICTURES, strict=True):
        picture = picture.astype(np.float32)
        picture[3, 4] = value if path == floats[2] else 1
        Image.fromarray(picture).save(path)
    with pytest.raises(ValueError, match=r"02\.tiff' contains NaN or infinity"):
        clone(DETECTOR).fit(ImageSequence(floats))
    with pytest.warns(UserWarning, match=r"02\.tiff"):
        detector = clone(DETECTOR).fit(ImageSequence(floats, on_error="skip"))
    assert np.isfinite(detector.loss_curve_).all()


def test_a_decompression_bomb_is_refused_by_name(tmp_path):
    """A header of 40000 × 40000 pixels without data."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=r"bomb\.png'.*exceeds limit"):
        ImageSequence([bomb], size=16)[0]


@pytest.mark.parametrize("room", [1, 5, 100])
def test_too_large_a_batch_is_halved_and_the_scores_are_right(room):
    detector = clone(DETECTOR).set_params(network=partial(ShortOfMemory, room=10**6)).fit(PICTURES)
    X = np.concatenate([PICTURES] * 25)
    wanted = detector.score_samples(X)
    detector.network_.room = room
    detector.network_.passed.clear()
    with pytest.warns(UserWarning, match="Out of memory on cpu: going on with"):
        scores = detector.score_samples(X)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    assert room / 2 < max(detector.network_.passed) <= room
    detector.network_.room = 0
    with pytest.raises(RuntimeError, match="no room"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector.score_samples(X)


def test_no_room_to_train_on_a_gpu_is_an_error_that_says_what_to_do():
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no room") as caught:
        clone(DETECTOR).set_params(network=NoRoomToTrain).fit(PICTURES)
    assert "batch_size" in caught.value.__notes__[0]


@pytest.fixture
def little_memory(tmp_path, monkeypatch):
    """A machine with 100 MiB left."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000000 kB\nMemAvailable: 102400 kB\nSwapFree: 0 kB\n")
    monkeypatch.setattr(_device, "_MEMINFO", meminfo)


@pytest.mark.parametrize("method", ["anomaly_map", "reconstruct", "predict_mask"])
def test_results_that_do_not_fit_into_memory_are_refused(little_memory, method):
    detector = clone(DETECTOR).fit(PICTURES)
    many = np.broadcast_to(np.float64(0.5), (12_000, 100, 100))
    if method == "predict_mask":
        many = np.broadcast_to(np.uint8(7), (12_000, 100, 100))
    with pytest.raises(MemoryError, match=r"shape \(12000, 100, 100.* are free\. Pass fewer"):
        getattr(detector, method)(many)


def test_files_that_do_not_fit_into_memory_are_refused(little_memory, paths):
    images = ImageSequence(paths * 10, size=1000)
    with pytest.raises(MemoryError, match="itself, which is read batch by batch"):
        np.asarray(images)
    assert len(images[:2].read(slice(None))) == 2


@pytest.mark.parametrize("network", ["auto", tiny_network])
def test_training_that_does_not_fit_into_memory_is_refused(little_memory, network):
    large = np.zeros((2, 1000, 1000), np.uint8)
    # Constant images have no orientation, and would be cropped.
    options = dict(batch_size=32, precision="float32", crop_size=None)
    detector = clone(DETECTOR).set_params(network=network, **options)
    with pytest.raises(
        MemoryError, match=r"of 32 of shape \(1000, 1000, 1\) .* a smaller batch_size"
    ):
        detector.fit(large)
    assert not hasattr(detector, "network_")
    assert detector.set_params(crop_size=16, max_iter=1).fit(large[:, :64, :64]).n_iter_ == 1


@pytest.mark.parametrize("network", ["sdcc", "sdc", "plain"])
def test_the_memory_of_training_is_foreseen(network):
    made = make_network(network, (64, 64, 1), 0).train()
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(torch.zeros(4, 1, 64, 64))
    taken = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    foreseen = training_memory(made, (4, 1, 64, 64), itemsize=4)
    assert 0.9 * taken < foreseen < 1.05 * taken


def test_a_network_that_needs_values_is_not_foreseen():
    assert training_memory(NoRoomToTrain((8, 8, 1)), (4, 1, 8, 8), itemsize=4) == 0


def test_memory_is_limited_by_a_container_and_unknown_elsewhere(
    little_memory, tmp_path, monkeypatch
):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(_device, "_LIMITS", (limit,))
    for text, free in (("max\n", 100 * 2**20), ("1000\n", 1000), ("", 100 * 2**20)):
        limit.write_text(text)
        assert available_memory() == free
    monkeypatch.setattr(_device, "_MEMINFO", tmp_path / "no file")
    assert available_memory() == np.inf


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_search_with_a_message():
    search = GridSearchCV(
        DETECTOR, {"network": [dying_network]}, scoring=lambda *_: 0.0, cv=2, n_jobs=2
    )
    with pytest.raises(TerminatedWorkerError, match="unexpectedly terminated"):
        search.fit(PICTURES)
    # The next search has new workers.
    search.set_params(param_grid={"network": [tiny_network]}).fit(PICTURES)
    assert search.best_estimator_.n_iter_ == 4


ODD_NAMES = [
    "with space.png",
    "new\nline.png",
    "Öl 面 🌾.png",
    "per%cent {0}.png",
    "n" * 250 + ".png",
]


def test_odd_names_and_links_are_read(tmp_path):
    folder = tmp_path / "a folder\nof ünusual names"
    folder.mkdir()
    for name, picture in zip(ODD_NAMES, PICTURES, strict=False):
        Image.fromarray(picture).save(folder / name)
    elsewhere = tmp_path / "elsewhere.png"
    Image.fromarray(PICTURES[5]).save(elsewhere)
    (folder / "zz link.png").symlink_to(elsewhere)
    folder.chmod(0o555)
    images = load_image_folder(folder)
    assert {path.name for path in images.paths} == {*ODD_NAMES, "zz link.png"}
    scores = clone(DETECTOR).fit(images).score_samples(images)
    in_memory = clone(DETECTOR).fit(np.asarray(images)).score_samples(np.asarray(images))
    np.testing.assert_array_equal(scores, in_memory)
    folder.chmod(0o755)
    elsewhere.unlink()
    with pytest.raises(FileNotFoundError, match=r"zz link\.png"):
        load_image_folder(folder).read(slice(None))


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_text_is_read(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    Image.fromarray(PICTURES[0]).save(path)
    np.testing.assert_array_equal(load_image_folder(tmp_path)[0], PICTURES[0])
