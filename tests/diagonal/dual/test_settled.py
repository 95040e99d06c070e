"""Which beta Newton's iteration returns, and whether it fits the labels."""

import math

import numpy as np
import pytest

import sam_theory as st
from sam_theory.design import row_largest
from sam_theory.diagonal.dual.newton import _Problem, _Search


@pytest.fixture
def search():
    """A settled iteration on a small problem."""
    data = st.sparse_regression(n=6, d=12, nonzeros=2, seed=1)
    shift = np.linspace(-0.1, 0.1, 12)
    log_alpha = np.full(12, math.log(0.01))
    problem = _Problem(data.X, data.y, row_largest(data.X), log_alpha, shift)
    found = _Search(problem, None)
    assert found.small and found.run(100).converged
    return found


def both(search):
    found = []
    for search.small in (True, False):
        found.append(search._settle())
    small, general = found
    assert np.array_equal(small.beta, general.beta) and small.converged == general.converged
    return small


@pytest.mark.parametrize("good", ["beta", "corrected", "best"])
def test_the_beta_that_fits_best_is_returned(good, search):
    kept = getattr(search, good).copy()
    for name in ("beta", "corrected", "best"):
        getattr(search, name)[:] = kept + (0.0 if name == good else 1e-3)
    search.residual[:] = search.problem.residual(search.beta)
    found = both(search)
    assert np.array_equal(found.beta, kept) and found.converged


def test_a_beta_that_does_not_fit_is_not_converged(search):
    for name in ("beta", "corrected", "best"):
        getattr(search, name)[:] += 1e-3
    search.residual[:] = search.problem.residual(search.beta)
    assert not both(search).converged
