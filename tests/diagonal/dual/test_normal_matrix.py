"""Solves with the Newton matrix: every factor, reuse of one, and what is refused."""

import mpmath as mp
import numpy as np
import pytest
from scipy import linalg, sparse

from sam_theory.diagonal.dual import normal_matrix
from sam_theory.diagonal.dual.normal_matrix import NormalMatrix


def instance(spread, n=6, d=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    theta = spread * rng.standard_normal(d)
    return X, theta, rng.standard_normal(n)


def weight(theta):
    grown = np.cosh(theta)
    return grown / np.max(grown)


def assert_solves(solver, X, theta, rhs, tolerance):
    step, move = solver.solve(theta, weight(theta), rhs, 1e-3)
    residual = (X * weight(theta)) @ (X.T @ step) - rhs
    assert np.max(np.abs(residual)) <= tolerance * np.max(np.abs(rhs))
    assert np.max(np.abs(move - X.T @ step)) <= 1e-6 * np.max(np.abs(move))


@pytest.fixture
def large(monkeypatch):
    """Treat small problems as large ones."""
    monkeypatch.setattr("sam_theory.design._SINGLE_FROM", 0)
    monkeypatch.setattr(normal_matrix, "_REUSE_FROM", 0)
    monkeypatch.setattr(normal_matrix, "_SMALL", -1)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_small_problems_are_solved_to_rounding(form, spread):
    X, theta, rhs = instance(spread)
    solver = NormalMatrix(form(X), np.max(np.abs(X), axis=1))
    for factor in (1.0, 0.999, 0.5):
        assert_solves(solver, X, factor * theta, rhs, 1e-7)
    assert solver.level == 2 and solver.at is None


@pytest.mark.usefixtures("large")
def test_a_factor_serves_points_nearby():
    X, theta, rhs = instance(1.0)
    solver = NormalMatrix(X, np.max(np.abs(X), axis=1))
    assert_solves(solver, X, theta, rhs, 1e-4)
    first = solver.at
    assert solver.level < 2 and np.array_equal(first, theta)
    assert_solves(solver, X, theta + 0.3, rhs, 1e-2)
    assert_solves(solver, X, theta + 0.05 * np.sign(theta), 1e-200 * rhs, 1e-2)
    assert solver.at is first
    assert_solves(solver, X, 3.0 * theta, rhs, 1e-2)
    assert solver.at is not first


@pytest.mark.usefixtures("large")
def test_precision_follows_the_conditioning():
    X, theta, rhs = instance(1.0)
    X[1] = X[0] + 3e-4 * X[1]
    solver = NormalMatrix(X, np.max(np.abs(X), axis=1))
    assert_solves(solver, X, theta, rhs, 1e-6)
    assert solver.level == 2 and solver.at is not None
    X[1] = X[0] + 1e-9 * X[1]
    solver = NormalMatrix(X, np.max(np.abs(X), axis=1))
    assert_solves(solver, X, theta, X @ (weight(theta) * (X.T @ rhs)), 1e-5)
    assert solver.at is None


def test_weights_of_many_decades():
    X, _, rhs = instance(0.0)
    for decades in (8, 16, 24):
        graded = np.where(np.arange(20) < 4, 1.0, 10.0**-decades)
        solver = NormalMatrix(X, np.max(np.abs(X), axis=1))
        step, _ = solver.solve(np.zeros(20), graded, rhs, 1e-3)
        with mp.workdps(80):
            exact = mp.matrix(X) * mp.diag([mp.mpf(float(w)) for w in graded]) * mp.matrix(X).T
            exact = np.array(mp.lu_solve(exact, mp.matrix(rhs)), dtype=float)
        assert np.max(np.abs(step - exact)) < 1e-3 * np.max(np.abs(exact))


def test_dependent_rows_are_refused():
    X, theta, rhs = instance(1.0)
    X[1] = 0.0
    with pytest.raises(linalg.LinAlgError):
        NormalMatrix(X, np.ones(6)).solve(theta, weight(theta), rhs, 1e-3)


@pytest.mark.usefixtures("large")
def test_a_stale_factor_is_seen(monkeypatch):
    """Without conjugate gradients a factor of another point fails the check above."""
    X, theta, rhs = instance(1.0)
    solver = NormalMatrix(X, np.max(np.abs(X), axis=1))
    assert_solves(solver, X, theta, rhs, 1e-2)

    def stale(self, weight, rhs, reduction):
        step = self._apply(rhs)
        return step, self.X.T @ step

    monkeypatch.setattr(NormalMatrix, "_conjugate_gradients", stale)
    with pytest.raises(AssertionError):
        assert_solves(solver, X, theta + 0.5 * np.sign(theta), rhs, 1e-2)


def test_a_small_factor_that_is_not_trusted_is_left_to_others():
    X, theta, rhs = instance(1.0)
    step, move = np.empty(6), np.empty(20)
    assert normal_matrix.small_solve(X, weight(theta), rhs, step, move)
    np.testing.assert_allclose((X * weight(theta)) @ move, rhs, rtol=1e-12)
    X[1] = X[0] + 1e-9 * X[1]
    assert not normal_matrix.small_solve(X, weight(theta), rhs, step, move)
    X[1] = X[0]
    assert not normal_matrix.small_solve(X, weight(theta), rhs, step, move)
