"""The flow of unnormalised SAM by implicit steps of order 13, compiled; state between calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from numpy.linalg import LinAlgError

from ...design import Array, weighted_gram
from ...errors import InputError
from ..primitives.addresses import Block, Layout, addresses_of
from . import flow_end as ends
from . import stage_newton as newton
from .field import FlowField
from .radau_steps import advance
from .seen import numbers_of_few
from .stiff import metric, stiff_modes
from .tableau import radau_tableau
from .tail import tail

_LANES = 8
_SHAPES = 64
_BUDGET = 16
_LINEAR_BELOW = 1e-5
# Products in a Gram matrix below which compiled code does better without threads.
_INSIDE_BELOW = 1_000_000
_STATUS = {
    ends.STOPPED: "stops",
    ends.LINEAR: "finished",
    ends.SPENT: "finished",
    ends.STALLED: "no_interpolation",
    ends.COLLAPSED: "singular",
}


@cache
def method_tables() -> tuple[newton.Method, npt.NDArray[np.intp]]:
    """Tables of the method as flat arrays of lanes, and their addresses, which need them alive.

    Two threads that come here first may each make their own, so the two belong together.
    """
    table = radau_tableau()

    def columns(matrix: Array) -> Array:
        out = np.zeros((matrix.shape[1], _LANES))
        out[:, : matrix.shape[0]] = matrix.T
        return out.ravel()

    def lanes(values: Array) -> Array:
        out = np.zeros(_LANES)
        out[: len(values)] = values
        return out

    method = newton.Method(
        stages=len(table.nodes),
        nodes=table.nodes,
        columns=columns(table.matrix),
        real=lanes(table.eigenvalues.real),
        imaginary=lanes(table.eigenvalues.imag),
        into_real=columns(table.from_stages.real),
        into_imaginary=columns(table.from_stages.imag),
        from_real=columns(table.to_stages.real),
        from_imaginary=columns(table.to_stages.imag),
        error=np.append(table.embedded, table.real_eigenvalue),
        last=table.matrix[-1].copy(),
    )
    return method, addresses_of(method[1:])


@lru_cache(_SHAPES)
def _layouts(n: int, d: int, max_steps: int) -> tuple[Layout, Layout]:
    """Memory of what is carried and of the working space."""
    carried = Layout(
        newton.Carried,
        **dict.fromkeys(("nu", "rates"), (n,)),
        **dict.fromkeys(("delta", "s", "rest"), (d,)),
        z_nu=(_LANES * n,),
        z_delta=(_LANES * d,),
        **dict.fromkeys(("back", "forward", "turned"), (n, n)),
        sizes=(max_steps + 2,),
        control=(newton.CONTROLS,),
    )
    of_n = ("nu", "z_nu", "r", "d_nu", "defect", "change", "half")
    of_d = ("delta", "z_delta", "theta", "before", "beta", "s", "d_delta")
    space = Layout(
        newton.Space,
        **dict.fromkeys(of_n, (_LANES * n,)),
        **dict.fromkeys(of_d, (_LANES * d,)),
        loss=(_LANES,),
        columns=(_LANES * _LANES,),
        scratch=(3, _LANES * d),
        few=(numbers_of_few(d),),
    )
    return carried, space


class Integrator:
    """The flow of a field from nu = 0, Delta = 0, followed to given times or to its limit.

    ``tol`` is the local error in the measure of :mod:`.radau_steps`. The labels are fittable by
    rows of numerical rank ``rank`` if ``solvable``.
    """

    def __init__(
        self,
        field: FlowField,
        *,
        tol: float,
        rank: int,
        solvable: bool = True,
        max_steps: int = 3000,
    ) -> None:
        n, d = field.X.shape
        self.field, self.tol, self.max_steps = field, tol, max_steps
        self.method, tables = method_tables()
        self._flow = newton.Flow(
            X=field.where,
            y=np.repeat(field.y, _LANES),
            m=field.m,
            rho=field.rho,
            log_alpha=field.log_alpha,
            rank=rank,
            solvable=solvable,
            start=float(np.linalg.norm(field.y)) or 1.0,
            linear_below=_LINEAR_BELOW,
            inside=isinstance(field.X, np.ndarray) and n * n * d <= _INSIDE_BELOW,
        )
        carried, space = _layouts(n, d, max_steps)
        self._carried, self._space = Block(carried), Block(space)
        self._carried.control[newton.AGE] = -1.0
        self._carried.control[newton.LOOSE] = 1.0
        self._addresses = tables, self._carried.addresses, self._space.addresses

    @property
    def state(self) -> Array:
        """(nu, Delta), shape (n + d,)."""
        return np.concatenate([self._carried.nu, self._carried.delta])

    @property
    def doubled_loss(self) -> float:
        """Int 2 L up to here."""
        return float(self._carried.control[newton.INTEGRAL])

    @property
    def unsure(self) -> float:
        """Estimate of what is unknown of the rest of Delta."""
        return float(self._carried.control[newton.UNSURE])

    def rest(self) -> tuple[Array, float]:
        """Return the rest of Delta (d,) and of int 2 L once the flow is "finished"."""
        if self._flow.inside:
            return self._carried.rest, float(self._carried.control[newton.LOSS_REST])
        return tail(self.field, self.state, self._flow.rank)

    def to_time(self, stop: float) -> str:
        """Go to a time; returns "stops", "max_steps" or "singular"."""
        return self._run(stop, self.max_steps, False, None)

    def to_limit(self, progress: Callable[[float], None] | None = None) -> str:
        """Follow the flow until the rest is known in closed form.

        Returns "finished", "no_interpolation" (the loss has stalled above zero), "singular" (the
        flow is not defined beyond this point) or "max_steps". ``progress`` is called every few
        steps with the fraction done, judged by the digits gained; what it raises ends the
        integration in a state that can be continued.
        """
        budget = self.max_steps if progress is None else _BUDGET
        return self._run(math.inf, budget, True, progress)

    def _run(
        self, stop: float, budget: int, to_limit: bool, progress: Callable[[float], None] | None
    ) -> str:
        control = self._carried.control
        end, asked = control[newton.STEPS] + self.max_steps, -1.0
        while control[newton.STEPS] < end:
            share = min(budget, int(end - control[newton.STEPS]))
            answer = advance(
                self._flow, self.method.stages, *self._addresses, self.tol, stop, share, to_limit
            )
            if answer == ends.FACTORIZE and control[newton.STEPS] > asked:
                asked = control[newton.STEPS]
                self._factorize()
                continue
            if answer != ends.RUNNING:
                return _STATUS.get(answer, "max_steps")
            if progress is not None:
                size = self._carried.sizes[int(control[newton.STEPS]) - 1]
                progress(min(1.0, max(0.0, -math.log10(max(size, 1e-300)) / 9.0)))
        return "max_steps"

    def _factorize(self) -> None:
        """Factorise the stiff part of the Jacobian at the present state."""
        field, carried = self.field, self._carried
        try:
            with np.errstate(over="raise", invalid="raise"):
                P = weighted_gram(field.X, carried.s)
                modes = stiff_modes(metric(P, field.m, field.rho), P, field.m == 1)
        except (FloatingPointError, LinAlgError):
            raise InputError("the flow leaves double precision: rescale X, y and alpha") from None
        carried.back[:], carried.forward[:], values = modes
        carried.turned[:] = carried.back.T
        carried.rates[:] = np.maximum(values, 0.0) / len(values)
        carried.control[newton.AGE] = 0.0
