"""Exact coefficients of the series that replace differences of close numbers.

Each list is long enough for float64 on the range where it is used: z below SERIES_BELOW for the
potential, t below 1 for the Bregman divergence.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

SERIES_BELOW = sp.Rational(1, 4)


def phi_series(terms: int) -> list[sp.Rational]:
    """Coefficients of phi/(beta^2/(2 alpha^2)) in z^2: (1+z^2)^(-1/2) integrated twice."""
    return [
        sp.binomial(sp.Rational(-1, 2), n) * 2 / ((2 * n + 1) * (2 * n + 2)) for n in range(terms)
    ]


def _terms_below(coefficient: Callable[[int], sp.Rational], y_max: sp.Rational) -> int:
    n = 1
    while abs(coefficient(n)) * y_max**n > abs(coefficient(0)) / sp.Integer(2) ** 58:
        n += 1
    return n


def _entire(power: int, coefficient: Callable[[int], sp.Rational]) -> tuple[int, list[sp.Rational]]:
    n = _terms_below(coefficient, sp.Integer(1))
    return power, [coefficient(i) for i in range(n)]


PHI_SERIES = phi_series(_terms_below(lambda n: phi_series(n + 1)[n], SERIES_BELOW**2))
S_SERIES = _entire(3, lambda n: sp.Integer(2 * n + 2) / sp.factorial(2 * n + 3))
C_SERIES = _entire(2, lambda n: sp.Integer(2 * n + 1) / sp.factorial(2 * n + 2))
SH_SERIES = _entire(3, lambda n: 1 / sp.factorial(2 * n + 3))
CH_SERIES = _entire(2, lambda n: 1 / sp.factorial(2 * n + 2))


def s_exact(u: sp.Expr) -> sp.Expr:
    """T cosh t - sinh t."""
    return u * sp.cosh(u) - sp.sinh(u)


def c_exact(u: sp.Expr) -> sp.Expr:
    """T sinh t - cosh t + 1."""
    return u * sp.sinh(u) - sp.cosh(u) + 1


def sh_exact(u: sp.Expr) -> sp.Expr:
    """Sinh t - t."""
    return sp.sinh(u) - u


def ch_exact(u: sp.Expr) -> sp.Expr:
    """Cosh t - 1."""
    return sp.cosh(u) - 1
