"""How close a fitted detector comes to a projection onto what is normal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..corruption import PatchCorruption
from ..detectors._torch_state import usual_torch_state

Function = Callable[[Tensor], Tensor]

# Values of an input up to which the whole Jacobian is computed.
_FULL_JACOBIAN_LIMIT = 512
# Singular values that are looked at if the dimension of the tangent space is not given.
_MOST_DIMENSIONS = 16
_BATCH_VALUES = 2**18


@dataclass(frozen=True)
class ProjectionReport:
    """What `projection_report` found; prints as a table.

    Errors are root mean squares over values, in the units of X (of uint8 images, fractions of
    white).

    Attributes
    ----------
    n_samples : int
        Number of inputs, each of them normal and corrupted.
    normal_error : float
        Of f(x) − x on normal inputs.
    idempotence_normal, idempotence_corrupted : float
        Median of ‖f(f(x)) − f(x)‖ / ‖f(x) − x‖ on normal and on corrupted inputs; 0 for a
        projection.
    conservation_error : float or None
        Of f(x̂) − x̂ where a corrupted input x̂ was left intact; None if it was nowhere.
    repair_error : float
        Of f(x̂) − x where x̂ was corrupted.
    corruption_size : float
        Of x̂ − x there, which the repair starts from.
    tangent_share : float
        Mean of ‖T r‖ / ‖r‖, where r = x̂ − f(x̂) and T is the orthogonal projection onto the tangent
        space at f(x̂); 0 for an orthogonal projection.
    tangent_share_by_chance : float
        What a residual in a random direction would have.
    tangent_dimension : float
        Dimension of the tangent space, mean over inputs.
    projection_distance_normal, projection_distance_corrupted : float or None
        Of f(x) − P(x) and of f(x̂) − P(x̂), where P is the true projection; None without one.
    restoration_distance : float or None
        Of f(x̂) − P(x): the distance to where the corrupted input came from.
    restoration_distance_of_projection : float or None
        Of P(x̂) − P(x), for comparison. Damage moves the nearest point too: a repair that tells the
        damaged part from the rest can do better than the true projection, which weighs all
        values alike.

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
    r"""Measure how far the map f that a detector has learned is a projection.

    Over all functions, the best repair of a damaged input behaves like the orthogonal projection
    onto the set of normal inputs (Bauer, arXiv 2606.15280). f should then be idempotent, leave
    normal inputs as they are, and change a damaged one where it is damaged and hardly elsewhere;
    what it takes away, :math:`\hat x - f(\hat x)`, should be orthogonal to the tangent space of the
    normal set at :math:`f(\hat x)`. That space is spanned by the leading left singular vectors of
    the Jacobian of f at :math:`f(\hat x)`, which automatic differentiation gives.

    f is what `reconstruct` computes, scaling included, but without rounding to X's dtype.

    Parameters
    ----------
    detector : estimator
        A fitted detector of this library.
    X : array-like or ImageSequence
        Normal inputs, as `reconstruct` takes them; all are held in memory.
    corrupted : array-like or ImageSequence of X's shape, default=None
        X with a part of each input damaged; where it differs from X counts as damaged. None
        damages X by the default `PatchCorruption`.
    true_projection : callable, default=None
        Maps floats of X's shape to the nearest points of the true normal set. Images of integers
        are passed as fractions of white.
    tangent_dimension : int, default=None
        Dimension of the tangent space, which is that of the normal set. None counts the singular
        values above a half, at most 16, for each input: along the tangent space of a projection
        they are 1, and 0 across.
    n_tangent_spaces : int, default=20
        Number of inputs, the first ones, at which tangent spaces are computed: the costly part.
    random_state : int, RandomState instance or None, default=None
        Seed of the damage, if ``corrupted`` is None.

    Returns
    -------
    ProjectionReport
        Has a field for each figure and a method ``to_dict``, and prints as a table.

    Raises
    ------
    TypeError
        If the detector is not one of this library.
    ValueError
        If ``corrupted`` has another shape than X or differs nowhere from it, if
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
    for name, value, highest in (
        ("tangent_dimension", tangent_dimension, n_values),
        ("n_tangent_spaces", n_tangent_spaces, None),
    ):
        if value is not None and not (1 <= value and (highest is None or value <= highest)):
            limit = "" if highest is None else f" and at most {highest}, the number of values"
            raise ValueError(f"{name} must be at least 1{limit}, got {value}.")
    if corrupted is None:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        damaged, _ = PatchCorruption().corrupt(
            normal.float(), torch.Generator(normal.device).manual_seed(seed)
        )
        # Values that are not damaged keep their digits.
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
    names = (
        "projection_distance_normal",
        "projection_distance_corrupted",
        "restoration_distance",
        "restoration_distance_of_projection",
    )
    distances: dict[str, float | None] = dict.fromkeys(names)
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
        distances = {
            name: _rms(first - second) for name, (first, second) in zip(names, pairs, strict=True)
        }
    return ProjectionReport(
        n_samples=len(normal),
        normal_error=_rms(repaired_normal - normal),
        idempotence_normal=_idempotence(function, normal, repaired_normal),
        idempotence_corrupted=_idempotence(function, damaged, repaired),
        conservation_error=_rms((repaired - damaged)[intact]) if intact.any() else None,
        repair_error=_rms((repaired - normal)[inside]),
        corruption_size=_rms((damaged - normal)[inside]),
        tangent_share=float(fractions.mean()),
        tangent_share_by_chance=float(np.sqrt(dimensions / n_values).mean()),
        tangent_dimension=float(dimensions.mean()),
        **distances,
    )


def _apply(function: Function, values: Tensor) -> Tensor:
    """Batch by batch, without gradients."""
    size = max(1, _BATCH_VALUES // values[0].numel())
    with torch.no_grad():
        return torch.cat([function(batch) for batch in values.split(size)])


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _idempotence(function: Function, values: Tensor, once: Tensor) -> float:
    """Median of ‖f(f(x)) − f(x)‖ / ‖f(x) − x‖; what f leaves alone altogether counts as 0."""
    again = (_apply(function, once) - once).flatten(1).norm(dim=1)
    moved = (once - values).flatten(1).norm(dim=1)
    ratios = torch.where(moved > 0, again / moved, 0.0)
    # torch's own median is the lower one of an even number.
    return float(np.median(ratios.cpu().numpy()))


def _tangent_fraction(
    function: Function, residual: Tensor, point: Tensor, dimension: int | None
) -> tuple[float, int]:
    """‖T r‖ / ‖r‖ for the tangent space at a point, and the dimension of that space."""
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
    """Left singular vectors (n, k) and singular values (k,) of the Jacobian, largest first."""
    size = point.numel()

    def of_flat(flat: Tensor) -> Tensor:
        return function(flat.view(1, *point.shape)).flatten()

    start = point.flatten()
    if size <= _FULL_JACOBIAN_LIMIT:
        jacobian = torch.func.jacrev(of_flat)(start).double().cpu().numpy()
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
    """The true projection of values that f reads, which has X's shape on its way."""
    is_image = values.ndim == 4
    given = values.movedim(1, -1) if is_image else values
    nearest = np.asarray(true_projection(given.double().cpu().numpy().reshape(shape)))
    if nearest.shape != shape:
        raise ValueError(f"true_projection must keep the shape {shape} of X, got {nearest.shape}.")
    found = torch.from_numpy(nearest.astype(np.float64)).to(values.device).reshape(given.shape)
    return found.movedim(-1, 1) if is_image else found
