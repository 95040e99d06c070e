"""The peers do the same work, and what errors are measured with is right."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sam_theory as st
from benchmarks import (
    exact,
    exact_flow,
    peers_cones,
    peers_diffrax,
    peers_ode,
    peers_smooth,
    steps,
    twins,
)
from sam_theory.diagonal.reference import descend_reference

KINDS = ("gd", "n-sam", "1-sam")
ALPHA = 0.1


def small(n=8, d=12):
    return st.sparse_regression(n, d, nonzeros=2, n_test=0)


def job(kind, radius=0.1):
    return steps.Task(kind, 8, 12, 60, radius)


@pytest.mark.parametrize("kind", steps.LOOPS)
def test_loops_agree_with_descend(kind):
    for contender in steps.contenders(job(kind)):
        assert contender.error(contender.call().value) < 1e-14


@pytest.mark.parametrize("kind", ["n-sam", "1-sam"])
def test_planted_radius_shows_in_the_error(kind):
    ours, published, lean = steps.contenders(job(kind))
    _, wrong, wronger = steps.contenders(job(kind, 0.099))
    assert ours.error(wrong.call().value) > 1e-6
    assert ours.error(wronger.call().value) > 1e-6


def test_loops_agree_with_the_published_operations():
    data, task = small(), job("1-sam")
    for kind in KINDS:
        task = job(kind)
        u, v = descend_reference(data, alpha=ALPHA, phases=[(task.algorithm, task.step_size, 60)])
        arguments = (data.X, data.y, ALPHA, task.step_size, 60, *([task.rho] if task.rho else []))
        for loop in steps.LOOPS[kind]:
            np.testing.assert_allclose(loop(*arguments), u * v, rtol=0, atol=1e-15)


def test_the_unused_terms_of_published_gd():
    X, y = np.eye(2), np.zeros(2)
    beta = twins.published_gd(X, y, 0.5, 1e-300, 1, decay=0.1, balance=0.0)
    assert np.all(beta == 0.0)
    # From u = 0.5, v = 0: u is the larger, s = +1; at v the strict test gives s = -1.
    once = twins.published_gd(X, np.ones(2), 0.5, 1.0, 1, decay=0.1, balance=0.2)
    np.testing.assert_allclose(once, (0.5 * 0.7) * 0.25)


def test_sgd_rows_are_those_drawn():
    stream = np.random.RandomState(0)
    assert [stream.randint(7) for _ in range(20)] == twins.sgd_rows(7, 20).tolist()


def flow(kind, rho=0.3):
    data = small(5, 7)
    return peers_ode.Flow(data.X, data.y, kind, rho)


def jacobian_gap(field, other):
    state = np.random.default_rng(1).standard_normal(14) * 0.7
    step = 1e-6 * np.eye(14)
    columns = [(field.rate(0, state + e) - field.rate(0, state - e)) / 2e-6 for e in step]
    return float(np.max(np.abs(np.array(columns).T - other.jacobian(0, state))))


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian(kind):
    assert jacobian_gap(flow(kind), flow(kind)) < 1e-7


@pytest.mark.parametrize("kind", ["n-sam", "1-sam"])
def test_planted_jacobian_fault(kind):
    assert jacobian_gap(flow(kind), flow(kind, 0.301)) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_rate_is_the_taylor_coefficient(kind):
    field, root = flow(kind), np.sqrt(2.0)
    u, v = np.random.default_rng(2).standard_normal((2, 7))
    series = exact_flow.Series(field.X, field.y, kind, field.rho, order=3)
    up, down = series.expand((u + v) / root, (u - v) / root)
    rate = np.concatenate([up[1] + down[1], up[1] - down[1]]) / root
    np.testing.assert_allclose(
        rate.astype(float), field.rate(0, np.concatenate([u, v])), atol=1e-13
    )


@pytest.mark.parametrize("kind", KINDS)
def test_taylor_series_meet_a_solver(kind):
    field, time = flow(kind), 3.0
    series = exact_flow.Series(field.X, field.y, kind, field.rho)
    up, down = exact_flow.integrate(series, 0.4, time)
    found = solve_ivp(field.rate, (0, time), field.start(0.4), "DOP853", rtol=1e-12, atol=1e-14)
    u, v = found.y[:7, -1], found.y[7:, -1]
    np.testing.assert_allclose(((up * up - down * down) / 2).astype(float), u * v, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_limits(kind):
    data = st.sparse_regression(**exact_flow.INSTANCE, n_test=0)
    beta, rate = exact_flow.read(kind)
    assert exact.difference(data.X.astype(np.longdouble) @ beta, data.y) < 1e-15
    assert 1e-4 < rate < 1e-2
    makers = {"gd": st.gd, "n-sam": lambda: st.n_sam(0.05), "1-sam": lambda: st.one_sam(0.05)}
    limit = st.implicit_bias(data, alpha=exact_flow.ALPHA, algorithm=makers[kind]())
    assert exact.difference(limit.beta, beta) < 1e-12
    if kind == "gd":
        found = st.minimize_potential(data.X, data.y, exact_flow.ALPHA)
        best = exact.entropy_minimum(data.X, data.y, exact_flow.ALPHA, 2.0 * found.dual)
        assert exact.difference(beta, best) < 20.0 * np.finfo(np.longdouble).eps


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_stored_limits_are_made_again(kind):
    data = st.sparse_regression(**exact_flow.INSTANCE, n_test=0)
    up, down, _ = exact_flow.limit(data.X, data.y, kind, exact_flow.ALPHA, exact_flow.RHO, order=24)
    beta, _ = exact_flow.read(kind)
    assert exact.difference((up * up - down * down) / 2, beta) < 20 * np.finfo(np.longdouble).eps


def fifty_digits(X, y, alpha):
    """Minimiser of the potential by Newton's method in fifty digits."""
    with mpmath.workdps(50):
        A, b, h = mpmath.matrix(X.tolist()), mpmath.matrix(y.tolist()), mpmath.mpf(alpha) ** 2 / 2
        mu = mpmath.matrix(st.minimize_potential(X, y, alpha).dual.tolist()) * 2
        for _ in range(6):
            theta = A.T * mu
            slope = mpmath.diag([h * mpmath.cosh(t) for t in theta])
            residual = A * mpmath.matrix([h * mpmath.sinh(t) for t in theta]) - b
            mu -= mpmath.lu_solve(A * slope * A.T, residual)
        assert mpmath.norm(residual, mpmath.inf) < mpmath.mpf(10) ** -45
        beta = [h * mpmath.sinh(t) for t in A.T * mu]
        return np.array([np.longdouble(mpmath.nstr(x, 30)) for x in beta])


@pytest.mark.parametrize("alpha", [0.1, 1e-3])
def test_entropy_minimum(alpha):
    data = small(5, 8)
    start = 2.0 * st.minimize_potential(data.X, data.y, alpha).dual
    best = exact.entropy_minimum(data.X, data.y, alpha, start)
    truth = fifty_digits(data.X, data.y, alpha)
    assert exact.difference(best, truth) < 1e2 * np.finfo(np.longdouble).eps
    again = exact.entropy_minimum(data.X, data.y, alpha, start + 0.01)
    assert exact.difference(again, truth) < 1e2 * np.finfo(np.longdouble).eps


def test_difference():
    assert exact.difference(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.5
    assert exact.difference(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == np.inf


def test_smooth_peers():
    data = small()
    best = st.minimize_potential(data.X, data.y, ALPHA).beta
    assert exact.difference(peers_smooth.lbfgs(data.X, data.y, ALPHA).value, best) < 1e-6
    found = peers_smooth.trust_constr(data.X, data.y, ALPHA, 30.0)
    assert exact.difference(found.value, best) < 1e-7 and "iterations" in found.note
    assert "stopped" in peers_smooth.trust_constr(data.X, data.y, ALPHA, 0.0).note


@pytest.mark.parametrize("form", peers_cones.FORMS)
def test_conic_forms(form):
    if not peers_cones.installed("Clarabel"):
        pytest.skip("the extra `peers` is not installed")
    data = small()
    best = st.minimize_potential(data.X, data.y, ALPHA).beta
    found = peers_cones.solve(data.X, data.y, ALPHA, "Clarabel", form, 1e-9, 60.0)
    assert exact.difference(found.value, best) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_diffrax_integrates_the_same_flow(kind):
    if not peers_diffrax.installed():
        pytest.skip("the extra `peers` is not installed")
    field = flow(kind)
    solve = peers_diffrax.solver(field.X, field.y, kind, field.rho, 0.4, 3.0, "Tsit5")
    ours = peers_ode.solve(field, 0.4, 3.0, "LSODA", 1e-11, 1e-13, True)
    np.testing.assert_allclose(solve(1e-9, 1e-11), ours, atol=1e-8)
