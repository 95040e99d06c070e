"""Flow limits and paths against published-precision answers, (u, v) integration, closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sam_theory as st
from sam_theory.diagonal.integrator import radau
from sam_theory.diagonal.integrator.field import FlowField
from sam_theory.diagonal.integrator.tableau import radau_tableau
from sam_theory.diagonal.potential import orthonormal_delta, orthonormal_flow, potential

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "flow_limits.json").read_text())


def assert_matches_known(limit, case):
    error = np.max(np.abs(limit.beta - case["beta"]))
    assert error <= 1e-11, f"beta off by {error:.2e}"
    scale = np.max(np.abs(limit.alpha_effective / case["alpha_effective"] - 1.0))
    assert scale <= 1e-9, f"alpha_effective off by {scale:.2e}"


def solve(case, **changes):
    case = case | changes
    data = st.Regression(np.array(case["X"]), np.array(case["y"]))
    return st.implicit_bias(
        data, alpha=case["alpha"], algorithm=st.Algorithm(rho=case["rho"], m=case["m"])
    )


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case["name"])
def test_known_limits(case):
    limit = solve(case)
    assert limit.status == "converged" and limit.certificate.valid
    assert_matches_known(limit, case)
    if case["rho"] > 0.0:
        assert np.max(np.abs(limit.delta - case["delta"])) < 1e-9
        assert limit.alpha_effective_error < 1e-9
    else:
        assert not np.any(limit.delta)


@pytest.mark.parametrize("fault", [{"m": 20}, {"rho": 0.1}, {"rho": 0.4}, {"rho": 0.0}], ids=str)
def test_faults_in_the_algorithm_are_caught(fault):
    case = next(case for case in KNOWN if case["name"] == "m-sam-5")
    with pytest.raises(AssertionError):
        assert_matches_known(solve(case, **fault), case)


def test_a_wrong_ascent_sign_is_caught(monkeypatch):
    case = next(case for case in KNOWN if case["name"] == "one-sam")
    original = FlowField.__init__

    def flipped(self, X, y, m, rho, *rest, **named):
        original(self, X, y, m, -rho, *rest, **named)

    monkeypatch.setattr(FlowField, "__init__", flipped)
    with pytest.raises(AssertionError):
        assert_matches_known(solve(case), case)


def uv_rates(X, y, rho, m, normalized, w):
    """d(u, v)/dt straight from the definition of m-SAM."""
    n, d = X.shape
    u, v = w[:d], w[d:]
    total = np.zeros(2 * d)
    for start in range(0, n, m):
        rows = slice(start, start + m)
        A, t = X[rows], y[rows]

        def gradient(p, q, A=A, t=t):
            g = A.T @ (A @ (p * q) - t) / m
            return np.concatenate([g * q, g * p])

        ascent = gradient(u, v)
        if normalized:
            ascent = ascent / np.linalg.norm(ascent)
        moved = w + rho * ascent
        total -= gradient(moved[:d], moved[d:]) * m / n
    return total


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_path_agrees_with_integration_in_u_and_v(m, normalized):
    rng = np.random.default_rng(m)
    X, y = rng.standard_normal((6, 10)), rng.standard_normal(6)
    alpha = 0.3 * np.exp(0.2 * rng.standard_normal(10))
    times = np.array([0.0, 0.1, 0.2, 0.3])
    peer = solve_ivp(
        lambda _, w: uv_rates(X, y, 0.05, m, normalized, w),
        (0.0, 0.3),
        np.concatenate([alpha, np.zeros(10)]),
        t_eval=times,
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    )
    algorithm = st.m_sam(0.05, m, normalized=normalized)
    path = st.flow(st.Regression(X, y), alpha=alpha, algorithm=algorithm, times=times)
    assert path.status == "converged"
    u, v = peer.y[:10].T, peer.y[10:].T
    assert np.max(np.abs(path.beta - u * v)) < 1e-10
    assert np.max(np.abs(path.alpha - np.sqrt(np.abs(u**2 - v**2)))) < 1e-10


def test_collocation_conditions():
    table = radau_tableau()
    s = len(table.nodes)
    for q in range(1, s + 1):
        assert np.max(np.abs(table.matrix @ table.nodes ** (q - 1) - table.nodes**q / q)) < 1e-14
    for q in range(1, 2 * s):
        assert abs(table.matrix[-1] @ table.nodes ** (q - 1) - 1.0 / q) < 1e-14
    q = 2 * s
    assert abs(table.matrix[-1] @ table.nodes ** (q - 1) - 1.0 / q) > 1e-10
    back = (table.to_stages * table.eigenvalues) @ table.from_stages
    assert np.max(np.abs(back.real - table.matrix)) < 1e-12


def orthonormal(n, seed=0):
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(rng.standard_normal((n, n)))[0] * np.sqrt(n)
    beta = rng.standard_normal(n)
    return st.Regression(X, X @ beta), beta


@pytest.mark.parametrize("alpha", [1.0, 0.1, 1e-3])
def test_orthonormal_design_in_closed_form(alpha):
    data, beta = orthonormal(7)
    times = np.array([1e-3, 0.1, 0.7, 3.0, 10.0, 40.0])
    path = st.flow(data, alpha=alpha, algorithm=st.gd(), times=times)
    for row, t in enumerate(times):
        assert np.max(np.abs(path.beta[row] - orthonormal_flow(beta, alpha, t))) <= 1e-12
        assert np.max(np.abs(path.delta[row] - orthonormal_delta(beta, alpha, t))) <= 1e-12


def test_loss_integral_is_the_potential():
    data = st.sparse_regression()
    for alpha in (0.5, 0.1, 0.02):
        limit = st.implicit_bias(data, alpha=alpha, algorithm=st.gd())
        path = st.flow(data, alpha=alpha, algorithm=st.gd(), times=[1e5])
        assert abs(2.0 * path.loss_integral[-1] - potential(limit.beta, alpha)) < 1e-10
        assert abs(2.0 * limit.loss_integral - potential(limit.beta, alpha)) < 1e-14


def test_the_loss_integral_of_sam_includes_its_tail():
    data = st.sparse_regression()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.05))
    path = st.flow(data, alpha=0.1, algorithm=st.one_sam(0.05), times=[3e5])
    assert abs(limit.loss_integral - path.loss_integral[-1]) < 1e-10
    assert np.max(np.abs(limit.delta - path.delta[-1])) < 1e-9


@pytest.mark.parametrize("algorithm", [st.n_sam(0.2), st.m_sam(0.2, 5), st.one_sam(0.1)])
def test_the_tail_replaces_the_integration(algorithm, monkeypatch):
    data = st.sparse_regression()
    late = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    monkeypatch.setattr(radau, "_LINEAR_BELOW", 2e-2)
    early = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    monkeypatch.setattr(radau.Integrator, "rest", lambda _: (np.zeros(30), 0.0))
    cut = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    missing = np.max(np.abs(late.delta - cut.delta))
    assert missing > 1e-8
    assert np.max(np.abs(late.delta - early.delta)) < 0.01 * missing


def test_minibatch_algorithms_have_the_flow_of_their_expectation():
    data = st.sparse_regression()
    plain = st.implicit_bias(data, alpha=0.1, algorithm=st.gd())
    assert np.array_equal(st.implicit_bias(data, alpha=0.1, algorithm=st.sgd()).beta, plain.beta)
    whole = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.05))
    batch = st.Algorithm(rho=0.05, m=1, batch_size=4)
    assert np.array_equal(st.implicit_bias(data, alpha=0.1, algorithm=batch).beta, whole.beta)
    with pytest.raises(st.InputError, match="batch_size = 4 with m = 2"):
        st.implicit_bias(data, alpha=0.1, algorithm=st.Algorithm(rho=0.1, m=2, batch_size=4))


def test_normalized_n_sam_reaches_its_limit_in_finite_time():
    data = st.sparse_regression()
    algorithm = st.n_sam(0.01, normalized=True)
    limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    assert limit.status == "converged" and limit.certificate.valid
    assert np.all(limit.alpha_effective < 0.1)
    ends = [1.0, 30.0, 100.0]
    path = st.flow(data, alpha=0.1, algorithm=algorithm, times=ends)
    assert np.max(np.abs(path.delta[1] - limit.delta)) < np.max(np.abs(path.delta[0] - limit.delta))


def test_normalized_blocks_are_reported_as_singular():
    data = st.sparse_regression()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.05, normalized=True))
    assert limit.status == "singular" and limit.certificate is None
    assert np.all(np.isfinite(limit.beta))


def test_inconsistent_labels():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 8)), rng.standard_normal(12)
    data = st.Regression(X, y)
    best = np.linalg.lstsq(X, y)[0]
    for algorithm in (st.gd(), st.n_sam(0.1)):
        limit = st.implicit_bias(data, alpha=0.3, algorithm=algorithm)
        assert limit.status == "least_squares"
        assert np.max(np.abs(limit.beta - best)) < 1e-12
    for algorithm in (st.m_sam(0.1, 4), st.one_sam(0.1)):
        limit = st.implicit_bias(data, alpha=0.3, algorithm=algorithm)
        assert limit.status == "no_interpolation" and limit.certificate is None


def test_rank_deficient_rows():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((6, 12))
    X = np.vstack([X, X[0] + X[1], X[2]])
    data = st.Regression(X, X @ rng.standard_normal(12))
    assert data.rank == 6
    for algorithm in (st.gd(), st.n_sam(0.1), st.m_sam(0.1, 4), st.one_sam(0.1)):
        limit = st.implicit_bias(data, alpha=0.3, algorithm=algorithm)
        assert limit.status == "converged" and limit.certificate.error_bound < 1e-11
        assert np.max(np.abs(X @ limit.beta - data.y)) < 1e-12


def test_overflow_is_one_line():
    rng = np.random.default_rng(0)
    data = st.Regression(1e90 * rng.standard_normal((5, 8)), rng.standard_normal(5))
    for algorithm in (st.n_sam(0.1), st.one_sam(0.1)):
        with pytest.raises(st.InputError, match="the flow leaves double precision: rescale"):
            st.implicit_bias(data, alpha=1.0, algorithm=algorithm)


def test_zero_labels_stay_at_zero():
    data = st.Regression(np.eye(2, 3), np.zeros(2))
    for algorithm in (st.gd(), st.n_sam(0.1), st.one_sam(0.1)):
        limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
        assert limit.status == "converged" and not np.any(limit.beta)


def test_sharpness_is_the_hessian_of_the_network():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((4, 6))
    data = st.Regression(X, X @ rng.standard_normal(6))
    limit = st.implicit_bias(data, alpha=0.4, algorithm=st.n_sam(0.1))
    root = np.sqrt(limit.beta**2 + limit.alpha_effective**4 / 4.0)
    plus, minus = np.sqrt(root + limit.beta), np.sqrt(root - limit.beta)
    w = np.concatenate([plus + minus, plus - minus]) / np.sqrt(2.0)
    assert np.max(np.abs(w[:6] * w[6:] - limit.beta)) < 1e-12

    def gradient(w):
        g = X.T @ (X @ (w[:6] * w[6:]) - data.y) / 4
        return np.concatenate([g * w[6:], g * w[:6]])

    steps = 1e-5 * np.eye(12)
    hessian = np.array([(gradient(w + h) - gradient(w - h)) / 2e-5 for h in steps])
    values = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    assert abs(values[-1] - limit.sharpness) < 1e-8 * values[-1]
    assert abs(values.sum() - limit.hessian_trace) < 1e-8 * values.sum()


def test_progress_and_frame():
    seen = []
    data = st.sparse_regression()
    limit = st.implicit_bias(
        data, alpha=0.1, algorithm=st.n_sam(0.1), progress=lambda share: seen.append(share)
    )
    assert seen[-1] == 1.0 and all(0.0 <= share <= 1.0 for share in seen)
    frame = limit.to_frame()
    assert frame.shape == (30, 5)
    assert np.array_equal(frame["beta"], limit.beta)
    assert limit.loss(data.test) == data.test.loss(limit.beta) > 0.0
    assert "n-SAM" in repr(limit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"alpha": 1e200}, "alpha must lie between"),
        ({"alpha": 1e-200}, "alpha must lie between"),
        ({"alpha": [0.1, 0.2]}, "alpha must be a number or 30 numbers"),
        ({"algorithm": st.m_sam(0.1, 3)}, "m = 3 does not divide n = 20"),
        ({"algorithm": st.m_sam(0.1, 40)}, "m = 40 exceeds n = 20"),
        ({"algorithm": "gd"}, "algorithm must be an Algorithm"),
        ({"algorithm": st.n_sam(0.1, ascent_steps=2)}, "ascent_steps must be 1"),
        ({"data": np.eye(3)}, "data must be a Regression"),
        ({"data": st.Regression(np.eye(2), [1e150, 1.0])}, r"entry of y is 1e\+150, outside"),
        ({"data": st.Regression(1e101 * np.eye(2), [1.0, 1.0])}, "entry of X is 1e\\+101, outside"),
        ({"times": [1.0, 0.5]}, "times must increase"),
        ({"times": [-1.0]}, "times must be finite and non-negative"),
    ],
)
def test_bad_input_is_named(change, message):
    named = {"alpha": 0.1, "algorithm": st.gd(), "data": st.sparse_regression()} | change
    data = named.pop("data")
    times = named.pop("times", [1.0])
    with pytest.raises(st.InputError, match=message):
        st.flow(data, times=times, **named)
    if "times" not in change:
        with pytest.raises(st.InputError, match=message):
            st.implicit_bias(data, **named)
