"""make_bar_images: an exact projection, and damage that the masks tell of."""

import pickle

import numpy as np
import pytest

from skanomaly.datasets import make_bar_images

KINDS = ["gap", "blob", "shift", "patch"]


@pytest.fixture(scope="module")
def bars():
    return make_bar_images(n_train=60, n_test=60, random_state=0)


@pytest.fixture(scope="module")
def strange_images(bars):
    """Images far from every bar: noise, two bars, dark bars on bright ground."""
    random = np.random.RandomState(1)
    two = np.maximum(bars.X_train[:30], bars.X_train[30:])
    noise = random.uniform(0, 1, (30, 16, 16))
    return np.concatenate([noise, two, 1 - bars.X_train[:30]])


def distances(first, second):
    return np.linalg.norm(first - second, axis=(-2, -1))


def find_parameters(projection, images):
    """Read angle and offset off images of one bar, by moments of what is above the ground."""
    size = projection.image_size
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    found = []
    for image in images:
        # The middle of the bar alone: squared twice, so that the ground weighs nothing.
        weights = (image - 0.15) ** 4
        center = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        x, y = columns - center[0], rows - center[1]
        moments = [[(weights * x * x).sum(), (weights * x * y).sum()]]
        moments.append([moments[0][1], (weights * y * y).sum()])
        normal = np.linalg.eigh(moments)[1][:, 0]
        found.append([np.arctan2(normal[1], normal[0]), normal @ center])
    return np.array(found)


def test_fields(bars):
    assert bars.X_train.shape == (60, 16, 16)
    assert bars.X_test.shape == bars.X_test_clean.shape == bars.masks_test.shape == (120, 16, 16)
    assert bars.X_train.dtype == bars.X_test.dtype == bars.X_test_clean.dtype == np.float64
    assert bars.masks_test.dtype == bool
    assert bars.y_test.tolist() == [1] * 60 + [-1] * 60
    assert bars.y_test.dtype == np.int64
    assert bars.kinds_test.tolist() == ["good"] * 60 + KINDS * 15
    assert bars.parameters_test.shape == (120, 2)
    assert "60 normal" in bars.DESCR


def test_parameters_fill_their_range():
    data = make_bar_images(n_train=1, n_test=500, random_state=0)
    angles, offsets = data.parameters_test.T
    assert 0 <= angles.min() < 0.05
    assert np.pi - 0.05 < angles.max() <= np.pi
    assert -4 <= offsets.min() < -3.9
    assert 3.9 < offsets.max() <= 4


def test_parameters_say_where_the_bar_is(bars):
    upright, level = bars.projection.embed([[0.0, 2.5], [0.5 * np.pi, -1.5]])
    # The middle of 16 columns lies between the eighth and the ninth.
    np.testing.assert_array_equal(upright.argmax(axis=1), 10)
    np.testing.assert_array_equal(level.argmax(axis=0), 6)
    assert upright.max() == pytest.approx(0.85)
    assert upright.min() == pytest.approx(0.15, abs=1e-4)
    half = 1.5 * np.sqrt(2 * np.log(2))
    assert upright[0, 10] - 0.15 == pytest.approx(0.7)
    profile = bars.projection.embed([[0.0, 2.5 - half]])[0, 0, 10] - 0.15
    assert profile == pytest.approx(0.35)


def test_every_bar_lies_well_inside(bars):
    for image in bars.projection.embed(bars.parameters_test):
        assert (image > 0.5).sum() >= 40
        assert image[4:12, 4:12].max() > 0.8


def test_noise_is_of_the_given_deviation_and_not_clipped(bars):
    noise = bars.X_test_clean - bars.projection.embed(bars.parameters_test)
    assert noise.std() == pytest.approx(0.02, rel=0.03)
    assert abs(noise.mean()) < 0.001
    assert bars.X_test.min() > 0
    assert bars.X_test.max() < 1


def test_most_noise_stays_in_range():
    data = make_bar_images(noise=0.05, random_state=0)
    for images in (data.X_train, data.X_test, data.X_test_clean):
        assert images.min() >= 0
        assert images.max() <= 1
        assert np.mean((images == 0) | (images == 1)) < 0.002


def test_without_noise_images_lie_on_the_surface():
    data = make_bar_images(noise=0, n_train=30, n_test=20, random_state=0)
    np.testing.assert_allclose(data.projection(data.X_train), data.X_train, atol=1e-8)
    np.testing.assert_array_equal(data.X_test_clean, data.projection.embed(data.parameters_test))


@pytest.mark.parametrize(
    ("image_size", "width"), [(12, None), (12, 1), (16, 2.0), (29, 2), (64, 2.0), (64, 8.0)]
)
@pytest.mark.parametrize("random_state", range(3))
def test_damage_stays_inside_the_mask(image_size, width, random_state):
    data = make_bar_images(
        image_size=image_size, width=width, n_train=1, n_test=80, random_state=random_state
    )
    changed = data.X_test != data.X_test_clean
    np.testing.assert_array_equal(changed, data.masks_test)
    assert not changed[:80].any()
    areas = changed[80:].sum(axis=(1, 2))
    assert areas.min() >= 4
    assert areas.max() <= 0.3 * image_size**2
    change = np.where(changed, np.abs(data.X_test - data.X_test_clean), 0)
    assert change[changed].min() > 0.09
    # Plain to see beside noise of 0.02.
    assert change[80:].max(axis=(1, 2)).min() > 0.2


def test_what_the_kinds_of_damage_do(bars):
    change = bars.X_test - bars.X_test_clean
    along = bars.projection.embed(bars.parameters_test) > 0.5
    gap, blob, shift, patch = (bars.kinds_test == kind for kind in KINDS)
    assert change[gap].max() <= 0
    assert change[blob].min() >= 0
    assert not (bars.masks_test & along)[blob].any()
    assert np.all(change[shift].min(axis=(1, 2)) < -0.4)
    assert np.all(change[shift].max(axis=(1, 2)) > 0.4)
    is_patched = bars.masks_test & patch[:, np.newaxis, np.newaxis]
    assert np.median(bars.X_test[is_patched]) == pytest.approx(0.5, abs=0.05)


def test_damage_hardly_moves_the_nearest_bar(bars):
    nearest = bars.projection(bars.X_test)
    errors = np.abs(nearest - bars.projection.embed(bars.parameters_test)).max(axis=(1, 2))
    assert errors[:60].max() < 0.03
    for kind, limit in [("gap", 0.05), ("blob", 0.1), ("patch", 0.1), ("shift", 0.4)]:
        assert errors[bars.kinds_test == kind].max() < limit


def test_damaged_images_are_farther_from_the_surface(bars):
    away = distances(bars.X_test, bars.projection(bars.X_test))
    assert away[60:].min() > 1.5 * away[:60].max()


def test_points_of_the_surface_are_fixed(bars):
    angles, offsets = np.meshgrid(np.linspace(0, 2 * np.pi, 33), [-4.0, -1.3, 0.0, 4.0])
    images = bars.projection.embed(np.column_stack([angles.ravel(), offsets.ravel()]))
    np.testing.assert_allclose(bars.projection(images), images, atol=1e-8)


def test_half_a_turn_makes_the_same_bar(bars):
    first, second = bars.projection.embed([[0.3, 2.0], [0.3 + np.pi, -2.0]])
    np.testing.assert_allclose(first, second, atol=1e-12)


def test_projection_is_idempotent(bars, strange_images):
    nearest = bars.projection(np.concatenate([bars.X_test, strange_images]))
    np.testing.assert_allclose(bars.projection(nearest), nearest, atol=1e-8)


def test_no_bar_is_nearer(bars, strange_images):
    images = np.concatenate([bars.X_test, strange_images])
    random = np.random.RandomState(2)
    others = bars.projection.embed(
        np.column_stack([random.uniform(0, np.pi, 2000), random.uniform(-4, 4, 2000)])
    )
    best = [distances(image, others).min() for image in images]
    assert np.all(distances(images, bars.projection(images)) <= np.array(best) + 1e-10)


@pytest.mark.parametrize("image_size", [12, 25])
def test_no_bar_of_a_dense_grid_is_nearer(image_size):
    data = make_bar_images(image_size=image_size, n_train=1, n_test=10, noise=0.05, random_state=0)
    limit = data.projection.max_offset
    angles, offsets = np.meshgrid(np.arange(120) * np.pi / 120, np.linspace(-limit, limit, 61))
    grid = data.projection.embed(np.column_stack([angles.ravel(), offsets.ravel()]))
    noise = np.random.RandomState(0).normal(size=(10, image_size, image_size))
    for images in (data.X_test, noise):
        best = np.array([distances(image, grid).min() for image in images])
        assert np.all(distances(images, data.projection(images)) <= best)


def test_no_neighbouring_bar_is_nearer(bars, strange_images):
    images = np.concatenate([bars.X_test, strange_images])
    nearest = bars.projection(images)
    parameters = refined_parameters(bars.projection, nearest)
    for step in ([1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3], [1e-3, 1e-3], [-1e-3, 1e-3]):
        moved = parameters + step
        moved[:, 1] = np.clip(moved[:, 1], -4, 4)
        neighbours = bars.projection.embed(moved)
        assert np.all(distances(images, nearest) <= distances(images, neighbours) + 1e-9)


def test_residual_is_orthogonal_to_the_tangents(bars, strange_images):
    images = np.concatenate([bars.X_test, strange_images])
    nearest = bars.projection(images)
    parameters = refined_parameters(bars.projection, nearest)
    is_inside = np.abs(parameters[:, 1]) < 4 - 1e-6
    assert is_inside[:120].sum() > 100
    along = []
    for step in ([1e-5, 0], [0, 1e-5]):
        ahead, behind = (
            bars.projection.embed(parameters + sign * np.array(step)) for sign in (1, -1)
        )
        along.append(((images - nearest) * (ahead - behind) / 2e-5).sum(axis=(1, 2)))
    assert np.abs(along[0]).max() < 1e-6
    assert np.abs(along[1][is_inside]).max() < 1e-6
    # Where the offset is held at its limit, the residual asks for more of it.
    assert 0 < np.sum(~is_inside)
    assert np.all((along[1] * parameters[:, 1])[~is_inside] > 0)


def test_slope_and_curvature_of_the_distance(bars):
    """Newton's method would still converge with a wrong curvature, only slowly."""
    projection, unit = bars.projection, np.array([0.5, 2.0])
    targets = bars.X_test[60:].reshape(60, -1)
    parameters = bars.parameters_test[:60]
    squares, slopes, curvatures = projection._expand(parameters, targets, unit)
    residuals = (projection.embed(parameters).reshape(60, -1) - targets) ** 2
    np.testing.assert_allclose(squares, residuals.sum(axis=1) / 2)
    for axis in (0, 1):
        step = 1e-5 * unit * np.eye(2)[axis]
        ahead = projection._expand(parameters + step, targets, unit)
        behind = projection._expand(parameters - step, targets, unit)
        np.testing.assert_allclose(slopes[:, axis], (ahead[0] - behind[0]) / 2e-5, atol=1e-5)
        expected = (ahead[1] - behind[1]) / 2e-5
        np.testing.assert_allclose(curvatures[:, axis], expected, rtol=1e-6, atol=1e-4)


def refined_parameters(projection, nearest):
    """Find the parameters of exact bars: moments first, then linear least squares on the image."""
    parameters = find_parameters(projection, nearest)
    parameters[:, 1] = np.clip(parameters[:, 1], -projection.max_offset, projection.max_offset)
    for _ in range(30):
        current = projection.embed(parameters)
        for index, (image, bar) in enumerate(zip(nearest, current, strict=True)):
            steps = parameters[index] + 1e-6 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
            ahead = projection.embed(steps).reshape(4, -1)
            jacobian = (ahead[:2] - ahead[2:]).T / 2e-6
            parameters[index] += np.linalg.lstsq(jacobian, (image - bar).ravel())[0]
        if np.abs(projection.embed(parameters) - nearest).max() < 1e-9:
            return parameters
    raise AssertionError("Some image is not that of a bar.")


def test_angles_around_zero_and_half_a_turn(bars):
    """The nearest bar is found across the ends of the angles' range."""
    parameters = np.array([[0.004, 3.0], [np.pi - 0.004, 3.0], [np.pi - 0.004, -3.0]])
    images = bars.projection.embed(parameters)
    noisy = images + np.random.RandomState(0).normal(0, 0.02, images.shape)
    assert np.abs(bars.projection(noisy) - images).max() < 0.03


def test_bars_beyond_the_range_are_projected_to_its_edge(bars):
    beyond = bars.projection.embed([[0.7, 5.5], [2.0, -5.0]])
    nearest = bars.projection(beyond)
    found = refined_parameters(bars.projection, nearest)
    np.testing.assert_allclose(np.abs(found[:, 1]), 4, atol=1e-6)


def test_random_state(bars):
    again = make_bar_images(n_train=60, n_test=60, random_state=np.random.RandomState(0))
    other = make_bar_images(n_train=60, n_test=60, random_state=1)
    for field in ("X_train", "X_test", "X_test_clean", "masks_test", "parameters_test"):
        np.testing.assert_array_equal(bars[field], again[field])
        assert not np.array_equal(bars[field], other[field])


def test_projection_takes_any_number_of_images_and_dtype(bars):
    assert bars.projection(np.empty((0, 16, 16))).shape == (0, 16, 16)
    one = bars.projection(bars.X_test[7:8].astype(np.float32))
    assert one.dtype == np.float64
    # One by one or in batches, each image has its own nearest bar.
    np.testing.assert_allclose(one, bars.projection(bars.X_test)[7:8], atol=1e-5)
    for images in (bars.X_test[:, :15], bars.X_test[0], bars.X_test.reshape(120, -1)):
        with pytest.raises(ValueError, match=r"X must be of shape \(n, 16, 16\)"):
            bars.projection(images)


def test_projection_does_not_change_its_input(bars):
    images = bars.X_test.copy()
    bars.projection(images)
    np.testing.assert_array_equal(images, bars.X_test)


def test_pickle(bars):
    copy = pickle.loads(pickle.dumps(bars))
    np.testing.assert_array_equal(
        copy.projection(bars.X_test[:9]), bars.projection(bars.X_test[:9])
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_size": 11}, "'image_size' parameter must be an int from 12 to 64. Got 11"),
        ({"image_size": 65}, "'image_size' parameter"),
        ({"width": 0.9}, "'width' parameter must be a float from 1 to 2.0"),
        ({"width": 2.1}, r"'width' parameter must be a float from 1 to 2.0 \(image_size / 8\)"),
        ({"width": 1.9, "image_size": 64}, "'width' parameter must be a float from 2.0 to 8.0"),
        ({"n_train": 0}, "'n_train' parameter must be an int >= 1"),
        ({"n_test": 0}, "'n_test' parameter must be an int >= 1"),
        ({"noise": -0.01}, "'noise' parameter must be a float from 0 to 0.05. Got -0.01"),
        ({"noise": 0.06}, "'noise' parameter"),
        ({"noise": np.nan}, "'noise' parameter"),
    ],
)
def test_values_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_bar_images(**kwargs)


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_size", 16.0), ("n_train", "9"), ("n_test", True), ("width", "1"), ("noise", None)],
)
def test_values_of_wrong_type(name, value):
    with pytest.raises(TypeError, match=f"'{name}' parameter must be"):
        make_bar_images(**{name: value})
