"""The baseline of principal components, against NumPy."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from synthetic_images import make_images, plant_defects

from skanomaly.benchmark import PCAReconstruction


@pytest.mark.parametrize("channels", [None, 3])
def test_the_map_is_what_the_principal_components_leave(channels):
    images = make_images(30, size=(10, 12), channels=channels)
    detector = PCAReconstruction(4).fit(images)
    bad, _ = plant_defects(make_images(3, size=(10, 12), channels=channels, seed=1))
    mean = images.reshape(30, -1).mean(axis=0)
    axes = np.linalg.svd(images.reshape(30, -1) - mean, full_matrices=False)[2][:4]
    rows = bad.reshape(3, -1) - mean
    residual = (rows - rows @ axes.T @ axes).reshape(bad.shape)
    expected = residual**2 if channels is None else (residual**2).mean(axis=3)
    np.testing.assert_allclose(detector.anomaly_map(bad), expected, atol=1e-12)
    scores = detector.score_samples(bad)
    np.testing.assert_allclose(scores, -expected.mean(axis=(1, 2)))
    np.testing.assert_array_equal(detector.predict(bad), np.where(scores < detector.offset_, -1, 1))


def test_bytes_are_read_as_shares_of_255():
    images = (make_images(20, size=(8, 8)) * 255).astype(np.uint8)
    by_bytes = PCAReconstruction(3).fit(images).anomaly_map(images)
    by_floats = PCAReconstruction(3).fit(images / 255).anomaly_map(images / 255)
    np.testing.assert_allclose(by_bytes, by_floats, atol=1e-12)


def test_the_threshold_leaves_out_a_share_of_the_training_images():
    images = make_images(100, size=(8, 8))
    detector = PCAReconstruction(0.9, contamination=0.2).fit(images)
    assert np.mean(detector.predict(images) == -1) == pytest.approx(0.2)
    explained = PCA(0.9).fit(images.reshape(100, -1)).n_components_
    assert detector.pca_.n_components_ == explained


def test_the_baseline_finds_broken_stripes_and_refuses_wrong_parameters():
    detector = PCAReconstruction().fit(make_images(40))
    bad, masks = plant_defects(make_images(5, seed=1))
    maps = detector.anomaly_map(bad)
    assert maps[masks].mean() > 5 * maps[~masks].mean()
    with pytest.raises(ValueError, match="n_components"):
        PCAReconstruction(0).fit(bad)
    with pytest.raises(ValueError, match="contamination"):
        PCAReconstruction(contamination=0.7).fit(bad)
