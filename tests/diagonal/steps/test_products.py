"""Products in blocks, beside numpy, at sizes on and off the edges of the blocks."""

import numba
import numpy as np
import pytest

from sam_theory.diagonal.primitives.simd import pointer
from sam_theory.diagonal.steps import products

SIZES = [(1, 1), (5, 7), (8, 24), (9, 64), (50, 65), (97, 129), (130, 200), (200, 30)]


@numba.njit
def by_rows(X, lo, hi, point, groups, out, block):
    products.rows_times(X, lo, hi, point, groups, out, pointer(block))


@numba.njit
def by_columns(X, lo, hi, left, right, z, groups, out, block):
    products.columns_times(X, lo, hi, left, right, z, groups, out, pointer(block))


@numba.njit
def powers_by_rows(X, lo, hi, beta, s, groups, r, q, c, block):
    products.powers_times(X, lo, hi, beta, s, groups, (r, q, c), pointer(block))


@numba.njit
def powers_by_columns(X, left, right, z, share, groups, a, b, block):
    products.power_columns_times(X, left, right, z, share, groups, (a, b), pointer(block))


def problem(n, d, groups, items):
    """X, vectors (groups, items, 8), and memory full of NaN."""
    rng = np.random.default_rng(n + d + groups)
    X = rng.standard_normal((n, d))
    return X, rng.standard_normal((2, groups, items, 8)), np.full(products.SCRATCH, np.nan)


def close(found, expected):
    scale = np.max(np.abs(expected), initial=1e-300)
    return np.max(np.abs(found - expected), initial=0.0) <= 1e-13 * scale


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("groups", [1, 3])
def test_products_with_rows(n, d, groups):
    X, (point, s), block = problem(n, d, groups, d)
    for lo, hi in ((0, n), (n // 3, n - n // 4)):
        out = np.full((3, groups, n, 8), 7.0)
        by_rows(X, lo, hi, point.ravel(), groups, out[0].ravel(), block)
        assert close(out[0][:, lo:hi], X[lo:hi] @ point)
        assert np.all(out[0][:, :lo] == 7.0) and np.all(out[0][:, hi:] == 7.0)
        r, q, c = (part.ravel() for part in out)
        powers_by_rows(X, lo, hi, point.ravel(), s.ravel(), groups, r, q, c, block)
        assert close(out[0][:, lo:hi], X[lo:hi] @ point)
        assert close(out[1][:, lo:hi], X[lo:hi] ** 2 @ s)
        assert close(out[2][:, lo:hi], X[lo:hi] ** 3 @ point)
        assert np.all(out[:, :, :lo] == 7.0) and np.all(out[:, :, hi:] == 7.0)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("groups", [1, 3])
def test_products_with_columns(n, d, groups):
    X, (z, share), block = problem(n, d, groups, n)
    for left, right in ((0, d), (d // 3, d - d // 4)):
        out = np.full((2, groups, d, 8), 7.0)
        lo, hi = n // 5, n - n // 6
        by_columns(X, lo, hi, left, right, z.ravel(), groups, out[0].ravel(), block)
        assert close(out[0][:, left:right], (X.T[:, lo:hi] @ z[:, lo:hi])[:, left:right])
        assert np.all(out[0][:, :left] == 7.0) and np.all(out[0][:, right:] == 7.0)
        a, b = (part.ravel() for part in out)
        powers_by_columns(X, left, right, z.ravel(), share.ravel(), groups, a, b, block)
        assert close(out[0][:, left:right], (X.T @ z)[:, left:right])
        assert close(out[1][:, left:right], ((X**2).T @ share)[:, left:right])
        assert np.all(out[:, :, :left] == 7.0) and np.all(out[:, :, right:] == 7.0)


def test_no_bit_depends_on_the_other_groups_or_the_range():
    X, (point, s), block = problem(130, 200, 3, 200)
    out = np.zeros((3, 3, 130, 8))
    powers_by_rows(X, 0, 130, point.ravel(), s.ravel(), 3, *(x.ravel() for x in out), block)
    for g in range(3):
        one = np.zeros((3, 1, 130, 8))
        for lo, hi in ((0, 50), (50, 130)):
            parts = (x.ravel() for x in one)
            powers_by_rows(X, lo, hi, point[g].ravel(), s[g].ravel(), 1, *parts, block)
        assert np.array_equal(one[:, 0], out[:, g])
