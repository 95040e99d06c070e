"""Flows that drive most coordinates out of sight of the loss, and some of them back."""

import numpy as np
import pytest

import sam_theory as st
from analysis.data import fermentation_all_rows
from sam_theory.diagonal import flow as flow_module
from sam_theory.diagonal.integrator.coupled import CoupledIntegrator
from sam_theory.diagonal.integrator.radau import Integrator
from sam_theory.diagonal.integrator.stages import UNSEEN
from sam_theory.diagonal.minimizer import _on_independent_rows

ALPHA = 0.01
TIMES = (50.0, 200.0, 1e3, 5e3, 2e4)


def field_of_few_rows(rho, m):
    data = st.sparse_regression(8, 60, nonzeros=3, correlation=0.9, seed=1)
    return flow_module._field(data, ALPHA, st.m_sam(rho, m), to_limit=True)[0]


def log_s(field, state):
    """Logarithm of s = u^2 + v^2, nearly."""
    n = field.X.shape[0]
    return 2.0 * np.abs(state[:n] @ field.X) + 2.0 * (field.log_alpha - field.rho * state[n:])


@pytest.mark.parametrize(("rho", "m"), [(1.0, 1), (3.0, 1), (8.0, 1), (3.0, 2), (8.0, 2), (8.0, 4)])
def test_the_whole_jacobian_finds_the_same(rho, m):
    """With few coordinates in sight, and with none, when nothing but theta tells that nu is off."""
    field = field_of_few_rows(rho, m)
    ours = Integrator(field, tol=1e-11, rank=8)
    peer = CoupledIntegrator(field, tol=1e-11)
    for time in TIMES:
        assert ours.to_time(time) == peer.to_time(time) == "stops"
        apart = ours.state - peer.state
        assert field.measure(apart, ours.state) <= 1e-7
    assert np.count_nonzero(log_s(field, ours.state) < UNSEEN) > 45


def test_hidden_coordinates_go_on_and_come_back():
    field = field_of_few_rows(1.0, 1)
    ours = Integrator(field, tol=1e-11, rank=8)
    hidden, came_back, before = np.zeros(60, dtype=bool), 0, np.zeros(68)
    for time in TIMES:
        assert ours.to_time(time) == "stops"
        moved = np.abs(ours.state - before)[8:]
        assert np.min(moved[hidden], initial=np.inf) > 1e-7 * np.max(ours.state[8:])
        now = log_s(field, ours.state)
        came_back += np.count_nonzero(hidden & (now > -40.0))
        hidden, before = hidden | (now < UNSEEN), ours.state
    assert np.count_nonzero(hidden) > 45 and came_back >= 1


@pytest.mark.parametrize("alpha", [0.01, 0.001])
def test_spectra_whose_scale_underflows(alpha):
    """Effective scales down to e^-136000: the limit is certified, and one of weighted l1."""
    data = fermentation_all_rows()
    limit = st.implicit_bias(data, alpha=alpha, algorithm=st.one_sam(0.5))
    weight = -2.0 * (np.log(alpha) - 0.5 * limit.delta)
    assert np.max(weight) > 1e5 and np.min(weight) > 1e4
    assert limit.status == "converged" and limit.certificate.error_bound < 1e-9
    assert limit.alpha_effective_error < 1e-3
    assert np.max(np.abs(data.X @ limit.beta - data.y)) < 1e-12
    seen = np.abs(limit.beta) > 1e-20
    assert np.count_nonzero(seen) == data.rank == 20
    # The mirror image on the support determines mu; nowhere does it exceed the weight.
    theta = np.sign(limit.beta) * (weight + np.log(4.0 * np.abs(limit.beta) + 1e-300))
    mu = np.linalg.lstsq(data.X[:, seen].T, theta[seen], rcond=1e-13)[0]
    np.testing.assert_allclose(mu @ data.X[:, seen], theta[seen], rtol=1e-9)
    assert np.all(np.abs(mu @ data.X[:, ~seen]) < weight[~seen])


def test_a_start_serves_dependent_rows():
    data = fermentation_all_rows()
    rows, _ = data.row_space.independent(data.X)
    mu = np.random.default_rng(0).standard_normal(data.n)
    found = _on_independent_rows(data.X, rows, mu)
    assert found.shape == (data.rank,) and data.rank < data.n
    np.testing.assert_allclose(found @ rows, mu @ data.X, atol=1e-10)
