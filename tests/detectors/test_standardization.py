import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly._validation import ValidatedInput
from skanomaly.detectors._model import Standardization, local_contrast


def as_input(images):
    return ValidatedInput(images, images.shape[1:])


def test_values_are_scaled_by_channel_and_by_image():
    rng = np.random.default_rng(0)
    images = rng.normal([0.2, 0.7], [0.1, 0.02], (30, 12, 14, 2)).astype(np.float32)
    images *= rng.uniform(0.5, 1.0, (30, 1, 1, 1)).astype(np.float32)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    whole = Standardization.fit(as_input(images), standardization="dataset", contrast_size=None)
    scaled, shift, scale = whole(batch)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)
    each = Standardization.fit(as_input(images), standardization="image", contrast_size=None)
    alone, shift, scale = each(batch)
    torch.testing.assert_close(alone.mean((1, 2, 3)), torch.zeros(30), atol=1e-4, rtol=0)
    torch.testing.assert_close(alone.std((1, 2, 3)), torch.ones(30), atol=1e-2, rtol=0)
    torch.testing.assert_close(alone * scale + shift, batch)


def test_an_almost_flat_image_is_not_blown_up():
    images = np.random.default_rng(0).random((10, 8, 8, 1)).astype(np.float32)
    scaling = Standardization.fit(as_input(images), standardization="image", contrast_size=None)
    faint = torch.full((1, 1, 8, 8), 0.5)
    faint[0, 0, 0, 0] = 0.501
    assert float(scaling(faint)[0].abs().max()) < 0.1


def test_local_contrast_is_the_log_deviation_in_a_window():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 11, 13, generator=generator) * 2
    contrast = local_contrast(images, 5)
    assert contrast.shape == (2, 1, 11, 13)
    window = images.mean(1)[1, 3:8, 4:9]
    assert float(contrast[1, 0, 5, 6].exp()) == pytest.approx(
        float((window.var(correction=0) + 4e-3).sqrt()), rel=1e-3
    )
    corner = images.mean(1)[0, :3, :3]
    assert float(contrast[0, 0, 0, 0].exp()) == pytest.approx(
        float((corner.var(correction=0) + 4e-3).sqrt()), rel=1e-3
    )
    assert bool(local_contrast(torch.full((1, 1, 6, 6), 1e3), 3).isfinite().all())


def test_local_contrast_finds_missing_texture():
    """A blurred region of a random texture is not found by its values alone."""
    rng = np.random.default_rng(0)
    images = rng.random((60, 24, 24))
    damaged = images[40:].copy()
    masks = np.zeros(damaged.shape, dtype=bool)
    masks[:, 6:16, 8:18] = True
    damaged[masks] = 0.5

    def quality(contrast_size):
        detector = SelfSupervisedAutoencoderDetector(
            contrast_size=contrast_size, max_iter=30, random_state=0
        ).fit(images[:40])
        return roc_auc_score(masks.ravel(), detector.anomaly_map(damaged).ravel())

    assert quality(5) > 0.9
    assert quality(None) < 0.6


@pytest.mark.parametrize(("unit", "offset"), [(2.0**-40, 0.0), (1e-6, 0.0), (1e-3, 1.0)])
def test_scores_do_not_depend_on_the_unit(unit, offset):
    """Heights in metres, currents in ampere."""
    images = np.random.default_rng(0).random((20, 16, 16))
    flat = images.copy()
    flat[:, 4:12, 4:12] = 0.5

    def auroc(unit, offset):
        detector = SelfSupervisedAutoencoderDetector(max_iter=10, network="plain", random_state=0)
        detector.fit(images * unit + offset)
        both = np.concatenate([images, flat]) * unit + offset
        return roc_auc_score(np.repeat([1, 0], 20), detector.score_samples(both))

    expected = auroc(1.0, 0.0)
    assert expected > 0.9
    assert auroc(unit, offset) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("unit", "offset"), [(1.0, 0.0), (1e-9, 0.0), (5e-4, 1000.0), (100.0, 1e9)]
)
def test_features_are_scaled_in_any_unit(unit, offset):
    rows = np.random.default_rng(0).normal(size=(300, 3)) * [unit, 1.0, 0.0] + [offset, 0.0, 0.1]
    scaling = Standardization.fit(as_input(rows), standardization="image", contrast_size=None)
    np.testing.assert_allclose(scaling.deviation[:2], rows[:, :2].std(0), rtol=1e-6)
    assert scaling.deviation[2] == 1  # constant but for rounding


def test_a_channel_that_is_constant_but_for_rounding_is_not_scaled_up():
    images = np.full((10, 8, 8, 1), 0.1, dtype=np.float32)
    images[::2] = np.nextafter(images[::2], np.float32(1))
    scaling = Standardization.fit(as_input(images), standardization="image", contrast_size=None)
    assert scaling.deviation == 1


def test_local_contrast_is_the_same_at_any_brightness():
    images = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        local_contrast(images + 3000, 5), local_contrast(images, 5), atol=1e-2, rtol=0
    )


def test_all_rows_count():
    rows = np.random.default_rng(0).normal(size=(1500, 2))
    scaling = Standardization.fit(as_input(rows), standardization="image", contrast_size=None)
    np.testing.assert_allclose(scaling.mean, rows.mean(0), atol=1e-12)
    np.testing.assert_allclose(scaling.deviation, rows.std(0), rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_constant_channel_is_not_scaled(value):
    images = np.random.default_rng(0).random((10, 8, 8, 2)).astype(np.float32)
    images[..., 1] = value
    scaling = Standardization.fit(as_input(images), standardization="dataset", contrast_size=None)
    assert scaling.deviation[1] == 1
    assert float(scaling(torch.from_numpy(images).permute(0, 3, 1, 2))[0][:, 1].abs().max()) == 0


def test_without_standardization_values_stay():
    images = np.random.default_rng(0).random((5, 8, 8, 1)).astype(np.float32)
    scaling = Standardization.fit(as_input(images), standardization="none", contrast_size=None)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(scaling(batch)[0], batch)


def test_each_image_has_mean_0_and_deviation_1():
    images = np.random.default_rng(0).random((4, 3, 3, 1)).astype(np.float32)
    scaling = Standardization.fit(as_input(images), standardization="image", contrast_size=None)
    alone = scaling(torch.from_numpy(images).permute(0, 3, 1, 2))[0]
    torch.testing.assert_close(alone.std((1, 2, 3), correction=0), torch.ones(4))


def test_the_rounding_of_a_single_pixel_is_not_scaled_up():
    moments = {"mean": torch.tensor([0.4]).double(), "deviation": torch.tensor([0.3]).double()}
    pixels = torch.linspace(0, 1, 50).view(-1, 1, 1, 1)
    assert float(Standardization(**moments, per_image=True)(pixels)[0].abs().max()) == 0


def test_local_contrast_is_the_last_channel_and_standardized():
    rng = np.random.default_rng(0)
    images = rng.random((12, 16, 16, 2)) * rng.uniform(0.2, 1.0, (12, 1, 1, 1))
    scaling = Standardization.fit(as_input(images), standardization="dataset", contrast_size=5)
    standardized = scaling(torch.from_numpy(images).permute(0, 3, 1, 2))[0]
    represented = scaling.represent(standardized)
    assert torch.equal(represented[:, :2], standardized)
    contrast = represented[:, 2]
    assert float(contrast.mean()) == pytest.approx(0, abs=1e-5)
    assert float(contrast.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_contrast_that_is_the_same_everywhere_is_not_scaled_up():
    images = np.full((4, 8, 8, 1), 0.3)
    scaling = Standardization.fit(as_input(images), standardization="image", contrast_size=3)
    assert scaling.contrast_deviation == 1


def test_local_contrast_is_finite_in_flat_parts_far_from_the_mean():
    images = torch.zeros(1, 1, 32, 32)
    images[..., 16:] = 1e4 / 3
    assert bool(local_contrast(images, 5).isfinite().all())
