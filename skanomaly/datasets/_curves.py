"""Noisy points of a curve in a plane of many dimensions, and the exact projection onto it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_array, check_random_state

from ._checks import check_number

_MAX_DRAWS = 50


def make_circle(
    *,
    n_features: int = 16,
    n_train: int = 500,
    n_test: int = 200,
    noise: float = 0.02,
    n_corrupted_features: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make noisy points of a circle in many dimensions, with the exact projection onto it.

    Normal rows are points of the unit circle in a plane through the origin, at uniform random
    angles, plus Gaussian noise. In an anomalous row, a block of coordinates is replaced.

    Parameters
    ----------
    n_features : int, default=16
        Number of coordinates, at least 2.
    n_train : int, default=500
        Number of normal training rows.
    n_test : int, default=200
        Number of normal test rows, and of anomalous ones.
    noise : float, default=0.02
        Standard deviation of the noise of each coordinate, >= 0.
    n_corrupted_features : int or None, default=None
        Number of coordinates replaced in an anomalous row, from 1 to `n_features` - 1. None is
        ``max(1, n_features // 4)``.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for reproducible output.

    Returns
    -------
    Bunch
        With the fields

        X_train : ndarray of shape (n_train, n_features), dtype float64
            Normal training rows.
        X_test : ndarray of shape (2 * n_test, n_features), dtype float64
            The normal rows, then those with a replaced block.
        X_test_clean : ndarray of shape (2 * n_test, n_features), dtype float64
            `X_test` before blocks were replaced, with noise.
        y_test : ndarray of shape (2 * n_test,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (2 * n_test, n_features), dtype bool
            True at replaced coordinates.
        kinds_test : ndarray of shape (2 * n_test,), dtype str
            "good" or "block".
        parameters_test : ndarray of shape (2 * n_test,), dtype float64
            Angle of each point on the circle, from 0 to 2π, before noise and damage.
        frame : ndarray of shape (2, n_features), dtype float64
            Orthonormal rows that span the plane; the identity for two features.
        projection : callable
            Maps an array of shape (n, n_features) to the nearest points of the circle, float64 of
            the same shape. `projection.embed(parameters)` returns the points at angles (n,).
        DESCR : str
            A description.

    Raises
    ------
    ValueError
        If a number is out of range.
    TypeError
        If a number is of the wrong type.

    See Also
    --------
    make_sine_curve : An open curve that bends both ways.
    make_bar_images : The same for images.

    Notes
    -----
    A network trained to remove noise or damage converges to the conditional mean of the clean row.
    On a manifold of normal data, this is close to the orthogonal projection onto it (Bauer, arXiv
    2606.15280). Here the projection is known, so that a network can be compared with it point by
    point.

    The plane is spanned by one period of a cosine and of a sine: a row is a wave of `n_features`
    samples, whose phase is the angle, and all coordinates have the same variance.

    Values of a replaced block are drawn uniformly between the minimum and the maximum of `X_train`
    at each coordinate. Blocks wrap around the end of the row. Values are drawn again, up to 50
    times, if the row is no farther from the circle than some normal test row. Noise as large as the
    circle hides all damage.

    At the centre of the circle, where the nearest point is not unique, the projection is the point
    at angle 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.datasets import make_circle
    >>> data = make_circle(random_state=0)
    >>> data.X_train.shape, data.X_test.shape
    ((500, 16), (400, 16))
    >>> nearest = data.projection(data.X_test)
    >>> bool(np.allclose(np.linalg.norm(nearest, axis=1), 1))
    True
    >>> distances = np.linalg.norm(data.X_test - nearest, axis=1)
    >>> bool(distances[data.y_test == 1].max() < distances[data.y_test == -1].min())
    True
    """
    return _make_curve(
        CircleProjection, n_features, n_train, n_test, noise, n_corrupted_features, random_state
    )


def make_sine_curve(
    *,
    n_features: int = 16,
    n_train: int = 500,
    n_test: int = 200,
    noise: float = 0.02,
    n_corrupted_features: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make noisy points of a sine curve in many dimensions, with the exact projection onto it.

    Normal rows are points of the curve (t, sin t) in a plane through the origin, with t drawn
    uniformly from -π to π, plus Gaussian noise. In an anomalous row, a block of coordinates is
    replaced. Unlike the circle, the curve bends both ways and has two ends.

    Parameters
    ----------
    n_features : int, default=16
        Number of coordinates, at least 2.
    n_train : int, default=500
        Number of normal training rows.
    n_test : int, default=200
        Number of normal test rows, and of anomalous ones.
    noise : float, default=0.02
        Standard deviation of the noise of each coordinate, >= 0. The smallest radius of
        curvature of the curve is 1, as for the circle.
    n_corrupted_features : int or None, default=None
        Number of coordinates replaced in an anomalous row, from 1 to `n_features` - 1. None is
        ``max(1, n_features // 4)``.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for reproducible output.

    Returns
    -------
    Bunch
        With the fields of `make_circle`. `parameters_test` is t, `projection` maps to the nearest
        points of the sine curve, which can be its ends, and `projection.embed` takes t.

    Raises
    ------
    ValueError
        If a number is out of range.
    TypeError
        If a number is of the wrong type.

    See Also
    --------
    make_circle : A closed curve; its notes explain the purpose of these datasets.
    make_bar_images : The same for images.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.datasets import make_sine_curve
    >>> data = make_sine_curve(n_features=2, noise=0.0, random_state=0)
    >>> bool(np.allclose(np.sin(data.X_train[:, 0]), data.X_train[:, 1]))
    True
    >>> data.projection([[0.0, 0.0], [0.5 * np.pi, 1.5], [9.0, 0.0]]).round(6) + 0.0
    array([[0.      , 0.      ],
           [1.570796, 1.      ],
           [3.141593, 0.      ]])
    """
    return _make_curve(
        SineCurveProjection, n_features, n_train, n_test, noise, n_corrupted_features, random_state
    )


class CurveProjection(ABC):
    """Nearest-point projection onto a curve in a plane of many dimensions.

    Parameters
    ----------
    frame : ndarray of shape (2, n_features), dtype float64
        Orthonormal rows that span the plane.
    """

    name: str
    parameter_range: tuple[float, float]

    def __init__(self, frame: np.ndarray) -> None:
        self.frame = frame

    def __call__(self, X: Any) -> np.ndarray:
        """Return the nearest point of the curve to each row, (n, n_features) float64."""
        X = check_array(X, dtype=np.float64, ensure_min_samples=0)
        if X.shape[1] != self.frame.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features, but the curve lies in {self.frame.shape[1]}."
            )
        # The component orthogonal to the plane does not affect which point is nearest.
        return self.embed(self._nearest_parameters(X @ self.frame.T))

    def embed(self, parameters: Any) -> np.ndarray:
        """Return the points of the curve, (n, n_features), at parameters (n,)."""
        return self._plane_points(np.asarray(parameters, dtype=np.float64)) @ self.frame

    @abstractmethod
    def _plane_points(self, parameters: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the curve in the coordinates of the frame."""

    @abstractmethod
    def _nearest_parameters(self, points: np.ndarray) -> np.ndarray:
        """Parameters (n,) of the points of the curve nearest to points (n, 2) of the plane."""


class CircleProjection(CurveProjection):
    """Nearest-point projection onto the unit circle of a plane."""

    name = "unit circle"
    parameter_range = (0.0, 2 * np.pi)

    def _plane_points(self, parameters: np.ndarray) -> np.ndarray:
        return np.column_stack([np.cos(parameters), np.sin(parameters)])

    def _nearest_parameters(self, points: np.ndarray) -> np.ndarray:
        return np.arctan2(points[:, 1], points[:, 0])


class SineCurveProjection(CurveProjection):
    """Nearest-point projection onto (t, sin t), t from -π to π, in a plane."""

    name = "sine curve"
    parameter_range = (-np.pi, np.pi)
    _n_grid_points = 257
    _n_bisections = 50

    def _plane_points(self, parameters: np.ndarray) -> np.ndarray:
        return np.column_stack([parameters, np.sin(parameters)])

    def _nearest_parameters(self, points: np.ndarray) -> np.ndarray:
        """Refine every local minimum of the distance on a grid, and return the lowest."""
        if not len(points):
            return np.empty(0)
        grid = np.linspace(*self.parameter_range, self._n_grid_points)
        squares = self._squared_distances(grid, points[:, np.newaxis])
        padded = np.pad(squares, ((0, 0), (1, 1)), constant_values=np.inf)
        is_lowest = (squares <= padded[:, :-2]) & (squares <= padded[:, 2:])
        rows, columns = np.nonzero(is_lowest)
        lower, upper = (grid.take(columns + step, mode="clip") for step in (-1, 1))
        u, v = points[rows].T
        # Bisection of the slope is exact to rounding; the distance is flat at its minimum.
        for _ in range(self._n_bisections):
            middle = (lower + upper) / 2
            is_rising = middle - u + (np.sin(middle) - v) * np.cos(middle) > 0
            lower, upper = np.where(is_rising, lower, middle), np.where(is_rising, middle, upper)
        candidates = (lower + upper) / 2
        order = np.lexsort((self._squared_distances(candidates, points[rows]), rows))
        _, first = np.unique(rows[order], return_index=True)
        return candidates[order][first]

    @staticmethod
    def _squared_distances(parameters: np.ndarray, points: np.ndarray) -> np.ndarray:
        return (parameters - points[..., 0]) ** 2 + (np.sin(parameters) - points[..., 1]) ** 2


def _make_curve(
    projection_class: type[CurveProjection],
    n_features: int,
    n_train: int,
    n_test: int,
    noise: float,
    n_corrupted_features: int | None,
    random_state: int | np.random.RandomState | None,
) -> Bunch:
    check_number(n_features, "n_features", int, 2)
    check_number(n_train, "n_train", int, 1)
    check_number(n_test, "n_test", int, 1)
    check_number(noise, "noise", float, 0)
    if n_corrupted_features is None:
        n_corrupted_features = max(1, n_features // 4)
    most = n_features - 1
    check_number(n_corrupted_features, "n_corrupted_features", int, 1, most, " (n_features - 1)")

    random = check_random_state(random_state)
    projection = projection_class(_make_frame(n_features))
    parameters = random.uniform(*projection.parameter_range, n_train + 2 * n_test)
    rows = projection.embed(parameters)
    rows += noise * random.normal(size=rows.shape)
    train, clean = rows[:n_train], rows[n_train:]
    starts = random.randint(n_features, size=(n_test, 1))
    masks = np.zeros(clean.shape, dtype=bool)
    masks[n_test:] = (np.arange(n_features) - starts) % n_features < n_corrupted_features
    return Bunch(
        X_train=train,
        X_test=_replace_blocks(clean, masks, (train.min(0), train.max(0)), projection, random),
        X_test_clean=clean,
        y_test=np.repeat([1, -1], n_test),
        masks_test=masks,
        kinds_test=np.repeat(["good", "block"], n_test),
        parameters_test=parameters[n_train:],
        frame=projection.frame,
        projection=projection,
        DESCR=(
            f"Points of a {projection.name} in {n_features} dimensions with noise of standard "
            f"deviation {noise}: {n_train} normal training rows; test rows: {n_test} normal and "
            f"{n_test} with a block of {n_corrupted_features} coordinates replaced."
        ),
    )


def _make_frame(n_features: int) -> np.ndarray:
    """Return one period of a cosine and of a sine, which are orthonormal."""
    if n_features == 2:
        return np.eye(2)
    phases = 2 * np.pi * np.arange(n_features) / n_features
    return np.sqrt(2 / n_features) * np.stack([np.cos(phases), np.sin(phases)])


def _replace_blocks(
    clean: np.ndarray,
    masks: np.ndarray,
    value_range: tuple[np.ndarray, np.ndarray],
    projection: CurveProjection,
    random: np.random.RandomState,
) -> np.ndarray:
    """Replace the masked coordinates; repeat where the row is as near to the curve as normal."""
    rows = clean.copy()
    is_normal = ~masks.any(axis=1)
    limit = np.linalg.norm(clean - projection(clean), axis=1)[is_normal].max()
    pending = np.flatnonzero(~is_normal)
    for _ in range(_MAX_DRAWS):
        values = random.uniform(*value_range, size=(len(pending), clean.shape[1]))
        rows[pending] = np.where(masks[pending], values, clean[pending])
        distances = np.linalg.norm(rows[pending] - projection(rows[pending]), axis=1)
        pending = pending[distances <= limit]
        if not len(pending):
            break
    return rows
