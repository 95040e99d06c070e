"""The compiled parts of the integrator against plain NumPy."""

import numba
import numpy as np
import pytest

from sam_theory.diagonal.integrator.coupled import CoupledIntegrator, Linearization
from sam_theory.diagonal.integrator.field import FlowField
from sam_theory.diagonal.integrator.radau import Integrator
from sam_theory.diagonal.integrator.stages import stage_rates
from sam_theory.diagonal.integrator.stiff import apply, metric, newton_change, stiff_modes
from sam_theory.diagonal.integrator.tableau import radau_tableau
from sam_theory.diagonal.primitives.addresses import addresses_of, reader
from sam_theory.diagonal.primitives.simd import WIDTH


def problem(n=12, d=19, m=12, rho=0.3, normalized=False, rescaled=False):
    rng = np.random.default_rng(n + m)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    return FlowField(X, y, m, rho, normalized, np.log(np.full(d, 0.3)), rescaled), rng


def lanes(items):
    return np.zeros(WIDTH * items)


read = reader(12)


@numba.njit
def rates_at(X, m, rho, a):
    p = read(a)
    stage_rates(X, p[0], m, rho, p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11])


def rates_of(field, states):
    """Rates of eight states (8, n + d) by the compiled stages, and 2 L."""
    n, d = field.X.shape
    nu, delta = states[:, :n].T.copy().ravel(), states[:, n:].T.copy().ravel()
    d_nu, d_delta, loss = lanes(n), lanes(d), lanes(1)
    arrays = [
        np.repeat(field.y, WIDTH), field.log_alpha, nu, delta, lanes(3 * d), lanes(d), lanes(d),
        lanes(d), lanes(n), d_nu, d_delta, loss,
    ]  # fmt: skip
    rates_at(field.X, field.m, field.rho, addresses_of(arrays))
    return np.hstack([d_nu.reshape(n, WIDTH).T, d_delta.reshape(d, WIDTH).T]), loss


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_rates_of_all_stages(m, rho):
    field, rng = problem(m=m, rho=rho)
    states = 0.2 * rng.standard_normal((WIDTH, field.size))
    found, doubled_loss = rates_of(field, states)
    expected, loss = field.rates(states)
    scale = np.max(np.abs(expected))
    assert np.max(np.abs(found - expected)) <= 1e-14 * scale
    np.testing.assert_allclose(doubled_loss, loss, rtol=1e-14)
    assert np.max(np.abs(found[::-1] - expected)) > 1e-3 * scale


@pytest.mark.parametrize("m", [1, 3, 12])
def test_stiff_part_is_the_jacobian_at_zero_loss(m):
    field, rng = problem(m=m)
    n = field.X.shape[0]
    state = np.concatenate([0.1 * rng.standard_normal(n), np.zeros(field.size - n)])
    beta, s, _ = field.point(state)
    field = FlowField(field.X, field.X @ beta, m, field.rho, False, field.log_alpha)
    shifts = 1e-6 * np.eye(n, field.size)
    difference = (field.rates(state + shifts)[0] - field.rates(state - shifts)[0])[:, :n].T / 2e-6
    P = (field.X * s) @ field.X.T
    back, forward, values = stiff_modes(metric(P, m, field.rho), P, m == 1)
    assert np.max(np.abs(forward @ back - np.eye(n))) <= 1e-12
    J = -(back * values) @ forward / n
    scale = np.max(np.abs(difference))
    assert np.max(np.abs(J - difference)) <= 1e-7 * scale
    assert np.max(np.abs(1.0005 * J - difference)) > 1e-7 * scale


@pytest.mark.parametrize("n", [3, 12, 21])
def test_newton_change_solves_the_stage_equations(n):
    rng = np.random.default_rng(n)
    table, method = radau_tableau(), Integrator(problem()[0], tol=1e-9, rank=12).method
    root = rng.standard_normal((n, n))
    back, forward, values = stiff_modes(np.eye(n) + 0.1 * root @ root.T, root @ root.T, False)
    defect = np.zeros((n, WIDTH))
    defect[:, :7] = rng.standard_normal((n, 7))
    size, pull = 0.7, np.zeros((n, WIDTH))
    pull[:, :7] = rng.standard_normal((n, 7))
    change, turned = pull.copy().ravel(), back.T.copy()
    work = (defect.copy().ravel(), lanes(n), change)
    newton_change(back, forward, turned, values, size, method, *work, True)
    Z = change.reshape(n, WIDTH)[:, :7].T
    J = -(back * values) @ forward
    rest = Z - size * table.matrix @ Z @ J.T - defect[:, :7].T - (back @ back.T @ pull[:, :7]).T
    assert np.max(np.abs(rest)) <= 1e-11 * np.max(np.abs(Z))
    assert np.all(change.reshape(n, WIDTH)[:, 7] == 0.0)
    work = (defect.copy().ravel(), lanes(n), change)
    newton_change(back, forward, turned, values, size, method, *work, False)
    Z = change.reshape(n, WIDTH)[:, :7].T
    rest = Z - size * table.matrix @ Z @ J.T - defect[:, :7].T
    assert np.max(np.abs(rest)) <= 1e-11 * np.max(np.abs(Z))


def test_apply():
    rng = np.random.default_rng(3)
    for n in (1, 5, 8, 13):
        A, v, out = rng.standard_normal((n, n)), rng.standard_normal((n, WIDTH)), lanes(n)
        apply(A, v.ravel(), out)
        assert np.max(np.abs(out.reshape(n, WIDTH) - A @ v)) <= 1e-13


@pytest.mark.parametrize("m", [1, 4, 12])
def test_both_integrators_follow_the_same_flow(m):
    field, _ = problem(m=m, rho=0.1)
    ours = Integrator(field, tol=1e-12, rank=12)
    peer = CoupledIntegrator(field, tol=1e-12)
    for time in (0.1, 0.5, 2.0):
        assert ours.to_time(time) == peer.to_time(time) == "stops"
        assert np.max(np.abs(ours.state - peer.state)) <= 1e-11
        assert abs(ours.doubled_loss - peer.doubled_loss) <= 1e-11


@pytest.mark.parametrize(
    ("m", "normalized", "rescaled"),
    [(m, normalized, False) for m in (1, 2, 6) for normalized in (False, True)] + [(6, True, True)],
)
def test_coupled_jacobian_against_central_differences(m, normalized, rescaled):
    field, rng = problem(6, 9, m, 0.2, normalized, rescaled)
    state = 0.3 * rng.standard_normal(15)
    shifts = 1e-5 * np.eye(15)
    difference = (field.rates(state + shifts)[0] - field.rates(state - shifts)[0]) / 2e-5
    lin = Linearization(field, state)
    eye = np.eye(15)
    product = lin.to_rates(lin.to_inner(eye[:, :6], eye[:, 6:]))
    scale = np.max(np.abs(difference))
    assert np.max(np.abs(product - difference)) < 2e-7 * scale
    assert np.max(np.abs(product * 1.0005 - difference)) > 2e-7 * scale
