"""Both sides of a theorem on a run: measured value, predicted value, slack, confidence, verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_integer, checked_number
from sam_theory.algorithms import Algorithm
from sam_theory.convergence.checks import check_minimum, check_problem
from sam_theory.convergence.empirical import empirical_rate
from sam_theory.convergence.problems import Array, Problem
from sam_theory.convergence.runs import checked_horizon
from sam_theory.convergence.theorems import Measurement, Setup, Theorem
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TIGHT = 1e-10
"""Relative difference up to which a tight statement holds."""
_REACHED = 1e-13
_CLEAR = 1e6
"""A value this often above rounding counts for a rate."""
_ROUNDING = 256.0 * np.finfo(float).eps


def verify(
    theorem: Theorem | str,
    problem: Problem | str,
    *,
    horizons: Sequence[int] | None = None,
    seeds: int = 1000,
    batch_size: int | None = None,
    m: int | None = None,
    step_size: float | None = None,
    rho: float | None = None,
    normalization: float | None = None,
    confidence: float = 0.99,
    seed: int = 0,
    enforce: bool = True,
    threads: int | None = None,
) -> pd.DataFrame:
    """Evaluate both sides of a theorem on runs of its algorithm.

    Parameters
    ----------
    theorem : Theorem or str
        A theorem or its name, see THEOREMS.
    problem : Problem or str
        A problem or its name, see PROBLEMS.
    horizons : sequence of int, optional
        Numbers of steps, increasing; the theorem's own by default.
    seeds : int
        Runs over which an expectation is estimated; 1 is used where nothing is random, and
        leaves every expectation "inconclusive".
    batch_size, m : int, optional
        Examples per step (all by default) and per perturbation (the batch by default).
    step_size, rho : float, optional
        gamma > 0 and rho >= 0, where the theorem leaves them free; its own choice by default.
    normalization : float, optional
        lam in [0, 1] of Unified SAM, where the theorem leaves it free; 0 by default.
    confidence : float
        Of the one-sided bound of an expectation, between 0.5 and 1.
    seed : int
        Of the minibatches.
    enforce : bool
        Refuse a setup that violates an assumption; False runs it all the same (a control).
    threads : int, optional
        Number of threads; it changes no bit.

    Returns
    -------
    pandas.DataFrame
        One row per horizon: theorem, problem, kind, quantity, batch_size, m, step_size, rho (of
        the first step), normalization, T, seeds, measured (mean over seeds), standard_error,
        confidence_bound (one-sided, on the side that could violate), predicted, slack (predicted /
        measured; nan where that is rounding), verdict ("holds", "violated" or "inconclusive"),
        why, assumptions, proved, rate, rate_low, rate_high (slope of log measured against log T
        on the longest horizons), predicted_rate.

    Raises
    ------
    InputError
        An argument does not fit, the problem's gradient is not that of its objective, its least
        value exceeds L(start), or an assumption of the theorem fails; the message says which.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> table = rates.verify("T2", "logistic", batch_size=4, seeds=20)
    >>> table["verdict"].unique().tolist(), bool((table["measured"] < table["predicted"]).all())
    (['holds'], True)
    """
    import pandas as pd

    chosen, target = _resolve(theorem, problem)
    check_problem(target)
    check_minimum(target.name, target.loss(target.start), target.constants.minimum.value)
    if not 0.5 <= checked_number("confidence", confidence) < 1.0:
        raise InputError(f"confidence must lie in [0.5, 1), not {confidence:g}")
    times = _times(chosen, horizons)
    setup = prepare(
        chosen, target, batch_size=batch_size, m=m, step_size=step_size, rho=rho,
        normalization=normalization,
    )  # fmt: skip
    failed = chosen.failures(setup)
    if failed and enforce:
        raise InputError(f"{chosen.name} does not apply to {target.name}: {'; '.join(failed)}")
    measured = chosen.measure(
        chosen, setup, times, checked_integer("seeds", seeds, 1), seed, threads
    )
    rows = _judge(chosen, setup, times, measured, confidence)
    shared = _description(chosen, setup, times, measured, failed)
    return pd.DataFrame([{**shared, **row} for row in rows])[list(COLUMNS)]


COLUMNS = (
    "theorem", "problem", "kind", "quantity", "batch_size", "m", "step_size", "rho",
    "normalization", "T", "seeds", "measured", "standard_error", "confidence_bound", "predicted",
    "slack", "verdict", "why", "assumptions", "proved", "rate", "rate_low", "rate_high",
    "predicted_rate",
)  # fmt: skip


def _resolve(theorem: Theorem | str, problem: Problem | str) -> tuple[Theorem, Problem]:
    from sam_theory.convergence import catalogue

    return (
        catalogue.theorem(theorem) if isinstance(theorem, str) else theorem,
        catalogue.problem(problem) if isinstance(problem, str) else problem,
    )


def _times(theorem: Theorem, horizons: Sequence[int] | None) -> npt.NDArray[np.int64]:
    chosen = theorem.horizons if horizons is None else horizons
    lowest = min(theorem.horizons[0], 1)
    if not isinstance(chosen, Iterable):
        raise InputError(f"horizons must be a sequence of integers, not {chosen!r}")
    times = np.array([checked_horizon(T, lowest) for T in chosen], dtype=np.int64)
    if times.size == 0 or np.any(np.diff(times) <= 0):
        raise InputError("horizons must be increasing integers")
    return times


def prepare(
    theorem: Theorem,
    problem: Problem,
    *,
    batch_size: int | None = None,
    m: int | None = None,
    step_size: float | None = None,
    rho: float | None = None,
    normalization: float | None = None,
) -> Setup:
    """Return the theorem's algorithm on a problem, with what the caller leaves open filled in.

    Raises
    ------
    InputError
        A number is out of range, or is given although the theorem fixes it.
    """
    batch, block = Algorithm(m=m, batch_size=batch_size).resolve(problem.n)
    lam = 0.0 if theorem.normalization is None else theorem.normalization
    if normalization is not None:
        if theorem.normalization is not None and normalization != theorem.normalization:
            raise InputError(f"{theorem.name} is about normalization {theorem.normalization:g}")
        lam = checked_number("normalization", normalization)
        if not 0.0 <= lam <= 1.0:
            raise InputError(f"normalization must lie in [0, 1], not {lam:g}")
    for name, value in (("step_size", step_size), ("rho", rho)):
        if value is not None and theorem.fixed:
            raise InputError(f"{theorem.name} fixes {name} itself")
    if step_size is not None and checked_number("step_size", step_size) <= 0.0:
        raise InputError(f"step_size must be positive, not {step_size:g}")
    if rho is not None and checked_number("rho", rho) < 0.0:
        raise InputError(f"rho must be >= 0, not {rho:g}")
    bare = Setup(problem, batch, block, normalization=lam)
    gamma, radius = theorem.defaults(bare) if theorem.fits(bare) else (np.nan, np.nan)
    return Setup(
        problem, batch, block,
        step_size=gamma if step_size is None else float(step_size),
        rho=radius if rho is None else float(rho),
        normalization=lam,
    )  # fmt: skip


def _judge(
    theorem: Theorem, setup: Setup, times: Any, measured: Measurement, confidence: float
) -> list[dict[str, Any]]:
    values = measured.values
    seeds = len(values)
    mean = values.mean(axis=0)
    if measured.predicted is None:
        predicted = np.asarray(theorem.bound(setup, times, measured.level), dtype=np.float64)
        spread = values
    else:
        predicted = measured.predicted.mean(axis=0)
        spread = values - measured.predicted
    random = theorem.expectation and not setup.full_batch
    error, margin = _standard_error(spread, confidence, random)
    resolution = _resolution(theorem, setup)
    side = -1.0 if theorem.kind == "lower" else 1.0
    away = "" if measured.farthest <= 1.0 else (
        f"a run left the region of the constants (by a factor {measured.farthest:.3g})"
    )  # fmt: skip
    rows = []
    for r, T in enumerate(times):
        verdict, why = _verdict(
            theorem, float(mean[r]), float(predicted[r]), float(side * margin[r]), resolution
        )
        if verdict == "violated" and theorem.approach is not None:
            left = theorem.approach(setup) ** float(T)
            if left > _REACHED:
                verdict, why = (
                    "inconclusive",
                    f"not yet at the limit: {left:.1g} of the way is left",
                )
        if away and theorem.kind != "tight":
            verdict, why = "inconclusive", away
        elif measured.diverged and not np.isfinite(mean[r]) and verdict != "holds":
            why = f"{measured.diverged} of {seeds} runs diverged"
        slack = float(predicted[r] / mean[r]) if abs(mean[r]) > resolution else np.nan
        rows.append(
            {
                "T": int(T), "seeds": seeds, "measured": float(mean[r]),
                "standard_error": float(error[r]),
                "confidence_bound": float(mean[r] + side * margin[r]),
                "predicted": float(predicted[r]), "slack": slack, "verdict": verdict, "why": why,
                "proved": theorem.proved_from is not None
                and (theorem.proved_from <= 1 or int(T) >= theorem.proved_from),
            }
        )  # fmt: skip
    return rows


def _standard_error(spread: Array, confidence: float, random: bool) -> tuple[Array, Array]:
    """Return the standard error of the mean and the one-sided margin of Student's t.

    One seed of something random says nothing about the error: nan, and an infinite margin.
    """
    from scipy.special import stdtrit

    seeds = len(spread)
    if seeds == 1 and random:
        return np.full(spread.shape[1], np.nan), np.full(spread.shape[1], np.inf)
    if seeds == 1:
        return np.zeros(spread.shape[1]), np.zeros(spread.shape[1])
    with np.errstate(invalid="ignore"):
        error = spread.std(axis=0, ddof=1) / np.sqrt(seeds)
    return error, float(stdtrit(seeds - 1, confidence)) * error


def _resolution(theorem: Theorem, setup: Setup) -> float:
    """Absolute size below which measured values are rounding."""
    problem = setup.problem
    loss = abs(problem.loss(problem.start)) + abs(problem.constants.minimum.value)
    if theorem.quantity.endswith("|grad L|^2"):
        return (_ROUNDING * np.sqrt(2.0 * setup.beta * loss)) ** 2
    return 0.0 if theorem.kind == "tight" else _ROUNDING * loss


def _verdict(
    theorem: Theorem, measured: float, predicted: float, margin: float, resolution: float
) -> tuple[str, str]:
    if np.isnan(measured) or np.isnan(predicted):
        return "inconclusive", "not a number"
    if theorem.kind == "tight":
        difference = abs(measured - predicted)
        scale = max(abs(predicted), np.finfo(float).tiny)
        if difference <= TIGHT * scale:
            return "holds", ""
        return "violated", f"differs by {difference / scale:.2g}, relative"
    sign = 1.0 if theorem.kind == "upper" else -1.0
    slack = 1e-12 * abs(predicted) + resolution
    excess = sign * (measured - predicted) - slack
    width = abs(margin)
    if not np.isfinite(measured):
        return ("violated", "not finite") if excess > 0.0 else ("holds", "")
    if excess + width <= 0.0:
        return "holds", ""
    if excess - width > 0.0:
        return "violated", f"beyond the bound by {excess:.3g}"
    if np.isinf(width):
        return "inconclusive", "one seed says nothing about a mean: more seeds are needed"
    return "inconclusive", "the confidence interval contains the bound"


def _description(
    theorem: Theorem, setup: Setup, times: Any, measured: Measurement, failed: list[str]
) -> dict[str, Any]:
    schedule = theorem.schedule(setup, int(times[-1]) or 1)
    rate = low = high = np.nan
    if theorem.exponent is not None and len(times) >= 3:
        try:
            mean = measured.values.mean(axis=0)
            clear = (times > 0) & (mean > _CLEAR * _resolution(theorem, setup))
            found = empirical_rate(times[clear], measured.values[:, clear])
            rate, low, high = found.slope, found.low, found.high
        except InputError:
            pass
    return {
        "theorem": theorem.name, "problem": setup.problem.name, "kind": theorem.kind,
        "quantity": theorem.quantity, "batch_size": setup.batch_size, "m": setup.m,
        "step_size": float(schedule.step_sizes[0]), "rho": float(schedule.radii[0]),
        "normalization": setup.normalization, "assumptions": _assumptions(theorem, setup, failed),
        "rate": rate, "rate_low": low, "rate_high": high,
        "predicted_rate": np.nan if theorem.exponent is None else theorem.exponent,
    }  # fmt: skip


def _assumptions(theorem: Theorem, setup: Setup, failed: list[str]) -> str:
    if failed:
        return "FAIL " + "; ".join(failed)
    known = setup.problem.constants
    how = {
        "A2": (
            known.beta_mean if theorem.assumptions[0].text.startswith("$L$") else known.beta
        ).how,
        "PL": None if known.mu is None else known.mu.how,
        "A1": setup.problem.variance_on(setup.problem.loss(setup.problem.start)).how,
    }
    return ", ".join(
        f"{a.name} ({how[a.name]})" if how.get(a.name) else a.name for a in theorem.assumptions
    )
