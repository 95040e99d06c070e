"""Compiled passes over flat arrays of parameters."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, fastmath={"contract"})
def finish_gradient(parts, count, w, l1, l2, begin, end, add, last, out):
    """Sum of the first ``count`` rows of parts on a stretch, in order; then the regulariser.

    Adds to ``out`` if ``add``; adds l1 sign(w) + l2 w if ``last``.
    """
    for j in range(begin, end):
        total = parts[0, j]
        for k in range(1, count):
            total += parts[k, j]
        if add:
            total += out[j]
        out[j] = total
    if last:
        if l2 != 0.0:
            for j in range(begin, end):
                out[j] += l2 * w[j]
        if l1 != 0.0:
            for j in range(begin, end):
                sign = (w[j] > 0) - (w[j] < 0)
                out[j] += l1 * sign


@njit(nogil=True, cache=True)
def inner_product(x, y, begin, end):
    """Sum of x y on a stretch in float64, in eight interleaved sums: a fixed order."""
    a = b = c = d = e = f = g = h = 0.0
    whole = begin + (end - begin) // 8 * 8
    for j in range(begin, whole, 8):
        a += float(x[j]) * float(y[j])
        b += float(x[j + 1]) * float(y[j + 1])
        c += float(x[j + 2]) * float(y[j + 2])
        d += float(x[j + 3]) * float(y[j + 3])
        e += float(x[j + 4]) * float(y[j + 4])
        f += float(x[j + 5]) * float(y[j + 5])
        g += float(x[j + 6]) * float(y[j + 6])
        h += float(x[j + 7]) * float(y[j + 7])
    for j in range(whole, end):
        a += float(x[j]) * float(y[j])
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(nogil=True, cache=True)
def absolute_sum(x, begin, end):
    """Sum of |x| on a stretch in float64."""
    total = 0.0
    for j in range(begin, end):
        total += abs(float(x[j]))
    return total


@njit(nogil=True, cache=True, fastmath={"contract"})
def combine(x, factor, y, begin, end, out):
    """Write x + factor y."""
    f = out.dtype.type(factor)
    for j in range(begin, end):
        out[j] = x[j] + f * y[j]


@njit(nogil=True, cache=True, fastmath={"contract"})
def momentum_step(w, v, g, rate, momentum, begin, end):
    """One step in place: v = momentum v + g, w = w - rate v."""
    r, m = w.dtype.type(rate), w.dtype.type(momentum)
    for j in range(begin, end):
        value = m * v[j] + g[j]
        v[j] = value
        w[j] = w[j] - r * value


@njit(nogil=True, cache=True, fastmath={"contract"})
def blend(x, keep, y, begin, end):
    """Turn x into keep x + (1 - keep) y, in place."""
    k, r = x.dtype.type(keep), x.dtype.type(1.0 - keep)
    for j in range(begin, end):
        x[j] = k * x[j] + r * y[j]
