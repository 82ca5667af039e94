"""The examples of CONTRIBUTING.md work."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from small_networks import NARROW
from synthetic_images import make_images

import skanomaly
from skanomaly import DenoisingAE, SelfSupervisedAutoencoderDetector

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
IMAGES = make_images(20)
OPTIONS = dict(max_iter=2, random_state=0)


def example(name):
    """Run one block of code and return its last definition."""
    (code,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    namespace = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), namespace)
    return list(namespace.values())[-1]


def assert_same(detector, path, **options):
    """Save, load and compare."""
    detector.save(path)
    loaded = skanomaly.load(path, **options)
    np.testing.assert_array_equal(loaded.anomaly_map(IMAGES), detector.anomaly_map(IMAGES))


def test_a_map_step(monkeypatch, tmp_path):
    from skanomaly import scoring
    from skanomaly.detectors import _fitting

    before = DenoisingAE(region_size=None, **OPTIONS).fit(IMAGES)
    step = example("map step")
    monkeypatch.setattr(_fitting, "OPTIONAL_STEPS", (*scoring.OPTIONAL_STEPS, step))
    monkeypatch.setitem(scoring.MAP_STEPS, step.__name__, step)
    after = clone(before).fit(IMAGES)
    np.testing.assert_allclose(after.anomaly_map(IMAGES), before.anomaly_map(IMAGES) ** 2)
    assert_same(after, tmp_path / "model")


def test_a_network(monkeypatch, tmp_path):
    network = example("network")
    detector = DenoisingAE(network=network, **OPTIONS).fit(IMAGES)
    assert type(detector.network_) is network
    assert_same(detector, tmp_path / "model", network=network)


def test_a_texture(monkeypatch):
    from skanomaly.corruption import PatchCorruption, _patch_corruption, _textures

    monkeypatch.setitem(_textures._FUNCTIONS, "white", example("texture"))
    names = (*_textures.TEXTURES, "white")
    for module in (_textures, _patch_corruption):
        monkeypatch.setattr(module, "TEXTURES", names)
    corruption = PatchCorruption(texture="white", opacity=1.0, random_state=0)
    corrupted, masks = corruption(IMAGES)
    assert (masks == 1).any()
    np.testing.assert_allclose(corrupted[masks == 1], IMAGES.max())


def test_a_corruption(tmp_path):
    corruption = example("corruption")(value=3.0)
    detector = SelfSupervisedAutoencoderDetector(corruption=corruption, **OPTIONS).fit(IMAGES)
    detector.set_params(corruption__value=1.0)
    assert detector.corruption.value == 1.0
    assert_same(detector, tmp_path / "model", classes=[type(corruption)])


def test_a_detector(tmp_path):
    kind = example("detector")
    detector = kind(power=1.0, **OPTIONS).fit(IMAGES)
    assert clone(detector).get_params()["power"] == 1.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'radius'"):
        kind(radius=1)
    assert_same(detector, tmp_path / "model", classes=[kind])
    better = kind(network=NARROW, max_iter=40, random_state=0).fit(IMAGES)
    assert better.loss_curve_[-1] < 0.7 * better.loss_curve_[0]
