"""One-hidden-layer ReLU networks: a step beside the NumPy loop, and forty runs on two threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from sam_theory import relu

from . import exact
from .rows import OURS, Check, Row, compare
from .timing import ROUNDS, Answer, Contender

GROUP = "relu"
INTRO = (
    "Training on the published 12 points, width 100, float64, one core; times are per step. The "
    "loop is what one would write in NumPy, five matrix products a gradient. The framework's rate "
    "was measured elsewhere, on another machine and in float32; it is here for orientation and has "
    "no contract. A gradient cannot take less than about 0.2 us at 3 GHz (`relu/kernels.py`)."
)
LOOP, ELSEWHERE = "NumPy loop", "framework loop, float32, measured elsewhere"
STEPS, BATCH_STEPS, RUNS = 5_000, 1_000_000, 40
LEAST_RATIO, MOST_BATCH = 30.0, 60.0
MOST = {"ERM": 0.7e-6, "SAM": 1.3e-6}
PUBLISHED = {"ERM": 184e-6, "SAM": 437e-6}
RHO = {"ERM": 0.0, "SAM": 0.3}


def loop(data: Any, start: Any, rho: float, gamma: float, steps: int, dtype: Any = float) -> Any:
    """Train as one would in NumPy; returns all weights after ``steps`` steps."""
    X, y = data.X.astype(dtype), data.y.astype(dtype)
    W, b, a = (v.astype(dtype) for v in
               (start.hidden_weights, start.hidden_bias, start.output_weights))  # fmt: skip

    def gradient(W: Any, b: Any, a: Any) -> tuple[Any, Any, Any]:
        z = X @ W.T + b
        h = np.maximum(z, 0.0)
        r = h @ a - y
        delta = np.outer(r, a) * (z > 0.0)
        return delta.T @ X, delta.sum(axis=0), h.T @ r

    for _ in range(steps):
        of_W, of_b, of_a = gradient(W, b, a)
        if rho > 0.0:
            s = rho / np.sqrt(np.sum(of_W**2) + np.sum(of_b**2) + np.sum(of_a**2))
            of_W, of_b, of_a = gradient(W + s * of_W, b + s * of_b, a + s * of_a)
        W, b, a = W - gamma * of_W, b - gamma * of_b, a - gamma * of_a
    return np.concatenate([a, W.ravel(), b])


class Task:
    """Steps of ERM or SAM with a constant step size, and what they lead to."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.data = relu.published_data()
        run = relu.published_run(0, rho=RHO[name], schedule="constant", steps=steps)
        self.run = replace(run, tol=0.0)

    @property
    def arguments(self) -> tuple[Any, Any, float, float, int]:
        """What the loop takes."""
        return self.data, self.run.start, RHO[self.name], self.run.step_size, self.steps

    @cached_property
    def exact(self) -> Any:
        """Weights by the loop in extended precision."""
        return loop(*self.arguments, dtype=np.longdouble)

    def error(self, weights: Any) -> float:
        """Largest difference of a weight, relative to the largest one."""
        gap = np.max(np.abs(weights - self.exact))
        return float(gap / np.max(np.abs(self.exact)))

    def contenders(self) -> list[Contender]:
        """Return ours and the loop."""

        def ours() -> Answer:
            return Answer(relu.train_run(self.data, self.run).network.parameters)

        def numpy_loop() -> Answer:
            return Answer(loop(*self.arguments))

        return [
            Contender(OURS, ours, self.error, self.steps),
            Contender(LOOP, numpy_loop, self.error, self.steps),
        ]


def rows(quick: bool) -> Iterator[Row]:
    """Measure a step of ERM and of SAM, then the batch."""
    for name in RHO:
        yield from _step(name, STEPS // 10 if quick else STEPS, 3 if quick else ROUNDS)
    yield _batch(BATCH_STEPS // 1000 if quick else BATCH_STEPS)


def _step(name: str, steps: int, rounds: int) -> Iterator[Row]:
    task = Task(name, steps)
    work = f"{name}, 12 points, width 100, one of {steps} steps"
    against = f"the same steps in {exact.precision()}"
    required = {LOOP: (LEAST_RATIO, 0.0)}
    ours, other = compare(GROUP, work, task.contenders(), against, required, rounds)
    yield replace(ours, checks=(Check("seconds", ours.seconds, MOST[name], most=True),))
    yield other
    yield Row(
        GROUP,
        work,
        ELSEWHERE,
        seconds=PUBLISHED[name],
        ratio=PUBLISHED[name] / ours.seconds,
        note="not measured here",
    )


def _batch(steps: int) -> Row:
    """Forty initialisations of SAM on two threads; the error is against single runs."""
    data = relu.published_data()
    runs = [replace(relu.published_run(seed, steps=steps), tol=0.0) for seed in range(RUNS)]
    relu.train_batch(data, [replace(run, steps=10) for run in runs[:2]], threads=2)
    wall, cpu = time.perf_counter(), time.process_time()
    found = relu.train_batch(data, runs, threads=2)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    single = relu.train_run(data, runs[-1])
    gap = np.max(np.abs(found[-1].network.parameters - single.network.parameters))
    return Row(
        GROUP,
        f"train_batch, SAM, {RUNS} runs of {steps} steps",
        f"{OURS}, two threads",
        seconds=wall,
        error=float(gap),
        against="the single run of the last initialisation",
        runs=1,
        cores=cpu / wall,
        checks=(Check("seconds", wall, MOST_BATCH, most=True),),
        note=f"{wall / RUNS / steps * 1e6:.2f} us a step",
    )
