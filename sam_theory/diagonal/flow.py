"""Flows (step size -> 0) of GD, n-SAM, m-SAM and 1-SAM: path and limit.

The flow is integrated in the dual coordinates of :mod:`.field` by an implicit method of order 13.
Its tail is known in closed form (:mod:`.tail`), and the limit is the minimiser of phi for
alpha_eff = alpha exp(-rho Delta) (THEORY section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._threads import parallel_map, single_threaded
from .._validate import real_array
from ..algorithms import Algorithm
from ..design import Array, row_largest
from ..errors import InputError
from ..regression import Regression
from ..row_space import check_magnitude
from .coordinates import initial_scale
from .integrator.coupled import CoupledIntegrator
from .integrator.field import FlowField
from .integrator.radau import Integrator
from .limit import ImplicitBias, describe, solve_limit
from .potential import potential
from .settings import Meter

if TYPE_CHECKING:
    import pandas as pd

# Local errors of the two runs whose difference estimates the error of the second.
_TOLS = (1e-9, 1e-11)
_COUPLED_TOLS = (1e-11, 1e-13)
_PARALLEL_FROM = 2_000


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
        A row for every time.

    Raises
    ------
    InputError
        If an argument does not fit, the algorithm has no flow in closed dual coordinates, an entry
        of X or y exceeds 1e100, or the flow leaves double precision.

    Examples
    --------
    >>> import sam_theory as st
    >>> data = st.sparse_regression(n=4, d=8, nonzeros=1, seed=0)
    >>> path = st.flow(data, alpha=0.1, algorithm=st.n_sam(0.1), times=[0.0, 10.0, 1000.0])
    >>> path.beta.shape, path.status, bool(path.loss[-1] < 1e-6)
    ((3, 8), 'converged', True)
    """
    at = np.atleast_1d(np.asarray(real_array("times", times), dtype=np.float64))
    if at.ndim != 1 or at.size == 0 or not np.all(np.isfinite(at)) or at[0] < 0.0:
        raise InputError("times must be finite and non-negative, one or more")
    if np.any(np.diff(at) <= 0.0):
        raise InputError("times must increase")
    flow_field, scale = _field(data, alpha, algorithm)
    check_magnitude("X", row_largest(data.X), low=0.0)
    check_magnitude("y", data.y, low=0.0)
    n, d, count = data.n, data.d, at.size
    states, integrals = np.full((count, flow_field.size), np.nan), np.full(count, np.nan)
    integrator = _integrator(flow_field, _COUPLED_TOLS[1], n, True)
    row, status = 0, "stops"
    for time in at:
        if time > 0.0:
            status = integrator.to_time(float(time))
        if status != "stops":
            break
        states[row], integrals[row], row = integrator.state, integrator.doubled_loss, row + 1
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
        Called every few steps with the fraction done, 0 to 1; what it raises ends the computation.

    Returns
    -------
    ImplicitBias
        With status "least_squares" where y is outside the range of X and the flow ends in the
        least-squares limit; "no_interpolation" where it has no such limit (m < n on inconsistent
        data) or where rho is so large that it comes to rest above zero loss; "singular" where a
        normalised block gradient vanishes before the others.

    Raises
    ------
    InputError
        If an argument does not fit, the algorithm has no flow in closed dual coordinates, or the
        flow leaves double precision.

    Examples
    --------
    >>> import sam_theory as st
    >>> data = st.sparse_regression(n=20, d=30, nonzeros=3, seed=0)
    >>> limit = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(0.1))
    >>> limit.status, limit.certificate.error_bound < 1e-12
    ('converged', True)
    >>> erm = st.implicit_bias(data, alpha=0.1, algorithm=st.gd())
    >>> limit.l1_norm < erm.l1_norm
    True
    """
    flow_field, scale = _field(data, alpha, algorithm, to_limit=True)
    space = data.row_space
    log_alpha = np.log(scale)
    if algorithm.rho == 0.0:
        limit = solve_limit(data, alpha=scale, algorithm=algorithm, log_alpha_effective=log_alpha)
        return replace(limit, loss_integral=0.5 * potential(limit.beta, scale))
    if not space.consistent and flow_field.blocks == 1:
        # n-SAM moves along X^T r only, which does not see the part of y outside the range.
        flow_field, _ = _field(data, alpha, algorithm, space.y_range, to_limit=True)
    solvable = space.consistent or flow_field.blocks == 1
    coarse, fine = _two_runs(flow_field, space.rank, solvable, progress)
    for run in (coarse, fine):
        if run.status != "finished":
            return describe(
                data,
                flow_field.point(run.state)[0],
                alpha=scale,
                algorithm=algorithm,
                log_alpha_effective=log_alpha - algorithm.rho * run.state[data.n :],
                delta=run.state[data.n :],
                status=run.status,
                alpha_effective_error=math.nan,
            )
    delta = fine.state[data.n :] + fine.rest
    apart = np.abs(delta - coarse.state[data.n :] - coarse.rest)
    # Two runs of the same method can err alike; the tolerance is the least that is believed.
    least = _tolerances(flow_field)[1] * float(np.max(np.abs(delta)))
    error = algorithm.rho * (float(np.max(apart)) + least + fine.unsure)
    if flow_field.rescaled:
        error += algorithm.rho * float(np.max(np.abs(fine.rest)))
    return solve_limit(
        data,
        alpha=scale,
        algorithm=algorithm,
        log_alpha_effective=log_alpha - algorithm.rho * delta,
        delta=delta,
        loss_integral=0.5 * fine.doubled_loss,
        alpha_effective_error=error,
        start=2.0 * fine.state[: data.n],
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """End of an integration: status, state, rest of Delta, its uncertainty, int 2 L to infinity."""

    status: str
    state: Array
    rest: Array
    doubled_loss: float
    unsure: float


def _tolerances(flow_field: FlowField) -> tuple[float, float]:
    return _COUPLED_TOLS if flow_field.normalized else _TOLS


def _two_runs(
    flow_field: FlowField,
    rank: int,
    solvable: bool,
    progress: Callable[[float], None] | None,
) -> list[_Run]:
    """Follow the flow with two tolerances; their difference estimates the error.

    They go side by side where that is worth waking a thread for.
    """
    tols = _tolerances(flow_field)
    meter = Meter(progress, [1, 1])

    def follow(index: int) -> _Run:
        integrator = _integrator(flow_field, tols[index], rank, solvable)
        status = integrator.to_limit(None if progress is None else meter.of(index))
        rest, loss_rest = np.zeros(flow_field.X.shape[1]), 0.0
        if status == "finished":
            rest, loss_rest = integrator.rest()
        meter.of(index)(1.0)
        loss = integrator.doubled_loss + loss_rest
        return _Run(status, integrator.state, rest, loss, integrator.unsure)

    n, d = flow_field.X.shape
    return parallel_map(follow, range(2), None if n * d >= _PARALLEL_FROM else 1)


def _integrator(
    flow_field: FlowField, tol: float, rank: int, solvable: bool
) -> Integrator | CoupledIntegrator:
    if flow_field.normalized:
        return CoupledIntegrator(flow_field, tol=tol)
    return Integrator(flow_field, tol=tol, rank=rank, solvable=solvable)


def _field(
    data: Regression,
    alpha: npt.ArrayLike,
    algorithm: Algorithm,
    y: Array | None = None,
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
    if normalized and not isinstance(data.X, np.ndarray):
        raise InputError("the flow of a normalised algorithm needs a dense X: use X.toarray()")
    labels = data.y if y is None else y
    field_ = FlowField(data.X, labels, m, algorithm.rho, normalized, np.log(scale), rescaled)
    return field_, scale
