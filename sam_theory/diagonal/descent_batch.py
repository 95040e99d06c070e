"""Finite-step runs of many settings in one call, eight to a register, on all cores.

Runs with the same X and the same family of full-batch algorithm share the compiled loops of
:mod:`.lanes`; everything else runs alone. Each setting's result depends on that setting only: not
on the others, their order, or the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .._threads import parallel_pieces, worker_count
from ..errors import InputError
from ..regression import Regression
from .descent import Descent, describe_run
from .primitives.simd import WIDTH
from .settings import Batch, Meter, Report, Setting, checked_settings, naming
from .steps.lane_loop import LaneTrainer, shared_tiles
from .steps.loop import Trainer
from .steps.plan import Plan, make_plan, vary_plan
from .steps.tiles import TileDesign

_TOGETHER = 4


def descend_batch(
    data: Regression,
    settings: Iterable[Setting],
    *,
    steps: int,
    record: int | npt.ArrayLike | None = None,
    weight_decay: float = 0.0,
    tol: float = 0.0,
    threads: int | None = None,
    progress: Report | None = None,
) -> Batch[Descent]:
    """Train with many settings; each result is that of :func:`descend` to rounding.

    Parameters
    ----------
    data : Regression
        X (n, d), y (n,); a setting may bring its own.
    settings : iterable of Setting
        What to run; see :func:`settings_grid`.
    steps : int
        Steps of every run, >= 1.
    record, weight_decay, tol
        As in :func:`descend`, the same for all.
    threads : int, optional
        Threads; else SAM_THEORY_THREADS from the environment, else one per core.
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Returns
    -------
    Batch
        A sequence of Descent, with ``table``.

    Raises
    ------
    InputError
        A setting is not usable; the message begins with its number.

    Notes
    -----
    Full-batch algorithms on a dense X go eight to a register, stochastic ones one by one.

    Examples
    --------
    >>> import sam_theory as st
    >>> data = st.sparse_regression(n=20, d=30, nonzeros=3, seed=0)
    >>> grid = st.settings_grid(algorithm=[st.gd(), st.one_sam(0.1)], alpha=[0.1], step_size=0.05)
    >>> batch = st.descend_batch(data, grid, steps=10_000)
    >>> batch.table["status"].tolist(), bool(batch[1].test_loss < batch[0].test_loss)
    (['max_steps', 'max_steps'], True)
    """
    workers = worker_count(threads)
    chosen = checked_settings(settings)
    plans: list[Plan] = []
    for index, setting in enumerate(chosen):
        with naming(index):
            own = data if setting.data is None else setting.data
            if isinstance(setting.seed, np.random.Generator):
                raise InputError("seed must be an integer: a Generator would serve several runs")
            if plans:
                plans.append(vary_plan(plans[0], own, setting))
                continue
            plans.append(
                make_plan(
                    own,
                    alpha=setting.alpha,
                    stretch=(setting.algorithm, setting.step_size, steps),
                    phases=None,
                    record=record,
                    seed=setting.seed,
                    batches=None,
                    weight_decay=weight_decay,
                    tol=tol,
                    progress=None,
                    start=None,
                )
            )
    jobs = _jobs(plans, workers)
    meter = Meter(progress, [len(members) for members, _ in jobs])
    found: list[Any] = [None] * len(plans)

    def carry_out(number: int) -> Iterator[None]:
        members, design = jobs[number]
        first, report = plans[members[0]], meter.of(number)
        ends: list[Any]
        if _in_lanes(first):
            trainer = LaneTrainer([plans[k] for k in members], design)
            yield from trainer.run(report)
            ends = trainer.runs
        else:
            ends = [Trainer(first)]
            ends[0].run()
        for k, end in zip(members, ends, strict=True):
            found[k] = describe_run(plans[k], end)
        report(1.0)

    parallel_pieces([carry_out(number) for number in range(len(jobs))], workers)
    return Batch(chosen, tuple(found))


def _in_lanes(plan: Plan) -> bool:
    return plan.phases[0].algorithm.batch_size is None and isinstance(plan.data.X, np.ndarray)


def _jobs(plans: list[Plan], workers: int) -> list[tuple[list[int], TileDesign | None]]:
    """Numbers of the plans that run together, and the copy of X that the jobs of a kind share.

    Eight settings go by themselves where X stays in the fastest caches beside them; otherwise up to
    32 share the passes over X, fewer where a worker would go without.
    """
    kinds: dict[Any, list[int]] = {}
    for k, plan in enumerate(plans):
        rule = plan.phases[0].algorithm
        if not _in_lanes(plan):
            kinds[("alone", k)] = [k]
            continue
        m = plan.data.n if rule.m is None else rule.m
        family = (m, rule.normalized, rule.ascent_steps) if rule.rho > 0.0 else None
        kinds.setdefault((id(plan.data.X), family), []).append(k)
    jobs = []
    for members in kinds.values():
        first = plans[members[0]]
        design = shared_tiles(first) if _in_lanes(first) else None
        groups = -(-len(members) // (WIDTH * workers))
        size = WIDTH * (min(groups, _TOGETHER) if design is None else 1)
        jobs += [(members[at : at + size], design) for at in range(0, len(members), size)]
    return jobs
