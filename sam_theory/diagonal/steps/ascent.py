"""Length of an ascent step: the radius, or the radius over the norm of a gradient."""

from __future__ import annotations

import numba
import numpy as np

from ..primitives.simd import beyond, load, maximum, minimum, root, splat, store, zero


@numba.njit(forceinline=True)
def ascent_lengths(r, q, rho, normalized):
    """rho_i r_i of some rows, with q = sum_j s_j x_ij^2: rho sign(r)/sqrt(q) when normalised."""
    if not normalized:
        return rho * r
    # The sign of r without a division (a NaN has stopped the run by its loss before this counts);
    # the tiny summand only decides that a row of zeros gives none.
    sign = maximum(splat(-1.0), minimum(splat(1.0), splat(1e300) * r))
    return rho * sign / (root(q) + splat(1e-250))


@numba.njit(forceinline=True)
def gradient_norms(s, od, g, og, d, norm):
    """Write ||grad_w L_B||_2 = sqrt(sum_j s_j g_j^2) of each lane, without over- or underflow."""
    squares = zero()
    for j in range(d):
        squares = squares + load(s, od + j) * (load(g, og + j) * load(g, og + j))
    store(norm, 0, root(squares))
    if beyond(squares, splat(1e-250), splat(1e250)):
        for lane in range(8):
            careful_norm(s, od, g, og, d, lane, norm)


@numba.njit(cache=True)
def careful_norm(s, od, g, og, d, lane, norm):
    """norm[lane] by scaling with the largest entry."""
    top = 0.0
    for j in range(d):
        top = max(top, abs(g[8 * (og + j) + lane]))
    squares = 0.0
    if top > 0.0:
        for j in range(d):
            share = g[8 * (og + j) + lane] / top
            squares += s[8 * (od + j) + lane] * (share * share)
    norm[lane] = top * np.sqrt(squares)


@numba.njit(forceinline=True)
def ascent_length(rho, normalized, s, od, g, og, d, norm):
    """Rho, or rho over the norm of the block's gradient (0 where that vanishes)."""
    if not normalized:
        return rho
    gradient_norms(s, od, g, og, d, norm)
    for lane in range(8):
        norm[lane] = 1.0 / norm[lane] if norm[lane] > 0.0 else 0.0
    return rho * load(norm, 0)
