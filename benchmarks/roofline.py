"""How near each kernel comes to what one core of this machine can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import sam_theory as st

from . import counts, exact, peaks
from .batches import SETTINGS, settings, truth
from .rows import OURS, Row, compare, duration
from .steps import ALPHA, RADII, Task, rows_drawn
from .timing import Answer, Contender

GROUP = "roofline"
INTRO = (
    "Time of one step (of one setting) of each kernel, called through `descend` and "
    "`descend_batch` with so many steps that the call does not count, and the floor that counted "
    "flops and bytes and the peaks measured here put under it (`benchmarks/counts.py`)."
)
STEPS = {(20, 30): 20_000, (40, 100): 4_000, (200, 1_000): 200}
BATCH_STEPS = {(20, 30): 30_000, (40, 100): 6_000, (200, 1_000): 150}
ENDS = (0, SETTINGS - 1)


def rows(quick: bool) -> Iterator[Row]:
    """Measure the peaks, then single runs and batches at every size."""
    yield from _peaks()
    for n, d in list(STEPS)[: 1 if quick else None]:
        for kind in ("gd", "n-sam", "1-sam", "sgd"):
            steps = STEPS[n, d] * (20 if kind == "sgd" and n > 20 else 1)
            yield from _single(Task(kind, n, d, steps, RADII[n, d]))
        for kind in ("gd", "n-sam", "1-sam"):
            yield from _batch(Task(kind, n, d, BATCH_STEPS[n, d], RADII[n, d]))


def _peaks() -> Iterator[Row]:
    arithmetic = f"{peaks.flops() / 1e9:.1f} Gflop/s"
    yield Row(GROUP, "fused multiply-adds", "this core, peak", note=arithmetic)
    for size, name in ((1 << 14, "16 KiB"), (1 << 18, "256 KiB"), (1 << 22, "4 MiB")):
        speed = f"{peaks.bandwidth(size) / 1e9:.0f} GB/s"
        yield Row(GROUP, f"reading and writing {name}", "this core, peak", note=speed)
    speed = f"{peaks.bandwidth(1 << 27) / 1e9:.0f} GB/s"
    yield Row(GROUP, "reading and writing 128 MiB", "this core, peak", note=speed)


def _single(job: Task) -> Iterator[Row]:
    data = job.data
    best = job.exact(data, rows_drawn(job, data) if job.kind == "sgd" else None)

    def call() -> Answer:
        run = st.descend(
            data, alpha=ALPHA, algorithm=job.algorithm, step_size=job.step_size, steps=job.steps
        )
        return Answer(run.beta)

    work = f"{job.algorithm.label}, {job.n} x {job.d}, one step"
    need = counts.single(job.kind, job.n, job.d)
    yield _row(work, call, lambda beta: exact.difference(beta, best), job.steps, need)


def _batch(job: Task) -> Iterator[Row]:
    data = job.data
    made = settings(job)
    best = truth(job, data, [made[k] for k in ENDS])
    chosen = [setting for _, _, setting in made]

    def call() -> Answer:
        found = st.descend_batch(data, chosen, steps=job.steps, threads=1)
        return Answer(np.array([found[k].beta for k in ENDS]))

    work = f"{job.algorithm.label}, {job.n} x {job.d}, one step of one of 64"
    need = counts.batch(job.kind, job.n, job.d)
    pieces = SETTINGS * job.steps
    yield _row(work, call, lambda beta: exact.difference(beta, best), pieces, need)


def _row(
    work: str,
    call: Callable[[], Answer],
    error: Callable[[Any], float],
    pieces: int,
    need: counts.Work,
) -> Row:
    against = f"all steps in {exact.precision()}"
    (row,) = compare(GROUP, work, [Contender(OURS, call, error, pieces)], against)
    floor, _ = need.floor()
    counted = f"{need.flops:.0f} flops, {need.data.bytes + need.state.bytes:.0f} bytes"
    note = f"{need.attained(row.seconds)}: {duration(floor)} for {counted}"
    return replace(row, note=note)
