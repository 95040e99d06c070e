"""Lengths of ascent steps where their formula is 0/0, over- or underflows."""

import numba
import numpy as np

from sam_theory.diagonal.primitives import simd
from sam_theory.diagonal.steps.ascent import ascent_length, ascent_lengths

RHO = 0.3
RESIDUALS = np.array([0.0, -0.0, 2.0, -5e-7, 1e-299, -1e299, 0.0, 3.0])
SQUARES = np.array([0.0, 4.0, 9.0, 1e-12, 4e-100, 1e100, 0.0, 0.0])


@numba.njit
def lengths(r, q, normalized, out):
    found = ascent_lengths(simd.load(r, 0), simd.load(q, 0), simd.splat(RHO), normalized)
    simd.store(out, 0, found)


def test_single_examples():
    out = np.full(8, np.nan)
    lengths(RESIDUALS, SQUARES, True, out)
    signs, roots = np.sign(RESIDUALS[:-1]), np.sqrt(SQUARES[:-1])
    expected = np.divide(RHO * signs, roots, out=np.zeros(7), where=roots > 0.0)
    np.testing.assert_allclose(out[:-1], expected, rtol=4e-16)
    assert np.isfinite(out[-1])
    lengths(RESIDUALS, SQUARES, False, out)
    assert np.array_equal(out, RHO * RESIDUALS)


@numba.njit
def whole(s, g, d, out):
    norm = np.empty(8)
    simd.store(out, 0, ascent_length(simd.splat(RHO), True, s, 0, g, 0, d, norm))


def test_whole_gradient():
    rng = np.random.default_rng(0)
    s, g = rng.uniform(0.5, 2.0, (5, 8)), rng.standard_normal((5, 8))
    g *= [1.0, 0.0, 1e-160, 1e160, 1e-290, 1e300, 1.0, 1.0]
    out = np.full(8, np.nan)
    whole(s.ravel(), g.ravel(), 5, out)
    tops = np.maximum(np.abs(g).max(axis=0), 1e-308)
    norms = tops * np.sqrt(np.sum(s * (g / tops) ** 2, axis=0))
    expected = np.divide(RHO, norms, out=np.zeros(8), where=norms > 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-14)
