"""The lines of docs/convergence.md that are marked (s), by sympy."""

import pytest
import sympy as sp

beta, gamma, rho, mu = sp.symbols("beta gamma rho mu", positive=True)
g2, h2, d2, gb2, S, b, lam = sp.symbols("g2 h2 d2 gb2 S b lam", nonnegative=True)


def same(left, right):
    return sp.simplify(left - right) == 0


def test_polarisation():
    g1, g2_, h1, h2_ = sp.symbols("g1 g2_ h1 h2_", real=True)
    inner = g1 * h1 + g2_ * h2_
    difference = (g1 - h1) ** 2 + (g2_ - h2_) ** 2
    squares = g1**2 + g2_**2 + h1**2 + h2_**2
    assert same(-inner, (difference - squares) / 2)
    assert not same(-inner, (difference - squares) / 3)


def test_t3_decrease():
    start = gamma * (beta**2 * rho**2 * g2 - g2 - h2) / 2 + gamma**2 * beta / 2 * h2
    claimed = -gamma / 2 * (1 - beta**2 * rho**2) * g2 - gamma / 2 * (1 - gamma * beta) * h2
    assert same(start, claimed)


def test_young():
    x, y = sp.symbols("x y", real=True)
    assert same(x * y + x**2 / 4 + y**2, (x / 2 + y) ** 2)


def test_t5_coefficients():
    noisy = g2 + S / b
    move = beta**2 * rho**2 * noisy
    second = gamma**2 * beta / 2 * (1 + beta * rho) ** 2 * noisy
    bound = -gamma * (g2 - g2 / 4 - move) + second
    c = sp.Rational(3, 4) - beta**2 * rho**2 - gamma * beta / 2 * (1 + beta * rho) ** 2
    N = beta**2 * rho**2 + gamma * beta / 2 * (1 + beta * rho) ** 2
    assert same(bound, -gamma * c * g2 + gamma * N * S / b)
    # The same numbers as the code.
    from sam_theory.convergence.bounds import t5_coefficients
    from sam_theory.convergence.catalogue import problem
    from sam_theory.convergence.theorems import Setup

    setup = Setup(problem("noisy_quadratic"), 1, 1, step_size=0.3, rho=0.2)
    values = {beta: setup.beta, gamma: 0.3, rho: 0.2}
    found = [float(e.subs(values)) for e in (c, N)]
    assert found == pytest.approx(list(t5_coefficients(setup)), rel=1e-14)


def test_neighbourhood_is_the_fixed_point():
    c, N, gap = sp.symbols("c N gap", positive=True)
    floor = N * S / (2 * mu * c * b)
    step = (1 - 2 * mu * gamma * c) * gap + gamma * N * S / b
    assert same(step - floor, (1 - 2 * mu * gamma * c) * (gap - floor))


def t1_constants(T):
    q = (1 + T ** sp.Rational(-1, 4)) ** 2 / 2
    c = sp.Rational(3, 4) - (1 + q) / sp.sqrt(T)
    return 1 / c, (1 + q) / c


def test_t1_from_t5():
    T = sp.symbols("T", positive=True)
    q = (1 + T ** sp.Rational(-1, 4)) ** 2 / 2
    values = {gamma: 1 / (beta * sp.sqrt(T)), rho: 1 / (beta * T ** sp.Rational(1, 4))}
    c = sp.Rational(3, 4) - beta**2 * rho**2 - gamma * beta / 2 * (1 + beta * rho) ** 2
    assert same(c.subs(values), sp.Rational(3, 4) - (1 + q) / sp.sqrt(T))
    first, second = t1_constants(sp.Integer(19))
    assert first.evalf() <= 4 and second.evalf() <= 8
    # Both fall with T: q and 1/sqrt T do. At T = 18 the second constant is too large.
    assert t1_constants(sp.Integer(18))[1].evalf() > 8
    x = sp.symbols("x", positive=True)
    share = ((1 + (1 + x) ** 2 / 2) * x**2).expand()
    assert all(coefficient >= 0 for coefficient in sp.Poly(share, x).all_coeffs())


def test_t6_coefficients():
    A, B, C, f = sp.symbols("A B C f", nonnegative=True)
    M = 2 * beta**2 * rho**2 * (1 + gamma * beta)
    square = A / mu * g2 + B * g2 + C
    moved = 2 * rho**2 * (1 - lam) ** 2 * square + 2 * rho**2 * lam**2
    bound = (
        -sp.Rational(3, 4) * gamma * g2
        + gamma * (1 + gamma * beta) * beta**2 * moved
        + gamma**2 * beta * square
    )
    share = gamma * beta + M * (1 - lam) ** 2
    kappa = sp.Rational(3, 4) - share * (A / mu + B)
    N = C * share + M * lam**2
    assert same(bound, -gamma * kappa * g2 + gamma * N)


def test_t6_perturbation():
    x = sp.symbols("x", positive=True)
    length = rho * ((1 - lam) * x + lam)
    bound = 2 * rho**2 * (1 - lam) ** 2 * x**2 + 2 * rho**2 * lam**2
    assert same(bound - length**2, rho**2 * ((1 - lam) * x - lam) ** 2)


def test_t6_second_moment():
    # -<g, d> <= |g|^2/4 + |d|^2 and (gamma beta/2)|h|^2 <= gamma beta (|g_B|^2 + |d|^2).
    bound = -gamma * (g2 - g2 / 4 - d2) + gamma**2 * beta * (gb2 + d2)
    claimed = -sp.Rational(3, 4) * gamma * g2 + gamma * (1 + gamma * beta) * d2
    assert same(bound, claimed + gamma**2 * beta * gb2)


def test_sampling_without_replacement():
    import itertools

    import numpy as np

    g = np.random.default_rng(0).standard_normal((5, 3))
    n, m = 5, 2
    found = np.mean(
        [np.sum(g[list(s)].mean(axis=0) ** 2) for s in itertools.combinations(range(n), m)]
    )
    first = (n - m) / (m * (n - 1)) * np.mean(np.sum(g**2, axis=1))
    second = n * (m - 1) / (m * (n - 1)) * np.sum(g.mean(axis=0) ** 2)
    assert found == pytest.approx(first + second, rel=1e-13)


def test_cycle_and_edge():
    s, x = sp.symbols("s x", positive=True)
    orbit = sp.solve(s * rho - (1 - s) * x - x, x)
    assert len(orbit) == 1 and same(orbit[0], s * rho / (2 - s))
    lam1 = sp.symbols("lam1", positive=True)
    w = gamma * rho * lam1 / (2 - gamma * lam1)
    assert same(gamma * (lam1 + rho * lam1**2 / (lam1 * w)), 2)


def test_double_well():
    x, f = sp.symbols("x"), sp.symbols("x") ** 4 / 4 - sp.symbols("x") ** 2 / 2
    slope = sp.diff(f, x)
    move = x - gamma * slope.subs(x, x + rho)
    assert same(move.subs(x, 1 - rho), 1 - rho)
    assert same(sp.diff(move, x).subs(x, 1 - rho), 1 - 2 * gamma)
    assert same(slope.subs(x, 1 - rho), rho * (rho - 1) * (2 - rho))
