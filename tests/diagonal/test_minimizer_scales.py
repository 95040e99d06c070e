"""The convex problem on columns of scales so different that Newton's matrix cannot be resolved."""

import numpy as np
import pytest

from sam_theory import Regression, gd, implicit_bias, minimize_potential


def columns_of_two_scales(seed, decades):
    """More rows than large columns: the labels need the small ones as well."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 8))
    d = n + int(rng.integers(1, 3))
    X = rng.standard_normal((n, d)) * 10.0 ** (63 - decades * (np.arange(d) % 2))
    return Regression(X, 1e-10 * rng.standard_normal(n))


@pytest.mark.parametrize("alpha", [1e-19, 1e-11])
@pytest.mark.parametrize("decades", [3, 13])
def test_converged_means_that_the_labels_are_fitted(alpha, decades):
    """Theta is far below 1 here: steps below the rounding of 1 are no sign of rest."""
    answered = 0
    for seed in range(8):
        data = columns_of_two_scales(seed, decades)
        at_zero = data.loss(np.zeros(data.d))
        found = minimize_potential(data.X, data.y, alpha)
        limit = implicit_bias(data, alpha=alpha, algorithm=gd())
        for status, beta in ((found.status, found.beta), (limit.status, limit.beta)):
            assert status in ("converged", "max_steps")
            assert data.loss(beta) <= at_zero
            if status == "converged":
                answered += 1
                assert data.loss(beta) <= 1e-9 * at_zero
    assert answered == 16 or decades == 13


def test_one_scale_is_solved_at_any_size():
    for seed in range(12):
        data = columns_of_two_scales(seed, 0)
        found = minimize_potential(data.X, data.y, 1e-11)
        assert found.status == "converged"
        assert data.loss(found.beta) <= 1e-24 * data.loss(np.zeros(data.d))
