"""The compiled loop of (stochastic, Unified) SAM over many seeds; it validates nothing."""

import math

import numpy as np
from numba import njit, types
from numba.core.types import FunctionType
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from sam_theory.convergence.objectives import INDICES, KERNEL, MATRIX, REGION, SLOPE, VECTOR

_STATE = types.uint64[::1]
RUNNING, DIVERGED, NOT_A_NUMBER = 0, 1, 2
LOSS, TOTAL, LEAST = 0, 1, 2
"""What is recorded: L(w_t), and sum and minimum of |grad L|^2 over the steps before t."""


@intrinsic
def address(_typing, array):
    """Address of an array that outlives its use; costs no reference count."""

    def generate(context, builder, sig, args):
        return make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@njit(inline="always")
def _rotated(x, k):
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@njit(inline="always")
def _random(state):
    """Return the next 64 bits of xoshiro256** (Blackman and Vigna 2021)."""
    result = _rotated(state[1] * np.uint64(5), 7) * np.uint64(9)
    t = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = _rotated(state[3], 45)
    return result


@njit(inline="always")
def _below(state, n):
    """Return an integer in 0..n-1; n < 2^31, the bias is below 2^-32 n."""
    return np.int64(((_random(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@njit(inline="always")
def draw(order, batch, state):
    """Put a uniform sample without replacement, in random order, first in order."""
    n = order.size
    for i in range(min(batch, n - 1)):
        j = i + _below(state, n - i)
        kept = order[i]
        order[i] = order[j]
        order[j] = kept


@njit(inline="always")
def _norm(x):
    total = 0.0
    for j in range(x.size):
        total += x[j] * x[j]
    return math.sqrt(total)


@njit(inline="always")
def _squares_of_rows(A):
    squares = np.empty(A.shape[0])
    for i in range(A.shape[0]):
        squares[i] = _norm(A[i]) ** 2
    return squares


@njit(inline="always")
def evaluate(value, w, examples, first, count, data, out, at):
    """Mean loss of examples[first : first + count] at w, its gradient in out.

    at holds the addresses: of data with its sizes, and of w, examples and out.
    """
    (A, n, c, y, p, q), w_at, examples_at, out_at = at
    return value(w_at, w.size, examples_at, first, count, A, n, c, y, p, q, out_at)


def evaluate_in_python(value, w, examples, first, count, data, out, at):
    """Return the same from a Python function of arrays."""
    return value(w, examples[first : first + count], *data, out)


@njit(inline="always")
def step(
    value, region, data, w, order, batch, block, step_size, radius, normalization,
    gradient, point, total, watch, worst, k, at_w, at_point,
):  # fmt: skip
    """Replace w by w - gamma mean_B grad L_B(w + rho (1 - lam + lam/|g_B|) g_B)."""
    d = w.size
    if block < batch:
        total[:] = 0.0
    for first in range(0, batch, block):
        evaluate(value, w, order, first, block, data, gradient, at_w)
        if radius > 0.0:
            scale = radius
            if normalization > 0.0:
                norm = _norm(gradient)
                inverse = 1.0 / norm if norm > 0.0 else 0.0
                scale = radius * (1.0 - normalization + normalization * inverse)
            for j in range(d):
                point[j] = w[j] + scale * gradient[j]
            if watch:
                worst[k, 1] = max(worst[k, 1], region(point, *data))
            evaluate(value, point, order, first, block, data, gradient, at_point)
        if block < batch:
            for j in range(d):
                total[j] += gradient[j]
    if block < batch:
        scale = step_size / (batch // block)
        for j in range(d):
            w[j] -= scale * total[j]
    else:
        for j in range(d):
            w[j] -= step_size * gradient[j]


@njit(inline="always")
def _state_of(loss, gradient, w):
    if math.isfinite(loss) and math.isfinite(_norm(gradient)):
        return RUNNING
    # An overflow leaves large numbers behind.
    large = 0.0
    for j in range(w.size):
        large = max(large, abs(w[j]))
        if not math.isfinite(w[j]):
            return DIVERGED
    return NOT_A_NUMBER if large < 1e100 else DIVERGED


@njit(inline="always")
def step_by_slopes(
    slope, A, y, l2, squares, w, order, batch, step_size, radius, normalization, total
):  # fmt: skip
    """Do the same for l_i = f(x_i.w, y_i) + (l2/2) |w|^2 and blocks of one example.

    With z = x.w and s = f'(z) the perturbed point is (1 + rho l2) w + rho s x, where the product
    with x is z' = (1 + rho l2) z + rho s |x|^2: the gradient there is (f'(z') + l2 rho s) x +
    l2 (1 + rho l2) w. squares (n,) holds |x_i|^2; normalised only without l2.
    """
    d = w.size
    shrink = 0.0
    coefficient = 0.0
    if batch > 1:
        total[:] = 0.0
    for first in range(batch):
        i = order[first]
        z = 0.0
        for j in range(d):
            z += A[i, j] * w[j]
        s = slope(z, y[i])
        scale = radius
        if normalization > 0.0:
            norm = abs(s) * math.sqrt(squares[i])
            inverse = 1.0 / norm if norm > 0.0 else 0.0
            scale = radius * (1.0 - normalization + normalization * inverse)
        moved = slope((1.0 + scale * l2) * z + scale * s * squares[i], y[i])
        coefficient = moved + l2 * scale * s
        shrink += l2 * (1.0 + scale * l2)
        if batch > 1:
            for j in range(d):
                total[j] += coefficient * A[i, j]
    keep = 1.0 - step_size * shrink / batch
    if batch > 1:
        for j in range(d):
            w[j] = keep * w[j] - step_size / batch * total[j]
    else:
        i = order[0]
        for j in range(d):
            w[j] = keep * w[j] - step_size * coefficient * A[i, j]


@njit(
    types.void(
        FunctionType(KERNEL), FunctionType(SLOPE), FunctionType(REGION), MATRIX, VECTOR, VECTOR,
        MATRIX, types.uint64[:, ::1], types.int64, types.int64, types.int64, types.int64,
        VECTOR, VECTOR, types.float64, INDICES, types.boolean, types.boolean, types.boolean,
        types.float64[:, :, ::1], types.float64[:, :, ::1], MATRIX, INDICES,
    ),
    cache=True,
    nogil=True,
    fastmath={"reassoc", "contract", "nsz"},
)  # fmt: skip
def run_seeds(
    value, slope, region, A, y, p,
    starts, states, begin, end, batch, block,
    step_sizes, radii, normalization, records, track, watch, direct,
    points, recorded, worst, status,
):  # fmt: skip
    """Run seeds begin..end-1, each from its row of starts, with its own random state.

    points (seeds, records, d) and recorded (seeds, records, 3) hold what is known before step
    records[r]; worst (seeds, 2) the largest loss and the largest region value met; status (seeds,).
    With direct, steps go by slopes. When a run leaves the finite numbers, the rest of its records
    stays as the caller filled it and its last point is the one where that happened.
    """
    n = y.size
    d = starts.shape[1]
    everyone = np.arange(n)
    order = np.arange(n)
    state = np.empty(4, np.uint64)
    w, gradient, point, total = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    data = (A, y, p)
    where = (address(A), n, A.shape[1], address(y), address(p), p.size)
    at_all = (where, address(w), address(everyone), address(gradient))
    at_w = (where, address(w), address(order), address(gradient))
    at_point = (where, address(point), address(order), address(gradient))
    row_squares = _squares_of_rows(A)
    last = records[records.size - 1]
    for k in range(begin, end):
        w[:] = starts[k]
        order[:] = everyone
        state[:] = states[k]
        squares = 0.0
        least = np.inf
        r = 0
        for t in range(last + 1):
            due = t == records[r]
            if due or track:
                loss = evaluate(value, w, everyone, 0, n, data, gradient, at_all)
                worst[k, 0] = max(worst[k, 0], loss)
                if watch:
                    worst[k, 1] = max(worst[k, 1], region(w, *data))
                status[k] = _state_of(loss, gradient, w)
                if status[k] != RUNNING:
                    points[k, records.size - 1] = w
                    break
                if due:
                    points[k, r] = w
                    recorded[k, r, LOSS] = loss
                    recorded[k, r, TOTAL] = squares
                    recorded[k, r, LEAST] = least
                    r += 1
                    if t == last:
                        break
                square = _norm(gradient) ** 2
                squares += square
                least = min(least, square)
            if batch < n or block < batch:
                draw(order, batch, state)
            if direct:
                step_by_slopes(
                    slope, A, y, p[0], row_squares, w, order, batch, step_sizes[t], radii[t],
                    normalization, total,
                )  # fmt: skip
                continue
            step(
                value, region, data, w, order, batch, block, step_sizes[t], radii[t],
                normalization, gradient, point, total, watch, worst, k, at_w, at_point,
            )  # fmt: skip
