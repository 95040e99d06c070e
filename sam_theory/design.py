"""What a design matrix can do, dense or sparse: products, Gram matrices, triangular factors.

X (n, d) is a C-contiguous float64 array or a canonical scipy.sparse.csr_array.  Sums are cut into
parts that depend on the data alone, so that results have the same bits for any number of threads.
No temporary is larger than a few n x n matrices, a few vectors of
length n + d and, per thread, one chunk of CHUNK numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.linalg import lapack

from . import design_kernels as kernels
from ._threads import parallel_map, single_threaded

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = npt.NDArray[np.float64]
Matrix: TypeAlias = "Array | csr_array"

CHUNK = 1 << 19
DENSE_LIMIT = 25_000_000
_PART = 1 << 22
_GRAM_PART = 100_000_000
_SINGLE_FROM = 10_000_000
_NEGLIGIBLE = 1e-19  # squares of smaller single-precision numbers are denormal, and slow


class CSR(NamedTuple):
    """A sparse matrix as compiled kernels see it; fields as in scipy.sparse.csr_array."""

    data: Array
    indices: npt.NDArray[np.integer[Any]]
    indptr: npt.NDArray[np.integer[Any]]
    shape: tuple[int, int]


def compiled(X: Matrix) -> Array | CSR:
    """Return X as compiled kernels take it: the array itself, or its CSR tuple."""
    if isinstance(X, np.ndarray):
        return X
    return CSR(X.data, X.indices, X.indptr, (int(X.shape[0]), int(X.shape[1])))


def cut(length: int, work: int, limit: int) -> list[tuple[int, int]]:
    """Cut range(length) into equal consecutive (start, stop) with at most limit of work each."""
    count = min(length, -(-work // limit))
    if count <= 1:
        return [(0, length)]
    edges = [length * k // count for k in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


@single_threaded
def product(X: Matrix, v: Array) -> Array:
    """Return X v, (n,), for v (d,)."""
    n = X.shape[0]
    parts = cut(n, X.size, _PART)
    if isinstance(X, np.ndarray):
        if len(parts) == 1:
            return X @ v
        return np.concatenate(parallel_map(lambda part: X[part[0] : part[1]] @ v, parts))
    out = np.empty(n)
    matrix = compiled(X)
    parallel_map(lambda part: kernels.sparse_product(matrix, v, part[0], part[1], out), parts)
    return out


@single_threaded
def absolute_product(X: Matrix, v: Array) -> Array:
    """Return |X| v, (n,), entry by entry absolute, for v (d,); a part of the rows is copied."""
    parts = cut(X.shape[0], X.size, _PART)
    return np.concatenate([abs(X[start:stop]) @ v for start, stop in parts])


@single_threaded
def transposed_product(X: Matrix, v: Array) -> Array:
    """Return X^T v, (d,), for v (n,)."""
    n, d = X.shape
    if isinstance(X, np.ndarray):
        parts = cut(d, X.size, _PART)
        if len(parts) == 1:
            return v @ X
        return np.concatenate(parallel_map(lambda part: v @ X[:, part[0] : part[1]], parts))
    matrix = compiled(X)
    parts = cut(d, X.size, _PART)
    out = np.zeros(d)
    parallel_map(lambda part: kernels.sparse_transposed(matrix, v, part[0], part[1], out), parts)
    return out


def weighted_gram(X: Matrix, weight: Array) -> Array:
    """Return X diag(weight) X^T, (n, n) and symmetric, for weight (d,) >= 0."""
    return scaled_gram(X, np.sqrt(weight))


def scaled_gram(X: Matrix, column: Array, row: Array | None = None) -> Array:
    """Return B B^T, (n, n), for B = diag(row) X diag(column); column (d,), row (n,) or ones.

    Columns that are multiplied by zero cost nothing.
    """
    return _gram(X, column, np.ones(X.shape[0]) if row is None else row, np.float64)


def transposed(X: Matrix) -> Matrix:
    """Return X^T for a Gram matrix of the columns: a view of a dense X, a copy of a sparse one."""
    return X.T if isinstance(X, np.ndarray) else X.T.tocsr()


def single_gram(
    X: Matrix, column: Array, size: Array, rest: Array | None = None
) -> tuple[npt.NDArray[Any], Array]:
    """Return C C^T in single precision and the norms (n,) that divide rows of X diag(column) to C.

    For a dense X.  size (n,) is the largest entry of each row of X, column (d,) at most 1, which
    keeps all numbers in range; a row whose norm comes out as zero stays zero.  With rest (d,) the
    diagonal is that of X diag(column^2 + rest^2) X^T.
    """
    gram = _gram(X, column, 1.0 / size, np.float32)
    if rest is not None:
        n = X.shape[0]
        square = np.empty(n)
        parts = cut(n, X.size, _PART)
        parallel_map(lambda part: kernels.row_squares(X, rest, 1.0 / size, *part, square), parts)
        gram.flat[:: n + 1] += square.astype(np.float32)
    norm = np.sqrt(gram.diagonal())
    inverse = np.float32(1.0) / np.where(norm > 0.0, norm, np.float32(1.0))
    gram *= inverse
    gram *= inverse[:, None]
    return gram, norm.astype(np.float64) * size


def column_squares(X: Matrix, row: Array) -> Array:
    """Return the squared norms of the columns of diag(row) X, (d,), for a dense X."""
    out = np.zeros(X.shape[1])
    parts = cut(X.shape[1], X.size, _PART)
    parallel_map(lambda part: kernels.column_squares(X, row, *part, out), parts)
    return out


def single_pays(X: Matrix) -> bool:
    """Whether :func:`single_gram` is worth its conversions: X is dense and large."""
    return isinstance(X, np.ndarray) and X.shape[0] * X.size >= _SINGLE_FROM


@single_threaded
def _gram(X: Matrix, column: Array, row: Array, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return B B^T for B = diag(row) X diag(column), a dense X in dtype."""
    n, d = X.shape
    if isinstance(X, np.ndarray):
        used = np.flatnonzero(column)
        # Gathering columns costs more than skipping few of them saves.
        places = used if 4 * used.size < 3 * d else None
        length = d if places is None else used.size
        most, work = min(8, max(1, length // (2 * n))), n * n * length

        def part_sum(part: tuple[int, int]) -> npt.NDArray[Any]:
            return _dense_gram(X, column, row, part, places, dtype)
    else:
        matrix, stored = compiled(X), X.size
        length, most, work = d, 4, stored * stored // d

        def part_sum(part: tuple[int, int]) -> npt.NDArray[Any]:
            gram = np.zeros((n, n))
            start, stop = part
            for a, b in cut(stop - start, 2 * stored * (stop - start) // d, CHUNK):
                kernels.sparse_gram(matrix, start + a, start + b, column, row, gram)
            return gram

    parts = cut(length, work, max(_GRAM_PART, -(-work // most)))
    first, *others = parallel_map(part_sum, parts)
    for other in others:
        first += other
    if not isinstance(X, np.ndarray):
        kernels.mirror(first)
    return first


def _dense_gram(
    X: Array,
    column: Array,
    row: Array,
    part: tuple[int, int],
    places: npt.NDArray[np.intp] | None,
    dtype: type[np.floating[Any]],
) -> npt.NDArray[Any]:
    n, width = X.shape[0], part[1] - part[0]
    negligible = _NEGLIGIBLE if dtype is np.float32 else 0.0
    # Every piece costs an addition of n x n numbers.
    pieces = cut(width, n * width, max(CHUNK, n * n // 2))
    memory = np.empty(n * -(-width // len(pieces)), dtype)
    total, addend = np.empty((n, n), dtype), np.empty((n, n) if len(pieces) > 1 else 0, dtype)
    for k, (start, stop) in enumerate(pieces):
        block = memory[: n * (stop - start)].reshape(n, stop - start)
        if places is None:
            kernels.fill_dense(X, part[0] + start, column, row, negligible, block)
        else:
            kernels.fill_places(X, places[part[0] + start :], column, row, negligible, block)
        # NumPy hands a product with its own transpose to the symmetric BLAS routine.
        if k == 0:
            np.matmul(block, block.T, out=total)
        else:
            total += np.matmul(block, block.T, out=addend)
    return total


def scaled_columns(X: Matrix, start: int, stop: int, column: Array, row: Array) -> Array:
    """Return columns start..stop of diag(row) X diag(column) as a dense (n, stop - start) array."""
    block = np.empty((X.shape[0], stop - start))
    if isinstance(X, np.ndarray):
        kernels.fill_dense(X, start, column, row, 0.0, block)
    else:
        kernels.fill_sparse(compiled(X), start, column, row, block)
    return block


@single_threaded
def pivoted_triangle(X: Matrix, column: Array, row: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return R (n, n) and p with B[p]^T = Q R for B = diag(row) X diag(column), n <= d.

    Householder QR of the rows of B^T, in the order of their largest entries, with pivoting, which
    is stable under any grading of rows and columns.  This needs one dense copy of X; a sparse X
    that is large when dense is a LinAlgError.
    """
    n, d = X.shape
    if not isinstance(X, np.ndarray) and n * d > DENSE_LIMIT:
        raise linalg.LinAlgError(f"a sparse {n} x {d} matrix is too large to be made dense")
    largest = np.zeros(d)
    for start, stop in column_chunks(X):
        block = scaled_columns(X, start, stop, column, row)
        largest[start:stop] = np.maximum(block.max(axis=0), -block.min(axis=0))
    place = np.empty(d, dtype=np.intp)
    place[np.argsort(-largest, kind="stable")] = np.arange(d)
    copy = np.empty((d, n), order="F")
    for start, stop in column_chunks(X):
        copy[place[start:stop]] = scaled_columns(X, start, stop, column, row).T
    # "raw" keeps SciPy from copying the whole reduced matrix.
    _, upper, pivot = linalg.qr(
        copy, mode="raw", pivoting=True, overwrite_a=True, check_finite=False
    )
    return np.asarray(upper), np.asarray(pivot, dtype=np.intp)


def largest(X: Matrix) -> float:
    """Return max |X_ij|, not finite where an entry is not; reads X once, without temporaries."""
    if not isinstance(X, np.ndarray):
        return float(np.max(np.abs(X.data), initial=0.0))
    sizes = [
        max(float(part.max()), -float(part.min()))
        for part in (X[a:b] for a, b in cut(X.shape[0], X.size, CHUNK))
    ]
    # max() would drop a NaN that is not first.
    return float(np.max(sizes))


def row_largest(X: Matrix) -> Array:
    """Return max_j |X_ij| of every row, (n,)."""
    if isinstance(X, np.ndarray):
        return np.maximum(X.max(axis=1), -X.min(axis=1))
    return np.asarray(abs(X).max(axis=1).toarray(), dtype=np.float64)


def column_chunks(X: Matrix) -> list[tuple[int, int]]:
    """Return the (start, stop) of consecutive column ranges whose dense chunk is bounded."""
    n, d = X.shape
    return cut(d, n * d, CHUNK)


@single_threaded
def triangle(X: Matrix, column: Array, right: Array | None = None) -> Array:
    """Return the triangular factor R of B^T = Q R, (n, n), for B = X diag(column), chunk by chunk.

    With right (d,) the factor is that of [B^T, right], (n + 1, n + 1).
    """
    n = X.shape[0]
    row = np.ones(n)
    size = n if right is None else n + 1
    upper = np.zeros((size, size), order="F")
    for start, stop in column_chunks(X):
        block = scaled_columns(X, start, stop, column, row)
        if right is not None:
            block = np.vstack([block, right[start:stop]])
        upper, *_ = lapack.dtpqrt(0, min(16, size), upper, block.T, overwrite_a=1, overwrite_b=1)
    return np.asarray(np.triu(upper))
