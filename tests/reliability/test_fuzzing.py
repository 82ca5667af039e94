"""Valid input gives finite scores, and invalid input a ValueError or TypeError."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks_for_faults import tiny_network
from sklearn.base import clone
from synthetic_images import make_images

from skanomaly import PatchCorruption, SelfSupervisedAutoencoderDetector

DETECTOR = SelfSupervisedAutoencoderDetector(
    network=tiny_network, max_iter=1, batch_size=2, random_state=0, device="cpu"
)
FITTED = {
    channels: clone(DETECTOR).fit(make_images(4, size=(12, 12), channels=channels))
    for channels in range(1, 17)
}
# Names of the argument in messages of scikit-learn.
NAMED = re.compile(r"\bX\b|[Aa]rray|sample|feature|dtype|data|pixel|NaN")
DTYPES = [
    *("u1", "<u2", ">u2", "<u4", "i1", ">i4", "<i8", "?"),
    *("<f2", "<f4", ">f4", "<f8", ">f8", "g", "<c8", "S3", "U2", "O"),
]


@st.composite
def arrays(draw, minimum=1):
    """Arrays of any shape, dtype, byte order, range and layout, most of them images."""
    ndim = draw(st.sampled_from([0, 1, 2, 3, 3, 3, 4, 4, 4, 4, 5]))
    shape = [
        draw(st.sampled_from([0, 1, 2, 2, 3])),
        draw(st.integers(0, 20)) or draw(st.integers(0, 3)),
        draw(st.integers(0, 20)) or draw(st.integers(0, 3)),
        draw(st.integers(1, 17)),
        2,
    ][:ndim]
    if minimum > 1 and ndim:
        shape[0] += 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    values = rng.random(shape)
    if dtype.kind == "f":
        exponents = [-320, -45, -30, -3, 0, 0, 0, 2, 6, 15, 25, 37, 38, 200, 300]
        scale, shift = (draw(st.sampled_from(exponents)) for _ in range(2))
        with np.errstate(all="ignore"):
            values = values * 10.0**scale + draw(st.sampled_from([0, 0, 1, -1])) * 10.0**shift
            values = values.astype(dtype)
        if values.size and draw(st.integers(0, 9)) == 0:
            values.reshape(-1)[-1] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low = draw(st.sampled_from([limits.min, 0, limits.max]))
        high = draw(st.sampled_from([low, limits.max]))
        values = rng.integers(low, high, shape, dtype.newbyteorder("="), endpoint=True)
        values = np.asarray(values).astype(dtype)
    elif dtype.kind in "SU":
        values = np.full(shape, "a", dtype)
    else:
        values = np.asarray(values > 0.5 if dtype.kind == "b" else values).astype(dtype)
    if draw(st.booleans()):
        # Constant images, and images that are constant except for one value.
        values = np.broadcast_to(values.flat[0], values.shape) if values.size else values
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided", "read-only"]))
    if layout == "F":
        values = np.asfortranarray(values)
    elif layout == "reversed" and values.ndim:
        values = values[(slice(None, None, -1),) * values.ndim]
    elif layout == "strided" and values.ndim:
        values = np.repeat(values, 2, axis=-1)[..., ::2]
    elif layout == "read-only":
        values = np.array(values)
        values.flags.writeable = False
    return values


def check_scoring(X):
    channels = X.shape[3] if X.ndim == 4 else 1
    detector = FITTED.get(channels, FITTED[1])
    before = X.copy()
    try:
        scores = detector.score_samples(X)
    except (ValueError, TypeError) as error:
        assert NAMED.search(str(error)), error
        return
    assert X.ndim in (3, 4) and X.dtype.kind in "buifO"
    assert scores.shape == (len(X),) and np.isfinite(scores).all()
    assert np.isfinite(detector.anomaly_map(X)).all()
    assert np.isfinite(detector.reconstruct(X)).all()
    assert (before == X).all()


def check_fitting(X):
    detector = clone(DETECTOR)
    if X.ndim == 2:
        detector.set_params(network="linear")
    try:
        detector.fit(X)
    except (ValueError, TypeError) as error:
        assert NAMED.search(str(error)), error
        assert not hasattr(detector, "network_")
        return
    assert np.isfinite(detector.score_samples(X)).all()
    assert np.isfinite([detector.offset_, detector.map_threshold_, *detector.loss_curve_]).all()


def check_corruption(X, seed):
    try:
        corrupted, masks = PatchCorruption(random_state=seed)(X)
    except (ValueError, TypeError) as error:
        assert NAMED.search(str(error)), error
        return
    assert corrupted.dtype == X.dtype and corrupted.shape == X.shape
    outside = np.broadcast_to((masks == 0)[(..., *[None] * (X.ndim - masks.ndim))], X.shape)
    np.testing.assert_array_equal(corrupted[outside], X[outside])
    assert corrupted.min() >= X.min() and corrupted.max() <= X.max()
    for got, wanted in zip(PatchCorruption(random_state=seed)(X), (corrupted, masks), strict=True):
        np.testing.assert_array_equal(got, wanted)
    # The positions of patches depend only on the seed and the shape of the batch.
    np.testing.assert_array_equal(PatchCorruption(random_state=seed)(X[::-1])[1], masks)


def fuzz(count, strategy):
    quiet = settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda function: quiet(given(**strategy)(function))


SEEDS = st.integers(0, 2**31 - 1)
test_scoring_of_anything = fuzz(150, {"X": arrays()})(check_scoring)
test_fitting_of_anything = fuzz(75, {"X": arrays(minimum=2)})(check_fitting)
test_corrupting_anything = fuzz(75, {"X": arrays(), "seed": SEEDS})(check_corruption)


@pytest.mark.long
def test_thousands_of_inputs():
    fuzz(3000, {"X": arrays()})(check_scoring)()
    fuzz(1000, {"X": arrays(minimum=2)})(check_fitting)()
    fuzz(1500, {"X": arrays(), "seed": SEEDS})(check_corruption)()
