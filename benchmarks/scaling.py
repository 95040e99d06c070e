"""How cost grows with examples, coordinates, settings and stored entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import random_array

import sam_theory as st

from . import exact
from .rows import OURS, Row
from .timing import Answer, Contender, interleave

GROUP = "scaling"
INTRO = (
    "Times at growing sizes, and the exponent p of time ~ size^p by least squares of the "
    "logarithms (+- one standard error), beside the predicted one. One core."
)
ALPHA = 0.1


@dataclass(frozen=True)
class Point:
    """One size of a series: what to call, and the error of what it returns."""

    size: float
    call: Callable[[], Answer]
    error: Callable[[Any], float]
    pieces: int = 1


@dataclass(frozen=True)
class Series:
    """Calls that differ in one size."""

    work: str
    against: str
    variable: str
    predicted: float
    points: tuple[Point, ...]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Return the slope of log(seconds) against log(sizes) and its standard error.

    Parameters
    ----------
    sizes, seconds : sequence of float
        Positive, at least three.
    """
    x, z = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    x = x - x.mean()
    slope = float(x @ z / (x @ x))
    rest = z - z.mean() - slope * x
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))


def rows(quick: bool) -> Iterator[Row]:
    """Measure every series: a row per size, then the fitted exponent."""
    every = (_steps_d, _steps_n, _convex_d, _convex_n, _batch, _sparse)
    for make in every[: 1 if quick else None]:
        yield from _measure(make())


def _measure(series: Series) -> Iterator[Row]:
    contenders = [Contender(OURS, p.call, p.error, p.pieces) for p in series.points]
    timings = interleave(contenders)
    for point, timing in zip(series.points, timings, strict=True):
        yield Row(
            GROUP,
            f"{series.work}, {series.variable} = {point.size:g}",
            OURS,
            timing.seconds,
            timing.error,
            series.against,
            runs=len(timing.samples),
            spread=timing.spread,
            cores=timing.cores,
            note=timing.note,
        )
    slope, error = exponent([p.size for p in series.points], [t.seconds for t in timings])
    note = f"{slope:.2f} +- {error:.2f}, predicted {series.predicted:g}"
    yield Row(GROUP, f"{series.work}, against {series.variable}", "exponent", note=note)


def _descend_point(data: st.Regression, size: float, steps: int) -> Point:
    rule, step = st.one_sam(0.02), 2.0 / data.d
    best = exact.descent(np.asarray(_dense(data.X)), data.y, ALPHA, step, rule.rho, 1, None, 3)

    def call(count: int = steps) -> Answer:
        run = st.descend(data, alpha=ALPHA, algorithm=rule, step_size=step, steps=count)
        return Answer(run.beta)

    three = exact.difference(call(3).value, best)
    return Point(size, call, lambda beta: three if np.all(np.isfinite(beta)) else math.inf, steps)


def _dense(X: Any) -> Any:
    return X if isinstance(X, np.ndarray) else X.toarray()


def _steps_d() -> Series:
    points = [
        _descend_point(st.sparse_regression(100, d, n_test=0), d, 400_000 // d)
        for d in (500, 1_000, 2_000, 4_000)
    ]
    against = f"three steps in {exact.precision()}"
    return Series("1-SAM step, n = 100", against, "d", 1.0, tuple(points))


def _steps_n() -> Series:
    points = [
        _descend_point(st.sparse_regression(n, 1_000, n_test=0), n, 40_000 // n)
        for n in (50, 100, 200, 400)
    ]
    against = f"three steps in {exact.precision()}"
    return Series("1-SAM step, d = 1000", against, "n", 1.0, tuple(points))


def _convex_point(n: int, d: int, size: float) -> Point:
    data = st.sparse_regression(n, d, nonzeros=5, n_test=0)

    def call() -> Answer:
        found = st.minimize_potential(data.X, data.y, ALPHA)
        return Answer(found.beta, f"{found.iterations} Newton steps")

    found = st.minimize_potential(data.X, data.y, ALPHA)
    best = exact.entropy_minimum(data.X, data.y, ALPHA, 2.0 * found.dual)
    return Point(size, call, lambda beta: exact.difference(beta, best))


def _convex_d() -> Series:
    points = [_convex_point(100, d, d) for d in (8_000, 16_000, 32_000)]
    against = f"Newton's method in {exact.precision()}"
    return Series("minimize_potential, n = 100", against, "d", 1.0, tuple(points))


def _convex_n() -> Series:
    points = [_convex_point(n, 4_000, n) for n in (200, 400, 800)]
    against = f"Newton's method in {exact.precision()}"
    return Series("minimize_potential, d = 4000", against, "n", 2.0, tuple(points))


def _batch() -> Series:
    data = st.sparse_regression(n_test=0)
    rule, steps = st.one_sam(0.1), 1_000
    best = exact.descent(data.X, data.y, ALPHA, 0.1, rule.rho, 1, None, steps)

    def call(count: int) -> Callable[[], Answer]:
        chosen = [
            st.Setting(algorithm=rule, alpha=ALPHA, step_size=0.1 / (1.0 + k / 100.0))
            for k in range(count)
        ]
        return lambda: Answer(st.descend_batch(data, chosen, steps=steps, threads=1)[0].beta)

    def error(beta: Any) -> float:
        return exact.difference(beta, best)

    points = [Point(count, call(count), error) for count in (16, 32, 64, 128, 256)]
    against = f"the first setting in {exact.precision()}"
    work = "descend_batch, 1-SAM, 20 x 30, 1000 steps"
    return Series(work, against, "settings", 1.0, tuple(points))


def _sparse() -> Series:
    points = []
    for density in (0.02, 0.04, 0.08, 0.16):
        X = random_array((500, 4_000), density=density, format="csr", rng=0, data_sampler=_normal)
        data = st.Regression(X, X[:, :5].sum(axis=1))
        points.append(_descend_point(data, X.nnz, 100))
    against = f"three steps in {exact.precision()}"
    return Series("1-SAM step, sparse, 500 x 4000", against, "nnz", 1.0, tuple(points))


def _normal(size: int) -> Any:
    return np.random.default_rng(1).standard_normal(size)
