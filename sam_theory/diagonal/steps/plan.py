"""What a call of descend asks for: checked arguments, recording steps, stream of minibatches."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._validate import checked_integer, checked_number, real_array
from ...algorithms import Algorithm
from ...errors import InputError
from ...regression import Regression
from ..coordinates import initial_scale
from .kernels import draw_rows

if TYPE_CHECKING:
    from ..settings import Setting

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Record = tuple[int, int, float, float]


MOST_STEPS = 10**15


@dataclass(frozen=True, eq=False)
class Phase:
    """A stretch of a run.

    Attributes
    ----------
    algorithm : Algorithm
        What was run.
    step_size : float or (steps,) array
        gamma, dimensionless; one value or one per planned step.
    steps : int
        Number of steps: planned, or done in a finished run.
    """

    algorithm: Algorithm
    step_size: float | Array
    steps: int

    def gammas(self, lo: int, hi: int) -> Array:
        """Step sizes of the steps lo, ..., hi - 1 of this phase."""
        if isinstance(self.step_size, float):
            return np.full(hi - lo, self.step_size)
        return self.step_size[lo:hi]


class RowStream:
    """Rows of consecutive stochastic steps, drawn from a generator or prescribed.

    A draw consumes exactly batch uniform numbers per step, so the stream does not depend on how
    many steps are asked for at a time.
    """

    def __init__(
        self, n: int, source: int | np.random.Generator, given: Rows | None = None
    ) -> None:
        self.n, self.source, self.given = n, source, given
        self.used = 0

    @property
    def generator(self) -> np.random.Generator:
        """The source of the draws, made from its seed when it is first asked for."""
        if not isinstance(self.source, np.random.Generator):
            self.source = np.random.default_rng(self.source)
        return self.source

    def left(self) -> RowStream:
        """Return the stream as it stands, with a source that nobody else will advance."""
        seeded = isinstance(self.source, int)
        return RowStream(self.n, self.source if seeded else copy.deepcopy(self.source))

    def take(self, steps: int, batch: int) -> Rows:
        """Return the rows, shape (steps, batch), of the next steps."""
        if self.given is None:
            return draw_rows(self.generator.random((steps, batch)), self.n)
        self.used += steps
        return self.given[self.used - steps : self.used]


class Begun(NamedTuple):
    """Where a run stands that another call goes on with; arrays as in :class:`.Descent`."""

    data: Regression
    alpha: Array
    steps: int
    w_plus: Array
    w_minus: Array
    nu: Array
    smallest_factor: Array
    phases: tuple[Phase, ...]
    history: tuple[Record, ...]
    stream: RowStream


class Plan(NamedTuple):
    """The checked arguments of one call of descend."""

    data: Regression
    alpha: Array
    phases: tuple[Phase, ...]
    first: int
    marks: Rows
    stream: RowStream
    weight_decay: float
    tol: float
    start: Begun | None
    progress: Callable[[float], None] | None


def make_plan(
    data: Regression,
    *,
    alpha: Any,
    stretch: tuple[Any, Any, Any],
    phases: Any,
    record: Any,
    seed: Any,
    batches: Any,
    weight_decay: Any,
    tol: Any,
    progress: Any,
    start: Any,
) -> Plan:
    """Check everything; InputError names the argument."""
    _check_data(data)
    if progress is not None and not callable(progress):
        raise InputError("progress must be a function of one number")
    scale = _alpha(data, alpha, start)
    planned = _phases(data, stretch, phases)
    first = 0 if start is None else start.steps
    last = first + sum(phase.steps for phase in planned)
    return Plan(
        data=data,
        alpha=scale,
        phases=planned,
        first=first,
        marks=_marks(record, first, last),
        stream=_stream(data.n, planned, seed, batches, start),
        weight_decay=_nonnegative("weight_decay", weight_decay),
        tol=_nonnegative("tol", tol),
        start=start,
        progress=progress,
    )


def vary_plan(plan: Plan, data: Regression, setting: Setting) -> Plan:
    """Check another setting of the same batch; what all settings share is that of ``plan``."""
    if data is not plan.data:
        _check_data(data)
    scale = _alpha(data, setting.alpha, None)
    stretch = (setting.algorithm, setting.step_size, plan.phases[0].steps)
    phases = _phases(data, stretch, None)
    return Plan(
        data=data,
        alpha=scale,
        phases=phases,
        first=plan.first,
        marks=plan.marks,
        stream=_stream(data.n, phases, setting.seed, None, None),
        weight_decay=plan.weight_decay,
        tol=plan.tol,
        start=None,
        progress=None,
    )


def _check_data(data: Any) -> None:
    if not isinstance(data, Regression):
        raise InputError(f"data must be a Regression, not {type(data).__name__}")
    size = float(np.max(np.abs(data.y)))
    if not size * size * data.n < math.inf:
        raise InputError("alpha, X and y are so large that the initial loss overflows")


def _alpha(data: Regression, alpha: Any, start: Any) -> Array:
    if start is None:
        if alpha is None:
            raise InputError("alpha is required")
        scale = initial_scale(alpha, data.d)
        scale.setflags(write=False)
        return scale
    same = start.data is data or (
        np.array_equal(start.data.X, data.X) and np.array_equal(start.data.y, data.y)
    )
    if not same:
        raise InputError("start is a run on other data")
    if alpha is not None and not np.array_equal(initial_scale(alpha, data.d), start.alpha):
        raise InputError("alpha differs from the one of start; leave it out")
    return start.alpha


def _phases(data: Regression, stretch: tuple[Any, Any, Any], phases: Any) -> tuple[Phase, ...]:
    if phases is None:
        for name, value in zip(("algorithm", "step_size", "steps"), stretch, strict=True):
            if value is None:
                raise InputError(f"{name} is required (or phases)")
        return (_phase(data, stretch, ""),)
    if any(value is not None for value in stretch):
        raise InputError("phases excludes algorithm, step_size and steps")
    if not isinstance(phases, Iterable) or getattr(phases, "ndim", 1) == 0:
        raise InputError("phases must be a sequence of (algorithm, step_size, steps)")
    checked = []
    for index, entry in enumerate(phases):
        if not isinstance(entry, tuple | list) or len(entry) != 3:
            raise InputError(f"phases[{index}] must be (algorithm, step_size, steps)")
        checked.append(_phase(data, tuple(entry), f"phases[{index}]: "))
    if not checked:
        raise InputError("phases is empty")
    return tuple(checked)


def _phase(data: Regression, entry: tuple[Any, ...], where: str) -> Phase:
    algorithm, step_size, steps = entry
    if not isinstance(algorithm, Algorithm):
        raise InputError(f"{where}algorithm must be an Algorithm, not {type(algorithm).__name__}")
    algorithm.resolve(data.n)
    count = _integer(f"{where}steps", steps)
    if not 1 <= count <= MOST_STEPS:
        raise InputError(f"{where}steps must be between 1 and {MOST_STEPS}, not {count}")
    if isinstance(step_size, float) and 0.0 < step_size < math.inf:
        return Phase(algorithm, step_size, count)
    sizes = np.array(real_array("step_size", step_size, where), dtype=np.float64)
    if sizes.ndim and sizes.shape != (count,):
        raise InputError(f"{where}step_size has shape {sizes.shape}, expected ({count},) for steps")
    bad = ~(np.isfinite(sizes) & (sizes > 0.0))
    if bad.any():
        value = float(sizes[bad][0]) if sizes.ndim else float(sizes)
        raise InputError(f"{where}step_size must be positive and finite, not {value:g}")
    sizes.setflags(write=False)
    return Phase(algorithm, sizes if sizes.ndim else float(sizes), count)


def _marks(record: Any, first: int, last: int) -> Rows:
    if record is None:
        return np.array([last], dtype=np.int64)
    if real_array("record", record).ndim == 0:
        every = checked_integer("record", record, 1, MOST_STEPS)
        steps = np.arange(first // every + 1, last // every + 1, dtype=np.int64) * every
    else:
        steps = _integers("record", record).ravel()
        outside = (steps < first) | (steps > last)
        if outside.any():
            raise InputError(f"record asks for step {steps[outside][0]}, outside {first} to {last}")
    return np.unique(np.append(steps[steps > first], last))


def _stream(n: int, phases: tuple[Phase, ...], seed: Any, batches: Any, start: Any) -> RowStream:
    given = None
    if batches is not None:
        if seed is not None:
            raise InputError("batches excludes seed")
        stochastic = [phase for phase in phases if phase.algorithm.batch_size is not None]
        given = _batches(n, stochastic, batches)
    if seed is None:
        if start is not None:
            return RowStream(n, start.stream.left().source, given)
        return RowStream(n, 0, given)
    if isinstance(seed, np.random.Generator):
        return RowStream(n, seed, given)
    number = _integer("seed", seed)
    if number < 0:
        raise InputError(f"seed must be >= 0, not {number}")
    return RowStream(n, number, given)


def _batches(n: int, stochastic: list[Phase], batches: Any) -> Rows:
    if not stochastic:
        raise InputError("batches given, but no algorithm has a batch_size")
    sizes = {phase.algorithm.batch_size for phase in stochastic}
    if len(sizes) > 1:
        raise InputError("batches needs the same batch_size in every stochastic phase")
    expected = (sum(phase.steps for phase in stochastic), sizes.pop())
    rows = _integers("batches", batches)
    if rows.ndim == 1 and expected[1] == 1:
        rows = rows[:, None]
    if rows.shape != expected:
        raise InputError(f"batches has shape {rows.shape}, expected {expected} (steps, batch_size)")
    outside = (rows < 0) | (rows >= n)
    if outside.any():
        raise InputError(f"batches names row {rows[outside][0]}, outside 0 to {n - 1}")
    return np.ascontiguousarray(rows)


def _integers(name: str, value: Any) -> Rows:
    real_array(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must hold integers, not dtype {array.dtype}")
    return array.astype(np.int64)


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be an integer, not {value!r}") from None


def _nonnegative(name: str, value: Any) -> float:
    number = checked_number(name, value)
    if number < 0.0:
        raise InputError(f"{name} must be >= 0, not {number:g}")
    return number
