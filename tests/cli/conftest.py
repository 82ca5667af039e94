"""Folders of small textures, and a model trained on one of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import skanomaly
from skanomaly._cli import _model_file, main


def make_texture(random, shape=(24, 32)):
    """A grey grid with noise, uint8."""
    rows, columns = np.indices(shape)
    grid = 110 + 40 * np.sin(rows * np.pi / 4) * np.sin(columns * np.pi / 4)
    return np.clip(grid + random.normal(0, 4, shape), 0, 255).astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Good images; new images in subfolders, one of them with a bright square; a model."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index in range(12):
        save(root / "good" / f"{index:02}.png", make_texture(random))
    for name in ("a.png", "b c/ü.png", "d/e.bmp", "d/f.png"):
        save(root / "new" / name, make_texture(random))
    bad = make_texture(random)
    bad[8:16, 20:28] = 250
    save(root / "new" / "d" / "bad.png", bad)
    model = root / "model.safetensors"
    arguments = ["fit", str(root / "good"), "--output", str(model), "--max-iter", "40"]
    assert main(arguments) == 0
    return SimpleNamespace(good=root / "good", new=root / "new", model=model, defect=(12, 24))


@pytest.fixture
def passes(monkeypatch):
    """Number of images in each pass through a convolutional network."""
    counted = []
    forward = skanomaly.networks.ConvolutionalAutoencoder.forward

    def counting(self, images):
        counted.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(skanomaly.networks.ConvolutionalAutoencoder, "forward", counting)
    return counted


@pytest.fixture
def one_by_one(monkeypatch):
    """Batches of one image."""
    monkeypatch.setattr(_model_file, "_BATCH_PIXELS", 24 * 32)
