"""make_circle and make_sine_curve: exact projections, and damage that the masks tell of."""

import itertools
import pickle

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from skanomaly.datasets import make_circle, make_sine_curve

MAKERS = [make_circle, make_sine_curve]


@pytest.fixture(scope="module", params=MAKERS)
def curve(request):
    return request.param(n_train=100, n_test=40, random_state=0)


def some_rows(data):
    """Damaged rows, and rows anywhere: far beyond the ends, inside the bends, off the plane."""
    random = np.random.RandomState(1)
    plane = random.uniform(-6, 6, (150, 2)) @ data.frame
    return np.concatenate([data.X_test, plane, random.normal(0, 2, (150, data.frame.shape[1]))])


def distances(first, second):
    return np.linalg.norm(first - second, axis=-1)


def parameters_of(data, points):
    """Find where on a curve points are: the angle, or the first coordinate in the plane."""
    u, v = data.frame @ points.T
    is_circle = data.projection.parameter_range[0] == 0
    return np.arctan2(v, u) if is_circle else u


def test_fields(curve):
    assert curve.X_train.shape == (100, 16)
    assert curve.X_test.shape == curve.X_test_clean.shape == curve.masks_test.shape == (80, 16)
    assert curve.X_train.dtype == curve.X_test.dtype == curve.X_test_clean.dtype == np.float64
    assert curve.masks_test.dtype == bool
    assert curve.y_test.tolist() == [1] * 40 + [-1] * 40
    assert curve.y_test.dtype == np.int64
    assert curve.kinds_test.tolist() == ["good"] * 40 + ["block"] * 40
    assert curve.parameters_test.shape == (80,)
    np.testing.assert_allclose(curve.frame @ curve.frame.T, np.eye(2), atol=1e-14)
    assert "100 normal" in curve.DESCR


def test_names_of_the_curves():
    assert "circle" in make_circle().DESCR
    assert "sine curve" in make_sine_curve().DESCR


def test_damage_stays_inside_the_mask(curve):
    changed = curve.X_test != curve.X_test_clean
    np.testing.assert_array_equal(changed, curve.masks_test)
    assert not changed[:40].any()
    np.testing.assert_array_equal(changed[40:].sum(axis=1), 4)
    low, high = curve.X_train.min(), curve.X_train.max()
    values = curve.X_test[changed]
    assert values.min() >= low
    assert values.max() <= high
    assert np.ptp(values) > 0.8 * (high - low)


def test_a_block_is_of_neighbours_and_reaches_every_coordinate():
    data = make_circle(n_features=6, n_corrupted_features=3, n_test=200, random_state=0)
    masks = data.masks_test[200:]
    starts = masks & ~np.roll(masks, 1, axis=1)
    np.testing.assert_array_equal(starts.sum(axis=1), 1)
    assert starts.any(axis=0).all()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("n_features", "n_corrupted"), [(2, 1), (3, 1), (7, 1), (8, 2), (40, 10)])
def test_default_fraction_of_coordinates(make, n_features, n_corrupted):
    data = make(n_features=n_features, n_train=50, n_test=10, random_state=0)
    assert data.X_test.shape == (20, n_features)
    assert set(data.masks_test[10:].sum(axis=1)) == {n_corrupted}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n_features", [2, 16])
def test_no_damaged_row_looks_normal(make, n_features):
    data = make(n_features=n_features, n_test=500, random_state=0)
    away = distances(data.X_test, data.projection(data.X_test))
    assert away[:500].max() < away[500:].min()


def test_noise_is_of_the_given_deviation(curve):
    noise = curve.X_test_clean - curve.projection.embed(curve.parameters_test)
    assert noise.std() == pytest.approx(0.02, rel=0.08)
    assert abs(noise.mean()) < 0.003


@pytest.mark.parametrize("make", MAKERS)
def test_without_noise_rows_lie_on_the_curve(make):
    data = make(noise=0, random_state=0)
    np.testing.assert_allclose(data.projection(data.X_train), data.X_train, atol=1e-12)


def test_rows_without_noise_have_the_shape_of_the_curve():
    circle = make_circle(noise=0, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(circle.X_train, axis=1), 1)
    assert np.linalg.matrix_rank(circle.X_train) == 2
    sine = make_sine_curve(noise=0.0, random_state=0)
    t, height = sine.frame @ sine.X_train.T
    np.testing.assert_allclose(height, np.sin(t), atol=1e-12)
    assert -np.pi <= t.min() < -3
    assert 3 < t.max() <= np.pi


@pytest.mark.parametrize("make", MAKERS)
def test_two_features_are_the_plane_itself(make):
    data = make(n_features=2, random_state=0)
    np.testing.assert_array_equal(data.frame, np.eye(2))
    noise = data.X_test_clean - data.projection.embed(data.parameters_test)
    assert np.abs(noise).max() < 0.1


def test_points_of_the_curve_are_fixed(curve):
    points = curve.projection.embed(np.linspace(*curve.projection.parameter_range, 999))
    np.testing.assert_allclose(curve.projection(points), points, atol=1e-12)


def test_projection_is_idempotent(curve):
    nearest = curve.projection(some_rows(curve))
    np.testing.assert_allclose(curve.projection(nearest), nearest, atol=1e-12)


def test_no_point_of_the_curve_is_nearer(curve):
    rows = some_rows(curve)
    random = np.random.RandomState(2)
    points = curve.projection.embed(random.uniform(*curve.projection.parameter_range, 2000))
    nearest = distances(rows, curve.projection(rows))
    others = distances(rows[:, np.newaxis], points)
    assert np.all(nearest <= others.min(axis=1) + 1e-12)
    # The best of 2,000 is not far off: the projection is no other, lower bound.
    assert np.all(nearest >= others.min(axis=1) - 0.02)


def test_no_neighbour_on_the_curve_is_nearer(curve):
    rows = some_rows(curve)
    nearest = curve.projection(rows)
    low, high = curve.projection.parameter_range
    parameters = parameters_of(curve, nearest)
    for step in (-1e-2, -1e-4, 1e-4, 1e-2):
        moved = parameters + step
        if low < 0:
            moved = np.clip(moved, low, high)
        neighbours = curve.projection.embed(moved)
        assert np.all(distances(rows, nearest) <= distances(rows, neighbours) + 1e-12)


def test_residual_is_orthogonal_to_the_tangent(curve):
    rows = some_rows(curve)
    nearest = curve.projection(rows)
    parameters = parameters_of(curve, nearest)
    low, high = curve.projection.parameter_range
    is_inside = (parameters > low + 1e-6) & (parameters < high - 1e-6)
    if low == 0:
        is_inside[:] = True
    assert 200 < is_inside.sum()
    step = 1e-5
    tangents = curve.projection.embed(parameters + step) - curve.projection.embed(parameters - step)
    along = ((rows - nearest) * tangents / (2 * step)).sum(axis=1)
    assert np.abs(along[is_inside]).max() < 1e-8
    # At an end, the residual points away from the curve.
    assert np.all((along * np.sign(parameters))[~is_inside] > 0)


def test_sine_agrees_with_a_scalar_search():
    data = make_sine_curve(n_features=2, n_train=1, n_test=1, random_state=0)
    points = np.random.RandomState(0).uniform(-5, 5, (60, 2))
    edges = np.linspace(-np.pi, np.pi, 41)
    for point, nearest in zip(points, data.projection(points), strict=True):

        def square(t, point=point):
            return (t - point[0]) ** 2 + (np.sin(t) - point[1]) ** 2

        searches = [
            minimize_scalar(square, bounds=bounds, method="bounded", options={"xatol": 1e-10})
            for bounds in itertools.pairwise(edges)
        ]
        best = min(searches, key=lambda search: search.fun)
        np.testing.assert_allclose(nearest, [best.x, np.sin(best.x)], atol=1e-7)


def test_sine_where_two_points_are_almost_as_near():
    projection = make_sine_curve(n_features=2, random_state=0).projection
    below_the_crest = np.array([[0.5 * np.pi - 1e-9, -1.0], [0.5 * np.pi + 1e-9, -1.0]])
    left, right = projection(below_the_crest)[:, 0]
    assert left < 0.5 * np.pi - 1 < 0.5 * np.pi + 1 < right
    assert left + right == pytest.approx(np.pi, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second"), [((0.5, -4.0), (3.1, -4.0)), ((-3.0, 2.5), (1.0, 2.5)), ((1, -1), (3, -1))]
)
def test_sine_changes_sides_where_both_are_as_near(first, second):
    """Search for the point between two points where the nearest point jumps."""
    projection = make_sine_curve(n_features=2, random_state=0).projection
    ends = np.array([first, second], dtype=float)
    assert distances(*projection(ends)) > 1
    for _ in range(45):
        middle = ends.mean(axis=0)
        before, after = distances(projection([middle]), projection(ends))
        ends[int(before > after)] = middle
    one, other = projection(ends)
    assert distances(one, other) > 0.5
    assert distances(ends[0], one) == pytest.approx(distances(ends[0], other), abs=1e-9)


def test_sine_ends():
    data = make_sine_curve(random_state=0)
    beyond = np.array([[4.0, -1.0], [-4.0, 1.0], [100.0, 0.0]]) @ data.frame
    ends = np.array([[np.pi, 0.0], [-np.pi, 0.0], [np.pi, 0.0]]) @ data.frame
    np.testing.assert_allclose(data.projection(beyond), ends, atol=1e-12)


def test_circle_in_closed_form():
    data = make_circle(random_state=0)
    rows = some_rows(data)
    plane = rows @ data.frame.T
    expected = plane / np.linalg.norm(plane, axis=1, keepdims=True) @ data.frame
    np.testing.assert_allclose(data.projection(rows), expected, atol=1e-13)


def test_circle_centre_goes_to_angle_zero():
    data = make_circle(random_state=0)
    np.testing.assert_allclose(data.projection(np.zeros((1, 16))), data.frame[:1], atol=1e-15)


def test_random_state(curve):
    make = make_circle if "circle" in curve.DESCR else make_sine_curve
    again = make(n_train=100, n_test=40, random_state=np.random.RandomState(0))
    other = make(n_train=100, n_test=40, random_state=1)
    for field in ("X_train", "X_test", "X_test_clean", "masks_test", "parameters_test"):
        np.testing.assert_array_equal(curve[field], again[field])
        assert not np.array_equal(curve[field], other[field])


def test_projection_takes_any_number_of_rows_and_dtype(curve):
    assert curve.projection(np.empty((0, 16))).shape == (0, 16)
    one = curve.projection(curve.X_test[:1].astype(np.float32))
    assert one.dtype == np.float64
    np.testing.assert_allclose(one, curve.projection(curve.X_test)[:1], atol=1e-6)
    with pytest.raises(ValueError, match="X has 15 features, but the curve lies in 16"):
        curve.projection(curve.X_test[:, :15])


def test_projection_does_not_change_its_input(curve):
    rows = curve.X_test.copy()
    curve.projection(rows)
    np.testing.assert_array_equal(rows, curve.X_test)


def test_pickle(curve):
    copy = pickle.loads(pickle.dumps(curve))
    np.testing.assert_array_equal(copy.projection(curve.X_test), curve.projection(curve.X_test))


def test_noise_as_large_as_the_curve_still_makes_a_dataset():
    assert make_circle(noise=10.0, n_test=20, random_state=0).X_test.shape == (40, 16)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_features": 1}, "'n_features' parameter must be an int >= 2. Got 1"),
        ({"n_train": 0}, "'n_train' parameter must be an int >= 1"),
        ({"n_test": 0}, "'n_test' parameter must be an int >= 1"),
        ({"noise": -0.1}, "'noise' parameter must be a float >= 0. Got -0.1"),
        ({"noise": np.inf}, "'noise' parameter must be a float >= 0"),
        ({"noise": np.nan}, "'noise' parameter must be a float >= 0"),
        ({"n_corrupted_features": 0}, "'n_corrupted_features' parameter must be an int from 1 to"),
        ({"n_corrupted_features": 16}, r"from 1 to 15 \(n_features - 1\)"),
    ],
)
def test_values_out_of_range(make, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("n_features", 16.0), ("n_train", "9"), ("n_test", True), ("n_corrupted_features", 2.0)]
    + [("noise", "0.1"), ("noise", True), ("noise", None)],
)
def test_values_of_wrong_type(make, name, value):
    with pytest.raises(TypeError, match=f"'{name}' parameter must be"):
        make(**{name: value})
