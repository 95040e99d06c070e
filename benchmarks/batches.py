"""Many settings at once: the time of one beside the NumPy loop, and two cores beside one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import sam_theory as st

from . import counts, exact, peaks
from .machine import cores
from .rows import OURS, Check, Row, compare, missing
from .side_by_side import TwoProcesses
from .steps import ALPHA, LOOPS, PUBLISHED, Task, task
from .timing import ROUNDS, Answer, Contender

GROUP = "batch"
INTRO = (
    "`descend_batch` of 64 settings that differ in radius, scale and step size, on one core; times "
    "are per setting. The note gives the fraction of the roofline of `benchmarks/counts.py`, with "
    "the rate of multiply-adds in registers measured between the rounds, and beside it the rate of "
    "BLAS's product of large matrices, which is what this arithmetic comes to in practice. "
    "The contract is with the published form of the loop; for 1-SAM, 80 % of the roofline does as "
    "well. Two threads can reach what two processes that share nothing reach; the note says how "
    "much that is."
)
SETTINGS = 64
CHECKED = (0, 21, 42, 63)
REQUIRED = {
    ("1-sam", (20, 30)): 1500.0,
    ("1-sam", (40, 100)): 600.0,
    ("1-sam", (200, 1_000)): 100.0,
    ("gd", (20, 30)): 300.0,
    ("n-sam", (20, 30)): 120.0,
}
LARGE = {kind: Task(kind, 200, 5_000, 40, 0.002) for kind in ("1-sam", "n-sam", "gd")}
FRACTION = 0.8
PEAK = "multiply-adds in registers"
PRODUCT = f"BLAS, {peaks.SIDE} x {peaks.SIDE} times itself"
PAIRS, A_MINUTE = 25, 60.0
Member = tuple[Task, float, st.Setting]
TWO_CORES = 1.8


def settings(job: Task, count: int = SETTINGS) -> list[Member]:
    """Return tasks, scales and settings around a task; the first is the task itself."""
    made = []
    for k in range(count):
        near = replace(job, radius=job.radius * (1.0 - 0.5 * k / count))
        alpha, step = ALPHA * (1.0 - 0.3 * k / count), job.step_size * (1.0 - 0.2 * k / count)
        made.append(
            (near, alpha, st.Setting(algorithm=near.algorithm, alpha=alpha, step_size=step))
        )
    return made


def truth(job: Task, data: st.Regression, made: Sequence[Member]) -> Any:
    """Return beta of some of the settings in extended precision."""
    m = 1 if job.kind == "1-sam" else job.n
    return np.array(
        [
            exact.descent(data.X, data.y, alpha, setting.step_size, near.rho, m, None, job.steps)
            for near, alpha, setting in made
        ]
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure one core at all sizes, then two cores."""
    for (kind, (n, d)), least in REQUIRED.items():
        job = task(kind, n, d, quick)
        if not quick or d == 30:
            yield from _per_setting(job, least, 3 if quick else ROUNDS)
    for job in () if quick else LARGE.values():
        yield from _per_setting(job, 0.0, ROUNDS)
    for n, d in ((20, 30),) if quick else ((20, 30), (200, 1_000)):
        yield from _two_cores(task("1-sam", n, d, quick))
    if not quick:
        yield from _limits()


def _per_setting(job: Task, least: float, rounds: int) -> Iterator[Row]:
    data = job.data
    made = settings(job)
    best = truth(job, data, [made[k] for k in CHECKED])
    published, _ = LOOPS[job.kind]
    arguments = [data.X, data.y, ALPHA, job.step_size, job.steps]
    arguments += [job.rho] if job.rho else []

    contenders = [
        Contender(OURS, descents(job), lambda beta: exact.difference(beta, best), SETTINGS),
        Contender(
            PUBLISHED,
            lambda: Answer(published(*arguments)),
            lambda beta: exact.difference(beta, best[0]),
        ),
        Contender(PEAK, lambda: Answer(peaks.multiply_adds()), lambda last: abs(last - 2.0)),
        Contender(PRODUCT, lambda: Answer(peaks.product()), lambda entry: abs(entry - peaks.SIDE)),
    ]
    against = f"the same steps in {exact.precision()}, four of the 64 settings"
    work = f"{job.algorithm.label}, {job.n} x {job.d}, {job.steps} steps, one of 64"
    measured, loop, peak, product = compare(
        GROUP, work, contenders, against, rounds=rounds, short=False
    )
    need, rate = counts.batch(job.kind, job.n, job.d), peaks.CHAINED / peak.seconds
    seconds = measured.seconds / job.steps
    floor = need.floor(rate)[0]
    fraction = floor / seconds
    checks = [Check("ratio", loop.ratio, least)] if least else []
    if least and job.kind == "1-sam":
        checks.append(Check("fraction of the roofline", fraction, FRACTION))
    most = loop.seconds / (floor * job.steps)
    blas = peaks.PRODUCT / product.seconds
    note = (
        f"{need.attained(seconds, rate)} at {most:.0f} times the loop; {rate / 1e9:.1f} Gflop/s; "
        f"{100.0 * need.flops / seconds / blas:.0f} % of the {blas / 1e9:.1f} Gflop/s of BLAS"
    )
    yield replace(measured, note=note)
    yield replace(loop, checks=tuple(checks), any_of=True)


def _two_cores(job: Task) -> Iterator[Row]:
    made = settings(job)
    best = truth(job, job.data, [made[k] for k in CHECKED])
    work = f"descend_batch, {job.algorithm.label}, {job.n} x {job.d}, 64 settings"
    against = f"the same steps in {exact.precision()}, four of the 64 settings"
    yield from _threads(work, descents, (job,), lambda beta: exact.difference(beta, best), against)


def descents(job: Task, threads: int = 1) -> Callable[[], Answer]:
    """Return the call of one batch of descents."""
    data, chosen = job.data, [setting for _, _, setting in settings(job)]

    def call() -> Answer:
        found = st.descend_batch(data, chosen, steps=job.steps, threads=threads)
        return Answer(np.array([found[k].beta for k in CHECKED]))

    return call


def _limits() -> Iterator[Row]:
    from .exact_flow import read

    best, _ = read("1-sam")
    yield from _threads(
        "implicit_bias_batch, 1-SAM, 20 x 30, 64 settings",
        limits,
        (),
        lambda beta: exact.difference(beta, best),
        "the stored limit of the flow, first setting",
    )


def limits(threads: int = 1) -> Callable[[], Answer]:
    """Return the call of one batch of limits."""
    data = st.sparse_regression(n_test=0)
    radii = [0.05 * (1.0 - 0.5 * k / SETTINGS) for k in range(SETTINGS)]
    chosen = [st.Setting(algorithm=st.one_sam(rho), alpha=0.1) for rho in radii]
    return lambda: Answer(st.implicit_bias_batch(data, chosen, threads=threads)[0].beta)


def _threads(
    work: str,
    make: Callable[..., Callable[[], Answer]],
    arguments: tuple[Any, ...],
    error: Callable[[Any], float],
    against: str,
) -> Iterator[Row]:
    """Compare two threads with one, and two processes that share nothing with one of them.

    What the processes reach is what the machine gives; with two cores to themselves it is twice.
    """
    if cores() < 2:
        yield missing(GROUP, work, "one core", (TWO_CORES, 0.0), "this machine lends one core")
        return
    with TwoProcesses(make, *arguments) as pair:
        contenders = [
            Contender("two cores", make(*arguments, threads=2), error),
            Contender("one core", make(*arguments, threads=1), error),
            Contender("two processes", lambda: pair()[1], error, pieces=2, here=False),
            Contender("one process", pair.alone, error, here=False),
        ]
        wanted = {"one core": (TWO_CORES, 0.0)}
        two, one, apart, alone = compare(
            GROUP, work, contenders, against, wanted, rounds=PAIRS, short=False, spend=A_MINUTE
        )
    yield two
    given = alone.seconds / apart.seconds
    yield replace(one, note=f"two processes: {given:.3g} times one of them")
    yield apart
    yield alone
