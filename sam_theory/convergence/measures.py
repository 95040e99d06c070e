"""How the left side of a theorem is measured on runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sam_theory.convergence.problems import Array
from sam_theory.convergence.runs import Runs, simulate
from sam_theory.convergence.theorems import Measurement, Setup, Theorem

Statistic = Callable[[Setup, Runs], Array]


def gap(setup: Setup, runs: Runs) -> Array:
    """L(w_T) - L*, where L* may be a lower bound."""
    return runs.loss - setup.problem.constants.minimum.value


def mean_square(setup: Setup, runs: Runs) -> Array:
    """(1/T) sum_{t < T} |grad L(w_t)|^2."""
    return runs.mean_square


def least_square(setup: Setup, runs: Runs) -> Array:
    """min_{t < T} |grad L(w_t)|^2."""
    return runs.least_square


def norm(setup: Setup, runs: Runs) -> Array:
    """|w_T|, of problems whose minimiser is 0."""
    return np.linalg.norm(runs.points, axis=2)


def on_one_run(statistic: Statistic) -> Callable[..., Measurement]:
    """Measure at all horizons of one run per seed: the schedule does not depend on T."""

    def measure(
        theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
    ) -> Measurement:
        runs = _simulate(theorem, setup, horizons, seeds, seed, threads)
        return _measurement(statistic(setup, runs), [runs])

    return measure


def on_own_runs(statistic: Statistic) -> Callable[..., Measurement]:
    """Measure every horizon T on runs of its own: step size and radius depend on T."""

    def measure(
        theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
    ) -> Measurement:
        every = [
            _simulate(theorem, setup, [T], seeds, seed + index, threads)
            for index, T in enumerate(horizons)
        ]
        return _measurement(np.hstack([statistic(setup, runs) for runs in every]), every)

    return measure


def one_step(
    right_side: Callable[[Setup, Array, Array, Array], Array],
) -> Callable[..., Measurement]:
    """Measure L(w_{t+1}) - L* beside a bound that is evaluated at w_t, on the same seeds.

    right_side(setup, gap, square, variance) takes arrays of shape (K, R): L(w_t) - L*,
    |grad L(w_t)|^2 and sigma^2(w_t).
    """

    def measure(
        theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
    ) -> Measurement:
        before = np.asarray(horizons, dtype=np.int64)
        times = np.unique(np.concatenate([before, before + 1]))
        runs = _simulate(theorem, setup, times, seeds, seed, threads)
        first, second = np.searchsorted(times, before), np.searchsorted(times, before + 1)
        square, variance = squares(setup, runs.points[:, first])
        above = gap(setup, runs)
        predicted = right_side(setup, above[:, first], square, variance)
        return _measurement(above[:, second], [runs], predicted)

    return measure


def squares(setup: Setup, points: Array) -> tuple[Array, Array]:
    """|grad L|^2 and sigma^2 at points (K, R, d), each of shape (K, R)."""
    from sam_theory.convergence.objectives import Compiled, squares_at

    problem = setup.problem
    compiled = isinstance(problem.value, Compiled)
    kernel = squares_at if compiled else squares_at.py_func
    value = problem.value.arrays if isinstance(problem.value, Compiled) else problem.value
    flat = np.ascontiguousarray(points.reshape(-1, problem.d))
    square, variance = np.empty(len(flat)), np.empty(len(flat))
    kernel(value, problem.A, problem.y, problem.p, flat, square, variance)
    return square.reshape(points.shape[:2]), variance.reshape(points.shape[:2])


def _simulate(
    theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
) -> Runs:
    return simulate(
        setup.problem,
        theorem.schedule(setup, int(max(horizons))),
        horizons=[int(T) for T in horizons],
        batch_size=setup.batch_size,
        m=setup.m,
        seeds=1 if setup.full_batch else seeds,
        seed=seed,
        threads=threads,
    )


def _measurement(values: Array, runs: list[Runs], predicted: Array | None = None) -> Measurement:
    return Measurement(
        values=values,
        level=max(r.highest_loss for r in runs),
        farthest=max(r.farthest for r in runs),
        diverged=max(r.diverged for r in runs),
        predicted=predicted,
    )
