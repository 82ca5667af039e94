import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.svm import OneClassSVM
from small_networks import NARROW, SMALL
from synthetic_images import make_images
from torch import nn

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_bar_images, make_circle, make_sine_curve
from skanomaly.metrics import projection_report

CURVES = {"circle": make_circle, "sine": make_sine_curve}


class Exact(nn.Module):
    """A network that knows the answer: f(x) = A (x − c) + c."""

    def __init__(self, matrix, centre):
        super().__init__()
        self.matrix = nn.Parameter(torch.as_tensor(matrix, dtype=torch.float64))
        self.centre = nn.Parameter(torch.as_tensor(centre, dtype=torch.float64))

    def forward(self, rows):
        return (rows - self.centre) @ self.matrix.T + self.centre


def detector_of(matrix, centre):
    """A detector whose network is replaced by a known one, on rows as they are."""
    rows = np.random.default_rng(0).normal(size=(20, len(centre)))
    fitted = SelfSupervisedAutoencoderDetector(standardization="none", max_iter=1).fit(rows)
    fitted.network_ = Exact(matrix, centre)
    return fitted


@pytest.fixture(scope="module")
def plane():
    """A plane in five dimensions that no axis lies in, with normal rows on it and damaged ones."""
    rng = np.random.default_rng(1)
    directions = np.linalg.qr(rng.normal(size=(5, 2)))[0]
    centre = rng.normal(size=5)
    normal = centre + rng.normal(size=(30, 2)) @ directions.T
    damaged = normal.copy()
    damaged[np.arange(30), rng.integers(5, size=30)] += 2.0
    return directions @ directions.T, centre, normal, damaged


def test_an_orthogonal_projection_by_hand(plane):
    matrix, centre, normal, damaged = plane

    def project(rows):
        return (rows - centre) @ matrix + centre

    report = projection_report(
        detector_of(matrix, centre), normal, corrupted=damaged, true_projection=project
    )
    assert report.n_samples == 30
    assert report.normal_error < 1e-7  # the network's weights pass through float32
    assert report.idempotence_corrupted < 1e-6
    assert report.tangent_dimension == 2
    assert report.tangent_share < 1e-6
    directions = np.random.default_rng(0).normal(size=(200_000, 5))
    lengths = np.linalg.norm(directions[:, :2], axis=1) / np.linalg.norm(directions, axis=1)
    assert report.tangent_share_by_chance == pytest.approx(lengths.mean(), abs=0.003)
    assert report.corruption_size == pytest.approx(2.0)
    inside = damaged != normal
    change = project(damaged) - damaged
    assert report.conservation_error == pytest.approx(np.sqrt(np.mean(change[~inside] ** 2)))
    left = project(damaged) - normal
    assert report.repair_error == pytest.approx(np.sqrt(np.mean(left[inside] ** 2)))
    assert report.projection_distance_normal < 1e-7
    assert report.projection_distance_corrupted < 1e-7
    moved = np.sqrt(np.mean((project(damaged) - normal) ** 2))
    assert report.restoration_distance == pytest.approx(moved)
    assert report.restoration_distance_of_projection == pytest.approx(moved)


def test_an_oblique_projection_is_idempotent_but_not_orthogonal(plane):
    """f(x) = c + D Eᵀ (x − c) with Eᵀ D = I; a transposed matrix would have another range."""
    _, centre, normal, damaged = plane
    rng = np.random.default_rng(2)
    span = np.linalg.qr(rng.normal(size=(5, 2)))[0]
    other = rng.normal(size=(5, 2))
    matrix = span @ np.linalg.inv(other.T @ span) @ other.T
    report = projection_report(
        detector_of(matrix, centre), normal, corrupted=damaged, tangent_dimension=2
    )
    assert report.idempotence_corrupted < 1e-6
    residuals = (damaged - centre) @ (np.eye(5) - matrix).T
    along = np.linalg.norm(residuals @ span, axis=1)[:20]
    expected = np.mean(along / np.linalg.norm(residuals, axis=1)[:20])
    assert report.tangent_share == pytest.approx(expected, rel=1e-5)
    assert expected > 0.2


def test_half_a_step_is_half_idempotent(plane):
    """f(x) = (x + P x) / 2 leaves half of the residual: a second step moves half as far."""
    matrix, centre, normal, damaged = plane
    half = 0.5 * (np.eye(5) + matrix)
    report = projection_report(detector_of(half, centre), normal, corrupted=damaged)
    assert report.idempotence_corrupted == pytest.approx(0.5, rel=1e-5)


def test_the_median_of_an_even_number_of_inputs_lies_between_the_middle_two():
    """A linear f with different factors along its axes: each input has a ratio of its own."""
    factors = np.array([0.9, 0.1])
    normal = np.zeros((4, 2))
    damaged = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    report = projection_report(
        detector_of(np.diag(factors), np.zeros(2)), normal, corrupted=damaged
    )
    moved = damaged * (1 - factors)
    ratios = np.linalg.norm(moved * factors, axis=1) / np.linalg.norm(moved, axis=1)
    assert report.idempotence_corrupted == pytest.approx(np.median(ratios), rel=1e-5)


def test_the_identity_moves_nothing(plane):
    _, centre, normal, damaged = plane
    report = projection_report(detector_of(np.eye(5), centre), normal, corrupted=damaged)
    assert report.idempotence_normal < 1e-6 and report.normal_error < 1e-7
    assert report.repair_error == pytest.approx(report.corruption_size)
    assert report.conservation_error < 1e-7
    assert report.projection_distance_normal is None and report.restoration_distance is None


@pytest.fixture(scope="module")
def reports():
    """The three detectors, trained alike, on both curves; repair weighs as much as identity.

    Noise and decay that suit images are much for a thin curve.
    """

    def report_on(data, detector):
        if isinstance(detector, SelfSupervisedAutoencoderDetector):
            detector.set_params(mask_weight=0.5, identity_noise=0.03)
        detector.set_params(max_iter=1500, batch_size=64, weight_decay=1e-4, random_state=0)
        fitted = detector.fit(data.X_train)
        bad = data.y_test == -1
        return projection_report(
            fitted,
            data.X_test_clean[bad],
            corrupted=data.X_test[bad],
            true_projection=data.projection,
            tangent_dimension=1,
            n_tangent_spaces=50,
        )

    datasets = {name: make(random_state=0) for name, make in CURVES.items()}
    return {
        (name, cls): report_on(data, cls())
        for name, data in datasets.items()
        for cls in (SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE)
    }


@pytest.mark.parametrize("name", CURVES)
def test_training_on_damage_comes_nearest_to_the_true_point(name, reports):
    best = reports[name, SelfSupervisedAutoencoderDetector]
    for baseline in (DenoisingAE, ContractiveAE):
        other = reports[name, baseline]
        assert best.restoration_distance < 0.85 * other.restoration_distance
        assert best.repair_error < 0.85 * other.repair_error
    # It tells damage from the rest, which the nearest point of the curve does not.
    assert best.restoration_distance < best.restoration_distance_of_projection


@pytest.mark.parametrize("cls", [SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE])
@pytest.mark.parametrize("name", CURVES)
def test_trained_detectors_act_like_projections(name, cls, reports):
    """Of 16 dimensions one is tangent: chance would be 0.25."""
    report = reports[name, cls]
    assert report.idempotence_corrupted < 0.3
    assert report.projection_distance_normal < 0.05
    assert report.projection_distance_corrupted < 0.5 * report.corruption_size
    if name == "circle":
        assert report.tangent_share < 0.5 * report.tangent_share_by_chance


def test_images_of_bars():
    data = make_bar_images(n_test=20, random_state=0)
    detector = SelfSupervisedAutoencoderDetector(network=NARROW, max_iter=150, random_state=0)
    fitted = detector.fit(data.X_train)
    bad = data.y_test == -1
    clean, damaged = data.X_test_clean[bad], data.X_test[bad]
    options = dict(true_projection=data.projection, n_tangent_spaces=2)
    report = projection_report(fitted, clean, corrupted=damaged, **options)
    assert report.repair_error < 0.9 * report.corruption_size
    assert report.conservation_error < 0.3 * report.corruption_size
    expected = fitted.reconstruct(damaged) - data.projection(clean)
    assert report.restoration_distance == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-4)
    with_channel = projection_report(
        fitted,
        clean[..., None],
        corrupted=damaged[..., None],
        true_projection=lambda X: data.projection(X[..., 0])[..., None],
        n_tangent_spaces=2,
    )
    assert with_channel.restoration_distance == pytest.approx(report.restoration_distance)


def test_large_images_give_the_same_tangent_space(monkeypatch):
    """By Lanczos iteration instead of the whole Jacobian."""
    from skanomaly.metrics import _projection_report

    images = make_images(12, size=(16, 16))
    detector = SelfSupervisedAutoencoderDetector(network=SMALL, max_iter=20, random_state=0)
    fitted = detector.fit(images)
    options = dict(tangent_dimension=3, n_tangent_spaces=2, random_state=0)
    whole = projection_report(fitted, images, **options)
    monkeypatch.setattr(_projection_report, "_FULL_JACOBIAN_LIMIT", 1)
    iterated = projection_report(fitted, images, **options)
    assert iterated.tangent_share == pytest.approx(whole.tangent_share, rel=1e-2)


def test_lanczos_iteration_finds_the_left_singular_vectors(monkeypatch):
    """Largest first; those on the right are others."""
    from skanomaly.metrics import _projection_report

    matrix = np.random.default_rng(3).normal(size=(8, 8))
    expected, values, _ = np.linalg.svd(matrix)
    monkeypatch.setattr(_projection_report, "_FULL_JACOBIAN_LIMIT", 1)
    left, found = _projection_report._leading_singular_vectors(
        lambda rows: rows @ torch.from_numpy(matrix.T), torch.zeros(8, dtype=torch.double), 3
    )
    np.testing.assert_allclose(found, values[:3], rtol=1e-3)
    np.testing.assert_allclose(np.abs((left * expected[:, :3]).sum(0)), 1, atol=1e-3)


def test_it_prints_and_gives_a_dict(plane):
    matrix, centre, normal, _ = plane
    report = projection_report(detector_of(matrix, centre), normal, random_state=0)
    values = report.to_dict()
    assert values["n_samples"] == 30 and values["repair_error"] == report.repair_error
    lines = str(report).splitlines()
    assert len(lines) == len(values)
    assert lines[0] == "Projection report on 30 inputs"
    assert any(line.split() == ["restoration", "distance", "-"] for line in lines)


def test_color_images_of_integers():
    images = (make_images(12, size=(16, 16), channels=3) * 255).astype(np.uint8)
    fitted = DenoisingAE(network=SMALL, max_iter=5, random_state=0).fit(images)
    report = projection_report(
        fitted, images, random_state=0, n_tangent_spaces=1, true_projection=lambda X: X
    )
    # Fractions of white: the projection that is the identity is as far as the error itself.
    assert report.projection_distance_normal == pytest.approx(report.normal_error)
    assert 0 < report.normal_error < 1


def test_wrong_use_is_refused(plane):
    matrix, centre, normal, damaged = plane
    fitted = detector_of(matrix, centre)
    with pytest.raises(TypeError, match="needs a detector of skanomaly, .* got OneClassSVM"):
        projection_report(OneClassSVM().fit(normal), normal)
    with pytest.raises(TypeError, match="got BaseEstimator"):
        projection_report(BaseEstimator(), normal)
    with pytest.raises(NotFittedError):
        projection_report(DenoisingAE(), normal)
    with pytest.raises(ValueError, match="shape of X"):
        projection_report(fitted, normal, corrupted=damaged[:5])
    with pytest.raises(ValueError, match="differ from X somewhere"):
        projection_report(fitted, normal, corrupted=normal)
    with pytest.raises(ValueError, match=r"keep the shape \(30, 5\)"):
        projection_report(fitted, normal, true_projection=lambda X: X[:3])
    for options in ({"tangent_dimension": 0}, {"tangent_dimension": 6}, {"n_tangent_spaces": 0}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            projection_report(fitted, normal, **options)


@pytest.mark.parametrize(
    ("values", "dimension"),
    [([1, 0.9, 0.4, 0.2, 0], 2), ([0.4, 0.2, 0, 0, 0], 1), ([1] * 20, 16)],
)
def test_the_dimension_is_counted(values, dimension):
    """Singular values above one half, at least one and at most 16 of them."""
    fitted = detector_of(np.diag(values), np.zeros(len(values)))
    rows = np.random.default_rng(1).normal(size=(6, len(values)))
    report = projection_report(fitted, rows, random_state=0)
    assert report.tangent_dimension == dimension


def test_damage_depends_on_the_seed_and_leaves_other_values_alone():
    fitted = detector_of(np.eye(5) / 2, np.zeros(5))
    rows = np.random.default_rng(1).normal(size=(30, 5))
    sizes = [projection_report(fitted, rows, random_state=s).corruption_size for s in (0, 0, 1)]
    assert sizes[0] == sizes[1] != sizes[2]
    report = projection_report(fitted, rows, random_state=0)
    assert report.conservation_error is not None and report.conservation_error > 0.1
