"""The convex problem against 45-digit solutions, limits in alpha, degenerate data."""

import numpy as np
import pytest
from diagonal.truth import exact_minimum, max_error
from scipy.optimize import linprog, minimize

from sam_theory import InputError, minimize_potential


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


@pytest.mark.parametrize("alpha", [1e-1, 1e-3, 1e-8])
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
        ({"alpha": np.nan}, "alpha must be finite"),
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
