"""Doubled-precision products against exact rational arithmetic."""

from fractions import Fraction

import numpy as np

from sam_theory.diagonal.dual.compensated import dual_image, residual_pair


def hard_data(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3, 40)) * 10.0 ** rng.uniform(-8, 8, 40)
    beta = rng.standard_normal(40) * 10.0 ** rng.uniform(-8, 8, 40)
    return X, beta, X @ beta


def test_residual_within_its_bound_and_nearly_exact():
    for seed in range(20):
        X, beta, y = hard_data(seed)
        value, bound = residual_pair(X, beta, y)
        for i in range(3):
            exact = sum(Fraction(a) * Fraction(b) for a, b in zip(X[i], beta, strict=True))
            exact -= Fraction(y[i])
            error = abs(Fraction(value[i]) - exact)
            assert error <= Fraction(bound[i])
            assert bound[i] <= 1e-15 * abs(value[i]) + 1e-27 * np.sum(np.abs(X[i] * beta))
            plain = Fraction(float(X[i] @ beta) - y[i])
            assert error < Fraction(1, 1000) * (abs(plain - exact) + Fraction(1, 10**9))


def test_dual_image_within_its_bound():
    rng = np.random.default_rng(0)
    for seed in range(10):
        X, shift, _ = hard_data(seed)
        mu = rng.standard_normal(3) * 1e5
        low = mu * 1e-17
        high, rest, bound = dual_image(X, mu, low, shift)
        for j in range(40):
            exact = Fraction(shift[j]) + sum(
                Fraction(X[i, j]) * (Fraction(mu[i]) + Fraction(low[i])) for i in range(3)
            )
            error = abs(Fraction(high[j]) + Fraction(rest[j]) - exact)
            assert error <= Fraction(bound[j])
            assert abs(rest[j]) <= np.spacing(abs(high[j]))
