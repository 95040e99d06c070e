"""Arrays that travel as addresses."""

from collections import namedtuple

import numba
import numpy as np
import pytest

import sam_theory as st
from sam_theory.diagonal.flow import _field
from sam_theory.diagonal.integrator.radau import Integrator, method_tables
from sam_theory.diagonal.integrator.radau_steps import advance
from sam_theory.diagonal.primitives import addresses


@numba.njit
def product(X, a, n):
    """X v for the first d numbers of what is at a[0], and the last of n of what is at a[1]."""
    matrix, numbers = addresses.matrix_at(X), addresses.at_address(a[0])
    v, last = addresses.vector(numbers, matrix.shape[1]), addresses.behind(numbers, n - 1)
    return np.dot(matrix, v), last[0], addresses.square(addresses.at_address(a[1]), 2)[1, 0]


def test_what_is_read_through_an_address():
    rng = np.random.default_rng(0)
    X, v, M = rng.standard_normal((4, 3)), rng.standard_normal(5), rng.standard_normal((2, 2))
    X.flags.writeable = False
    found, last, corner = product(addresses.matrix_address(X), addresses.addresses_of([v, M]), 5)
    np.testing.assert_allclose(found, X @ v[:3], rtol=1e-14)
    assert last == v[4] and corner == M[1, 0]


Three = namedtuple("Three", "few many square")
read = addresses.reader(3)


@numba.njit
def write(a):
    """Set the last number of each of Three at addresses a, of 3, 9 and 4 numbers."""
    three = Three(*read(a))
    three.few[2], three.many[8], three.square[3] = 1.0, 2.0, 3.0


def test_arrays_of_one_block():
    arrays = addresses.Block(addresses.Layout(Three, square=(2, 2), many=(9,), few=(3,)))
    assert not any(map(np.any, (arrays.few, arrays.square)))
    assert np.all(arrays.addresses % 64 == 0)
    write(arrays.addresses)
    np.testing.assert_array_equal(arrays.few, [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(arrays.many, [0.0] * 8 + [2.0])
    np.testing.assert_array_equal(arrays.square, [[0.0, 0.0], [0.0, 3.0]])
    with pytest.raises(AttributeError, match="none"):
        arrays.none  # noqa: B018


@pytest.mark.parametrize("array", [np.zeros(6)[::2], np.zeros(3, np.float32), np.zeros((3, 2)).T])
def test_what_has_no_address(array):
    with pytest.raises(TypeError, match="contiguous array of float64"):
        addresses.addresses_of([np.zeros(2), array])


def test_a_matrix_that_is_read_only_compiles_nothing_more():
    data = st.sparse_regression(6, 12, n_test=0)
    state, signatures = [], []
    for writeable in (True, False):
        X = data.X.copy()
        X.flags.writeable = writeable
        field = _field(data, 0.1, st.one_sam(0.1), to_limit=True)[0]
        object.__setattr__(field, "X", X)
        integrator = Integrator(field, tol=1e-9, rank=6)
        assert integrator.to_limit() == "finished"
        state.append(integrator.state)
        signatures.append(len(advance.signatures))
    assert np.array_equal(*state) and signatures[0] == signatures[1]


def test_tables_live_as_long_as_their_addresses():
    """Whoever made the tables anew meanwhile, as a second thread does that comes first as well."""
    field = _field(st.sparse_regression(6, 12, n_test=0), 0.1, st.one_sam(0.1), to_limit=True)[0]
    first = Integrator(field, tol=1e-9, rank=6)
    method_tables.cache_clear()
    second = Integrator(field, tol=1e-9, rank=6)
    for made in (first, second):
        where = [table.ctypes.data for table in made.method[1:]]
        assert made._addresses[0].tolist() == where
