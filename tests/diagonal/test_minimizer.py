"""The convex problem against 45-digit solutions, limits in alpha, degenerate data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diagonal.truth import exact_minimum, max_error
from scipy import sparse
from scipy.optimize import linprog, minimize

from sam_theory import InputError, certify, minimize_potential
from sam_theory.diagonal.dual import newton


def sparse_problem(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    beta = np.zeros(d)
    beta[: max(1, n // 10)] = rng.standard_normal(max(1, n // 10))
    return X, X @ beta


def least_l1(X, y):
    d = X.shape[1]
    found = linprog(np.ones(2 * d), A_eq=np.hstack([X, -X]), b_eq=y, method="highs")
    return found.x[:d] - found.x[d:]


@pytest.mark.parametrize("alpha", [10.0, 0.1, 1e-3, 1e-6])
def test_agrees_with_45_digits(alpha):
    X, y = sparse_problem(8, 15)
    found = minimize_potential(X, y, alpha)
    error = max_error(found.beta, exact_minimum(X, y, alpha, found.dual))
    assert error <= 4e-16 * np.max(np.abs(found.beta))


def test_agrees_with_a_primal_solver():
    X, y = sparse_problem(5, 9, seed=1)
    alpha, null = 0.3, np.linalg.svd(X)[2][5:].T
    start = np.linalg.lstsq(X, y)[0]

    def objective(z):
        z = 2.0 * (start + null @ z) / alpha**2
        return np.sum(z * np.arcsinh(z) - np.sqrt(1.0 + z * z))

    peer = minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    beta = start + null @ peer.x
    assert np.max(np.abs(minimize_potential(X, y, alpha).beta - beta)) < 1e-6


@pytest.mark.parametrize("start", ["none", "near"])
@pytest.mark.parametrize("alpha", [10.0, 1e-1, 1e-3, 1e-12, 1e-60])
def test_small_problems_are_solved_as_all_others(alpha, start, monkeypatch):
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((7, 15)), rng.standard_normal(7)
    log_alpha, shift = np.full(15, np.log(alpha)), 0.1 * rng.standard_normal(15)
    near = None
    if start == "near":
        mu = newton.solve_dual(X, y, log_alpha, shift).mu
        near = mu * (1.0 + 1e-3 * rng.standard_normal(7))
    small = newton.solve_dual(X, y, log_alpha, shift, start=near)
    monkeypatch.setattr(newton, "is_small", lambda X: False)
    other = newton.solve_dual(X, y, log_alpha, shift, start=near)
    assert small.converged and other.converged
    assert abs(small.iterations - other.iterations) <= 2
    np.testing.assert_allclose(small.beta, other.beta, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(small.mu + small.mu_low, other.mu + other.mu_low, rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e6, 1e-1, 1e-3, 1e-8])
def test_large_problem_within_30_newton_steps(alpha):
    X, y = sparse_problem(200, 5000)
    found = minimize_potential(X, y, alpha)
    assert found.status == "converged"
    assert found.certificate.residual <= 1e-12
    assert found.iterations < 30


@pytest.mark.parametrize("alpha", [1e-30, 1e-100, 1e-150])
def test_small_alpha_reaches_the_least_l1_interpolator(alpha):
    for seed in range(4):
        X, y = sparse_problem(20, 30, seed)
        found = minimize_potential(X, y, alpha)
        assert found.status == "converged"
        assert found.certificate.residual <= 1e-12
        assert np.max(np.abs(found.beta - least_l1(X, y))) < 5e-8
        X, y = X, np.random.default_rng(seed).standard_normal(20)
        found = minimize_potential(X, y, alpha)
        assert found.certificate.residual <= 1e-12 * np.sum(np.abs(found.beta))
        best = np.sum(np.abs(least_l1(X, y)))
        assert abs(np.sum(np.abs(found.beta)) - best) < 1e-2 * best


def test_large_alpha_reaches_the_weighted_l2_interpolator():
    X, y = sparse_problem(6, 11)
    weights = np.linspace(1.0, 2.0, 11)
    beta = minimize_potential(X, y, 5e5 * weights).beta
    D = np.diag(weights**2)
    expected = D @ X.T @ np.linalg.solve(X @ D @ X.T, y)
    assert np.max(np.abs(beta - expected)) < 1e-10


def test_shift_displaces_the_mirror_image():
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((5, 9)), rng.standard_normal(5)
    shift = 0.3 * rng.standard_normal(9)
    alpha = 0.2 * np.exp(0.1 * rng.standard_normal(9))
    found = minimize_potential(X, y, alpha, shift)
    exact = exact_minimum(X, y, alpha, found.dual, shift)
    assert max_error(found.beta, exact) <= found.certificate.error_bound < 1e-12
    expected = alpha**2 / 2 * np.sinh(2.0 * X.T @ found.dual + shift)
    assert np.max(np.abs(found.beta - expected)) < 1e-13
    without = minimize_potential(X, y, alpha).beta
    assert np.max(np.abs(found.beta - without)) > 1e-3


def test_rank_deficient_and_consistent():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((4, 9))
    tall = np.vstack([X, X[0] - 2.0 * X[1], X[3]])
    beta = rng.standard_normal(9)
    found = minimize_potential(tall, tall @ beta, 0.1)
    assert (found.status, found.rank) == ("converged", 4)
    assert np.max(np.abs(found.beta - minimize_potential(X, X @ beta, 0.1).beta)) < 1e-13
    assert found.certificate.error_bound < 1e-11


def test_inconsistent_is_answered_by_the_least_squares_limit():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((9, 5)), rng.standard_normal(9)
    found = minimize_potential(X, y, 0.1)
    assert found.status == "least_squares"
    assert np.max(np.abs(found.beta - np.linalg.lstsq(X, y)[0])) < 1e-12


def test_nothing_to_fit():
    found = minimize_potential(np.zeros((2, 3)), np.zeros(2), 0.1, [0.0, 1.0, -2.0])
    assert np.allclose(found.beta, 0.005 * np.sinh([0.0, 1.0, -2.0]), rtol=1e-15, atol=0.0)
    assert minimize_potential(np.eye(2, 3), np.zeros(2), 0.1).beta.tolist() == [0.0] * 3


@pytest.mark.parametrize("alpha", [1.0, 1e-4, 1e-30])
def test_nearly_collinear_rows(alpha):
    u = np.linspace(0.0, 1.0, 200)
    centers = np.linspace(0.1, 0.9, 8)
    X = np.exp(-(((u - centers[:, None]) / 0.6) ** 2))
    y = X @ np.where(np.abs(u - 0.4) < 0.05, 1.0, 0.0)
    assert np.linalg.cond(X) > 1e6
    found = minimize_potential(X, y, alpha)
    assert found.status == "converged"
    assert found.certificate.residual <= 1e-12 * np.sum(np.abs(found.beta))


@pytest.mark.parametrize("decades", [(-8, 2), (-30, 0), (-150, 6)])
def test_alpha_of_its_own_for_every_coordinate(decades):
    """An answer is right or says that it is not; nearly all are right, up to 156 decades apart."""
    rng = np.random.default_rng(9)
    converged = 0
    for k in range(60):
        n = int(rng.integers(1, 15))
        d = int(rng.integers(n, 40))
        X = rng.standard_normal((n, d))
        alpha = 10.0 ** rng.uniform(*decades, d)
        y = X @ (rng.standard_normal(d) * (rng.random(d) < 0.3)) if k % 2 else X @ np.ones(d)
        found = minimize_potential(X, y, alpha, 0.5 * rng.standard_normal(d) if k % 5 else None)
        misfit = np.max(np.abs(X @ found.beta - y))
        if found.status == "converged":
            converged += 1
            assert misfit <= 1e-11 * max(np.max(np.abs(X) @ np.abs(found.beta)), 1e-30)
        else:
            assert found.status == "max_steps"
    assert converged >= (60 if decades[0] > -10 else 57)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"alpha": -1.0}, "alpha must be positive"),
        ({"alpha": np.nan}, "alpha must be positive and finite, got nan"),
        ({"alpha": 1e-200}, "alpha must lie between"),
        ({"alpha": [0.1, 0.2]}, "alpha must be a number or 3 numbers"),
        ({"shift": [np.inf, 0.0, 0.0]}, "shift must be finite"),
        ({"y": np.ones(3)}, "y has length 3 but X has 2 rows"),
        ({"X": np.array([[1.0, np.nan, 0.0], [0.0, 1.0, 0.0]])}, "row"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"X": np.eye(2, 3), "y": np.ones(2), "alpha": 0.1, "shift": None} | change
    with pytest.raises(InputError, match=message):
        minimize_potential(**arguments)


def sparse_instance(rng, n, d, density):
    """A design of independent rows with few entries, as an array and as a sparse array."""
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    X[:, :n] += np.eye(n)
    beta = rng.standard_normal(d) * (rng.random(d) < 0.2)
    return X, sparse.csr_array(X), X @ beta


@pytest.mark.parametrize("alpha", [10.0, 0.1, 1e-3, 1e-8, 1e-30])
def test_sparse_equals_dense(alpha):
    rng = np.random.default_rng(10)
    for n, d in ((5, 12), (20, 60), (40, 400)):
        X, matrix, y = sparse_instance(rng, n, d, 0.1)
        shift = 0.2 * rng.standard_normal(d)
        dense, found = (minimize_potential(form, y, alpha, shift) for form in (X, matrix))
        assert (found.status, found.rank) == (dense.status, dense.rank) == ("converged", n)
        allowed = dense.certificate.error_bound + found.certificate.error_bound
        assert np.max(np.abs(found.beta - dense.beta)) <= allowed
        assert allowed < (1e-9 if alpha > 1e-9 else 1e-6)
        assert found.certificate.residual <= 1e-13 * np.max(np.abs(X) @ np.abs(found.beta))


def test_sparse_agrees_with_45_digits():
    X, matrix, y = sparse_instance(np.random.default_rng(11), 8, 20, 0.2)
    for alpha in (0.1, 1e-4):
        found = minimize_potential(matrix, y, alpha)
        exact = exact_minimum(X, y, alpha, found.dual)
        assert max_error(found.beta, exact) <= 4e-16 * np.max(np.abs(found.beta))


def test_sparse_and_rank_deficient():
    X, _, _ = sparse_instance(np.random.default_rng(12), 6, 15, 0.2)
    tall = np.vstack([X, X[0] - X[1], np.zeros(15), X[2]])
    y = tall @ np.linspace(-1.0, 1.0, 15)
    found = minimize_potential(sparse.csc_array(tall), y, 0.1)
    assert (found.status, found.rank) == ("converged", 6)
    assert np.max(np.abs(found.beta - minimize_potential(tall, y, 0.1).beta)) < 1e-13
    found = minimize_potential(sparse.csr_array(tall), y + np.eye(9)[7], 0.1)
    assert found.status == "least_squares"


def test_large_problems_go_through_single_precision(monkeypatch):
    """Every size takes the path of large ones: the same answer, certified, to rounding."""
    for name in ("design._SINGLE_FROM", "diagonal.dual.normal_matrix._REUSE_FROM"):
        monkeypatch.setattr(f"sam_theory.{name}", 0)
    for n, d, alpha in ((8, 15, 0.1), (8, 15, 1e-3), (8, 15, 1e-9), (30, 80, 1e-2), (8, 90, 30.0)):
        X, y = sparse_problem(n, d, seed=n)
        X[1] *= 1e12
        y[1] *= 1e12
        found = minimize_potential(X, y, alpha)
        assert found.status == "converged"
        if n == 8:
            exact = exact_minimum(X, y, alpha, found.dual)
            assert max_error(found.beta, exact) <= 1e-15 * np.max(np.abs(found.beta))
        assert found.certificate.error_bound < 1e-10


MEMORY = """
import sys
import numpy as np, sam_theory as st
def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
n, d, alpha = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
X = np.random.default_rng(0).standard_normal((20, 50))
st.minimize_potential(X, X[:, 0].copy(), 0.1)
before = peak()
X = np.random.default_rng(0).standard_normal((n, d))
data = st.Regression(X, X[:, :20].sum(axis=1))
assert data.rank == n
found = st.minimize_potential(data.X, data.y, alpha)
assert found.status == "converged" and found.certificate.residual <= 1e-12
assert found.certificate.error_bound < 1e-9
print((peak() - before) / X.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux")
@pytest.mark.parametrize(
    ("n", "d", "alpha"), [(2000, 10_000, 0.1), (500, 20_000, 1e-3), (500, 20_000, 1e-8)]
)
def test_peak_memory_is_at_most_three_times_the_data(n, d, alpha):
    command = [sys.executable, "-c", MEMORY, str(n), str(d), str(alpha)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) <= 3.0


@pytest.mark.parametrize("alpha", [1e-12, 1e-30, 1e-100])
@pytest.mark.parametrize(("n", "d", "nonzeros"), [(20, 60, 3), (20, 30, 3), (50, 400, 5)])
def test_exactly_sparse_labels_are_certified(alpha, n, d, nonzeros):
    """Fewer large coordinates than rows: in double precision beta hardly knows its mu."""
    rng = np.random.default_rng(0)
    truth = np.zeros(d)
    truth[:nonzeros] = rng.standard_normal(nonzeros)
    for X in (rng.standard_normal((n, d)), np.round(8.0 * rng.standard_normal((n, d))) / 8.0):
        y = X @ truth
        found = minimize_potential(X, y, alpha)
        assert found.status == "converged"
        assert np.max(np.abs(found.beta - truth)) <= 1e-6  # their distance at alpha = 1e-12
        assert found.certificate.error_bound <= 1e-5
        wrong = found.beta.copy()
        wrong[0] += 1e-4
        assert certify(X, y, alpha, wrong).error_bound >= 1e-4
