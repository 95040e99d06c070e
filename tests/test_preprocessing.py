"""Centring and scaling of sparse rows as of dense ones; what cannot stay sparse is refused."""

import numpy as np
import pytest
from scipy import sparse

import sam_theory as st


def test_sparse_columns_scale_as_dense_ones():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 6)) * (rng.random((30, 6)) < 0.4) * 10.0 ** np.arange(-3, 3)
    y = rng.standard_normal(30)
    dense, found = (
        st.Regression(form, y).split(0.3).standardize(center=False, center_target=True)
        for form in (X, sparse.csc_array(X))
    )
    for a, b in ((dense, found), (dense.test, found.test)):
        assert sparse.issparse(b.X) and np.array_equal(a.y, b.y)
        assert np.max(np.abs(a.X - b.X.toarray())) < 1e-14 * np.max(np.abs(a.X))
    assert np.allclose(dense.preprocessing.scale, found.preprocessing.scale, rtol=1e-14, atol=0.0)
    twice = found.standardize(center=False)
    assert np.allclose(twice.preprocessing.scale, found.preprocessing.scale, rtol=1e-13)


def test_sparse_scaling_at_the_ends_of_the_range():
    X = np.eye(6, 2) + np.eye(6, 2, -2)
    wanted = X / X.std(axis=0)
    for exponent in (-900, 900):
        matrix = sparse.csr_array(np.ldexp(X, exponent))
        data = st.Regression(matrix, np.ones(6)).standardize(center=False)
        assert np.max(np.abs(data.X.toarray() - wanted)) < 1e-15


def test_what_cannot_be_done_is_one_line():
    data = st.Regression(sparse.csr_array(np.eye(3, 2)), np.ones(3), source="here")
    with pytest.raises(st.InputError, match="here: a sparse X cannot be centred"):
        data.standardize()
    with pytest.raises(st.InputError, match="column 2 is constant"):
        st.Regression(
            sparse.csr_array(np.eye(3, 1) @ np.ones((1, 2)) * [1, 0]), np.ones(3)
        ).standardize(center=False)
    with pytest.raises(st.InputError, match="column 1 is constant"):
        st.Regression(sparse.csr_array(np.ones((3, 2))), np.ones(3)).standardize(center=False)
    centred = st.Regression(np.random.default_rng(0).random((3, 2)), np.ones(3)).standardize()
    with pytest.raises(st.InputError, match="cannot be centred"):
        centred.preprocessing.apply(sparse.csr_array(np.eye(3, 2)))
    with pytest.raises(st.InputError, match="expected 2"):
        centred.preprocessing.apply(np.eye(3))
