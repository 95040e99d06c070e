"""Flows (step size -> 0) of GD, n-SAM, m-SAM and 1-SAM: path and limit.

The flow is integrated in the dual coordinates of :mod:`.field` by an implicit method of order 13.
Near zero loss r' = -K M r with K = X diag(s) X^T/n and M = I + (rho/m) blockdiag(X_B diag(s) X_B^T),
so the rest of Delta is known from P = int r r^T dt, (K M) P + P (K M)^T = r r^T:

    Delta_tail = (1/n m) sum_B diag(X_B^T M_BB P_BB X_B),

and the limit is the minimiser of phi for alpha_eff = alpha exp(-rho Delta) (THEORY section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import linalg

from .._threads import single_threaded
from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .field import FlowField
from .limit import ImplicitBias, describe, initial_scale, solve_limit
from .newton import Array
from .potential import potential
from .radau import Step, integrate

if TYPE_CHECKING:
    import pandas as pd

_TOL = 1e-13
_CHECK_TOL = 1e-11
_LINEAR_BELOW = 1e-7
_STALLED_STEPS = 60


@dataclass(frozen=True, eq=False)
class FlowPath:
    """Points of a flow at given times.

    Attributes
    ----------
    times : ndarray, shape (T,)
        Times t = (step size) x (steps), step size -> 0.
    beta : ndarray, shape (T, d)
        Predictor.
    loss : ndarray, shape (T,)
        (1/2n) ||X beta - y||^2.
    alpha : ndarray, shape (T, d)
        Current scale alpha exp(-rho Delta(t)).
    delta : ndarray, shape (T, d)
        Delta(t) = int mean_B (rho_B/rho) g_B g'_B dt; for gradient descent (rho = 0) the
        first-order exponent of SAM with the same m.
    loss_integral : ndarray, shape (T,)
        int_0^t L.
    status : str
        "converged" (all times reached) or "singular" / "max_steps": rows after the last point
        reached are NaN.
    """

    times: Array = field(repr=False)
    beta: Array = field(repr=False)
    loss: Array = field(repr=False)
    alpha: Array = field(repr=False)
    delta: Array = field(repr=False)
    loss_integral: Array = field(repr=False)
    status: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per time: time, loss, loss_integral, l1, mean alpha."""
        import pandas as pd

        return pd.DataFrame(
            {
                "time": self.times,
                "loss": self.loss,
                "loss_integral": self.loss_integral,
                "l1_norm": np.sum(np.abs(self.beta), axis=1),
                "alpha_mean": np.mean(self.alpha, axis=1),
            }
        )


@single_threaded
def flow(
    data: Regression, *, alpha: npt.ArrayLike, algorithm: Algorithm, times: npt.ArrayLike
) -> FlowPath:
    """Follow the flow of an algorithm from u = alpha, v = 0.

    Parameters
    ----------
    data : Regression
        n examples in d dimensions.
    alpha : array_like, scalar or shape (d,)
        Initial scale, positive, units of beta^(1/2).
    algorithm : Algorithm
        Any rho and m; one ascent step; SGD has the flow of GD.
    times : array_like, shape (T,)
        Increasing, non-negative times (units of 1/Hessian).

    Returns
    -------
    FlowPath

    Raises
    ------
    InputError
        If an argument does not fit, or the algorithm has no flow in closed dual coordinates.
    """
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if at.ndim != 1 or at.size == 0 or not np.all(np.isfinite(at)) or at[0] < 0.0:
        raise InputError("times must be finite and non-negative, one or more")
    if np.any(np.diff(at) <= 0.0):
        raise InputError("times must increase")
    flow_field, scale = _field(data, alpha, algorithm, data.y)
    n, d, count = data.n, data.d, at.size
    states, integrals = np.full((count, flow_field.size), np.nan), np.full(count, np.nan)
    state, row, total, status = np.zeros(flow_field.size), 0, 0.0, "stops"
    if at[0] == 0.0:
        states[0], integrals[0], row = 0.0, 0.0, 1
    reached = [(0.0, 0.0)]

    def record(step: Step) -> None:
        nonlocal row
        total_time, total = reached[-1][0] + step.size, reached[-1][1] + step.quadrature
        reached.append((total_time, total))
        if row < count and step.time + step.size >= at[row] * (1.0 - 1e-13):
            states[row], integrals[row], row = step.state + step.stages[-1], total, row + 1

    if row < count:
        _, state, total, status = integrate(
            flow_field, state, tol=_TOL, finished=lambda *_: False, stops=at, on_step=record
        )
    delta = states[:, n:]
    beta, loss = np.full((count, d), np.nan), np.full(count, np.nan)
    for i in range(row):
        beta[i], _, residual = flow_field.point(states[i])
        loss[i] = 0.5 * float(residual @ residual) / n
    return FlowPath(
        times=at,
        beta=beta,
        loss=loss,
        alpha=scale * np.exp(-algorithm.rho * delta),
        delta=delta,
        loss_integral=0.5 * integrals,
        status="converged" if status == "stops" else status,
    )


@single_threaded
def implicit_bias(
    data: Regression,
    *,
    alpha: npt.ArrayLike,
    algorithm: Algorithm,
    progress: Callable[[float], None] | None = None,
) -> ImplicitBias:
    """Compute the solution that the flow of an algorithm selects, with a certificate.

    Parameters
    ----------
    data : Regression
        n examples in d dimensions.
    alpha : array_like, scalar or shape (d,)
        Initial scale u(0) = alpha, v(0) = 0, positive, units of beta^(1/2).
    algorithm : Algorithm
        GD and SGD have the flow with rho = 0; SAM any m that divides n, normalised or not.
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Returns
    -------
    ImplicitBias
        With status "least_squares" where y is outside the range of X and the flow ends in the
        least-squares limit; "no_interpolation" where it has no such limit (m < n on inconsistent
        data); "singular" where a normalised block gradient vanishes before the others.

    Raises
    ------
    InputError
        If an argument does not fit, or the algorithm has no flow in closed dual coordinates.
    """
    space = data.row_space
    flow_field, scale = _field(data, alpha, algorithm, data.y, to_limit=True)
    log_alpha = np.log(scale)
    if algorithm.rho == 0.0:
        limit = solve_limit(
            data, alpha=scale, algorithm=algorithm, log_alpha_effective=log_alpha
        )
        return _with_loss_integral(limit, 0.5 * potential(limit.beta, scale))
    if not space.consistent and flow_field.blocks == 1:
        # n-SAM moves along X^T r only, which does not see the part of y outside the range.
        flow_field, _ = _field(data, alpha, algorithm, space.y_range, to_limit=True)
    solvable = space.consistent or flow_field.blocks == 1
    results = []
    for share, tol in enumerate((_CHECK_TOL, _TOL)):
        watch = _Watch(flow_field, space.rank, solvable, progress, share)
        time, state, integral, status = integrate(
            flow_field, np.zeros(flow_field.size), tol=tol, finished=watch
        )
        if status != "finished" or watch.stalled:
            break
        results.append((state[data.n :] + watch.tail(), integral + watch.loss_tail()))
    if progress is not None:
        progress(1.0)
    if len(results) < 2:
        status = "no_interpolation" if not solvable else status.replace("finished", "max_steps")
        return describe(
            data,
            flow_field.point(state)[0],
            alpha=scale,
            algorithm=algorithm,
            log_alpha_effective=log_alpha - algorithm.rho * state[data.n :],
            delta=state[data.n :],
            status=status,
            alpha_effective_error=math.nan,
        )
    (coarse, _), (delta, doubled_loss) = results
    return solve_limit(
        data,
        alpha=scale,
        algorithm=algorithm,
        log_alpha_effective=log_alpha - algorithm.rho * delta,
        delta=delta,
        loss_integral=0.5 * doubled_loss,
        alpha_effective_error=algorithm.rho * float(np.max(np.abs(delta - coarse))),
    )


def _with_loss_integral(limit: ImplicitBias, value: float) -> ImplicitBias:
    from dataclasses import replace

    return replace(limit, loss_integral=value)


def _field(
    data: Regression,
    alpha: npt.ArrayLike,
    algorithm: Algorithm,
    y: Array,
    to_limit: bool = False,
) -> tuple[FlowField, Array]:
    """Validate and assemble the field; returns it with alpha as (d,)."""
    if not isinstance(data, Regression):
        raise InputError("data must be a Regression")
    if not isinstance(algorithm, Algorithm):
        raise InputError("algorithm must be an Algorithm, for instance sam_theory.n_sam(0.1)")
    scale = initial_scale(alpha, data.d)
    batch, m = algorithm.resolve(data.n)
    if algorithm.ascent_steps > 1 and algorithm.rho > 0.0:
        raise InputError("ascent_steps must be 1: several ascent steps have no closed flow")
    if batch < data.n:
        if algorithm.rho == 0.0 or m == 1:
            m = data.n if algorithm.rho == 0.0 else 1
        else:
            raise InputError(
                f"batch_size = {batch} with m = {m}: the flow of minibatch m-SAM averages over all "
                "subsets of m examples; use batch_size=None (consecutive blocks) or m = 1"
            )
    normalized = algorithm.normalized and algorithm.rho > 0.0
    rescaled = normalized and m == data.n and to_limit
    field_ = FlowField(data.X, y, m, algorithm.rho, normalized, np.log(scale), rescaled)
    return field_, scale


class _Watch:
    """Decides when the flow is linear to rounding, and knows the rest of its integrals."""

    def __init__(
        self,
        flow_field: FlowField,
        rank: int,
        solvable: bool,
        progress: Callable[[float], None] | None,
        share: int,
    ) -> None:
        self.field, self.solvable = flow_field, solvable
        self.progress, self.share = progress, share
        self.range = np.linalg.svd(flow_field.X, full_matrices=False)[0][:, :rank]
        self.start = float(np.linalg.norm(flow_field.y)) or 1.0
        self.losses: list[float] = []
        self.stalled = False
        self.matrix = self.rest = np.empty(0)

    def __call__(self, _time: float, state: Array) -> bool:
        """Whether the rest of the flow is linear to working accuracy (or no limit is in sight)."""
        X, n = self.field.X, self.field.X.shape[0]
        _, s, r = self.field.point(state)
        size = float(np.linalg.norm(r)) / self.start
        self.losses.append(size)
        if self.progress is not None:
            done = min(1.0, max(0.0, -math.log10(max(size, 1e-300)) / 9.0))
            self.progress(0.5 * (self.share + done))
        if not self.solvable and len(self.losses) > _STALLED_STEPS:
            self.stalled = size > 0.9 * self.losses[-_STALLED_STEPS // 2]
            return self.stalled
        if size == 0.0:
            self.rest, self.matrix, self.s = np.zeros(self.range.shape[1]), np.eye(0), s
            return True
        if size > 1e-2:
            return False
        kernel = self.range.T @ ((X * s) @ X.T / n) @ self.range
        rest = self.range.T @ r
        try:
            remaining = linalg.solve(kernel, rest, assume_a="pos")
        except (linalg.LinAlgError, linalg.LinAlgWarning):
            return False
        move = 2.0 / n * float(np.max(np.abs(X.T @ (self.range @ remaining))))
        self.rest, self.kernel, self.s = rest, kernel, s
        bound = 1e-13 if self.field.rescaled else _LINEAR_BELOW
        return move <= bound

    def _integral(self) -> tuple[Array, Array]:
        """Return P = int r r^T dt (n, n) and the blocks M_BB (k, m, m)."""
        X, m, k = self.field.X, self.field.m, self.field.blocks
        n, d = X.shape
        blocks = X.reshape(k, m, d)
        grow = np.einsum("kad,kbd->kab", blocks * self.s, blocks) * (self.field.rho / m)
        grow += np.eye(m)
        moved = np.einsum("kab,kbr->kar", grow, self.range.reshape(k, m, -1)).reshape(n, -1)
        kernel = self.range.T @ ((X * self.s) @ (X.T @ moved)) / n
        inner = linalg.solve_continuous_lyapunov(kernel, np.outer(self.rest, self.rest))
        return self.range @ inner @ self.range.T, grow

    def tail(self) -> Array:
        """Return what is left of Delta (d,); zero in the rescaled normalised flow."""
        X, m, k = self.field.X, self.field.m, self.field.blocks
        n, d = X.shape
        if self.field.normalized or not np.any(self.rest):
            return np.zeros(d)
        P, grow = self._integral()
        own = np.stack([P[b * m : (b + 1) * m, b * m : (b + 1) * m] for b in range(k)])
        weighted = np.einsum("kab,kbc->kac", grow, own)
        blocks = X.reshape(k, m, d)
        result: Array = np.einsum("kad,kab,kbd->d", blocks, weighted, blocks, optimize=True)
        return result / (n * m)

    def loss_tail(self) -> float:
        """Return what is left of int 2L."""
        if self.field.normalized or not np.any(self.rest):
            return 0.0
        return float(np.trace(self._integral()[0])) / self.field.X.shape[0]
