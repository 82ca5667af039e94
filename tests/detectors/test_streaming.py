"""The memory of scoring does not depend on the number of files."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from synthetic_images import make_images
from torch import nn

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly._validation import ValidatedInput
from skanomaly.datasets import ImageSequence
from skanomaly.detectors import _inference


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    pictures = (255 * make_images(400)).astype(np.uint8)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
    return ImageSequence(sorted(folder.iterdir()))


def small_network(image_shape):
    return nn.Conv2d(image_shape[2], image_shape[2], 1)


@pytest.fixture(scope="module")
def detector(files):
    return SelfSupervisedAutoencoderDetector(
        network=small_network, max_iter=2, batch_size=4, device="cpu", random_state=0
    ).fit(files[:20])


@pytest.fixture
def batches(monkeypatch):
    """Record the memory in use each time that a batch is processed."""
    load, scale = ValidatedInput.load, ValidatedInput.scale
    seen, given = [], []

    def record_load(data, indices):
        images = load(data, indices)
        given.append(weakref.ref(images))
        return images

    def record_scale(data, images):
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        alive = sum(batch() is not None for batch in given)
        seen.append({"images": len(images), "batches alive": alive, "tensors": tensors})
        return scale(data, images)

    monkeypatch.setattr(ValidatedInput, "load", record_load)
    monkeypatch.setattr(ValidatedInput, "scale", record_scale)
    monkeypatch.setattr(_inference, "_CHUNK_PIXELS", 2**16)
    # Earlier objects are not scanned each time.
    gc.freeze()
    yield seen
    gc.unfreeze()


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_one_batch_at_a_time(detector, files, batches, method):
    """Only the scores of earlier batches are kept, and not as tensors."""
    assert getattr(detector, method)(files).shape == (400,)
    assert len(batches) >= 5
    assert max(batch["images"] for batch in batches) < 100
    assert max(batch["batches alive"] for batch in batches) <= 2
    # There are no results yet when the first batch is processed.
    assert len({batch["tensors"] for batch in batches[1:]}) == 1


def test_fit_reads_batch_by_batch(detector, files, batches):
    """It ends with a pass over all images, for the thresholds."""
    clone(detector).fit(files)
    assert max(batch["images"] for batch in batches) < 100
    assert max(batch["batches alive"] for batch in batches) <= 2
    assert len({batch["tensors"] for batch in batches[-5:]}) == 1


class WaitingNetwork(nn.Conv2d):
    """Waits until the next batch is being read."""

    def __init__(self, image_shape):
        super().__init__(image_shape[2], image_shape[2], 1)
        self.waits = None

    def forward(self, images):
        if self.waits is not None:
            self.waits()
        return super().forward(images)


@pytest.mark.parametrize("task", ["fit", "score_samples"])
def test_the_next_batch_is_read_meanwhile(files, monkeypatch, task):
    detector = SelfSupervisedAutoencoderDetector(
        network=WaitingNetwork, max_iter=3, batch_size=4, random_state=0
    ).fit(files[:8])
    load = ValidatedInput.load
    begun = threading.Semaphore(0)

    def record(data, indices):
        begun.release()
        return load(data, indices)

    monkeypatch.setattr(ValidatedInput, "load", record)
    overlaps = []
    # The first pass waits for two batches: its own, and the next.
    waits = iter([2])
    detector.network_.waits = lambda: overlaps.extend(
        begun.acquire(timeout=10) for _ in range(next(waits, 0))
    )
    if task == "fit":
        detector.set_params(warm_start=True, contamination=0.1).fit(files[:20])
    else:
        detector.score_samples(files)
    assert overlaps == [True, True]


def test_a_bad_file_is_named_when_its_turn_comes(detector, tmp_path):
    for index in range(20):
        Image.fromarray(np.full((32, 32), index, np.uint8)).save(tmp_path / f"{index:02d}.png")
    images = ImageSequence(sorted(tmp_path.iterdir()))
    len(images), images.shape
    (tmp_path / "17.png").write_bytes(b"no picture")
    before = threading.active_count()
    with pytest.raises(ValueError, match=r"17\.png"):
        detector.score_samples(images)
    gc.collect()
    assert threading.active_count() == before


def test_files_give_the_scores_of_the_array(detector, files):
    scores = detector.score_samples(np.asarray(files))
    np.testing.assert_array_equal(detector.score_samples(files), scores)
