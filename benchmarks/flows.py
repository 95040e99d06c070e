"""Limits of flows beside general ODE solvers, each at the tolerance that serves it best."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sam_theory as st

from . import exact, exact_flow, peers_diffrax, peers_ode
from .rows import MISSING, OURS, Check, Row, compare, missing
from .timing import Answer, Contender

GROUP = "flow"
INTRO = (
    "`implicit_bias` on the published instance (20 x 30, alpha 0.1, rho 0.05) against ODE solvers "
    "on (u, v), integrated until the slowest mode has decayed to 4e-18. Each solver is run over a "
    'grid of tolerances; "best" is the one with the smallest error, "sufficient" the fastest '
    'within 3 times that error, and "1e-11" the fastest whose error is at most 1e-11. '
    "Implicit Runge-Kutta methods, far behind, get two tolerances. Compile times of diffrax are "
    "excluded. The contract is with LSODA and its Jacobian at its best. All on one thread."
)
DECAY = 40.0
GOAL = 1e-11
REQUIRED = (20.0, 1.0)
RTOLS, ATOLS = (1e-10, 1e-11, 1e-12, 1e-13, 2.3e-14), (1e-12, 1e-14, 1e-16, 1e-18)
PAIRS = ((1e-10, 1e-12), (1e-11, 1e-14), (1e-12, 1e-15), (2.3e-14, 1e-17))
STAGES = ("Radau", "Kvaerno5")
CONTRACT = "scipy LSODA + Jacobian"
_TOO_LONG = 2.0


@dataclass(frozen=True)
class Trial:
    """One tolerance of one solver."""

    rtol: float
    atol: float
    seconds: float
    error: float

    @property
    def note(self) -> str:
        """The tolerances in words."""
        return f"rtol {self.rtol:.2g}, atol {self.atol:.0e}"


def scan(
    solve: Callable[[float, float], Any], grid: Sequence[tuple[float, float]], exact_beta: Any
) -> list[Trial]:
    """Run a solver over tolerances, loose to tight; stop after a run that is too long."""
    trials: list[Trial] = []
    for rtol, atol in grid:
        start = time.perf_counter()
        try:
            beta = solve(rtol, atol)
        except RuntimeError:
            continue
        seconds = time.perf_counter() - start
        trials.append(Trial(rtol, atol, seconds, exact.difference(beta, exact_beta)))
        if seconds > _TOO_LONG:
            break
    return trials


def chosen(trials: Sequence[Trial], goal: float = GOAL) -> dict[str, Trial]:
    """Return the trials to time: best, sufficient and that of the goal, each once."""
    if not trials:
        return {}
    best = min(trials, key=lambda trial: trial.error)
    near = [trial for trial in trials if trial.error <= 3.0 * best.error]
    found = {"best": best, "sufficient": min(near, key=lambda trial: trial.seconds)}
    reached = [trial for trial in trials if trial.error <= goal]
    if reached:
        found[f"{goal:.0e}"] = min(reached, key=lambda trial: trial.seconds)
    seen: dict[str, Trial] = {}
    for name, trial in found.items():
        if trial not in seen.values():
            seen[name] = trial
    return seen


def scipy_solvers(flow: peers_ode.Flow, end: float) -> dict[str, Callable[[float, float], Any]]:
    """Return the scipy peers as functions of (rtol, atol)."""

    def solve(method: str, jacobian: bool) -> Callable[[float, float], Any]:
        return lambda rtol, atol: peers_ode.solve(
            flow, exact_flow.ALPHA, end, method, rtol, atol, jacobian
        )

    return {
        CONTRACT: solve("LSODA", True),
        "scipy LSODA": solve("LSODA", False),
        "scipy DOP853": solve("DOP853", False),
        "scipy Radau + Jacobian": solve("Radau", True),
    }


def grid_of(name: str) -> Sequence[tuple[float, float]]:
    """Return the tolerances to try: all pairs for LSODA, four or two for the others."""
    if "LSODA" in name:
        return tuple(itertools.product(RTOLS, ATOLS))
    return PAIRS[: 2 if any(stage in name for stage in STAGES) else None]


def algorithm(kind: str) -> st.Algorithm:
    """Return the algorithm of a stored limit."""
    makers = {"gd": st.gd, "n-sam": st.n_sam, "1-sam": st.one_sam}
    maker: Callable[..., st.Algorithm] = makers[kind]
    return maker() if kind == "gd" else maker(exact_flow.RHO)


def rows(quick: bool) -> Iterator[Row]:
    """Measure GD, n-SAM and 1-SAM."""
    data = st.sparse_regression(**exact_flow.INSTANCE, n_test=0)
    for kind in ("gd",) if quick else ("gd", "n-sam", "1-sam"):
        yield from _one(data, kind, quick)


def _one(data: st.Regression, kind: str, quick: bool) -> Iterator[Row]:
    beta, rate = exact_flow.read(kind)
    end = DECAY / rate
    rule = algorithm(kind)
    work = f"implicit_bias, {rule.label}"
    peers = scipy_solvers(peers_ode.Flow(data.X, data.y, kind, exact_flow.RHO), end)
    here = peers_diffrax.installed() and not quick
    if here:
        for name in peers_diffrax.SOLVERS:
            arguments = (data.X, data.y, kind, exact_flow.RHO, exact_flow.ALPHA, end, name)
            peers[f"diffrax {name}"] = peers_diffrax.solver(*arguments)

    def error(found: Any) -> float:
        return exact.difference(found, beta)

    def ours() -> Answer:
        return Answer(st.implicit_bias(data, alpha=exact_flow.ALPHA, algorithm=rule).beta)

    contenders = [Contender(OURS, ours, error)]
    wanted = {f"{CONTRACT}, best": REQUIRED}
    for name, solve in peers.items():
        solve(1e-3, 1e-3)  # compiles
        grid = grid_of(name)
        found = chosen(scan(solve, grid[:: 3 if quick else 1], beta))
        for label, trial in found.items():
            contenders.append(Contender(f"{name}, {label}", _at(solve, trial), error))
        if not found:
            required = wanted.get(f"{name}, best", (0.0, 0.0))
            yield missing(GROUP, work, name, required, "fails at every tolerance")
    against = f"Taylor series of order {exact_flow.ORDER} in extended precision, 1e-17"
    measured = compare(GROUP, work, contenders, against, wanted, 3 if quick else 5)
    goal = Check("error", measured[0].error, GOAL, most=True)
    yield replace(measured[0], checks=(goal,))
    yield from measured[1:]
    if not here:
        for name in peers_diffrax.SOLVERS:
            note = "left out: quick" if peers_diffrax.installed() else MISSING
            yield missing(GROUP, work, f"diffrax {name}", note=note)


def _at(solve: Callable[[float, float], Any], trial: Trial) -> Callable[[], Answer]:
    return lambda: Answer(solve(trial.rtol, trial.atol), trial.note)
