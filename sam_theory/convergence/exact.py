r"""Statements that hold with equality, and the lower bound of normalised SAM's floor.

On L = (1/2) w^T H w unnormalised SAM multiplies every eigendirection by 1 - gamma (lambda + rho
lambda^2); normalised SAM ends on a cycle of period two. On the double well normalised SAM has a
fixed point where the gradient is not zero. Proofs: docs/convergence.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_theory.convergence import measures
from sam_theory.convergence.bounds import FULL, _constant
from sam_theory.convergence.problems import Array
from sam_theory.convergence.runs import constant_schedule, simulate
from sam_theory.convergence.theorems import Assumption, Measurement, Setup, Theorem

_CYCLE = "Bartlett, Long and Bousquet (2022); Wen, Ma and Li (2022), theorem 4.8"

QUADRATIC = Assumption(
    "quadratic", "L is a quadratic with minimiser 0 and one example",
    lambda setup: None
    if "spectrum" in setup.problem.features and setup.problem.n == 1
    and not np.any(setup.problem.features["solution"])
    else f"{setup.problem.name} is not one",
    of_problem=True,
)  # fmt: skip


def _spectrum(setup: Setup) -> Array:
    return np.asarray(setup.problem.features["spectrum"])


def _top(setup: Setup) -> float:
    return float(_spectrum(setup).max())


def _below(name: str, text: str, value: Any, limit: float) -> Assumption:
    def failure(setup: Setup) -> str | None:
        found = value(setup)
        return None if found < limit else f"{text} fails: {found:.6g} >= {limit:g}"

    return Assumption(name, text, failure)


STABLE = _below(
    "gamma", "gamma lambda_1 < 1", lambda setup: setup.step_size * _top(setup), 1.0
)  # fmt: skip
POSITIVE_RADIUS = Assumption(
    "rho", "rho > 0", lambda s: None if s.rho > 0.0 else f"rho > 0 fails: {s.rho:g}"
)


def _quadratic_defaults(setup: Setup) -> tuple[float, float]:
    return 0.5 / setup.smoothness, 0.4 / setup.smoothness


def _rate_bound(setup: Setup, T: Any, level: float) -> Array:
    spectrum = _spectrum(setup)
    factor = 1.0 - setup.step_size * (spectrum + setup.rho * spectrum**2)
    powers = factor[None, :] ** np.asarray(T)[:, None]
    return 0.5 * (powers * setup.problem.start) ** 2 @ spectrum


def edge(lam: float, rho: float) -> float:
    """Step size at which unnormalised SAM becomes unstable: gamma (lambda + rho lambda^2) = 2."""
    return 2.0 / (lam + rho * lam**2)


def _edge_measure(
    theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
) -> Measurement:
    """Bisect for the step size at which a run along the top eigenvector keeps its length."""
    top = np.zeros(setup.problem.d)
    top[int(np.argmax(_spectrum(setup)))] = 1.0
    found = []
    for T in horizons:
        low, high = 0.0, 4.0 / _top(setup)
        while high - low > 1e-15 * high:
            middle = 0.5 * (low + high)
            runs = simulate(
                setup.problem,
                constant_schedule(middle, setup.rho, int(T)),
                horizons=[int(T)],
                start=top,
                track=False,
            )
            grown = not np.max(np.abs(runs.points[0, 0])) < 1.0
            low, high = (low, middle) if grown else (middle, high)
            if middle in (low, high) and not low < 0.5 * (low + high) < high:
                break
        found.append(0.5 * (low + high))
    return Measurement(values=np.array([found]), level=setup.problem.loss(top))


def _edge_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), edge(_top(setup), setup.rho))


def cycle(step_size: float, rho: float, lam: float) -> float:
    """Distance from the minimum on the limit cycle, gamma rho lambda/(2 - gamma lambda)."""
    return step_size * rho * lam / (2.0 - step_size * lam)


def _cycle_approach(setup: Setup) -> float:
    """Slowest factor per step near the cycle: its radius, and the directions it does not contain.

    There |g| = lambda_1 |w|, which makes the factor of direction j
    1 - gamma lambda_j - (lambda_j/lambda_1)^2 (2 - gamma lambda_1).
    """
    spectrum, top = _spectrum(setup), _top(setup)
    gamma = setup.step_size
    others = spectrum[spectrum < top]
    factors = 1.0 - gamma * others - (others / top) ** 2 * (2.0 - gamma * top)
    return float(max(1.0 - gamma * top, np.max(np.abs(factors), initial=0.0)))


REACHED = Assumption(
    "gap", "the cycle is reached to rounding within 2000 steps",
    lambda setup: None if _cycle_approach(setup) ** 2000 < 1e-13
    else f"the distance to the cycle shrinks by {_cycle_approach(setup):.6f} a step only",
)  # fmt: skip


def _cycle_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), cycle(setup.step_size, setup.rho, _top(setup)))


def normalized_edge(step_size: float, rho: float, gradient_norm: Any) -> Any:
    """Curvature at which normalised SAM stops being stable, given the gradient's norm.

    lambda = (|g|/(2 rho)) (sqrt(1 + 8 rho/(gamma |g|)) - 1), the root of gamma (lambda + rho
    lambda^2/|g|) = 2 (Long and Bartlett 2023).
    """
    return (
        gradient_norm / (2.0 * rho) * (np.sqrt(1.0 + 8.0 * rho / (step_size * gradient_norm)) - 1.0)
    )


def _normalized_edge_statistic(setup: Setup, runs: Any) -> Array:
    gradients = np.linalg.norm(runs.points * _spectrum(setup), axis=2)
    return np.asarray(normalized_edge(setup.step_size, setup.rho, gradients))


def _top_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), _top(setup))


def _floor_measure(
    theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
) -> Measurement:
    before = np.asarray(horizons, dtype=np.int64)
    times = np.unique(np.concatenate([before, before + 1]))
    schedule = theorem.schedule(setup, int(times[-1]))
    runs = simulate(setup.problem, schedule, horizons=[int(t) for t in times], threads=threads)
    norms = measures.norm(setup, runs)
    pair = np.maximum(
        norms[:, np.searchsorted(times, before)], norms[:, np.searchsorted(times, before + 1)]
    )
    return Measurement(pair, runs.highest_loss, runs.farthest, runs.diverged)


def _floor_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), cycle(setup.step_size, setup.rho, float(_spectrum(setup).min())))


DOUBLE_WELL = Assumption(
    "double well", "L = w^4/4 - w^2/2",
    lambda setup: None if setup.problem.features.get("double_well")
    else f"{setup.problem.name} is not it",
    of_problem=True,
)  # fmt: skip
_BETWEEN = Assumption(
    "rho", "1 < rho < 2",
    lambda s: None if 1.0 < s.rho < 2.0 else f"1 < rho < 2 fails: rho = {s.rho:g}",
)  # fmt: skip
_BELOW_ONE = Assumption(
    "gamma", "0 < gamma < 1",
    lambda s: None if s.step_size < 1.0 else f"gamma < 1 fails: gamma = {s.step_size:g}",
)  # fmt: skip


def _spurious_measure(
    theorem: Theorem, setup: Setup, horizons: Any, seeds: int, seed: int, threads: int | None
) -> Measurement:
    fixed = 1.0 - setup.rho
    runs = simulate(
        setup.problem,
        theorem.schedule(setup, int(max(horizons))),
        horizons=[int(T) for T in horizons],
        start=np.array([fixed * 0.9]),
        threads=threads,
    )
    return Measurement(runs.points[:, :, 0], runs.highest_loss, runs.farthest, runs.diverged)


def _spurious_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), 1.0 - setup.rho)


RATE = Theorem(
    name="quadratic-rate",
    title="SAM on a quadratic, exact loss",
    statement=r"L(w_T) = \frac12\sum_j \lambda_j\,(1-\gamma(\lambda_j+\rho\lambda_j^2))^{2T}\,"
    r"w_{0,j}^2",
    kind="tight", quantity="L", expectation=False,
    source="derived: docs/convergence.md, quadratics", proved_from=1,
    assumptions=(QUADRATIC, FULL), schedule=_constant, bound=_rate_bound,
    measure=measures.on_one_run(lambda setup, runs: runs.loss), defaults=_quadratic_defaults,
    horizons=(1, 4, 16, 64, 256),
)  # fmt: skip
EDGE = Theorem(
    name="quadratic-edge",
    title="SAM on a quadratic, largest stable step size",
    statement=r"\gamma(\lambda_1 + \rho\lambda_1^2) = 2",
    kind="tight", quantity="largest stable step size", expectation=False,
    source="Agarwala and Dauphin (2023); derived: docs/convergence.md, quadratics", proved_from=1,
    assumptions=(QUADRATIC, FULL), schedule=_constant, bound=_edge_bound, measure=_edge_measure,
    defaults=_quadratic_defaults, horizons=(64, 128, 256, 512, 1024),
)  # fmt: skip
CYCLE = Theorem(
    name="limit-cycle",
    title="normalised SAM on a quadratic, limit cycle",
    statement=r"\lim_T |w_T| = \frac{\gamma\rho\lambda_1}{2-\gamma\lambda_1},\quad "
    r"\gamma\lambda_1 < 1",
    kind="tight", quantity="|w_T|", expectation=False, source=_CYCLE, proved_from=None,
    assumptions=(QUADRATIC, FULL, STABLE, POSITIVE_RADIUS, REACHED),
    schedule=_constant, bound=_cycle_bound,
    measure=measures.on_one_run(measures.norm), defaults=_quadratic_defaults, normalization=1.0,
    horizons=(2000, 2001, 4000, 4001, 8000), approach=_cycle_approach,
)  # fmt: skip
NORMALIZED_EDGE = Theorem(
    name="normalized-edge",
    title="normalised SAM sits at its edge of stability",
    statement=r"\lambda_1 = \frac{|g|}{2\rho}\Big(\sqrt{1+\frac{8\rho}{\gamma|g|}}-1\Big)"
    r"\text{ on the limit cycle}",
    kind="tight", quantity="edge from |grad L|", expectation=False,
    source="Long and Bartlett (2023); derived: docs/convergence.md, quadratics", proved_from=1,
    assumptions=(QUADRATIC, FULL, STABLE, POSITIVE_RADIUS, REACHED),
    schedule=_constant, bound=_top_bound,
    measure=measures.on_one_run(_normalized_edge_statistic), defaults=_quadratic_defaults,
    normalization=1.0, horizons=(2000, 2001, 4000, 4001, 8000), approach=_cycle_approach,
)  # fmt: skip
FLOOR = Theorem(
    name="normalized-floor",
    title="normalised SAM stays away from the minimum",
    statement=r"\max(|w_T|, |w_{T+1}|) \ge \frac{\gamma\rho\lambda_d}{2-\gamma\lambda_d},\quad "
    r"\gamma\lambda_1 \le 1,\ \lambda_d \text{ the smallest eigenvalue}",
    kind="lower", quantity="max(|w_T|, |w_T+1|)", expectation=False,
    source="derived: docs/convergence.md, quadratics", proved_from=1,
    assumptions=(QUADRATIC, FULL, STABLE, POSITIVE_RADIUS), schedule=_constant, bound=_floor_bound,
    measure=_floor_measure, defaults=_quadratic_defaults, normalization=1.0,
)  # fmt: skip
SPURIOUS = Theorem(
    name="spurious-point",
    title="normalised SAM on the double well, fixed point that is not stationary",
    statement=r"\lim_T w_T = 1-\rho,\quad \nabla L(1-\rho) \ne 0,\quad 1<\rho<2,\ 0<\gamma<1",
    kind="tight", quantity="w_T", expectation=False,
    source="derived: docs/convergence.md, double well", proved_from=1,
    assumptions=(DOUBLE_WELL, FULL, _BETWEEN, _BELOW_ONE), schedule=_constant,
    bound=_spurious_bound, measure=_spurious_measure,
    defaults=lambda setup: (0.3, 1.2), normalization=1.0, horizons=(64, 128, 256, 512, 1024),
    approach=lambda setup: abs(1.0 - 2.0 * setup.step_size),
)  # fmt: skip
EXACT = (RATE, EDGE, CYCLE, NORMALIZED_EDGE, FLOOR, SPURIOUS)
