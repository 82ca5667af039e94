"""Scores of many files take no more memory than scores of a few."""

import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from synthetic_images import make_images
from torch import nn

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import ImageSequence
from skanomaly.detectors._images import ValidatedInput


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
        network=small_network, max_iter=2, batch_size=4, random_state=0
    ).fit(files[:20])


@pytest.fixture
def batches(monkeypatch):
    """What is in memory whenever a batch is asked for."""
    load = ValidatedInput.load
    seen, given = [], []

    def record(data, indices):
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        alive = sum(batch() is not None for batch in given)
        seen.append({"images": len(indices), "batches alive": alive, "tensors": tensors})
        images = load(data, indices)
        given.append(weakref.ref(images))
        return images

    monkeypatch.setattr(ValidatedInput, "load", record)
    # What there was before is not looked through each time.
    gc.freeze()
    yield seen
    gc.unfreeze()


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_one_batch_at_a_time(detector, files, batches, method):
    """And nothing is kept of those before but their scores, not as tensors either."""
    assert getattr(detector, method)(files).shape == (400,)
    assert len(batches) >= 5
    assert max(batch["images"] for batch in batches) < 100
    assert max(batch["batches alive"] for batch in batches) <= 2
    # The first is asked for before there are results of any.
    assert len({batch["tensors"] for batch in batches[1:]}) == 1


def test_fit_reads_batch_by_batch(detector, files, batches):
    """It ends with a pass over all images, for the thresholds."""
    clone(detector).fit(files)
    assert max(batch["images"] for batch in batches) < 100
    assert max(batch["batches alive"] for batch in batches) <= 2
    assert len({batch["tensors"] for batch in batches[-5:]}) == 1


def test_files_give_the_scores_of_the_array(detector, files):
    scores = detector.score_samples(np.asarray(files))
    np.testing.assert_array_equal(detector.score_samples(files), scores)
