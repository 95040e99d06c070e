"""Two small networks with local constants: matrix factorisation and the diagonal network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_number, real_array
from sam_theory.convergence.constants import Constants, bound
from sam_theory.convergence.problems import Array, Problem
from sam_theory.convergence.regression import _data
from sam_theory.errors import InputError


def factorization(
    target: npt.ArrayLike,
    U: npt.ArrayLike,
    V: npt.ArrayLike,
    *,
    radius: float = 0.5,
    name: str = "factorization",
) -> Problem:
    r"""Two-layer linear network: L(U, V) = (1/2) |U V^T - M|_F^2 near its start.

    Parameters are U (r x k) and V (q x k) with k >= max(r, q); example i is column i of M (r x q),
    l_i = (q/2) |U v_i - m_i|^2. The constants hold where |U - U_0|_F <= R and |V - V_0|_F <= R.

    PL: with E = U V^T - M, |grad L|^2 = |E V|^2 + |E^T U|^2 >= (s(V)^2 + s(U)^2) |E|^2, s the least
    singular value (positive as k >= max(r, q)), which on the region is at least s(U_0) - R, s(V_0)
    - R. So mu = (s(U_0) - R)^2 + (s(V_0) - R)^2, with L* = 0.

    Smoothness: the Hessian along (D, F) is |D V^T + U F^T|^2 + 2 <E, D F^T> <= (|U|^2 + |V|^2 +
    |E|)(|D|^2 + |F|^2) in spectral norms; |U| <= |U_0| + R, |V| <= |V_0| + R and |E| <= |E_0| +
    R (|U_0| + |V_0|) + R^2. For one example V becomes v_i and E the column e_i, times q.

    Variance: mean |grad l_i|^2 = q sum |e_i|^2 |v_i|^2 + |U^T e_i|^2 <= 2 q (max |v_i|^2 + |U|^2)
    L.

    Parameters
    ----------
    target : array of shape (r, q)
        M.
    U : array of shape (r, k)
        Start of the first factor.
    V : array of shape (q, k)
        Start of the second factor.
    radius : float
        R, smaller than the least singular values of U and V.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        Shapes do not fit, k < max(r, q), or R leaves no PL constant.
    """
    from sam_theory.convergence.objectives import COMPILED, factorization_region

    M, first, second, R = _factors(target, U, V, radius)
    r, q = M.shape
    error = first @ second.T - M
    top_U, top_V = np.linalg.norm(first, 2) + R, np.linalg.norm(second, 2) + R
    least_U = np.linalg.svd(first, compute_uv=False).min() - R
    least_V = np.linalg.svd(second, compute_uv=False).min() - R
    if min(least_U, least_V) <= 0.0:
        raise InputError(f"radius = {R:g} reaches factors without full rank: no PL constant")
    far = np.linalg.norm(error, 2) + R * (top_U + top_V) - R**2
    rows = np.linalg.norm(second, axis=1) + R
    columns = np.linalg.norm(error, axis=0) + R * (rows + top_U) - R**2
    inside = f"where |U - U_0|, |V - V_0| <= {R:g}"
    constants = Constants(
        beta=bound(
            q * (rows**2 + top_U**2 + columns).max(), f"q max(|v_i|^2 + |U|^2 + |e_i|) {inside}"
        ),
        beta_mean=bound(top_U**2 + top_V**2 + far, f"|U|^2 + |V|^2 + |E| {inside}"),
        minimum=bound(0.0, "M is a product of factors of width k"),
        mu=bound(least_U**2 + least_V**2, f"least singular values of U and V {inside}"),
        example_minimum=bound(0.0, "the losses are not negative"),
    )
    growth = 2.0 * q * (rows.max() ** 2 + top_U**2)
    return Problem(
        name=name, about=f"matrix factorisation {r} x {q}, width {first.shape[1]}",
        A=np.ascontiguousarray(M.T), y=np.zeros(q),
        p=np.concatenate([[float(first.shape[1]), R, R], first.ravel(), second.ravel()]),
        value=COMPILED["factorization"], start=np.concatenate([first.ravel(), second.ravel()]),
        constants=constants, region=factorization_region,
        variance_on=lambda level: bound(growth * level, f"2 q (max |v_i|^2 + |U|^2) L {inside}"),
    )  # fmt: skip


def _factors(
    target: npt.ArrayLike, U: npt.ArrayLike, V: npt.ArrayLike, radius: float
) -> tuple[Array, Array, Array, float]:
    M, first, second = (real_array(name, a) for name, a in (("target", target), ("U", U), ("V", V)))
    if not (M.ndim == first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1]):
        raise InputError(
            "target, U and V must be matrices, U and V with the same number of columns"
        )
    if M.shape != (len(first), len(second)):
        raise InputError(f"target must have shape ({len(first)}, {len(second)}), not {M.shape}")
    if first.shape[1] < max(M.shape):
        raise InputError(f"the width {first.shape[1]} is below {max(M.shape)}: no PL constant")
    if not all(np.all(np.isfinite(a)) for a in (M, first, second)):
        raise InputError("target, U and V must be finite")
    R = checked_number("radius", radius)
    if R <= 0.0:
        raise InputError(f"radius must be positive, not {R:g}")
    return M, first, second, R


def diagonal(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    alpha: float,
    largest: float,
    least: float,
    name: str = "diagonal",
) -> Problem:
    r"""Diagonal linear network, l_i = (1/2) (x_i.(u*v) - y_i)^2, from u = alpha, v = 0.

    The constants hold where |u_j|, |v_j| <= a (`largest`) and u_j^2 + v_j^2 >= c (`least`) for all
    j.

    PL: grad L = (g*v, g*u) with g = X^T r/n, so |grad L|^2 = sum g_j^2 (u_j^2 + v_j^2) >= c |X^T
    r/n|^2 >= 2 (c/n) lambda_min(X X^T) L; X needs full row rank, then L* = 0 and mu = (c/n)
    lambda_min(X X^T).

    Smoothness of l_i: its Hessian is x x^T-like of norm sum x_j^2 (u_j^2 + v_j^2) <= 2 a^2 |x_i|^2
    plus r_i times a matrix of norm max |x_ij|, with |r_i| <= |y_i| + a^2 |x_i|_1.

    Variance: |grad l_i|^2 = r_i^2 sum x_j^2 (u_j^2 + v_j^2), so sigma^2 <= 4 a^2 max |x_i|^2 L.

    Parameters
    ----------
    X : array of shape (n, d)
        Full row rank.
    y : array of shape (n,)
        Labels.
    alpha : float
        u(0) = alpha > 0.
    largest, least : float
        Of the region; the start must lie inside.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        X has no full row rank, or the start lies outside the region.
    """
    from sam_theory.convergence.objectives import COMPILED, diagonal_region

    matrix, labels = _data(X, y)
    n, d = matrix.shape
    scale, a, c = (
        checked_number(*pair) for pair in (("alpha", alpha), ("largest", largest), ("least", least))
    )
    if not (0.0 < scale <= a and 0.0 < c <= scale**2):
        raise InputError(
            "0 < alpha <= largest and 0 < least <= alpha^2 must hold: the start lies inside"
        )
    bottom = float(np.linalg.eigvalsh(matrix @ matrix.T)[0])
    norms = np.sum(matrix**2, axis=1)
    if bottom <= 1e-12 * norms.max():
        raise InputError("X must have full row rank: no PL constant otherwise")
    inside = f"where |u_j|, |v_j| <= {a:g}, u_j^2 + v_j^2 >= {c:g}"
    farthest = np.abs(labels) + a**2 * np.abs(matrix).sum(axis=1)
    each = 2.0 * a**2 * norms + farthest * np.abs(matrix).max(axis=1)
    constants = Constants(
        beta=bound(each.max(), f"2 a^2 |x_i|^2 + |r_i| max |x_ij| {inside}"),
        beta_mean=bound(each.mean(), f"mean of the l_i {inside}"),
        minimum=bound(0.0, "X has full row rank"),
        mu=bound(c * bottom / n, f"c lambda_min(X X^T)/n {inside}"),
        example_minimum=bound(0.0, "the losses are not negative"),
    )
    growth = 4.0 * a**2 * norms.max()
    return Problem(
        name=name, about=f"diagonal network, n = {n}, d = {d}, alpha = {scale:g}",
        A=matrix, y=labels, p=np.array([a, c]), value=COMPILED["diagonal"],
        start=np.concatenate([np.full(d, scale), np.zeros(d)]),
        constants=constants, region=diagonal_region,
        variance_on=lambda level: bound(growth * level, f"4 a^2 max |x_i|^2 L {inside}"),
    )  # fmt: skip
