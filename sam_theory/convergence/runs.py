"""Runs of SAM on a problem: many seeds in one call, on all cores, the same bits on any number.

A step draws ``batch_size`` examples without replacement, cuts them into blocks of m and averages
the blocks' gradients, each at its own perturbed point

    w + rho (1 - lam + lam / |g_B|) g_B,    g_B = grad L_B(w):

lam = 0 is unnormalised SAM, lam = 1 normalised SAM (Unified SAM, Oikonomou and Loizou 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory._threads import parallel_map
from sam_theory._validate import checked_integer, real_array
from sam_theory.algorithms import Algorithm
from sam_theory.convergence.problems import Array, Problem, failed, shown
from sam_theory.errors import InputError

_SEEDS_PER_PART = 25
MOST_STEPS = 10**15


@dataclass(frozen=True)
class Schedule:
    """What a run does at each of its T steps.

    Attributes
    ----------
    step_sizes, radii : arrays of shape (T,)
        gamma_t > 0 and rho_t >= 0.
    normalization : float
        lam in [0, 1]: 0 unnormalised, 1 normalised.
    """

    step_sizes: Array
    radii: Array
    normalization: float = 0.0

    def __post_init__(self) -> None:
        """Check shapes and signs."""
        gammas = real_array("step_sizes", self.step_sizes)
        radii = real_array("radii", self.radii)
        if gammas.ndim != 1 or gammas.shape != radii.shape:
            raise InputError("step_sizes and radii must be vectors of one length")
        if not (np.all(np.isfinite(gammas)) and np.all(gammas > 0.0)):
            raise InputError("step sizes must be positive and finite")
        if not (np.all(np.isfinite(radii)) and np.all(radii >= 0.0)):
            raise InputError("radii must be finite and >= 0")
        if not 0.0 <= self.normalization <= 1.0:
            raise InputError(f"normalization must lie in [0, 1], not {self.normalization:g}")
        object.__setattr__(self, "step_sizes", gammas)
        object.__setattr__(self, "radii", radii)


def constant_schedule(
    step_size: float, rho: float, steps: int, normalization: float = 0.0
) -> Schedule:
    """Return a schedule that does the same at every step."""
    return Schedule(np.full(steps, float(step_size)), np.full(steps, float(rho)), normalization)


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of K seeds, observed at R horizons.

    Attributes
    ----------
    horizons : array of shape (R,)
        Steps done at each observation.
    points : array of shape (K, R, d)
        w_T.
    loss : array of shape (K, R)
        L(w_T); inf once a run has diverged.
    mean_square : array of shape (K, R)
        (1/T) sum_{t < T} |grad L(w_t)|^2; nan unless tracked.
    least_square : array of shape (K, R)
        min_{t < T} |grad L(w_t)|^2; nan unless tracked.
    highest_loss : float
        Largest L(w_t) met by any seed (of the tracked steps).
    farthest : float
        Largest value of the problem's region met, at iterates or perturbed points; at most 1 if all
        of them were where the constants hold.
    diverged : int
        Number of seeds that left the finite numbers.
    """

    horizons: npt.NDArray[np.int64]
    points: Array
    loss: Array
    mean_square: Array
    least_square: Array
    highest_loss: float
    farthest: float
    diverged: int


def simulate(
    problem: Problem,
    schedule: Schedule,
    *,
    horizons: Sequence[int],
    batch_size: int | None = None,
    m: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    start: npt.ArrayLike | None = None,
    track: bool = True,
    threads: int | None = None,
) -> Runs:
    """Run SAM from every seed.

    Parameters
    ----------
    problem : Problem
        What is minimised.
    schedule : Schedule
        Step sizes and radii; at least as many as the longest horizon.
    horizons : sequence of int
        Increasing numbers of steps >= 0 after which the run is observed.
    batch_size, m : int, optional
        Examples per step (None: all n, every step the same) and per perturbation (None: the whole
        batch); m divides batch_size.
    seeds : int
        Number of runs, which differ in their minibatches alone.
    seed : int
        Of the whole; run k depends on (seed, k) only.
    start : array of shape (d,) or (seeds, d), optional
        problem.start by default.
    track : bool
        Observe the gradient of L at every step, not only at the horizons.
    threads : int, optional
        Number of threads, all cores by default; it changes no bit.

    Returns
    -------
    Runs
        What was observed, one row per seed and one column per horizon.

    Raises
    ------
    InputError
        An argument does not fit, or the objective fails or is nan at a finite point, which is
        named.

    Examples
    --------
    >>> import numpy as np
    >>> from sam_theory import convergence as rates
    >>> problem = rates.problem("interpolation")
    >>> beta = problem.constants.beta.value
    >>> steps = rates.Schedule(np.full(2000, 0.5 / beta), np.full(2000, 0.1 / beta))
    >>> runs = rates.simulate(problem, steps, horizons=[0, 2000], batch_size=1, seeds=3)
    >>> bool((runs.loss[:, 1] < 0.01 * runs.loss[:, 0]).all())
    True
    """
    from sam_theory.convergence.objectives import no_slope

    times = _horizons(horizons, len(schedule.step_sizes))
    batch, block = Algorithm(m=m, batch_size=batch_size).resolve(problem.n)
    count = checked_integer("seeds", seeds, 1)
    checked_integer("seed", seed, 0)
    starts = _starts(problem, start, count)
    states = _states(seed, count)
    points = np.full((count, len(times), problem.d), np.nan)
    recorded = np.full((count, len(times), 3), np.inf)
    worst = np.full((count, 2), -np.inf)
    status = np.zeros(count, dtype=np.int64)
    plain = schedule.normalization == 0.0 or problem.p[0] == 0.0

    def run(functions: tuple[Any, Any, Any, Any], first: int, last: int) -> None:
        loop, value, slope, region = functions
        direct = slope is not None and block == 1 and problem.region is None and plain
        loop(
            value, slope or no_slope, region, problem.A, problem.y, problem.p,
            starts, states, first, last, batch, block,
            schedule.step_sizes, schedule.radii, float(schedule.normalization), times, track,
            problem.region is not None, direct, points, recorded, worst, status,
        )  # fmt: skip

    compiled = _compiled(problem)

    def part(first: int, last: int) -> None:
        try:
            run(compiled, first, last)
        except InputError:
            raise
        except Exception as error:
            # Compiled code cannot say where its objective failed: the run is repeated in Python.
            if last == first + 1:
                run(_guarded(problem), first, last)
                reason = f"{type(error).__name__}: {error}"
                raise InputError(f"{problem.name}: objective or gradient fails: {reason}") from None
            for k in range(first, last):
                part(k, k + 1)

    parallel_map(
        lambda first: part(first, min(first + _SEEDS_PER_PART, count)),
        range(0, count, _SEEDS_PER_PART),
        threads,
    )
    return _runs(problem, times, track, points, recorded, worst, status)


def _states(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """Return the initial states (count, 4) of the streams of random numbers, one per run."""
    streams = [np.random.SeedSequence(seed, spawn_key=(k,)) for k in range(count)]
    return np.array([stream.generate_state(4, np.uint64) for stream in streams])


def _runs(problem, times, track, points, recorded, worst, status):  # type: ignore[no-untyped-def]
    from sam_theory.convergence.runs_kernel import DIVERGED, LEAST, LOSS, NOT_A_NUMBER, TOTAL

    if np.any(status == NOT_A_NUMBER):
        k = int(np.argmax(status == NOT_A_NUMBER))
        raise InputError(
            f"{problem.name}: loss or gradient is not finite at w = {shown(points[k, -1])}"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = recorded[:, :, TOTAL] / times
    if not track:
        mean, recorded[:, :, LEAST] = np.full_like(mean, np.nan), np.nan
    return Runs(
        horizons=times,
        points=points,
        loss=recorded[:, :, LOSS],
        mean_square=mean,
        least_square=recorded[:, :, LEAST],
        highest_loss=float(worst[:, 0].max()),
        farthest=float(worst[:, 1].max()),
        diverged=int(np.sum(status == DIVERGED)),
    )


def checked_horizon(steps: Any, least: int) -> int:
    """Return a number of steps, at least ``least``, as an int; InputError otherwise."""
    number = checked_integer("horizons", steps, least)
    if number > MOST_STEPS:
        raise InputError(f"horizons must be at most {MOST_STEPS}, not {number}")
    return number


def _horizons(horizons: Sequence[int], steps: int) -> npt.NDArray[np.int64]:
    if not isinstance(horizons, Iterable):
        raise InputError(f"horizons must be a sequence of integers, not {horizons!r}")
    times = np.array([checked_horizon(t, 0) for t in horizons], dtype=np.int64)
    if times.size == 0 or np.any(np.diff(times) <= 0):
        raise InputError("horizons must be increasing integers >= 0")
    if times[-1] > steps:
        raise InputError(f"the longest horizon {times[-1]} exceeds the schedule's {steps} steps")
    return times


def _starts(problem: Problem, start: npt.ArrayLike | None, count: int) -> Array:
    chosen = real_array("start", problem.start if start is None else start)
    if chosen.shape not in ((problem.d,), (count, problem.d)):
        raise InputError(
            f"start must have shape ({problem.d},) or ({count}, {problem.d}), not {chosen.shape}"
        )
    if not np.all(np.isfinite(chosen)):
        raise InputError("start must be finite")
    return np.array(np.broadcast_to(chosen, (count, problem.d)), order="C")


def _compiled(problem: Problem) -> tuple[Any, Any, Any, Any]:
    """Return loop, objective, slope or None, and region, all compiled or all in Python."""
    from sam_theory.convergence import objectives, runs_kernel

    region = objectives.everywhere if problem.region is None else problem.region
    if isinstance(problem.value, objectives.Compiled):
        compiled = problem.value
        return runs_kernel.run_seeds, compiled.kernel, compiled.slope, region
    return _in_python(runs_kernel), problem.value, None, getattr(region, "py_func", region)


def _guarded(problem: Problem) -> tuple[Any, Any, Any, Any]:
    """Return the same all in Python; the objective's failures name the point."""
    from sam_theory.convergence import objectives, runs_kernel

    def value(w, examples, A, y, p, out):  # type: ignore[no-untyped-def]
        try:
            return problem.value(w, examples, A, y, p, out)
        except InputError:
            raise
        except Exception as error:
            raise failed(w, error) from None

    region = objectives.everywhere if problem.region is None else problem.region
    return _in_python(runs_kernel), value, None, getattr(region, "py_func", region)


def _in_python(module: ModuleType) -> Any:
    """Return run_seeds as Python runs it, with everything that it calls."""
    plain = dict(vars(module))
    for name, function in vars(module).items():
        if hasattr(function, "py_func"):
            plain[name] = FunctionType(function.py_func.__code__, plain, name)
    plain |= {"evaluate": module.evaluate_in_python, "address": id}
    loop = plain["run_seeds"]

    def quiet(*arguments: Any) -> None:
        # The random numbers are meant to wrap around, and a run may overflow.
        with np.errstate(all="ignore"):
            loop(*arguments)

    return quiet
