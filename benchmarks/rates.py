"""Stochastic SAM over many seeds: the compiled runs beside NumPy loops on the same minibatches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from sam_theory import convergence as rates
from sam_theory.convergence.runs import constant_schedule

from . import exact
from .rows import OURS, Check, Row, compare
from .timing import ROUNDS, Answer, Contender

GROUP = "rates"
INTRO = (
    "`convergence.simulate`: SAM with one example a step on least squares, n = 100, d = 50, many "
    "seeds. NumPy, one seed: a plain loop over steps. NumPy, all seeds at once: every step a few "
    "array operations over all seeds, the best that NumPy can do. All use the same minibatches. "
    "The last row is the whole of 10^6 steps for 1000 seeds on all cores; its floor is two "
    "products with one row and three passes over w a step, 250 multiply-adds."
)
N, D, STEP, RHO = 100, 50, 2e-3, 1e-2
LOOP, VECTORISED = "NumPy loop, one seed", "NumPy, all seeds at once"
WHOLE = 60.0
"""Seconds that 10^6 steps of 1000 seeds may take."""


def instance() -> Any:
    """Return the least-squares problem."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((N, D))
    y = X @ generator.standard_normal(D) + 0.1 * generator.standard_normal(N)
    return rates.least_squares(X, y)


def drawn(problem: Any, steps: int, seeds: int) -> Any:
    """Return the examples that ``simulate`` draws, shape (steps, seeds).

    Read off runs on a problem with one-hot centres, where a step of size 1 lands on the centre of
    the example that it drew; the random numbers depend on n alone.
    """
    indicator = rates.quadratic(np.ones(N), centers=np.eye(N), start=np.zeros(N))
    plan = constant_schedule(1.0, 0.0, steps)
    runs = rates.simulate(
        indicator, plan, horizons=range(1, steps + 1), batch_size=1, seeds=seeds, track=False
    )
    return runs.points.argmax(axis=2).T


def one_seed(X: Any, y: Any, rows: Any) -> Any:
    """Return w after SAM on the examples of rows (steps,), a plain loop."""
    w = np.zeros(D, dtype=X.dtype)
    for i in rows:
        x = X[i]
        moved = w + RHO * (x @ w - y[i]) * x
        w = w - STEP * (x @ moved - y[i]) * x
    return w


def all_seeds(X: Any, y: Any, rows: Any) -> Any:
    """Return w (seeds, d) after SAM on the examples of rows (steps, seeds), vectorised."""
    w = np.zeros((rows.shape[1], D))
    for chosen in rows:
        x, target = X[chosen], y[chosen]
        moved = w + RHO * (np.einsum("kd,kd->k", x, w) - target)[:, None] * x
        w -= STEP * (np.einsum("kd,kd->k", x, moved) - target)[:, None] * x
    return w


def rows(quick: bool) -> Iterator[Row]:
    """Measure one seed and many, and the whole study on all cores."""
    problem = instance()
    X, y = problem.A, problem.y
    for seeds in (1, 256):
        steps = 200 if quick else (20_000 if seeds == 1 else 400)
        chosen = drawn(problem, steps, seeds)
        truth = one_seed(X.astype(np.longdouble), y.astype(np.longdouble), chosen[:, 0])
        plan = constant_schedule(STEP, RHO, steps)

        def ours(plan: Any = plan, steps: int = steps, seeds: int = seeds) -> Answer:
            runs = rates.simulate(
                problem, plan, horizons=[steps], batch_size=1, seeds=seeds, track=False, threads=1
            )
            return Answer(runs.points[0, 0])

        def theirs(chosen: Any = chosen, seeds: int = seeds) -> Answer:
            if seeds == 1:
                return Answer(one_seed(X, y, chosen[:, 0]))
            return Answer(all_seeds(X, y, chosen)[0])

        def error(w: Any, truth: Any = truth) -> float:
            return exact.difference(w, truth)

        yield from compare(
            GROUP, f"SAM, b = 1, {N} x {D}, {steps} steps, {seeds} seeds",
            [Contender(OURS, ours, error),
             Contender(LOOP if seeds == 1 else VECTORISED, theirs, error)],
            f"the same steps in {exact.precision()}", None, 3 if quick else ROUNDS,
        )  # fmt: skip
    if not quick:
        yield whole(problem)


def whole(problem: Any) -> Row:
    """Run 10^6 steps for 1000 seeds on all cores, once."""
    steps, seeds = 1_000_000, 1000
    plan = constant_schedule(STEP, RHO, steps)
    begin = time.perf_counter()
    runs = rates.simulate(problem, plan, horizons=[steps], batch_size=1, seeds=seeds, track=False)
    seconds = time.perf_counter() - begin
    early = rates.simulate(
        problem, plan, horizons=[20_000], batch_size=1, seeds=seeds, seed=1, track=False
    )
    error = float(np.mean(runs.loss) / np.mean(early.loss)) - 1.0
    return Row(
        GROUP, f"SAM, b = 1, {N} x {D}, {steps} steps, {seeds} seeds, all cores", OURS, seconds,
        abs(error), "stationary mean loss, other seeds after 20,000 steps (statistical)", runs=1,
        checks=(Check("seconds", seconds, WHOLE, most=True),),
    )  # fmt: skip
