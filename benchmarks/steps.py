"""Finite steps, one run on one core, beside the NumPy loops of :mod:`.twins`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import sam_theory as st
from sam_theory.diagonal.steps.plan import make_plan

from . import exact, twins
from .rows import OURS, Row, compare
from .timing import ROUNDS, Answer, Contender

GROUP = "steps"
INTRO = (
    "`descend`, one run on one core, against NumPy loops. Published form: the operations of the "
    "published code, for GD with the weight-decay and balancedness terms that it evaluates with "
    "coefficient 0. Lean: the same mathematics in as few operations as a plain loop allows. The "
    "contract is with the published form."
)
ALPHA = 0.1
SIZES = {(20, 30): 10_001, (40, 100): 4_000, (200, 1_000): 200}
RADII = {(20, 30): 0.1, (40, 100): 0.05, (200, 1_000): 0.01}
REQUIRED = {
    ("1-sam", (20, 30)): 450.0,
    ("1-sam", (40, 100)): 180.0,
    ("1-sam", (200, 1_000)): 36.0,
    ("gd", (20, 30)): 80.0,
    ("n-sam", (20, 30)): 30.0,
    ("sgd", (20, 30)): 130.0,
}
PUBLISHED, LEAN = "NumPy loop, published form", "NumPy loop, lean"
Loop = Callable[..., Any]
LOOPS: dict[str, tuple[Loop, Loop]] = {
    "1-sam": (twins.published_one_sam, twins.lean_one_sam),
    "gd": (twins.published_gd, twins.lean_gd),
    "n-sam": (twins.published_n_sam, twins.lean_n_sam),
    "sgd": (twins.published_sgd, twins.lean_sgd),
}


@dataclass(frozen=True)
class Task:
    """One algorithm on one instance, with step size 5/d; 1-SAM's radius is twice n-SAM's."""

    kind: str
    n: int
    d: int
    steps: int
    radius: float

    @property
    def data(self) -> st.Regression:
        """The published generator's instance of this size."""
        return st.sparse_regression(self.n, self.d, n_test=0)

    @property
    def rho(self) -> float:
        """Radius in this project's convention, from the published one."""
        return {"1-sam": 2.0 * self.radius, "n-sam": self.radius}.get(self.kind, 0.0)

    @property
    def algorithm(self) -> st.Algorithm:
        """What is run."""
        makers = {"gd": st.gd, "sgd": st.sgd, "n-sam": st.n_sam, "1-sam": st.one_sam}
        maker: Callable[..., st.Algorithm] = makers[self.kind]
        return maker(self.rho) if self.rho else maker()

    @property
    def step_size(self) -> float:
        """The published 5/d."""
        return 5.0 / self.d

    @property
    def work(self) -> str:
        """Name of the row."""
        return f"{self.algorithm.label}, {self.n} x {self.d}, {self.steps} steps"

    def exact(self, data: st.Regression, rows: Any = None) -> Any:
        """Return beta in extended precision; rows are those of a stochastic run."""
        m = 1 if self.kind == "1-sam" else self.n
        return exact.descent(data.X, data.y, ALPHA, self.step_size, self.rho, m, rows, self.steps)


def task(kind: str, n: int, d: int, quick: bool = False) -> Task:
    """Return the task of one size; quick has a tenth of the steps, SGD ten times as many."""
    steps = SIZES[n, d] * (10 if kind == "sgd" else 1)
    return Task(kind, n, d, max(steps // 10, 20) if quick else steps, RADII[n, d])


def rows_drawn(task: Task, data: st.Regression) -> Any:
    """Rows that ``descend`` draws for a stochastic task with its default seed."""
    plan = make_plan(
        data,
        alpha=ALPHA,
        stretch=(task.algorithm, task.step_size, task.steps),
        phases=None,
        record=None,
        seed=None,
        batches=None,
        weight_decay=0.0,
        tol=0.0,
        progress=None,
        start=None,
    )
    return np.concatenate([plan.stream.take(1, 1) for _ in range(task.steps)])[:, 0]


def contenders(task: Task) -> list[Contender]:
    """Return ours and the two loops, each with the error of what it computed."""
    data = task.data
    stochastic = task.kind == "sgd"
    mine = task.exact(data, rows_drawn(task, data) if stochastic else None)
    theirs = task.exact(data, twins.sgd_rows(data.n, task.steps)) if stochastic else mine
    arguments = [data.X, data.y, ALPHA, task.step_size, task.steps]
    arguments += [task.rho] if task.rho else []

    def ours() -> Answer:
        run = st.descend(
            data,
            alpha=ALPHA,
            algorithm=task.algorithm,
            step_size=task.step_size,
            steps=task.steps,
        )
        return Answer(run.beta)

    def loop(function: Loop) -> Callable[[], Answer]:
        return lambda: Answer(function(*arguments))

    published, lean = LOOPS[task.kind]
    return [
        Contender(OURS, ours, lambda beta: exact.difference(beta, mine)),
        Contender(PUBLISHED, loop(published), lambda beta: exact.difference(beta, theirs)),
        Contender(LEAN, loop(lean), lambda beta: exact.difference(beta, theirs)),
    ]


def rows(quick: bool) -> Iterator[Row]:
    """Measure every algorithm at every size."""
    for n, d in list(SIZES)[: 1 if quick else None]:
        for kind in LOOPS:
            job = task(kind, n, d, quick)
            required = {PUBLISHED: (REQUIRED.get((kind, (n, d)), 0.0), 0.0)}
            against = f"the same steps in {exact.precision()}"
            yield from compare(
                GROUP, job.work, contenders(job), against, required, 3 if quick else ROUNDS
            )
