"""Ranks, independent rows and projections, dense and sparse, against singular values."""

import numpy as np
import pytest
from scipy import sparse

import sam_theory as st
from sam_theory import row_space as module
from sam_theory.row_space import row_space


def deficient(rng, n, d, rank):
    """A matrix of given rank whose rows differ in size by up to six decades."""
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    return X * 10.0 ** rng.uniform(-3.0, 3.0, (n, 1))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_matrix])
@pytest.mark.parametrize(
    ("n", "d", "rank"), [(6, 20, 6), (6, 20, 4), (20, 6, 6), (20, 6, 3), (7, 7, 7), (7, 7, 1)]
)
def test_against_singular_values(form, n, d, rank):
    rng = np.random.default_rng(n + d + rank)
    for _ in range(5):
        X = deficient(rng, n, d, rank)
        y = X @ rng.standard_normal(d)
        found = row_space(form(X), y)
        assert found.rank == rank == np.linalg.matrix_rank(X) and found.consistent
        assert np.array_equal(found.y_range, y) and len(found.rows) == rank
        assert np.linalg.matrix_rank(X[found.rows]) == rank
        rows, labels = found.independent(form(X).tocsr() if sparse.issparse(form(X)) else X)
        assert rows.shape == (rank, d) and np.array_equal(labels, y[found.rows])
        if rank < n:
            off = y + np.max(np.abs(y)) * rng.standard_normal(n)
            found = row_space(form(X), off)
            left = np.linalg.svd(X)[0][:, :rank]
            assert not found.consistent
            assert np.allclose(found.y_range, left @ (left.T @ off), atol=1e-9 * np.max(np.abs(y)))
            assert found.residual == pytest.approx(np.linalg.norm(off - found.y_range))


@pytest.mark.parametrize("large", [False, True])
def test_full_rank_is_not_claimed_in_doubt(large, monkeypatch):
    """Close to the threshold the Gram matrix must leave the decision to the singular values."""
    if large:
        monkeypatch.setattr("sam_theory.design._SINGLE_FROM", 0)
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((k, 6)))[0] for k in (6, 30))
    for exponent in range(17):
        singular = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 10.0**-exponent])
        X = np.ascontiguousarray((left * singular) @ right.T)
        assert row_space(X, np.ones(6)).rank == np.linalg.matrix_rank(X)
        sizes = np.max(np.abs(X), axis=1)
        sure = module._surely_independent(X, sizes, 30 * 2.0**-52)
        assert sure if exponent == 0 else not sure if exponent > 5 else True
    spread = rng.standard_normal((2, 5)) * np.array([[1.0], [1e-15]])
    assert row_space(spread, np.ones(2)).rank == 1


def test_a_tall_sparse_design_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(module, "DENSE_LIMIT", 10)
    X = sparse.csr_array(np.eye(5, 3))
    with pytest.raises(st.InputError, match="more rows than columns is too large"):
        row_space(X, np.ones(5))
