"""Where a flow ends: at rest above zero loss, in the noise of rounding, or where it is stopped."""

import numba
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sam_theory as st
from sam_theory.diagonal import flow as flow_module
from sam_theory.diagonal.integrator import stage_newton
from sam_theory.diagonal.integrator.coupled import CoupledIntegrator
from sam_theory.diagonal.integrator.flow_end import at_rest
from sam_theory.diagonal.integrator.radau import Integrator

# Small alpha and large rho on correlated columns: modes so slow that rounding moves them by more
# than the tolerance, and steps so long that Delta must not integrate the error of a guess.
STIFF = [
    ({"nonzeros": 4, "correlation": 0.9, "seed": 14}, 0.0016, 0.125, 20),
    ({"nonzeros": 4, "correlation": 0.9, "seed": 14}, 0.0016, 0.125, 1),
    ({"nonzeros": 3, "correlation": 0.9, "seed": 0}, 0.01, 1.0, 5),
    ({"nonzeros": 10, "correlation": 0.5, "seed": 3}, 0.001, 0.5, 5),
    ({"nonzeros": 3, "seed": 0}, 0.001, 0.1, 1),
    ({"nonzeros": 3, "seed": 0}, 0.001, 1.0, 5),
]


def small(seed):
    rng = np.random.default_rng(seed)
    return st.Regression(rng.standard_normal((6, 10)), rng.standard_normal(6))


def field_of(data, alpha, algorithm):
    return flow_module._field(data, alpha, algorithm, to_limit=True)[0]


@pytest.mark.parametrize(("settings", "alpha", "rho", "m"), STIFF)
def test_stiff_flows_are_followed_to_their_end(settings, alpha, rho, m):
    data = st.sparse_regression(20, 30, **settings)
    limit = st.implicit_bias(data, alpha=alpha, algorithm=st.m_sam(rho, m))
    assert limit.status == "converged" and limit.certificate.valid
    assert limit.certificate.error_bound <= 1e-12
    assert limit.alpha_effective_error <= 1e-8
    integrator = Integrator(field_of(data, alpha, st.m_sam(rho, m)), tol=1e-9, rank=20)
    assert integrator.to_limit() == "finished"
    assert integrator._carried.control[stage_newton.STEPS] < 150


@pytest.mark.parametrize(("settings", "alpha", "rho", "m"), STIFF)
def test_the_whole_jacobian_finds_the_same(settings, alpha, rho, m):
    field = field_of(st.sparse_regression(20, 30, **settings), alpha, st.m_sam(rho, m))
    ours, peer = Integrator(field, tol=1e-11, rank=20), CoupledIntegrator(field, tol=1e-11)
    for time in (50.0, 2e4):
        assert ours.to_time(time) == peer.to_time(time) == "stops"
        apart = ours.state - peer.state
        assert field.measure(apart, ours.state) <= 1e-7
        assert field.measure(apart + 1e-6 * np.abs(ours.state), ours.state) > 1e-7


def test_the_estimated_error_covers_the_error(monkeypatch):
    alike = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = int(rng.choice([2, 4, 6]))
        m, rho, alpha = (
            int(rng.choice([1, 2, n])),
            10 ** rng.uniform(-2, -0.5),
            10 ** rng.uniform(-2, 0),
        )
        data, rule = st.sparse_regression(n, 30, n_test=0, seed=seed), st.m_sam(rho, m)
        limit = st.implicit_bias(data, alpha=alpha, algorithm=rule)
        with monkeypatch.context() as patch:
            patch.setattr(flow_module, "_TOLS", (1e-11, 1e-13))
            peer = st.implicit_bias(data, alpha=alpha, algorithm=rule)
        error = rho * np.max(np.abs(limit.delta - peer.delta))
        assert error <= limit.alpha_effective_error <= 1e-9
        # The difference of the two runs alone would not do.
        alike += error > limit.alpha_effective_error - 1e-11 * rho * np.max(np.abs(limit.delta))
    assert alike >= 1


@numba.njit
def rounding(flow, stages, method, carried, space, size):
    flow, method = stage_newton.flow_at(flow), stage_newton.method_at(stages, method)
    carried, space = stage_newton.carried_at(carried), stage_newton.space_at(space)
    return stage_newton.rounding(flow, method, carried, space, size, np.zeros(flow.X.shape[0]))


def test_the_estimate_of_rounding_grows_with_the_step():
    settings, alpha, rho, m = STIFF[0]
    field = field_of(st.sparse_regression(20, 30, **settings), alpha, st.m_sam(rho, m))
    integrator = Integrator(field, tol=1e-11, rank=20)
    integrator.to_time(1e6)
    arguments = (integrator._flow, integrator.method.stages, *integrator._addresses)
    short, long = (rounding(*arguments, size) for size in (1.0, 1e5))
    assert 1e-18 < short < 1e-12 < 1e-11 < long < 1e-7


def log_rates(data, rho, m, z):
    """d log w+-^2/dt by definition: coordinates that die do not underflow, and may come back."""
    n, d = data.X.shape
    blocks = data.X.reshape(n // m, m, d)
    plus, minus = np.exp(z[:d]), np.exp(z[d:])
    beta, s = (plus - minus) / 2.0, plus + minus
    g = np.einsum("kmd,km->kd", blocks, (data.X @ beta - data.y).reshape(-1, m)) / m
    moved = beta * (1.0 + rho**2 * g**2) + rho * g * s
    after = np.einsum("kmd,kd->km", blocks, moved) - data.y.reshape(-1, m)
    h = np.einsum("kmd,km->kd", blocks, after) / m
    push, fall = np.mean(h, axis=0), rho * np.mean(g * h, axis=0)
    return 2.0 * np.concatenate([-push - fall, push - fall])


@pytest.mark.parametrize(("seed", "m", "rho"), [(0, 1, 2.0), (0, 2, 2.0), (2, 1, 1.0), (5, 3, 2.0)])
def test_a_flow_at_rest_above_zero_loss(seed, m, rho):
    data = small(seed)
    limit = st.implicit_bias(data, alpha=0.1, algorithm=st.m_sam(rho, m))
    assert limit.status == "no_interpolation" and limit.certificate is None
    peer = solve_ivp(
        lambda _, z: log_rates(data, rho, m, z),
        (0.0, 2e4),
        np.full(20, 2.0 * np.log(0.1) - np.log(2.0)),
        t_eval=[2e4],
        method="LSODA",
        rtol=1e-10,
        atol=1e-8,
    )
    beta = (np.exp(peer.y[:10, -1]) - np.exp(peer.y[10:, -1])) / 2.0
    assert data.loss(beta) > 0.05 * data.loss(np.zeros(10))
    assert np.max(np.abs(limit.beta - beta)) < 1e-6
    wrong = solve_ivp(
        lambda _, z: log_rates(data, 1.01 * rho, m, z), (0.0, 5.0), peer.y[:, -1], method="LSODA"
    )
    moved = (np.exp(wrong.y[:10, -1]) - np.exp(wrong.y[10:, -1])) / 2.0
    assert np.max(np.abs(limit.beta - moved)) > 1e-6 or np.max(np.abs(beta)) < 1e-6


def test_a_saddle_is_not_rest():
    X = np.eye(2)
    rate, fall = np.array([1.0, 0.1]), np.array([2.0, 0.2])
    assert at_rest(X, 1.0, 1e3, rate, fall)
    assert not at_rest(X, 1.0, 1e3, rate, np.array([2.0, 0.0999]))
    assert not at_rest(X, 0.4, 1e3, rate, fall)
    assert not at_rest(X, 1.0, 1.0, rate, fall)


class Enough(Exception):
    """Raised by a progress function."""


@pytest.mark.parametrize("m", [1, 5])
def test_a_flow_that_is_interrupted_goes_on_with_the_same_bits(m):
    field = field_of(st.sparse_regression(), 0.01, st.m_sam(0.3, m))
    whole, parts = (Integrator(field, tol=1e-11, rank=20) for _ in range(2))

    def interrupt(_share):
        raise Enough

    assert whole.to_limit() == "finished"
    count = 0
    while True:
        try:
            assert parts.to_limit(interrupt) == "finished"
            break
        except Enough:
            count += 1
    assert count >= 2
    assert np.array_equal(whole.state, parts.state)
    assert np.array_equal(whole.rest()[0], parts.rest()[0])
    assert whole.doubled_loss == parts.doubled_loss


def test_what_progress_raises_ends_the_computation():
    data, seen = st.sparse_regression(), []

    def stop(share):
        seen.append(share)
        raise Enough

    before = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.1))
    with pytest.raises(Enough):
        st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.1), progress=stop)
    assert len(seen) == 1
    after = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.1))
    assert np.array_equal(before.beta, after.beta)


def test_a_flow_that_only_the_caller_can_factorise_ends(monkeypatch):
    """The same row twice, of a size at which its factorisation inside fails by rounding."""
    rows = [[-4e6, 1e7, 4e6, -6e6], [-4e6, 1e7, 4e6, -6e6], [6e6, 4e6, -8e6, 5e6]]
    data = st.Regression(rows, [0.3, -0.6, 2.0])
    limit = st.implicit_bias(data, alpha=10.0, algorithm=st.n_sam(1.0))
    assert limit.status == "least_squares" and limit.certificate.valid
    monkeypatch.setattr(Integrator, "_factorize", lambda self: None)
    limit = st.implicit_bias(data, alpha=10.0, algorithm=st.n_sam(1.0))
    assert limit.status == "max_steps" and limit.certificate is None


def test_a_flow_that_is_given_up(monkeypatch):
    def short(field, tol, rank, solvable):
        return Integrator(field, tol=tol, rank=rank, solvable=solvable, max_steps=5)

    monkeypatch.setattr(flow_module, "_integrator", short)
    limit = st.implicit_bias(st.sparse_regression(), alpha=0.1, algorithm=st.one_sam(0.1))
    assert limit.status == "max_steps" and limit.certificate is None
