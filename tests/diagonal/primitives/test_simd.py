"""Register operations against NumPy, lane by lane."""

import mpmath
import numba
import numpy as np
import pytest

from sam_theory.diagonal.primitives import simd
from sam_theory.diagonal.primitives.exponential import exponential, exponential_minus_one


@numba.njit
def arithmetic(a, b, out):
    x, y = simd.load(a, 0), simd.load(b, 1)
    simd.store(out, 0, x + y)
    simd.store(out, 1, x - y)
    simd.store(out, 2, x * y)
    simd.store(out, 3, x / y)
    simd.store(out, 4, simd.minimum(x, y))
    simd.store(out, 5, simd.root(simd.absolute(x)))
    simd.store(out, 6, simd.splat(a[3]))


def test_elementwise():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(16), rng.standard_normal(16)
    out = np.zeros((7, simd.WIDTH))
    arithmetic(a, b, out.ravel())
    x, y = a[:8], b[8:]
    expected = [x + y, x - y, x * y, x / y, np.minimum(x, y), np.sqrt(np.abs(x)), np.full(8, a[3])]
    assert np.array_equal(out, expected)


@numba.njit
def matrix_rows(zeros, X, i, v, start, out, image):
    rows = simd.load_rows(zeros, start, 1)
    for j in range(X.shape[1]):
        rows = simd.rank_one(rows, X, i, j, simd.load(v, j))
    simd.store(out, 0, rows)
    for j in range(X.shape[1]):
        simd.store(image, j, simd.weighted_sum(simd.load(image, j), X, i, j, rows))
    simd.store(image, X.shape[1], simd.total(rows * simd.splat(2.0)))


@numba.njit
def run(kind, X, i, v, start, out, image):
    if kind == 8:
        matrix_rows(simd.zero8(), X, i, v, start, out, image)
    elif kind == 4:
        matrix_rows(simd.zero4(), X, i, v, start, out, image)
    else:
        matrix_rows(simd.zero(), X, i, v, start, out, image)


@pytest.mark.parametrize("kind", [1, 4, 8])
def test_rows_of_a_matrix(kind):
    rng = np.random.default_rng(1)
    X, v, start = rng.standard_normal((11, 5)), rng.standard_normal((5, 8)), np.zeros((12, 8))
    start[1:] = rng.standard_normal((11, 8))
    image = rng.standard_normal((6, 8))
    before = image.copy()
    out = np.zeros((kind, 8))
    run(kind, X, 2, v.ravel(), start.ravel(), out.ravel(), image.ravel())
    rows = start[1 : 1 + kind] + X[2 : 2 + kind] @ v
    np.testing.assert_allclose(out, rows, rtol=0, atol=1e-14)
    np.testing.assert_allclose(image[:5], before[:5] + X[2 : 2 + kind].T @ rows, atol=1e-14)
    np.testing.assert_allclose(image[5], 2.0 * rows.sum(axis=0), rtol=0, atol=1e-14)


@numba.njit
def scaled_rows(matrix, at, v, out):
    simd.store(out, 0, simd.splat_rows(simd.zero2(), matrix, at) * simd.load(v, 0))


def test_consecutive_numbers_over_the_rows():
    v, out = np.arange(1.0, 9.0), np.zeros((2, 8))
    scaled_rows(np.array([5.0, 7.0, -2.0, 11.0]), 1, v, out.ravel())
    assert np.array_equal(out, [7.0 * v, -2.0 * v])


@numba.njit
def outside(a, low, high):
    return simd.beyond(simd.load(a, 0), simd.splat(low), simd.splat(high))


def test_beyond_sees_any_lane_and_nan():
    inside = np.linspace(0.1, 1.0, 8)
    assert not outside(inside, 0.0, 1.0)
    assert outside(inside, 0.1, 1.0)
    assert outside(inside, 0.0, 0.99)
    for lane in range(8):
        spoiled = inside.copy()
        spoiled[lane] = np.nan
        assert outside(spoiled, 0.0, np.inf)


@numba.njit
def exponentials(x, out, out_minus_one):
    for k in range(x.size // 8):
        simd.store(out, k, exponential(simd.load(x, k)))
        simd.store(out_minus_one, k, exponential_minus_one(simd.load(x, k)))


def test_exponentials_to_the_last_place():
    rng = np.random.default_rng(0)
    small = rng.choice([-1.0, 1.0], 800) * 10.0 ** rng.uniform(-300, 0, 800)
    x = np.concatenate([rng.uniform(-700, 700, 800), rng.uniform(-2, 2, 800), small])
    out, out_minus_one = np.empty_like(x), np.empty_like(x)
    exponentials(x, out, out_minus_one)
    with mpmath.workprec(120):
        for value, found, minus_one in zip(x, out, out_minus_one, strict=True):
            exact = mpmath.mpf(float(value))
            assert abs(mpmath.mpf(float(found)) / mpmath.exp(exact) - 1) <= 2.5e-16
            assert abs(mpmath.mpf(float(minus_one)) / mpmath.expm1(exact) - 1) <= 2.5e-16


def test_exponentials_far_out_stay_in_range():
    x = np.array([-1e300, -800.0, -745.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    out, out_minus_one = np.empty_like(x), np.empty_like(x)
    exponentials(x, out, out_minus_one)
    assert np.all((out[:3] >= 0.0) & (out[:3] < 1e-300))
    assert np.array_equal(out_minus_one[:3], [-1.0] * 3)
    assert np.array_equal(out[3:], np.ones(5))
