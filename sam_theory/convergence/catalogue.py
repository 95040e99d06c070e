"""Theorems and built-in problems by name; the problems at the sizes of the study."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sam_theory.convergence import nonconvex
from sam_theory.convergence.bounds import BOUNDS
from sam_theory.convergence.classification import logistic, saturating
from sam_theory.convergence.exact import EXACT
from sam_theory.convergence.networks import diagonal, factorization
from sam_theory.convergence.problems import Array, Problem
from sam_theory.convergence.regression import least_squares
from sam_theory.convergence.theorems import Theorem
from sam_theory.errors import InputError

THEOREMS: dict[str, Theorem] = {one.name: one for one in (*BOUNDS, *EXACT)}
"""Every theorem by its name."""


def _rows(seed: int, n: int, d: int) -> tuple[np.random.Generator, Array]:
    generator = np.random.default_rng(seed)
    return generator, generator.standard_normal((n, d)) / np.sqrt(d)


def _least_squares(seed: int) -> Problem:
    generator, X = _rows(seed, 40, 8)
    return least_squares(X, X @ generator.standard_normal(8) + 0.5 * generator.standard_normal(40))


def _interpolation(seed: int) -> Problem:
    generator, X = _rows(seed, 12, 30)
    return least_squares(X, X @ generator.standard_normal(30), name="interpolation")


def _rank_deficient(seed: int) -> Problem:
    generator, X = _rows(seed, 32, 4)
    return least_squares(
        X @ generator.standard_normal((4, 10)), generator.standard_normal(32), name="rank_deficient"
    )


def _ridge(seed: int) -> Problem:
    generator, X = _rows(seed, 20, 30)
    return least_squares(X, generator.standard_normal(20), l2=0.05)


def _logistic(seed: int, l2: float) -> Problem:
    generator, X = _rows(seed, 40, 8)
    y = np.where(
        X @ generator.standard_normal(8) + 0.5 * generator.standard_normal(40) > 0.0, 1.0, -1.0
    )
    return logistic(2.0 * X, y, l2=l2)


def _saturating(seed: int) -> Problem:
    generator, X = _rows(seed, 40, 8)
    y = X @ generator.standard_normal(8)
    y[::8] += 5.0
    return saturating(X, y)


def _waves(seed: int) -> Problem:
    generator = np.random.default_rng(seed)
    Q = np.linalg.qr(generator.standard_normal((8, 8)))[0]
    return nonconvex.wave(Q, generator.standard_normal(8), name="waves")


def _noisy_quadratic(seed: int) -> Problem:
    generator = np.random.default_rng(seed)
    return nonconvex.quadratic(
        np.logspace(-1.0, 0.0, 6), centers=generator.standard_normal((32, 6)),
        start=np.full(6, 3.0), name="noisy_quadratic",
    )  # fmt: skip


def _factorization(seed: int) -> Problem:
    generator = np.random.default_rng(seed)
    U = np.linalg.qr(generator.standard_normal((6, 6)))[0][:3] * 1.5
    V = np.linalg.qr(generator.standard_normal((6, 6)))[0][:4] * 1.5
    return factorization(U @ V.T + 0.2 * generator.standard_normal((3, 4)), U, V, radius=0.5)


def _diagonal(seed: int) -> Problem:
    generator, X = _rows(seed, 4, 8)
    return diagonal(X, X @ (generator.standard_normal(8) * 0.4), alpha=0.8, largest=1.3, least=0.4)


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "least_squares": _least_squares,
    "interpolation": _interpolation,
    "rank_deficient": _rank_deficient,
    "ridge": _ridge,
    "logistic": lambda seed: _logistic(seed, 0.05),
    "logistic_plain": lambda seed: _logistic(seed, 0.0),
    "saturating": _saturating,
    "wave": lambda seed: nonconvex.wave(),
    "waves": _waves,
    "quadratic": lambda seed: nonconvex.quadratic(np.logspace(-1.5, 0.0, 10)),
    "isotropic": lambda seed: nonconvex.quadratic(np.full(5, 0.7), name="isotropic"),
    "noisy_quadratic": _noisy_quadratic,
    "slow_quadratic": lambda seed: nonconvex.slow_quadratic(),
    "factorization": _factorization,
    "diagonal": _diagonal,
    "double_well": lambda seed: nonconvex.double_well(),
}
"""Every built-in problem by its name, as a function of the seed of its data."""


def problem(name: str, seed: int = 0) -> Problem:
    """Return a built-in problem.

    Parameters
    ----------
    name : str
        A key of PROBLEMS.
    seed : int
        Of its data.

    Returns
    -------
    Problem
        At the size of the study of rates.

    Raises
    ------
    InputError
        There is none of that name; the known ones are listed.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> rates.problem("ridge").n, rates.problem("ridge").d
    (20, 30)
    """
    if name not in PROBLEMS:
        raise InputError(f"no problem named {name!r}; known: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](seed)


def theorem(name: str) -> Theorem:
    """Return a theorem by its name.

    Parameters
    ----------
    name : str
        A key of THEOREMS.

    Returns
    -------
    Theorem
        With its assumptions, schedule and bound.

    Raises
    ------
    InputError
        There is none of that name; the known ones are listed.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> rates.theorem("T1").title
    'stochastic SAM, mean squared gradient'
    """
    if name not in THEOREMS:
        raise InputError(f"no theorem named {name!r}; known: {', '.join(THEOREMS)}")
    return THEOREMS[name]
