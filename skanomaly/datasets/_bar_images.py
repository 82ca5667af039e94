"""Images of one soft bar at every angle and offset, and the exact projection onto them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_array, check_random_state, gen_batches

from ._checks import check_number

KINDS = ("gap", "blob", "shift", "patch")
_GROUND, _PEAK = 0.15, 0.85
_MIN_CHANGE = 0.1
_SMALLEST_STEP = 1e-9


def make_bar_images(
    *,
    image_size: int = 16,
    width: float | None = None,
    n_train: int = 400,
    n_test: int = 100,
    noise: float = 0.02,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make images of a bright bar at any angle and offset, with the exact projection onto them.

    A normal image shows a straight bar with soft edges, from border to border on dark ground, plus
    Gaussian noise. Angle and offset are drawn uniformly, so that the images without noise form a
    smooth two-dimensional manifold. In an anomalous image, a piece is damaged.

    Parameters
    ----------
    image_size : int, default=16
        Side of an image in pixels, from 12 to 64.
    width : float or None, default=None
        Standard deviation of the bar's Gaussian profile in pixels, from ``max(1, image_size / 32)``
        to ``image_size / 8``. Its full width at half maximum is about 2.4 times that. None is
        ``3 / 32 * image_size``.
    n_train : int, default=400
        Number of normal training images.
    n_test : int, default=100
        Number of normal test images, and of anomalous ones.
    noise : float, default=0.02
        Standard deviation of the noise of each pixel, from 0 to 0.05. The ground is 0.15 and the
        middle of the bar 0.85, at least three standard deviations from 0 and 1, where values are
        clipped.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for reproducible output.

    Returns
    -------
    Bunch
        With the fields

        X_train : ndarray of shape (n_train, image_size, image_size), dtype float64
            Normal training images, grey, from 0 to 1.
        X_test : ndarray of shape (2 * n_test, image_size, image_size), dtype float64
            The normal images, then the damaged ones.
        X_test_clean : ndarray of shape (2 * n_test, image_size, image_size), dtype float64
            `X_test` before the damage, with noise.
        y_test : ndarray of shape (2 * n_test,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (2 * n_test, image_size, image_size), dtype bool
            True where the damage changes a pixel by more than 0.1. All other pixels of `X_test` are
            those of `X_test_clean`.
        kinds_test : ndarray of shape (2 * n_test,), dtype str
            "good" or the kind of damage, in turn: "gap", a piece of the bar is missing; "blob", a
            bright spot beside the bar; "shift", a piece of the bar is displaced sideways; "patch",
            a disc of constant grey on the bar.
        parameters_test : ndarray of shape (2 * n_test, 2), dtype float64
            Parameters of the bar: the angle of its normal, from 0 to π, and the offset of its
            middle from the image centre along the normal, in pixels, from minus to plus a quarter
            of `image_size`. At angle 0, the bar is vertical and a positive offset is to the right.
        projection : callable
            Maps images of shape (n, image_size, image_size) to the nearest images of a bar without
            noise, float64 of the same shape. `projection.embed(parameters)` returns the images of
            angles and offsets (n, 2).
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
    make_circle : The same for vectors; its notes explain the purpose of these datasets.
    make_sine_curve : The same for vectors.

    Notes
    -----
    The projection refines the best eight bars of a grid by Newton's method, to about 1e-8 per
    pixel. Offsets beyond a quarter of the image are not normal: the offset of the nearest normal
    bar is then at this limit.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.datasets import make_bar_images
    >>> data = make_bar_images(n_test=20, random_state=0)
    >>> data.X_train.shape, data.X_test.shape
    ((400, 16, 16), (40, 16, 16))
    >>> [str(kind) for kind in sorted(set(data.kinds_test))]
    ['blob', 'gap', 'good', 'patch', 'shift']
    >>> bar = data.projection.embed([[0.5, 2.0]])
    >>> bool(np.allclose(data.projection(bar), bar))
    True
    """
    check_number(image_size, "image_size", int, 12, 64)
    if width is None:
        width = 3 / 32 * image_size
    widest = image_size / 8
    check_number(width, "width", float, max(1, image_size / 32), widest, " (image_size / 8)")
    check_number(n_train, "n_train", int, 1)
    check_number(n_test, "n_test", int, 1)
    check_number(noise, "noise", float, 0, 0.05)

    random = check_random_state(random_state)
    projection = BarProjection(image_size, width)
    n_images = n_train + 2 * n_test
    angles = random.uniform(0, np.pi, n_images)
    offsets = random.uniform(-projection.max_offset, projection.max_offset, n_images)
    parameters = np.column_stack([angles, offsets])
    bars = projection.embed(parameters)
    noises = noise * random.normal(size=bars.shape)
    images = np.clip(bars + noises, 0, 1)
    clean = images[n_train:]
    damaged = clean.copy()
    masks = np.zeros(clean.shape, dtype=bool)
    kinds = np.array(["good"] * n_test + [KINDS[index % len(KINDS)] for index in range(n_test)])
    for index in range(n_test, 2 * n_test):
        bar, noise_here = bars[n_train + index], noises[n_train + index]
        changed = _damage(bar, parameters[n_train + index], kinds[index], projection, random)
        # Without noise, so that the mask depends on the damage alone.
        masks[index] = np.abs(changed - bar) > _MIN_CHANGE
        damaged[index] = np.where(masks[index], np.clip(changed + noise_here, 0, 1), clean[index])
    return Bunch(
        X_train=images[:n_train],
        X_test=damaged,
        X_test_clean=clean,
        y_test=np.repeat([1, -1], n_test),
        masks_test=masks,
        kinds_test=kinds,
        parameters_test=parameters[n_train:],
        projection=projection,
        DESCR=(
            f"Images of {image_size} x {image_size} pixels of one bright bar of width {width} "
            f"with noise of standard deviation {noise}: {n_train} normal training images; test "
            f"images: {n_test} normal and {n_test} with a damaged piece."
        ),
    )


class BarProjection:
    """Nearest-point projection onto the images of one bar.

    Parameters
    ----------
    image_size : int
        Side of an image in pixels.
    width : float
        Standard deviation of the bar's profile in pixels.
    """

    _n_starts = 8
    _n_steps = 40
    _max_batch_values = 2**14

    def __init__(self, image_size: int, width: float) -> None:
        self.image_size = image_size
        self.width = width
        self.max_offset = image_size / 4

    def __call__(self, X: Any) -> np.ndarray:
        """Return the nearest image of a bar to each image, (n, image_size, image_size) float64."""
        X = check_array(X, dtype=np.float64, allow_nd=True, ensure_2d=False, ensure_min_samples=0)
        shape = (self.image_size, self.image_size)
        if X.shape[1:] != shape:
            raise ValueError(
                f"X must be of shape (n, {shape[0]}, {shape[1]}). Got {X.shape} instead."
            )
        nearest = np.empty(X.shape)
        if not len(X):
            return nearest
        axes, grid = self._grid()
        grid_images = self.embed(grid).reshape(len(grid), -1)
        for batch in gen_batches(len(X), max(1, self._max_batch_values // X[0].size)):
            pixels = X[batch].reshape(-1, X[0].size)
            starts = self._starts(pixels, grid, grid_images, axes)
            targets = np.repeat(pixels, self._n_starts, axis=0)
            parameters, squares = self._refine(starts.reshape(-1, 2), targets)
            best = squares.reshape(len(pixels), -1).argmin(axis=1)
            chosen = parameters.reshape(len(pixels), -1, 2)[np.arange(len(pixels)), best]
            nearest[batch] = self.embed(chosen)
        return nearest

    def embed(self, parameters: Any) -> np.ndarray:
        """Return the images (n, image_size, image_size) of angles and offsets (n, 2)."""
        parameters = np.asarray(parameters, dtype=np.float64).reshape(-1, 2)
        across, _ = self.distances(parameters)
        return (_GROUND + self._profile(across)).reshape(-1, self.image_size, self.image_size)

    def distances(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance of each pixel across and along the bar, (n, pixels) each."""
        y, x = np.indices((self.image_size,) * 2).reshape(2, -1) - (self.image_size - 1) / 2
        cosine, sine = np.cos(parameters[:, :1]), np.sin(parameters[:, :1])
        return x * cosine + y * sine - parameters[:, 1:], y * cosine - x * sine

    def _profile(self, across: np.ndarray) -> np.ndarray:
        return (_PEAK - _GROUND) * np.exp(-0.5 * (across / self.width) ** 2)

    def _grid(self) -> tuple[tuple[int, int], np.ndarray]:
        """Return the numbers of angles and offsets, and all pairs, spaced by half a width."""
        n_angles = int(np.ceil(np.pi * self.image_size / self.width))
        n_offsets = int(np.ceil(4 * self.max_offset / self.width)) + 1
        angles = np.arange(n_angles) * np.pi / n_angles
        offsets = np.linspace(-self.max_offset, self.max_offset, n_offsets)
        pairs = np.stack(np.meshgrid(angles, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
        return (n_angles, n_offsets), pairs

    def _starts(
        self, pixels: np.ndarray, grid: np.ndarray, grid_images: np.ndarray, axes: tuple[int, int]
    ) -> np.ndarray:
        """Return the lowest local minima of the distance on the grid, (n, n_starts, 2)."""
        squares = (grid_images**2).sum(axis=1) - 2 * pixels @ grid_images.T
        table = squares.reshape(-1, *axes)
        # After half a turn, the same bars recur with offsets of opposite sign.
        rounded = np.concatenate([table[:, -1:, ::-1], table, table[:, :1, ::-1]], axis=1)
        padded = np.pad(rounded, ((0, 0), (0, 0), (1, 1)), constant_values=np.inf)
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        is_lowest = (table <= around.min(axis=(3, 4))).reshape(squares.shape)
        # If there are fewer minima than starts, other low points are used.
        order = np.lexsort((squares, ~is_lowest), axis=1)
        return grid[order[:, : self._n_starts]]

    def _refine(self, parameters: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest bar by damped Newton steps, with the offset kept in range.

        Returns parameters (n, 2) and half the squared distances (n,) from targets (n, pixels).
        """
        # Both parameters in pixels: an angle is measured at the edge of the image.
        unit = np.array([2 / self.image_size, 1.0])
        squares, slopes, curvatures = self._expand(parameters, targets, unit)
        damping = np.full(len(parameters), 1e-2)
        for _ in range(self._n_steps):
            at_limit = np.abs(parameters[:, 1]) >= self.max_offset
            is_held = at_limit & (slopes[:, 1] * parameters[:, 1] < 0)
            slopes, curvatures = _hold_offset(slopes, curvatures, is_held)
            values, vectors = np.linalg.eigh(curvatures)
            # Absolute eigenvalues: a descent direction at saddle points, too.
            bent = np.abs(values) + damping[:, np.newaxis]
            along = np.einsum("nij,ni->nj", vectors, slopes) / bent
            steps = -unit * np.einsum("nij,nj->ni", vectors, along)
            if np.abs(steps).max() < _SMALLEST_STEP:
                break
            tried = parameters + steps
            tried[:, 1] = np.clip(tried[:, 1], -self.max_offset, self.max_offset)
            new = self._expand(tried, targets, unit)
            # In the last steps, rounding can increase the distance.
            is_better = new[0] <= squares * (1 + 1e-14) + 1e-28
            parameters = np.where(is_better[:, np.newaxis], tried, parameters)
            squares = np.where(is_better, new[0], squares)
            slopes = np.where(is_better[:, np.newaxis], new[1], slopes)
            curvatures = np.where(is_better[:, np.newaxis, np.newaxis], new[2], curvatures)
            damping = np.where(is_better, damping / 10, damping * 10)
        return parameters, squares

    def _expand(
        self, parameters: np.ndarray, targets: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return half the squared distance (n,), its gradient (n, 2) and its Hessian (n, 2, 2)."""
        across, along = self.distances(parameters)
        profile = self._profile(across)
        residual = _GROUND + profile - targets
        first = -across / self.width**2 * profile
        second = (across**2 / self.width**2 - 1) / self.width**2 * profile
        by_square = first**2 + residual * second
        pull = residual * first
        slopes = np.column_stack([(pull * along).sum(axis=1), -pull.sum(axis=1)])
        from_centre = across + parameters[:, 1:]
        turning = (by_square * along**2 - pull * from_centre).sum(axis=1)
        mixed = -(by_square * along).sum(axis=1)
        curvatures = np.stack([turning, mixed, mixed, by_square.sum(axis=1)], axis=1)
        squares = 0.5 * (residual**2).sum(axis=1)
        return squares, slopes * unit, curvatures.reshape(-1, 2, 2) * np.outer(unit, unit)


def _hold_offset(
    slopes: np.ndarray, curvatures: np.ndarray, is_held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fix the offset where the nearest bar would be out of range."""
    alone = np.stack(
        [curvatures[:, 0, 0], *np.zeros((2, len(slopes))), np.ones(len(slopes))], axis=1
    )
    held = is_held[:, np.newaxis]
    return (
        np.where(held, slopes * [1, 0], slopes),
        np.where(held[:, np.newaxis], alone.reshape(-1, 2, 2), curvatures),
    )


def _damage(
    bar: np.ndarray,
    parameters: np.ndarray,
    kind: str,
    projection: BarProjection,
    random: np.random.RandomState,
) -> np.ndarray:
    """Return the image (h, w) of a damaged bar without noise."""
    size, width = projection.image_size, projection.width
    across, along = (
        distance.reshape(bar.shape) for distance in projection.distances(parameters[np.newaxis])
    )
    # At most 0.36 of a side from the centre, so that the whole damage is visible.
    along = along - random.uniform(-0.25, 0.25) * size
    # Towards the centre of the image, where there is space beside the bar.
    inwards = -np.copysign(1, parameters[1])
    if kind == "gap":
        return bar + _piece(along, random.uniform(0.2, 0.3) * size) * (_GROUND - bar)
    if kind == "shift":
        moved = parameters + [0, inwards * random.uniform(2.75, 3.25) * width]
        piece = _piece(along, random.uniform(0.17, 0.25) * size)
        return bar + piece * (projection.embed(moved)[0] - bar)
    if kind == "blob":
        away = inwards * random.uniform(3, 3.5) * width
        spot = np.exp(
            -0.5 * (np.hypot(across - away, along) / (random.uniform(0.7, 1) * width)) ** 2
        )
        return bar + spot * (_PEAK - bar)
    radius = random.uniform(1.6, 2.1) * width
    disc = _piece(np.hypot(across - inwards * 0.5 * width, along), 2 * radius)
    return bar + disc * ((_GROUND + _PEAK) / 2 - bar)


def _piece(along: np.ndarray, length: float) -> np.ndarray:
    """Return 1 within `length` around 0, and 0 outside, with edges of one pixel."""
    return np.clip(length / 2 - np.abs(along) + 0.5, 0, 1)
