"""How close the map that a detector has learned is to a projection onto normal data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, svds
from scipy.special import gammaln
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._device import usual_torch_state
from ..corruption import PatchCorruption

Function = Callable[[Tensor], Tensor]

# Largest number of values in an input for which the full Jacobian is computed.
_FULL_JACOBIAN_LIMIT = 512
# Number of singular values computed if the dimension of the tangent space is not given.
_MOST_DIMENSIONS = 16
_BATCH_VALUES = 2**18


@dataclass(frozen=True)
class ProjectionReport:
    """Result of `projection_report`; prints as a table.

    Errors are root mean squares over values, in the units of X; of integer images, in fractions of
    white.

    Attributes
    ----------
    n_samples : int
        Number of inputs, each normal and corrupted.
    normal_error : float
        f(x) − x on normal inputs x.
    idempotence_normal, idempotence_corrupted : float
        Median of ‖f(f(x)) − f(x)‖ / ‖f(x) − x‖ on normal and on corrupted inputs; 0 for a
        projection.
    conservation_error : float or None
        f(x̂) − x̂ over the intact values of corrupted inputs x̂; None if there are none.
    repair_error : float
        f(x̂) − x over the corrupted values.
    corruption_size : float
        x̂ − x over the corrupted values, the error before the repair.
    tangent_share : float
        Mean of ‖T r‖ / ‖r‖, where r = x̂ − f(x̂) and T is the orthogonal projection onto the tangent
        space at f(x̂); 0 for an orthogonal projection.
    tangent_share_by_chance : float
        The same for a residual in a random direction.
    tangent_dimension : float
        Mean dimension of the tangent spaces.
    projection_distance_normal, projection_distance_corrupted : float or None
        f(x) − P(x) and f(x̂) − P(x̂), where P is the true projection; None without one.
    restoration_distance : float or None
        f(x̂) − P(x): the distance to the origin of the corrupted input.
    restoration_distance_of_projection : float or None
        P(x̂) − P(x), for comparison. Damage moves the nearest point, too: a repair that recognises
        the damaged part can be better than the true projection, which weights all values equally.

    Examples
    --------
    >>> from skanomaly import DenoisingAE
    >>> from skanomaly.datasets import make_circle
    >>> from skanomaly.metrics import projection_report
    >>> data = make_circle(random_state=0)
    >>> detector = DenoisingAE(max_iter=20, random_state=0).fit(data.X_train)
    >>> report = projection_report(detector, data.X_train[:20], random_state=0)
    >>> report.n_samples, report.projection_distance_normal  # no true projection was given
    (20, None)
    >>> len(report.to_dict())
    14
    """

    n_samples: int
    normal_error: float
    idempotence_normal: float
    idempotence_corrupted: float
    conservation_error: float | None
    repair_error: float
    corruption_size: float
    tangent_share: float
    tangent_share_by_chance: float
    tangent_dimension: float
    projection_distance_normal: float | None
    projection_distance_corrupted: float | None
    restoration_distance: float | None
    restoration_distance_of_projection: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields by name.

        Returns
        -------
        dict of str to float or None
        """
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"Projection report on {self.n_samples} inputs"]
        for name, value in self.to_dict().items():
            if name != "n_samples":
                shown = "-" if value is None else f"{value:.4g}"
                lines.append(f"  {name.replace('_', ' '):<34}{shown:>10}")
        return "\n".join(lines)


@usual_torch_state()
def projection_report(
    detector: Any,
    X: Any,
    *,
    corrupted: Any = None,
    true_projection: Callable[[NDArray[Any]], ArrayLike] | None = None,
    tangent_dimension: int | None = None,
    n_tangent_spaces: int = 20,
    random_state: int | np.random.RandomState | None = None,
) -> ProjectionReport:
    r"""Measure how close the map f that a detector has learned is to a projection.

    Among all functions, the best repair of a damaged input behaves like the orthogonal projection
    onto the set of normal inputs (Bauer, arXiv 2606.15280). Then f is idempotent, keeps normal
    inputs, and changes a damaged input mostly where it is damaged. The residual
    :math:`\hat x - f(\hat x)` is orthogonal to the tangent space of the normal set at
    :math:`f(\hat x)`. This space is spanned by the leading left singular vectors of the Jacobian of
    f at :math:`f(\hat x)`, which is computed by automatic differentiation.

    f is the map of `reconstruct`, scaling included, without rounding to X's dtype.

    Parameters
    ----------
    detector : estimator
        A fitted detector of this library.
    X : array-like or ImageSequence
        Normal inputs as for `reconstruct`; all are held in memory.
    corrupted : array-like or ImageSequence of X's shape, default=None
        X with a part of each input damaged; pixels or values that differ from X count as damaged.
        None damages X by the default `PatchCorruption`.
    true_projection : callable, default=None
        Maps floats of X's shape to the nearest points of the true normal set. Integer images are
        passed as fractions of white.
    tangent_dimension : int, default=None
        Dimension of the tangent space, which is that of the normal set. None counts, for each
        input, the singular values above one half, at most 16: those of a projection are 1 along the
        tangent space and 0 orthogonal to it.
    n_tangent_spaces : int, default=20
        Number of inputs, from the first, at which tangent spaces are computed. This is the slowest
        part.
    random_state : int, RandomState instance or None, default=None
        Seed of the damage, if ``corrupted`` is None.

    Returns
    -------
    ProjectionReport
        The measures as attributes. It has a method ``to_dict`` and prints as a table.

    Raises
    ------
    TypeError
        If the detector is not one of this library.
    ValueError
        If ``corrupted`` differs from X in shape, or does not differ from X at all, if
        ``true_projection`` changes the shape, or if a number is out of range.

    Examples
    --------
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> from skanomaly.datasets import make_circle
    >>> from skanomaly.metrics import projection_report
    >>> data = make_circle(random_state=0)
    >>> detector = SelfSupervisedAutoencoderDetector(max_iter=300, random_state=0).fit(data.X_train)
    >>> report = projection_report(
    ...     detector, data.X_train[:50], true_projection=data.projection, random_state=0
    ... )
    >>> report.repair_error < report.corruption_size
    True
    """
    if not hasattr(detector, "_reconstruction"):
        raise TypeError(
            "projection_report needs a detector of skanomaly, such as "
            f"SelfSupervisedAutoencoderDetector, got {type(detector).__name__}."
        )
    check_is_fitted(detector, "model_")
    function, normal = detector._reconstruction(X)
    n_values = normal[0].numel()
    if tangent_dimension is not None and not 1 <= tangent_dimension <= n_values:
        raise ValueError(
            f"tangent_dimension must be at least 1 and at most {n_values}, the number of values, "
            f"got {tangent_dimension}."
        )
    if n_tangent_spaces < 1:
        raise ValueError(f"n_tangent_spaces must be at least 1, got {n_tangent_spaces}.")
    if corrupted is None:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        damaged, _ = PatchCorruption().corrupt(
            normal.float(), torch.Generator(normal.device).manual_seed(seed)
        )
        # Keep the precision of undamaged values.
        damaged = torch.where(damaged == normal.float(), normal, damaged.to(normal))
    else:
        damaged = detector._reconstruction(corrupted)[1]
        if damaged.shape != normal.shape:
            raise ValueError(
                f"corrupted must have the shape of X, got {np.shape(corrupted)} and {np.shape(X)}."
            )
    inside = (damaged != normal).any(1, keepdim=True) if normal.ndim == 4 else damaged != normal
    inside = inside.expand_as(normal)
    if not inside.any():
        raise ValueError("corrupted must differ from X somewhere, got the same values.")

    repaired_normal, repaired = _apply(function, normal), _apply(function, damaged)
    tangent = [
        _tangent_fraction(function, x - y, y, tangent_dimension)
        for x, y in zip(damaged[:n_tangent_spaces], repaired[:n_tangent_spaces], strict=True)
    ]
    fractions, dimensions = np.array(tangent).T
    intact = ~inside
    distances: list[float | None] = [None] * 4
    if true_projection is not None:
        shape = tuple(X.shape if hasattr(X, "shape") else np.shape(X))
        origin = _nearest(true_projection, normal, shape)
        nearest = _nearest(true_projection, damaged, shape)
        pairs = (
            (repaired_normal, origin),
            (repaired, nearest),
            (repaired, origin),
            (nearest, origin),
        )
        distances = [_rms(first - second) for first, second in pairs]
    return ProjectionReport(
        n_samples=len(normal),
        normal_error=_rms(repaired_normal - normal),
        idempotence_normal=_idempotence(function, normal, repaired_normal),
        idempotence_corrupted=_idempotence(function, damaged, repaired),
        conservation_error=_rms((repaired - damaged)[intact]) if intact.any() else None,
        repair_error=_rms((repaired - normal)[inside]),
        corruption_size=_rms((damaged - normal)[inside]),
        tangent_share=float(fractions.mean()),
        tangent_share_by_chance=float(_share_by_chance(dimensions, n_values).mean()),
        tangent_dimension=float(dimensions.mean()),
        projection_distance_normal=distances[0],
        projection_distance_corrupted=distances[1],
        restoration_distance=distances[2],
        restoration_distance_of_projection=distances[3],
    )


def _share_by_chance(dimensions: NDArray[np.float64], n_values: int) -> NDArray[np.float64]:
    """Mean length of the projection of a random unit vector onto a subspace.

    The squared length has the distribution Beta(k / 2, (n - k) / 2).
    """
    with np.errstate(divide="ignore"):
        logs = gammaln((dimensions + 1) / 2) - gammaln(dimensions / 2)
    return np.exp(logs + gammaln(n_values / 2) - gammaln((n_values + 1) / 2))


def _apply(function: Function, values: Tensor) -> Tensor:
    """Apply f batch by batch, without gradients."""
    size = max(1, _BATCH_VALUES // values[0].numel())
    with torch.no_grad():
        return torch.cat([function(batch) for batch in values.split(size)])


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _idempotence(function: Function, values: Tensor, once: Tensor) -> float:
    """Median of ‖f(f(x)) − f(x)‖ / ‖f(x) − x‖; 0 for inputs that f does not change."""
    again = (_apply(function, once) - once).flatten(1).norm(dim=1)
    moved = (once - values).flatten(1).norm(dim=1)
    ratios = torch.where(moved > 0, again / moved, 0.0)
    # torch.median returns the lower of two middle values.
    return float(np.median(ratios.cpu().numpy()))


def _tangent_fraction(
    function: Function, residual: Tensor, point: Tensor, dimension: int | None
) -> tuple[float, int]:
    """Return ‖T r‖ / ‖r‖ for the tangent space at a point, and the dimension of that space."""
    vectors, values = _leading_singular_vectors(function, point, dimension or _MOST_DIMENSIONS)
    if dimension is None:
        dimension = max(1, int((values > 0.5).sum()))
    direction = residual.flatten().double().cpu().numpy()
    length = np.linalg.norm(direction)
    along = np.linalg.norm(vectors[:, :dimension].T @ direction)
    return float(along / length) if length > 0 else 0.0, dimension


def _leading_singular_vectors(
    function: Function, point: Tensor, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return left singular vectors (n, k) and singular values (k,) of the Jacobian."""
    size = point.numel()

    def of_flat(flat: Tensor) -> Tensor:
        return function(flat.view(1, *point.shape)).flatten()

    start = point.flatten()
    if size <= _FULL_JACOBIAN_LIMIT:
        # On a GPU, gradients of channels-last convolutions cannot be batched.
        chunk_size = None if start.device.type == "cpu" else 1
        jacobian = torch.func.jacrev(of_flat, chunk_size=chunk_size)(start).cpu().double().numpy()
        left, values, _ = np.linalg.svd(jacobian)
        return left[:, :count], values[:count]
    pull_back = torch.func.vjp(of_flat, start)[1]

    def times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        tangent = torch.from_numpy(vector.ravel()).to(start)
        return torch.func.jvp(of_flat, (start,), (tangent,))[1].double().cpu().numpy()

    def transposed_times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return pull_back(torch.from_numpy(vector.ravel()).to(start))[0].double().cpu().numpy()

    operator = LinearOperator(
        (size, size), matvec=times, rmatvec=transposed_times, dtype=np.float64
    )
    left, values, _ = svds(operator, k=count, tol=1e-3, v0=np.ones(size))
    order = np.argsort(-values)
    return left[:, order], values[order]


def _nearest(
    true_projection: Callable[[NDArray[Any]], ArrayLike], values: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Apply the true projection, which takes X's shape, to the inputs of f."""
    is_image = values.ndim == 4
    given = values.movedim(1, -1) if is_image else values
    nearest = np.asarray(true_projection(given.double().cpu().numpy().reshape(shape)))
    if nearest.shape != shape:
        raise ValueError(f"true_projection must keep the shape {shape} of X, got {nearest.shape}.")
    found = torch.from_numpy(nearest.astype(np.float64)).to(values.device).reshape(given.shape)
    return found.movedim(-1, 1) if is_image else found
