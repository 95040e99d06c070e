"""Synthetic regressions with designs that are not isotropic, each drawn from its seed alone."""

from __future__ import annotations

import numpy as np

import sam_theory as st
from sam_theory.errors import InputError

DESIGNS = {
    "isotropic": "independent standard Gaussian entries",
    "correlated 0.5": "neighbouring columns correlated, AR(1) with coefficient 0.5",
    "correlated 0.9": "neighbouring columns correlated, AR(1) with coefficient 0.9",
    "common factor": "every two columns correlated, coefficient 0.5",
    "sparse entries": "Gaussian entries, each present with probability 0.3, unit variance",
    "scaled columns": "Gaussian columns with log-normal standard deviations, sigma 0.7",
    "large support": "Gaussian columns, those of the support twice as large",
    "small support": "Gaussian columns, those of the support half as large",
}


def make(
    design: str,
    seed: int,
    *,
    n: int = 20,
    d: int = 30,
    nonzeros: int = 3,
    noise: float = 0.0,
    n_test: int = 1000,
) -> st.Regression:
    """Draw one instance.

    Parameters
    ----------
    design : str
        A key of :data:`DESIGNS`.
    seed : int
        Of a generator of its own; the same for all designs, so that designs are paired.
    n, d, nonzeros : int
        Rows, columns, and nonzero coefficients: Gaussian with random signs at random places, of
        unit Euclidean norm together.
    noise : float
        Standard deviation of the noise on y; the test target has none.
    n_test : int
        Test rows.

    Returns
    -------
    sam_theory.Regression
        With ``beta_star`` and ``test``.

    Raises
    ------
    InputError
        An unknown design, or more nonzeros than columns.
    """
    if design not in DESIGNS:
        raise InputError(f"no design named {design!r}; known: {', '.join(DESIGNS)}")
    if not 1 <= nonzeros <= d:
        raise InputError(f"nonzeros = {nonzeros} must lie between 1 and d = {d}")
    stream = np.random.default_rng(seed)
    rows = n + n_test
    X = stream.standard_normal((rows, d))
    support = stream.permutation(d)[:nonzeros]
    star = np.zeros(d)
    star[support] = stream.standard_normal(nonzeros)
    star /= np.linalg.norm(star)
    errors = stream.standard_normal(n)
    X = _shaped(X, design, support, stream)
    y = X @ star
    return st.Regression(
        X[:n],
        y[:n] + noise * errors,
        beta_star=star,
        test=st.Regression(X[n:], y[n:], beta_star=star),
        source=f"{design}, seed {seed}",
    )


def _shaped(
    X: np.ndarray, design: str, support: np.ndarray, stream: np.random.Generator
) -> np.ndarray:
    """Give independent Gaussian columns the covariance and scale of a design."""
    rows, d = X.shape
    if design.startswith("correlated"):
        coefficient = float(design.split()[1])
        for j in range(1, d):
            fresh = np.sqrt(1.0 - coefficient**2) * X[:, j]
            X[:, j] = coefficient * X[:, j - 1] + fresh
    elif design == "common factor":
        X = np.sqrt(0.5) * (X + stream.standard_normal((rows, 1)))
    elif design == "sparse entries":
        X = X * (stream.random((rows, d)) < 0.3) / np.sqrt(0.3)
    elif design == "scaled columns":
        X = X * np.exp(0.7 * stream.standard_normal(d))
    elif design in ("large support", "small support"):
        scale = np.ones(d)
        scale[support] = 2.0 if design == "large support" else 0.5
        X = X * scale
    return X
