"""Compiled objectives of the built-in problems: mean loss and gradient over a set of examples.

All have the signature SIGNATURE, ``value(w, examples, A, y, p, out)``: the mean over ``examples``
of the losses l_i at w (d,), its gradient written to ``out`` (d,). A (n, .), y (n,) and p are the
problem's data; what they mean is said at each function.

The runs take an objective as a pointer to a function of KERNEL, so that their loop is compiled once
for every problem, also a user's; its arguments are addresses, because arrays cost more to pass than
a step on one example costs to compute. COMPILED holds both forms of each.

REGION functions return how far w is from the centre of the set on which local constants hold, 1 at
its boundary.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import carray, njit, types

VECTOR, INDICES, MATRIX = types.float64[::1], types.int64[::1], types.float64[:, ::1]
SIGNATURE = types.float64(VECTOR, INDICES, MATRIX, VECTOR, VECTOR, VECTOR)
_NUMBERS, _INTEGERS = types.CPointer(types.float64), types.CPointer(types.int64)
KERNEL = types.float64(
    _NUMBERS, types.int64, _INTEGERS, types.int64, types.int64,
    _NUMBERS, types.int64, types.int64, _NUMBERS, _NUMBERS, types.int64, _NUMBERS,
)  # fmt: skip
"""(w, d, examples, first, count, A, rows, columns, y, p, size of p, out)."""
SLOPE = types.float64(types.float64, types.float64)
REGION = types.float64(VECTOR, MATRIX, VECTOR, VECTOR)

_ALGEBRA = {"reassoc", "contract", "nsz"}
_objective = njit(inline="always")
_arrays = njit(SIGNATURE, cache=True, nogil=True, fastmath=_ALGEBRA)
_kernel = njit(KERNEL, cache=True, nogil=True, fastmath=_ALGEBRA, error_model="numpy")
_region = njit(REGION, cache=True, nogil=True)


@dataclass(frozen=True)
class Compiled:
    """An objective in its forms; called, it is the one on arrays.

    Where l_i(w) = f(x_i.w, y_i) + (p_0/2) |w|^2, slope(z, y) is the derivative of f in z: a step on
    one example then needs one product with x_i instead of two.
    """

    arrays: Any
    kernel: Any
    slope: Any = None

    def __call__(self, w: Any, examples: Any, A: Any, y: Any, p: Any, out: Any) -> float:
        """Mean loss over examples; its gradient goes to out."""
        return float(self.arrays(w, examples, A, y, p, out))

    @property
    def name(self) -> str:
        """Of the function."""
        return str(self.arrays.__name__)


@njit(inline="always")
def _product(A, i, w):
    total = 0.0
    for j in range(w.size):
        total += A[i, j] * w[j]
    return total


@njit(inline="always")
def _add(out, slope, A, i, first):
    if first:
        for j in range(out.size):
            out[j] = slope * A[i, j]
    else:
        for j in range(out.size):
            out[j] += slope * A[i, j]


@njit(inline="always")
def _finish(total, examples, l2, w, out):
    count = examples.size
    if count > 1:
        scale = 1.0 / count
        total *= scale
        for j in range(w.size):
            out[j] *= scale
    if l2 != 0.0:
        norm = 0.0
        for j in range(w.size):
            out[j] += l2 * w[j]
            norm += w[j] * w[j]
        total += 0.5 * l2 * norm
    return total


@_objective
def least_squares(w, examples, A, y, p, out):
    """l_i = (1/2) (x_i.w - y_i)^2 + (p_0/2) |w|^2 with x_i the rows of A."""
    total = 0.0
    for e in range(examples.size):
        i = examples[e]
        r = _product(A, i, w) - y[i]
        total += 0.5 * r * r
        _add(out, r, A, i, e == 0)
    return _finish(total, examples, p[0], w, out)


@_objective
def logistic(w, examples, A, y, p, out):
    """l_i = log(1 + exp(-y_i x_i.w)) + (p_0/2) |w|^2 with labels y_i = -1 or 1."""
    total = 0.0
    for e in range(examples.size):
        i = examples[e]
        margin = y[i] * _product(A, i, w)
        tail = math.exp(-abs(margin))
        total += math.log1p(tail) + max(-margin, 0.0)
        slope = -y[i] * (tail if margin > 0.0 else 1.0) / (1.0 + tail)
        _add(out, slope, A, i, e == 0)
    return _finish(total, examples, p[0], w, out)


@_objective
def saturating(w, examples, A, y, p, out):
    """l_i = r^2/(2 (1 + r^2)) with r = x_i.w - y_i: bounded, not convex."""
    total = 0.0
    for e in range(examples.size):
        i = examples[e]
        r = _product(A, i, w) - y[i]
        inverse = 1.0 / (1.0 + r * r)
        total += 0.5 * r * r * inverse
        slope = r * inverse * inverse
        _add(out, slope, A, i, e == 0)
    return _finish(total, examples, 0.0, w, out)


@_objective
def wave(w, examples, A, y, p, out):
    """l_i = z^2 + 3 sin(z)^2 with z = x_i.w - y_i: not convex, PL along x_i."""
    total = 0.0
    for e in range(examples.size):
        i = examples[e]
        z = _product(A, i, w) - y[i]
        s = math.sin(z)
        total += z * z + 3.0 * s * s
        slope = 2.0 * z + 3.0 * math.sin(2.0 * z)
        _add(out, slope, A, i, e == 0)
    return _finish(total, examples, 0.0, w, out)


@_objective
def quadratic(w, examples, A, y, p, out):
    """l_i = (1/2) sum_j p_j (w_j - A_ij)^2: eigenvalues p, one centre per example."""
    out[:] = 0.0
    total = 0.0
    for i in examples:
        for j in range(w.size):
            z = w[j] - A[i, j]
            total += 0.5 * p[j] * z * z
            out[j] += p[j] * z
    return _finish(total, examples, 0.0, w, out)


@_objective
def double_well(w, examples, A, y, p, out):
    """L = w^4/4 - w^2/2 in one dimension."""
    x = w[0]
    out[0] = x * x * x - x
    return 0.25 * x * x * x * x - 0.5 * x * x


@_objective
def factorization(w, examples, A, y, p, out):
    """l_i = (q/2) |U v_i - a_i|^2; w = (U (r x k), V (q x k)) by rows, a_i the rows of A, p_0 = k.

    The mean over all q examples is (1/2) |U V^T - A^T|_F^2.
    """
    q, r = A.shape
    k = int(p[0])
    out[:] = 0.0
    total = 0.0
    scale = q / examples.size
    for i in examples:
        v = r * k + i * k
        for a in range(r):
            error = -A[i, a]
            for b in range(k):
                error += w[a * k + b] * w[v + b]
            total += 0.5 * error * error
            for b in range(k):
                out[a * k + b] += scale * error * w[v + b]
                out[v + b] += scale * error * w[a * k + b]
    return scale * total


@_objective
def diagonal(w, examples, A, y, p, out):
    """l_i = (1/2) (x_i.(u*v) - y_i)^2 with w = (u, v): a diagonal linear network."""
    d = w.size // 2
    out[:] = 0.0
    total = 0.0
    for i in examples:
        r = -y[i]
        for j in range(d):
            r += A[i, j] * (w[j] * w[d + j])
        total += 0.5 * r * r
        for j in range(d):
            out[j] += r * A[i, j]
    scale = 1.0 / examples.size
    for j in range(d):
        slope = scale * out[j]
        out[j] = slope * w[d + j]
        out[d + j] = slope * w[j]
    return scale * total


@_kernel
def _least_squares_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return least_squares(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _logistic_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return logistic(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _saturating_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return saturating(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _wave_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return wave(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _quadratic_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return quadratic(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _double_well_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return double_well(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _factorization_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return factorization(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


@_kernel
def _diagonal_kernel(w, d, e, first, count, A, n, c, y, p, q, out):
    rows = carray(e, (first + count,))[first:]
    A, y, p = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
    return diagonal(carray(w, (d,)), rows, A, y, p, carray(out, (d,)))


_slope = njit(SLOPE, cache=True, nogil=True)


@_slope
def _least_squares_slope(z, y):
    return z - y


@_slope
def _logistic_slope(z, y):
    return -y / (1.0 + math.exp(min(y * z, 700.0)))


@_slope
def _saturating_slope(z, y):
    inverse = 1.0 / (1.0 + (z - y) * (z - y))
    return (z - y) * inverse * inverse


@_slope
def _wave_slope(z, y):
    return 2.0 * (z - y) + 3.0 * math.sin(2.0 * (z - y))


@_slope
def no_slope(z, y):
    """Stand in where there is none."""
    return 0.0


COMPILED = {
    one.__name__: Compiled(_arrays(one.py_func), kernel, slope)
    for one, kernel, slope in (
        (least_squares, _least_squares_kernel, _least_squares_slope),
        (logistic, _logistic_kernel, _logistic_slope),
        (saturating, _saturating_kernel, _saturating_slope),
        (wave, _wave_kernel, _wave_slope),
        (quadratic, _quadratic_kernel, None),
        (double_well, _double_well_kernel, None),
        (factorization, _factorization_kernel, None),
        (diagonal, _diagonal_kernel, None),
    )
}


@_region
def everywhere(w, A, y, p):
    """Return 0: the constants hold everywhere."""
    return 0.0


@_region
def interval(w, A, y, p):
    """|w_0| <= p_0."""
    return abs(w[0]) / p[0]


@_region
def factorization_region(w, A, y, p):
    """|U - U_0|_F <= p_1 and |V - V_0|_F <= p_2, with (U_0, V_0) = p_3, p_4, ..."""
    q, r = A.shape
    k = int(p[0])
    first = 0.0
    second = 0.0
    for j in range(r * k):
        first += (w[j] - p[3 + j]) ** 2
    for j in range(r * k, (r + q) * k):
        second += (w[j] - p[3 + j]) ** 2
    return max(math.sqrt(first) / p[1], math.sqrt(second) / p[2])


@_region
def diagonal_region(w, A, y, p):
    """Max |w_j| <= p_0 and min u_j^2 + v_j^2 >= p_1."""
    d = w.size // 2
    most = 0.0
    least = np.inf
    for j in range(d):
        most = max(most, abs(w[j]), abs(w[d + j]))
        least = min(least, w[j] * w[j] + w[d + j] * w[d + j])
    return max(most / p[0], p[1] / least if least > 0.0 else np.inf)


@njit(
    types.void(types.FunctionType(SIGNATURE), MATRIX, VECTOR, VECTOR, MATRIX, VECTOR, VECTOR),
    cache=True,
    nogil=True,
)
def squares_at(value, A, y, p, points, square, variance):
    """|grad L|^2 and (1/n) sum |grad l_i - grad L|^2 at every row of points."""
    n = y.size
    d = points.shape[1]
    one = np.empty(1, np.int64)
    everyone = np.arange(n)
    mean, out = np.empty(d), np.empty(d)
    for k in range(points.shape[0]):
        value(points[k], everyone, A, y, p, mean)
        square[k] = np.sum(mean * mean)
        total = 0.0
        for i in range(n):
            one[0] = i
            value(points[k], one, A, y, p, out)
            for j in range(d):
                total += (out[j] - mean[j]) ** 2
        variance[k] = total / n


@_region
def ball(w, A, y, p):
    """|w - w_0| <= p_0 with w_0 = p_1, p_2, ..."""
    total = 0.0
    for j in range(w.size):
        total += (w[j] - p[1 + j]) ** 2
    return math.sqrt(total) / p[0]
