"""Detectors with a linear network on Gaussian rows, against the best matrix in closed form.

Rows are centred, and Σ is their own covariance, so that no sampling error is left but that of the
batches and the noise, which the falling learning rate averages out. With three seeds the relative
errors stayed below 0.02; the tolerance of 0.05 is well under what a wrong factor makes: σ in place
of σ² differs by more than 0.12 here, and so does twice or half the penalty.
"""

from functools import partial

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.networks import LinearAutoencoder

TOLERANCE = 0.05
TRAINING = {
    "network": "linear",
    "standardization": "none",
    "max_iter": 1000,
    "batch_size": 128,
    "learning_rate": 0.02,
    "weight_decay": 0.0,
    "contamination": 0.1,  # no held-out images
    "random_state": 0,
}


class NoCorruption(BaseEstimator):
    """Returns rows unchanged."""

    def corrupt(self, images, generator):
        return images, images.new_zeros(images.shape)


@pytest.fixture(scope="module")
def rows():
    """Centred rows of variances 4, 2, 1 and 1/4 along directions that no axis agrees with."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    X = rng.normal(size=(4000, 4)) * [2.0, 2**0.5, 1.0, 0.5] @ directions.T
    return X - X.mean(0)


def matrix_of(detector):
    """Matrix A of f(x) = A x + b, from the values of f at the unit vectors."""
    size = detector.n_features_in_
    images = detector.reconstruct(np.vstack([np.eye(size), np.zeros(size)]))
    return (images[:-1] - images[-1]).T


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def leading_projection(covariance, rank):
    directions = np.linalg.eigh(covariance)[1][:, -rank:]
    return directions @ directions.T


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_denoising_shrinks_by_the_noise(noise, rows):
    """E‖A(x + ε) − x‖² is least at A = Σ(Σ + σ²I)⁻¹."""
    covariance = np.cov(rows.T, bias=True)
    expected = covariance @ np.linalg.inv(covariance + noise**2 * np.eye(4))
    fitted = DenoisingAE(noise=noise, **TRAINING).fit(rows)
    assert relative_error(matrix_of(fitted), expected) < TOLERANCE
    # Centred rows need no constant term.
    assert np.abs(fitted.reconstruct(np.zeros((1, 4)))).max() < TOLERANCE


def test_masking_noise_shrinks_by_its_own_formula(rows):
    """Values kept with chance q = 1 − ν: A = q Σ (q² Σ + q ν diag Σ)⁻¹."""
    covariance = np.cov(rows.T, bias=True)
    kept = 0.7
    second_moments = kept**2 * covariance + kept * (1 - kept) * np.diag(np.diag(covariance))
    expected = kept * covariance @ np.linalg.inv(second_moments)
    fitted = DenoisingAE(noise=0.3, noise_type="masking", **TRAINING).fit(rows)
    assert relative_error(matrix_of(fitted), expected) < TOLERANCE


@pytest.mark.parametrize("weight", [0.25, 2.0])
def test_the_reconstruction_penalty_shrinks_by_its_weight(weight, rows):
    """E‖A x − x‖² + γ‖A‖² is least at A = Σ(Σ + γI)⁻¹."""
    covariance = np.cov(rows.T, bias=True)
    expected = covariance @ np.linalg.inv(covariance + weight * np.eye(4))
    fitted = ContractiveAE(penalty="reconstruction", penalty_weight=weight, **TRAINING).fit(rows)
    assert relative_error(matrix_of(fitted), expected) < TOLERANCE


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    "detector",
    [
        SelfSupervisedAutoencoderDetector(
            corruption=NoCorruption(), mask_weight=0.0, identity_noise=0.7
        ),
        DenoisingAE(noise=0.0),
        ContractiveAE(penalty="reconstruction", penalty_weight=0.0),
    ],
    ids=["identity anchor", "denoising", "contractive"],
)
def test_a_narrow_network_projects_onto_the_leading_directions(detector, rank, rows):
    """Noise that is in the target too does not shrink the weights, whatever its strength."""
    network = partial(LinearAutoencoder, rank=rank)
    fitted = detector.set_params(**{**TRAINING, "network": network}).fit(rows)
    expected = leading_projection(np.cov(rows.T, bias=True), rank)
    assert relative_error(matrix_of(fitted), expected) < TOLERANCE


def test_the_anchor_alone_is_the_identity(rows):
    fitted = SelfSupervisedAutoencoderDetector(
        corruption=NoCorruption(), mask_weight=0.0, identity_noise=0.7, **TRAINING
    ).fit(rows)
    assert relative_error(matrix_of(fitted), np.eye(4)) < TOLERANCE


def test_without_noise_both_baselines_tend_to_the_projection(rows):
    """Data of rank 2 with variances of 16 and 8: A is their projection but for one per cent."""
    flat = 2 * rows @ leading_projection(np.cov(rows.T), 2)
    expected = leading_projection(np.cov(flat.T), 2)
    for detector in (DenoisingAE(noise=0.3), ContractiveAE(penalty_weight=0.09)):
        fitted = detector.set_params(**{**TRAINING, "max_iter": 2500}).fit(flat)
        assert relative_error(matrix_of(fitted), expected) < TOLERANCE


def test_scaling_by_feature_is_undone(rows):
    """In units of X, A is D R(R + σ²I)⁻¹ D⁻¹ with correlations R: no longer symmetric."""
    scaled = rows * [1.0, 5.0, 0.2, 10.0]
    deviation = scaled.std(0)
    correlation = np.corrcoef(scaled.T)
    shrunk = correlation @ np.linalg.inv(correlation + 0.25 * np.eye(4))
    fitted = DenoisingAE(noise=0.5, **{**TRAINING, "standardization": "dataset"}).fit(scaled)
    found = matrix_of(fitted) * deviation / deviation[:, None]
    assert relative_error(found, shrunk) < TOLERANCE
