"""Least squares on badly conditioned data: exact constants are exact, bounds are safe."""

import mpmath
import numpy as np
import pytest

from sam_theory import convergence as rates


def conditioned(condition, seed, shape=(9, 3)):
    """X with singular values from 1 down to 1/condition."""
    generator = np.random.default_rng(seed)
    k = min(shape)
    U = np.linalg.qr(generator.standard_normal((shape[0], k)))[0]
    V = np.linalg.qr(generator.standard_normal((shape[1], k)))[0]
    return (U * np.geomspace(1.0, 1.0 / condition, k)) @ V.T, generator.standard_normal(shape[0])


def in_many_digits(X, y):
    """mu and L* of least squares with full column rank, in 80 digits."""
    with mpmath.workdps(80):
        matrix, labels = mpmath.matrix(X.tolist()), mpmath.matrix(y.tolist())
        square = matrix.T * matrix
        mu = min(mpmath.eigsy(square / len(X), eigvals_only=True))
        residual = matrix * mpmath.lu_solve(square, matrix.T * labels) - labels
        return mu, (residual.T * residual)[0] / (2 * len(X))


def test_a_small_direction_is_not_dropped():
    problem = rates.least_squares([[1.0, 0.0], [0.0, 1e-6]], [1.0, 1.0], start=[1.0, 5e6])
    known = problem.constants
    assert known.mu.value == pytest.approx(5e-13, rel=1e-9) and known.mu.how == "exact"
    assert known.minimum.value == 0.0 and known.minimum.how == "exact"
    assert set(rates.verify("T3-PL", problem)["verdict"]) == {"holds"}


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("shape", [(3, 5), (6, 4), (4, 4)])
def test_ridge_keeps_every_direction(scale, shape):
    generator = np.random.default_rng(0)
    X, y = scale * generator.standard_normal(shape), generator.standard_normal(shape[0])
    X[-1] = X[0]
    known = rates.least_squares(X, y, l2=0.1).constants
    if shape != (6, 4):
        assert known.mu.value == pytest.approx(0.1, rel=1e-9)
    else:
        assert known.mu.value == pytest.approx(0.1 + np.linalg.svd(X)[1][-1] ** 2 / 6, rel=1e-9)
    with mpmath.workdps(60):
        matrix, labels = mpmath.matrix(X.tolist()), mpmath.matrix(y.tolist())
        n = shape[0]
        # L* = (1/2n) y.(I + X X^T/(n l2))^{-1} y, by duality.
        kernel = mpmath.eye(n) + matrix * matrix.T / (n * mpmath.mpf(0.1))
        least = (labels.T * mpmath.lu_solve(kernel, labels))[0] / (2 * n)
        assert float(abs(known.minimum.value - least) / least) < 1e-8


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("condition", [1e3, 1e5, 1e7, 1e9, 1e12])
def test_exact_where_it_says_so_and_safe_elsewhere(condition, seed):
    X, y = conditioned(condition, seed)
    known = rates.least_squares(X, y).constants
    for constant, truth in zip((known.mu, known.minimum), in_many_digits(X, y), strict=True):
        if constant.how == "exact":
            assert float(abs(constant.value / truth - 1)) < 1e-8
        else:
            assert condition > 1e5 and constant.how == "bound" and constant.value <= truth
    assert known.mu.how == ("exact" if condition < 1e6 else "bound")


@pytest.mark.parametrize("condition", [1e3, 1e10])
def test_variance_does_not_depend_on_the_condition(condition):
    """In the coordinates U t of the residual the sublevel set is a ball, whatever s is."""
    X, y = conditioned(condition, 0, (4, 4))
    problem = rates.least_squares(X, y)
    height = 0.7
    most = problem.variance_on(height).value
    rows, directions = np.sum(X**2, axis=1), np.random.default_rng(1).standard_normal((20_000, 4))
    residuals = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    residuals *= np.sqrt(2.0 * 4 * height)
    values = residuals**2 @ rows / 4 - np.sum((residuals @ X / 4) ** 2, axis=1)
    assert values.max() <= most * (1.0 + 1e-12) and values.max() > 0.99 * most


def test_zero_singular_values_are_still_zero():
    generator = np.random.default_rng(2)
    X = generator.standard_normal((8, 3)) @ generator.standard_normal((3, 6))
    known = rates.least_squares(X, generator.standard_normal(8)).constants
    assert known.mu.value == pytest.approx(np.linalg.svd(X)[1][2] ** 2 / 8, rel=1e-10)
    assert known.mu.how == "exact"
