"""Compiled passes over a dense or sparse design; they validate nothing and release the GIL.

Sparse ones take the CSR tuple of :mod:`sam_theory.design`.  Each covers a range of rows or columns
that its caller chose, so that several can run side by side.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def fill_dense(X, start, column, row, negligible, out):
    """Write columns start.. of diag(row) X diag(column) to out; entries below negligible as 0."""
    stop = start + out.shape[1]
    c = column[start:stop]
    for i in range(out.shape[0]):
        x, o = X[i, start:stop], out[i]
        for j in range(o.shape[0]):
            value = x[j] * row[i] * c[j]
            o[j] = value if abs(value) >= negligible else 0.0


@numba.njit(cache=True, nogil=True)
def fill_places(X, places, column, row, negligible, out):
    """Write the columns at places of diag(row) X diag(column), as many as out has."""
    for i in range(out.shape[0]):
        x, o = X[i], out[i]
        for k in range(o.shape[0]):
            j = places[k]
            value = x[j] * row[i] * column[j]
            o[k] = value if abs(value) >= negligible else 0.0


@numba.njit(cache=True, nogil=True)
def row_squares(X, column, row, first, last, out):
    """Write the squared norms of rows first..last of diag(row) X diag(column)."""
    lanes = np.empty(16)
    for i in range(first, last):
        lanes[:] = 0.0
        for start in range(0, X.shape[1], 16):
            x, c = X[i, start : start + 16], column[start : start + 16]
            for j in range(x.shape[0]):
                lanes[j] += (x[j] * row[i] * c[j]) ** 2
        out[i] = np.sum(lanes)


@numba.njit(cache=True, nogil=True)
def column_squares(X, row, first, last, out):
    """Add the squares of columns first..last of diag(row) X."""
    o = out[first:last]
    for i in range(X.shape[0]):
        x = X[i, first:last]
        for j in range(x.shape[0]):
            o[j] += (x[j] * row[i]) ** 2


@numba.njit(cache=True, nogil=True)
def fill_sparse(X, start, column, row, out):
    """Write columns start.. of diag(row) X diag(column) to the dense out."""
    out[:] = 0.0
    stop = start + out.shape[1]
    for i in range(out.shape[0]):
        first, last = X.indptr[i], X.indptr[i + 1]
        first += np.searchsorted(X.indices[first:last], start)
        for k in range(first, last):
            j = X.indices[k]
            if j >= stop:
                break
            out[i, j - start] = X.data[k] * row[i] * column[j]


@numba.njit(cache=True, nogil=True)
def sparse_product(X, v, first, last, out):
    """Write entries first..last of X v."""
    for i in range(first, last):
        total = 0.0
        for k in range(X.indptr[i], X.indptr[i + 1]):
            total += X.data[k] * v[X.indices[k]]
        out[i] = total


@numba.njit(cache=True, nogil=True)
def sparse_transposed(X, v, first, last, out):
    """Add entries first..last of X^T v."""
    for i in range(X.shape[0]):
        begin, end = X.indptr[i], X.indptr[i + 1]
        for k in range(begin + np.searchsorted(X.indices[begin:end], first), end):
            j = X.indices[k]
            if j >= last:
                break
            out[j] += X.data[k] * v[i]


@numba.njit(cache=True, nogil=True)
def sparse_gram(X, start, stop, column, row, gram):
    """Add the lower triangle of columns start..stop: pairwise products within each column."""
    n = X.shape[0]
    first = np.empty(n, np.int64)
    last = np.empty(n, np.int64)
    place = np.zeros(stop - start + 1, np.int64)
    for i in range(n):
        begin, end = X.indptr[i], X.indptr[i + 1]
        first[i] = begin + np.searchsorted(X.indices[begin:end], start)
        last[i] = begin + np.searchsorted(X.indices[begin:end], stop)
        for k in range(first[i], last[i]):
            place[X.indices[k] - start + 1] += 1
    for j in range(stop - start):
        place[j + 1] += place[j]
    owner = np.empty(place[-1], np.int64)
    value = np.empty(place[-1])
    for i in range(n):
        for k in range(first[i], last[i]):
            j = X.indices[k]
            at = place[j - start]
            owner[at] = i
            value[at] = X.data[k] * row[i] * column[j]
            place[j - start] += 1
    # place[j] is now the end of column j.
    begin = 0
    for j in range(stop - start):
        if column[start + j] == 0.0:
            begin = place[j]
            continue
        for a in range(begin, place[j]):
            target = gram[owner[a]]
            for b in range(begin, a + 1):
                target[owner[b]] += value[a] * value[b]
        begin = place[j]


@numba.njit(cache=True, nogil=True)
def mirror(gram):
    """Copy the lower triangle to the upper one."""
    for i in range(gram.shape[0]):
        for j in range(i):
            gram[j, i] = gram[i, j]
