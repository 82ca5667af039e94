"""Images that are unlike all training images."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_networks import NARROW

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import load_mvtec_ad, make_textured_surfaces
from skanomaly.model_selection import ConformalDetector
from skanomaly.scoring import FrameTerm, frame_sums

SIZE = (64, 64)
DETECTOR = SelfSupervisedAutoencoderDetector(
    network=NARROW, max_iter=60, random_state=0, device="cpu"
)


@pytest.fixture(scope="module")
def bricks():
    return make_textured_surfaces("brick", image_size=64, random_state=0)


@pytest.fixture(scope="module")
def grass():
    return make_textured_surfaces("grass", image_size=64, random_state=0)


@pytest.fixture(scope="module")
def detectors(bricks, grass):
    """Detectors of a texture coarser than noise, and of one similar to noise."""
    return {
        "brick": clone(DETECTOR).fit(bricks.X_train),
        "grass": clone(DETECTOR).fit(grass.X_train),
    }


def noisy(mean, deviation):
    values = np.random.default_rng(0).normal(mean, deviation, (8, *SIZE))
    return values.clip(0, 255).astype(np.uint8)


DRIFTED = {
    "black frame": np.zeros((1, *SIZE), np.uint8),
    "white frame": np.full((1, *SIZE), 255, np.uint8),
    "grey frame": np.full((1, *SIZE), 120, np.uint8),
    "lens cap": noisy(4, 1),
    "lens cap, noisy": noisy(10, 3),
    "noise": np.random.default_rng(0).integers(0, 256, (8, *SIZE), dtype=np.uint8),
    "gaussian noise": noisy(120, 40),
}


@pytest.mark.slow
@pytest.mark.parametrize("texture", ["brick", "grass"])
@pytest.mark.parametrize("kind", DRIFTED)
def test_frames_without_a_picture_are_flagged(detectors, texture, kind):
    assert (detectors[texture].predict(DRIFTED[kind]) == -1).all()


@pytest.mark.slow
def test_another_surface_and_an_inverted_one_are_flagged(detectors, bricks, grass):
    assert (detectors["brick"].predict(grass.X_train) == -1).all()
    assert (detectors["grass"].predict(bricks.X_train) == -1).all()
    assert (detectors["brick"].predict(255 - bricks.X_train) == -1).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("texture", ["grass", "gravel"])
def test_a_stream_of_what_hardly_shows_in_single_pictures_is_noticed(texture):
    """Grass and gravel look much the same with light and dark exchanged."""
    pictures = make_textured_surfaces(texture, image_size=64, n_train=140, random_state=0).X_train
    pictures = np.random.default_rng(0).permutation(pictures)
    detector = clone(DETECTOR).set_params(network="auto")
    calibrated = ConformalDetector(detector, alpha=0.05, calibration_size=40, random_state=0)
    calibrated.fit(pictures[:100])

    def z(stream):
        p_values = calibrated.p_values(stream)
        return (p_values.mean() - 0.5) * np.sqrt(12 * len(p_values))

    inverted, good = z(255 - pictures[100:]), z(pictures[100:])
    print(f"{texture}: z of inverted pictures {inverted:.1f}, of good ones {good:.1f}")
    assert inverted < -4
    assert good > -4


@pytest.mark.slow
@pytest.mark.long
def test_other_surfaces_and_other_cameras_are_flagged_on_real_parts(magnetic_tile):
    data = load_mvtec_ad(magnetic_tile, size=128)
    good = np.asarray(data.X_test[data.y_test == 1])
    detector = clone(DETECTOR).set_params(network="auto", max_iter=1500).fit(data.X_train)
    noise = np.random.default_rng(0).normal(0, 1, good.shape)
    unlike = {
        "black": np.zeros_like(good[:1]),
        "lens cap": (5 + 2 * noise).clip(0, 255).astype(np.uint8),
        "noise": (120 + 40 * noise).clip(0, 255).astype(np.uint8),
        "inverted": 255 - good,
        "turned": np.ascontiguousarray(np.rot90(good, axes=(1, 2))),
        **{
            texture: make_textured_surfaces(texture, image_size=128, random_state=0).X_train
            for texture in ("brick", "grass", "gravel")
        },
    }
    flagged = {name: (detector.predict(X) == -1).mean() for name, X in unlike.items()}
    print({"good": (detector.predict(good) == -1).mean(), **flagged})
    assert min(flagged.values()) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("texture", ["brick", "grass"])
def test_ordinary_defects_and_light_are_left_to_the_map(detectors, bricks, grass, texture):
    data = {"brick": bricks, "grass": grass}[texture]
    with_term = detectors[texture]
    without = clone(with_term).fit(data.X_train[:2])
    vars(without).update(model_=copy.deepcopy(with_term.model_), device_=with_term.device_)
    del without.model_.steps[-1]
    for images in (data.X_train, data.X_test[data.y_test == 1], data.X_train // 2):
        added = without.score_samples(images) - with_term.score_samples(images)
        assert (added == 0).mean() > 0.8 and (added < -with_term.offset_).all()
    defects = data.X_test[data.y_test == -1]
    assert (with_term.score_samples(defects) == without.score_samples(defects)).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("standardization", ["dataset", "none"])
def test_brightness_counts_where_images_are_not_scaled_each(bricks, standardization):
    detector = clone(DETECTOR).set_params(standardization=standardization, max_iter=10)
    detector.fit(bricks.X_train)
    assert (detector.predict(DRIFTED["black frame"]) == -1).all()
    assert (detector.predict(bricks.X_train // 4 + 190) == -1).all()


def test_sums_of_parts_are_those_of_the_whole():
    images = torch.rand(2, 3, 11, 7, dtype=torch.float64)
    whole = frame_sums(images)
    parts = sum(
        frame_sums(
            images[:, :, top : top + 5, left : left + 4], (min(4, 11 - top), min(3, 7 - left))
        )
        for top in range(0, 11, 4)
        for left in range(0, 7, 3)
    )
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)


def test_the_term_leaves_what_lies_in_the_range_and_raises_what_lies_beyond():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 32, 32, generator=generator, dtype=torch.float64)
    term = FrameTerm.fit(frame_sums(images), weight=7.0, brightness=False, aggregation="max")
    assert (term.excess(frame_sums(images)) == 0).all()
    assert (term.excess(frame_sums(images * 0.6 + 3)) == 0).all()
    faint = frame_sums(images * 0.2)
    assert float(term.excess(faint).min()) > 1.0
    maps = torch.rand(20, 4, 4, generator=generator, dtype=torch.float64)
    scores = maps.flatten(1).amax(1)
    raised = maps * term.factor(faint, scores)
    torch.testing.assert_close(raised.flatten(1).amax(1), 7.0 * term.excess(faint))
    # Maps of defects are not worse.
    assert (term.factor(faint, 100.0 * scores + 100.0) == 1).all()
    bright = FrameTerm.fit(frame_sums(images), weight=7.0, brightness=True, aggregation="max")
    assert (bright.excess(frame_sums(images + 3)) > 1.0).all()
    # Crops vary more than whole images, so their limit is less strict.
    crops = images.unfold(2, 2, 2).unfold(3, 2, 2).reshape(-1, 1, 2, 2)
    assert (term.excess(frame_sums(crops)) < 1.0).float().mean() > 0.99
