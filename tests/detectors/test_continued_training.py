"""partial_fit and warm starts: what is drawn, and what is held out."""

import copy

import numpy as np
import pytest
import torch
from networks_for_faults import tiny_network
from sklearn.base import clone
from small_networks import SMALL
from synthetic_images import make_images

import skanomaly
from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.detectors import _fitting

ROWS = np.random.default_rng(0).normal(size=(60, 6))


@pytest.fixture
def plans(monkeypatch):
    """The plans of all trainings."""
    made = []
    make_plan = _fitting.make_plan

    def make_and_keep(*arguments, **options):
        made.append(make_plan(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(_fitting, "make_plan", make_and_keep)
    return made


@pytest.mark.parametrize(
    ("X", "network"),
    [(make_images(8, size=(16, 16)), tiny_network), (ROWS, "linear")],
    ids=["images", "rows"],
)
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_each_call_draws_other_patches(X, network, method):
    # The weights hardly change, so that losses differ by what was drawn.
    detector = SelfSupervisedAutoencoderDetector(
        network=network, learning_rate=1e-6, augmentation=None, contamination=0.1, random_state=0
    )
    detector.set_params(max_iter=2, batch_size=len(X), warm_start=True)
    twin = clone(detector)
    losses = []
    for _ in range(4):
        getattr(detector, method)(X)
        getattr(twin, method)(X)
        losses.append(detector.loss_curve_)
    losses = np.array(losses)[:, 0]
    assert np.ptp(losses) > 1e-3 * losses.mean()
    np.testing.assert_array_equal(detector.score_samples(X), twin.score_samples(X))


@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(0)])
def test_a_warm_start_holds_out_the_same_images(random_state, plans):
    detector = DenoisingAE(max_iter=2, warm_start=True, random_state=random_state)
    detector.fit(ROWS).fit(ROWS).partial_fit(ROWS)
    first, *others = (plan.held_out for plan in plans)
    assert first.sum() == 20 and len(others) == 2
    for held_out in others:
        np.testing.assert_array_equal(held_out, first)
    # A new training draws anew.
    detector.set_params(warm_start=False, random_state=7).fit(ROWS)
    assert not np.array_equal(plans[-1].held_out, first)


@pytest.mark.parametrize(("n_rows", "n_held_out"), [(60, 20), (100, 31)])
def test_early_stopping_uses_all_that_is_held_out(n_rows, n_held_out):
    X = np.random.default_rng(0).normal(size=(n_rows, 6))
    detector = DenoisingAE(early_stopping=True, validation_fraction=0.31, batch_size=16)
    plan = _fitting.make_plan(detector, X, continued=False)
    sizes = []
    objective = plan.objective

    def counting(network, rows, generator):
        sizes.append(len(rows))
        return objective(network, rows, generator)

    plan.objective = counting
    loss = _fitting._validation_loss(plan)(plan.network)
    assert sum(sizes) == plan.held_out.sum() == n_held_out
    assert max(sizes) <= 16 and np.ptp(sizes) <= 1
    assert np.isfinite(loss)


def test_the_contractive_penalty_of_one_row_is_left_out():
    detector = ContractiveAE(penalty="encoder", max_iter=30, random_state=0).fit(ROWS)
    usual = detector.loss_curve_[0]
    for _ in range(3):
        # One of them is held out.
        detector.partial_fit(ROWS[:2])
        assert detector.loss_curve_[0] < 10 * usual


def test_each_held_out_image_counts_alike_in_the_validation_loss():
    detector = DenoisingAE(early_stopping=True, contamination=0.1, batch_size=4, random_state=0)
    plan = _fitting.make_plan(detector, ROWS, continued=False)
    # Batches of 3 and 2.
    plan.held_out = np.arange(60) < 5
    plan.objective = lambda network, rows, generator: rows.square().mean()
    rows = plan.standardization(torch.from_numpy(ROWS[:5]))[0]
    loss = _fitting._validation_loss(plan)(plan.network)
    assert loss == pytest.approx(float(rows.square().mean()), rel=1e-5)


def test_one_pass_has_a_tenth_of_the_learning_rate():
    detector = DenoisingAE(learning_rate=0.02, max_iter=2, random_state=0).fit(ROWS)
    for one_pass, rate in ((True, 0.002), (False, 0.02)):
        plan = _fitting.make_plan(detector, ROWS, continued=True, one_pass=one_pass)
        assert plan.learning_rate == pytest.approx(rate)


def test_one_pass_over_larger_images_keeps_the_windows():
    small, large = make_images(20, size=(16, 12)), make_images(20, size=(24, 20))
    detector = DenoisingAE(network=tiny_network, max_iter=2, batch_size=8, random_state=0)
    detector.set_params(warm_start=True).fit(small)
    assert detector.partial_fit(large).model_.window == (16, 12)
    assert detector.fit(large).model_.window == (24, 20)


@pytest.mark.parametrize(
    ("X", "network", "named"),
    [(make_images(20, size=(16, 16)), SMALL, {"network": SMALL}), (ROWS, "dense", {})],
    ids=["images", "rows"],
)
def test_what_is_drawn_depends_on_the_values_of_the_weights_alone(X, network, named, tmp_path):
    detector = DenoisingAE(network=network, max_iter=3, random_state=0).fit(X)
    detector.save(tmp_path / "model")
    loaded = skanomaly.load(tmp_path / "model", **named)
    other_order = copy.deepcopy(detector)
    other_order.score_samples(X)
    for weight in other_order.network_.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.mT.contiguous().mT
    first = detector.partial_fit(X).loss_curve_
    assert loaded.partial_fit(X).loss_curve_ == first
    assert other_order.partial_fit(X).loss_curve_ == first
