"""Products of X, and of its powers, with vectors of many settings, in blocks that stay in cache.

A block of X is copied beside its powers, and then serves all groups of eight settings. Its product
with a group holds the sums of a few rows or columns in registers while it goes along the block;
the sums wait in memory for the next block, so that each is taken in the order of its terms,
whatever the blocks and however many settings there are.

Of the first-level cache, the copies take 9 to 18 kB and a group's part of its vectors 6 to 8 kB.
Callers ask for the sums of at most FEW_ROWS rows, or FEW_COLUMNS columns, at a time: those of eight
groups then stay in the second-level cache, beside the parts of the vectors.
"""

from __future__ import annotations

import numba

from ..primitives.addresses import behind
from ..primitives.simd import (
    AVX512,
    SUMS_ROWS,
    load,
    load_rows,
    pointer,
    prefetch,
    splat_apart,
    splat_rows,
    store,
    zero,
    zero3,
    zero4,
    zero_sums,
)

FEW_ROWS, FEW_COLUMNS = 128, 192
# Rows of a block of rows; its columns, for X alone and with two powers.
_ROWS, _LONG, _SHORT = 8, 128, 64
# Columns of a block of columns; its rows, for X alone and with one power.
_COLUMNS, _TALL, _LOW = 24, 96, 48
# Numbers of one copy in a block with powers.
_ROW_COPY, _COLUMN_COPY = _ROWS * _SHORT, _COLUMNS * _LOW
SCRATCH = max(_ROWS * _LONG, 3 * _ROW_COPY, _COLUMNS * _TALL, 2 * _COLUMN_COPY)
"""Numbers of the memory for the copies."""
# Sums of X and of X^2 that fit in the registers beside what they share.
_pair, _PAIR = (zero4, 4) if AVX512 else (zero3, 3)


@numba.njit(forceinline=True)
def _copy(X, i, first, end, ahead, block, to, powers, apart):
    """Copy X[i, first:end], and powers of it up to so many, each so far behind the one before.

    What is ``ahead`` numbers further on is fetched meanwhile.
    """
    start, width = behind(pointer(X), i * X.shape[1] + first), end - first
    for e in range(width // 8):
        x = load(behind(start, 8 * e), 0)
        prefetch(start, 8 * e + ahead)
        power, place = x, behind(block, to + 8 * e)
        store(place, 0, power)
        for k in range(1, powers):
            power = power * x
            store(behind(place, k * apart), 0, power)
    for j in range(width - width % 8, width):
        power = 1.0
        for k in range(powers):
            power *= start[j]
            block[to + j + k * apart] = power


@numba.njit(forceinline=True)
def _begin(rows, fresh, sums, to):
    """Zeros, or the sums so far."""
    return rows if fresh else load_rows(rows, sums, to)


@numba.njit(forceinline=True)
def _row_sums(rows, fresh, block, k, width, point, at, sums, to):
    """Take some rows of a block, from the k-th, times a part of point."""
    r = _begin(rows, fresh, sums, to)
    for j in range(width):
        r = r + splat_apart(rows, block, k * _LONG + j, _LONG) * load(point, at + j)
    store(sums, to, r)


@numba.njit(forceinline=True)
def rows_times(X, lo, hi, point, groups, sums, block):
    """Set sums (groups, n) to X point on the rows lo, ..., hi - 1; point is (groups, d)."""
    n, d = X.shape
    for first in range(0, d, _LONG):
        end = min(first + _LONG, d)
        for i in range(lo, hi, _ROWS):
            count = min(_ROWS, hi - i)
            for k in range(count):
                _copy(X, i + k, first, end, _ROWS * d, block, k * _LONG, 1, 0)
            for g in range(groups):
                k, at, to = 0, g * d + first, g * n + i
                while count - k >= 4:
                    _row_sums(zero4(), first == 0, block, k, end - first, point, at, sums, to + k)
                    k += 4
                while count - k > 0:
                    _row_sums(zero(), first == 0, block, k, end - first, point, at, sums, to + k)
                    k += 1


@numba.njit(forceinline=True)
def _row_power_sums(rows, fresh, block, k, width, beta, s, at, sums, to):
    r_sums, q_sums, c_sums = sums
    r = _begin(rows, fresh, r_sums, to)
    q = _begin(rows, fresh, q_sums, to)
    c = _begin(rows, fresh, c_sums, to)
    for j in range(width):
        p, place = load(beta, at + j), k * _SHORT + j
        r = r + splat_apart(rows, block, place, _SHORT) * p
        q = q + splat_apart(rows, block, place + _ROW_COPY, _SHORT) * load(s, at + j)
        c = c + splat_apart(rows, block, place + 2 * _ROW_COPY, _SHORT) * p
    store(r_sums, to, r)
    store(q_sums, to, q)
    store(c_sums, to, c)


@numba.njit(forceinline=True)
def powers_times(X, lo, hi, beta, s, groups, sums, block):
    """Set three sums (groups, n) to X beta, X^2 s and X^3 beta on the rows lo, ..., hi - 1."""
    n, d = X.shape
    for first in range(0, d, _SHORT):
        end = min(first + _SHORT, d)
        for i in range(lo, hi, _ROWS):
            count = min(_ROWS, hi - i)
            for k in range(count):
                _copy(X, i + k, first, end, _ROWS * d, block, k * _SHORT, 3, _ROW_COPY)
            for g in range(groups):
                k, at, to, width = 0, g * d + first, g * n + i, end - first
                while count - k >= SUMS_ROWS:
                    _row_power_sums(
                        zero_sums(), first == 0, block, k, width, beta, s, at, sums, to + k
                    )
                    k += SUMS_ROWS
                while count - k > 0:
                    _row_power_sums(zero(), first == 0, block, k, width, beta, s, at, sums, to + k)
                    k += 1


@numba.njit(forceinline=True)
def _column_sums(rows, fresh, block, k, height, z, at, sums, to):
    """Take some columns of a block, from the k-th, times a part of z."""
    a = _begin(rows, fresh, sums, to)
    for i in range(height):
        a = a + splat_rows(rows, block, i * _COLUMNS + k) * load(z, at + i)
    store(sums, to, a)


@numba.njit(forceinline=True)
def columns_times(X, lo, hi, left, right, z, groups, sums, block):
    """Set sums (groups, d) to X^T z on the columns left, ..., right - 1, over some rows.

    z is (groups, n).
    """
    n, d = X.shape
    for i in range(lo, hi, _TALL):
        height = min(_TALL, hi - i)
        for first in range(left, right, _COLUMNS):
            end = min(first + _COLUMNS, right)
            for k in range(height):
                _copy(X, i + k, first, end, _COLUMNS, block, k * _COLUMNS, 1, 0)
            for g in range(groups):
                k, at, to = 0, g * n + i, g * d + first
                while end - first - k >= 4:
                    _column_sums(zero4(), i == lo, block, k, height, z, at, sums, to + k)
                    k += 4
                while end - first - k > 0:
                    _column_sums(zero(), i == lo, block, k, height, z, at, sums, to + k)
                    k += 1


@numba.njit(forceinline=True)
def _column_power_sums(rows, fresh, block, k, height, z, share, at, sums, to):
    a_sums, b_sums = sums
    a, b = _begin(rows, fresh, a_sums, to), _begin(rows, fresh, b_sums, to)
    for i in range(height):
        a = a + splat_rows(rows, block, i * _COLUMNS + k) * load(z, at + i)
        b = b + splat_rows(rows, block, i * _COLUMNS + k + _COLUMN_COPY) * load(share, at + i)
    store(a_sums, to, a)
    store(b_sums, to, b)


@numba.njit(forceinline=True)
def power_columns_times(X, left, right, z, share, groups, sums, block):
    """Set two sums (groups, d) to X^T z and (X^2)^T share on the columns left, ..., right - 1."""
    n, d = X.shape
    for i in range(0, n, _LOW):
        height = min(_LOW, n - i)
        for first in range(left, right, _COLUMNS):
            end = min(first + _COLUMNS, right)
            for k in range(height):
                _copy(X, i + k, first, end, _COLUMNS, block, k * _COLUMNS, 2, _COLUMN_COPY)
            for g in range(groups):
                k, at, to = 0, g * n + i, g * d + first
                while end - first - k >= _PAIR:
                    _column_power_sums(
                        _pair(), i == 0, block, k, height, z, share, at, sums, to + k
                    )
                    k += _PAIR
                while end - first - k > 0:
                    _column_power_sums(zero(), i == 0, block, k, height, z, share, at, sums, to + k)
                    k += 1
