"""Hessian spectra against the Hessian itself, wide and tall, dense and sparse."""

import numpy as np
import pytest
from scipy import sparse

from sam_theory.diagonal.sharpness import hessian_spectrum, largest_and_trace, stability_edge


def hessian(X, u, v):
    """Of the loss in (u, v) at an interpolator, the residual term being zero."""
    J = np.hstack([X * v, X * u])
    return J.T @ J / X.shape[0]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("n", "d"), [(4, 9), (9, 4), (1, 5), (5, 5)])
def test_spectrum_and_trace_of_the_hessian(form, n, d):
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.7)
    w_plus, w_minus = 0.1 + rng.random(d), 0.1 + rng.random(d)
    u, v = (w_plus + w_minus) / np.sqrt(2.0), (w_plus - w_minus) / np.sqrt(2.0)
    log_alpha = 0.5 * np.log(2.0 * w_plus * w_minus)
    expected = np.linalg.eigvalsh(hessian(X, u, v))[::-1]
    k = min(n, d)
    spectrum = hessian_spectrum(form(X), u * v, log_alpha)
    assert spectrum.shape == (k,)
    assert np.allclose(spectrum, expected[:k], atol=1e-13 * expected[0])
    largest, trace = largest_and_trace(form(X), u * v, log_alpha)
    assert largest == pytest.approx(expected[0], rel=1e-13)
    assert trace == pytest.approx(np.sum(expected), rel=1e-13)


def test_stability_edge():
    assert stability_edge(0.1) == 20.0
    edge = stability_edge(0.1, 0.3)
    assert 0.1 * (edge + 0.3 * edge**2) == pytest.approx(2.0, rel=1e-14)
