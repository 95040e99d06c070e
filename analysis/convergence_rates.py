"""Verify every convergence theorem on every problem that satisfies its assumptions.

Four tables:

convergence_rates      both sides of each bound on runs: measured, predicted, slack, verdict;
convergence_coverage   which pairs were attempted, and which assumption ruled the others out;
convergence_exponents  measured powers of T, of the step size and of the radius beside the
                       predicted ones, with the reason where a rate is not attained;
convergence_controls   what must not hold, shown not to hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.store import provenance, write_table
from sam_theory import convergence as rates
from sam_theory.convergence.bounds import T3, T3_PL, T5_PL
from sam_theory.convergence.runs import constant_schedule
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.convergence.problems import Problem
    from sam_theory.convergence.theorems import Theorem

SEED = 0
"""Of the problems' data and of the minibatches."""
SEEDS = {True: 200, False: 1000}
"""Runs per expectation: quick, full."""
SAMPLED = ("T1", "T2", "T5", "T5-mean", "T5-PL", "T6")
"""Theorems about minibatches; the others use all examples."""
TITLES = (
    "least_squares", "interpolation", "rank_deficient", "ridge", "logistic", "logistic_plain",
    "saturating", "wave", "waves", "quadratic", "isotropic", "noisy_quadratic", "slow_quadratic",
    "factorization", "diagonal", "double_well",
)  # fmt: skip
"""Problems, in the order of the tables."""
LAMBDAS = (0.0, 0.5, 1.0)
"""Normalisations of Unified SAM, T6."""


def settings(theorem: Theorem, problem: Problem, quick: bool) -> list[dict[str, Any]]:
    """Return batch sizes, m and normalisations with which a pair is verified."""
    n = problem.n
    if theorem.name not in SAMPLED or n == 1:
        batches = [(n, n)]
    elif quick:
        batches = [(1, 1), (n, n)]
    else:
        batches = [(1, 1), (4, 4), (n, n), (4, 2), (4, 1), (n, n // 2), (n, 1)]
    lambdas = LAMBDAS if theorem.name == "T6" else (None,)
    return [
        {"batch_size": b, "m": m} | ({} if lam is None else {"normalization": lam})
        for b, m in dict.fromkeys(batches)
        if m >= 1 and b % m == 0 and b <= n
        for lam in lambdas
    ]


def verdicts(quick: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of verdicts and of coverage."""
    import pandas as pd

    tables, coverage = [], []
    for name, theorem in rates.THEOREMS.items():
        for title in TITLES:
            problem = rates.problem(title, SEED)
            reason = ""
            for setting in settings(theorem, problem, quick):
                try:
                    table = rates.verify(theorem, problem, seeds=SEEDS[quick], seed=SEED, **setting)
                except InputError as error:
                    reason = str(error)
                    break
                tables.append(table)
            coverage.append(
                {"theorem": name, "problem": title, "verified": not reason, "why": reason}
            )
    return pd.concat(tables, ignore_index=True), pd.DataFrame(coverage)


@dataclasses.dataclass(frozen=True)
class Exponent:
    """One measured power beside the predicted one.

    Attributes
    ----------
    theorem, problem : str
        What was run.
    variable : str
        "T", "step size" or "rho".
    measured, low, high : float
        Slope in log-log coordinates with its interval.
    predicted : float
        By the theorem.
    attained : bool
        Whether the theorem's rate is what this problem should show.
    why : str
        Why not, where it is not.
    """

    theorem: str
    problem: str
    variable: str
    measured: float
    low: float
    high: float
    predicted: float
    attained: bool
    why: str = ""


def exponents(quick: bool) -> pd.DataFrame:
    """Return the table of powers."""
    import pandas as pd

    found = [*_powers_of_T(quick), *_powers_of_settings(quick)]
    return pd.DataFrame([dataclasses.asdict(one) for one in found])


_LONG = {"T1": (3000, 10_000, 30_000, 100_000), "T2": (1600, 6400, 25_600, 102_400)}
_FASTER = "no noise at the minimum: the loss falls faster than the bound"
_LINEAR = "PL holds with mu > 1/(gamma T): the gradient falls geometrically"


def _powers_of_T(quick: bool) -> Iterator[Exponent]:
    noisy = ["noisy_quadratic", "rank_deficient"]
    cases: list[tuple[str, str, str]] = [("T1", name, "") for name in [*noisy, "quadratic", "wave"]]
    cases += [("T2", name, "") for name in [*noisy, "ridge"]]
    cases += [("T2", "interpolation", _FASTER), ("T2", "quadratic", _FASTER)]
    cases += [("T3", "slow_quadratic", ""), ("T3", "quadratic", _LINEAR), ("T3", "ridge", _LINEAR)]
    if quick:
        cases = [case for case in cases if case[1] not in ("rank_deficient", "ridge")]
    for name, title, why in cases:
        problem = rates.problem(title, SEED)
        sampled = name in SAMPLED and problem.n > 1
        horizons = _LONG.get(name, rates.THEOREMS[name].horizons)
        table = rates.verify(
            name, problem, horizons=horizons, seeds=64 if quick else 256, seed=SEED,
            batch_size=1 if sampled else None,
        )  # fmt: skip
        row = table.iloc[0]
        yield Exponent(
            name, title, "T", row["rate"], row["rate_low"], row["rate_high"],
            row["predicted_rate"], not why, why,
        )  # fmt: skip


def _powers_of_settings(quick: bool) -> Iterator[Exponent]:
    """Yield the neighbourhood's size against the step size, and the floor against the radius."""
    problem = rates.problem("noisy_quadratic", SEED)
    beta = problem.constants.beta.value
    gammas = np.array([0.04, 0.02, 0.01, 0.005]) / beta
    samples = [
        rates.simulate(
            problem,
            constant_schedule(gamma, 0.0, int(60.0 / gamma)),
            horizons=[int(60.0 / gamma)],
            batch_size=1,
            seeds=256 if quick else 1000,
            seed=SEED,
            track=False,
        ).loss[:, 0]  # fmt: skip
        - problem.constants.minimum.value
        for gamma in gammas
    ]
    found = rates.empirical_rate(1.0 / gammas, np.array(samples).T)
    yield Exponent(
        "T5-PL", problem.name, "step size", -found.slope, -found.high, -found.low, 1.0, True
    )
    quadratic = rates.problem("quadratic", SEED)
    radii = np.array([0.01, 0.03, 0.1, 0.3])
    norms = [rates.verify("limit-cycle", quadratic, rho=rho)["measured"].iloc[-1] for rho in radii]
    found = rates.empirical_rate(radii, np.array([norms]))
    yield Exponent(
        "limit-cycle", quadratic.name, "rho", found.slope, found.low, found.high, 1.0, True
    )


def controls(quick: bool) -> pd.DataFrame:
    """Return what must not hold: theorem, problem, what was done to it, the verdicts, caught."""
    import pandas as pd

    seeds = 200 if quick else 1000
    noisy, plain = rates.problem("noisy_quadratic", SEED), rates.problem("quadratic", SEED)
    cases = [
        ("step size 3/beta", "T3", T3, plain, {"step_size": 3.0 / plain.constants.beta.value}),
        ("normalised SAM, which has a floor", "T3", _normalized(T3), plain, {}),
        ("constant steps with noise claimed to converge", "T5-PL", _without_floor(T5_PL), noisy,
         {"batch_size": 1}),
        ("linear rate claimed without PL", "T3-PL", T3_PL, _with_mu("logistic_plain", 0.05), {}),
        ("SGD passed off as SAM", "quadratic-rate", _without_ascent("quadratic-rate"), plain, {}),
        ("beyond the stability edge", "T3", T3, plain,
         {"step_size": 1.01 * 2.0 / 1.5, "rho": 0.5}),
    ]  # fmt: skip
    rows = []
    for what, name, theorem, problem, setting in cases:
        table = rates.verify(theorem, problem, seeds=seeds, seed=SEED, enforce=False, **setting)
        violated = int((table["verdict"] == "violated").sum())
        rows.append(
            {
                "control": what, "theorem": name, "problem": problem.name, "horizons": len(table),
                "violated": violated, "caught": violated > 0,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _normalized(theorem: Theorem) -> Theorem:
    return dataclasses.replace(
        theorem,
        schedule=lambda setup, T: constant_schedule(setup.step_size, setup.rho, T, 1.0),
    )


def _without_ascent(name: str) -> Theorem:
    return dataclasses.replace(
        rates.theorem(name), schedule=lambda setup, T: constant_schedule(setup.step_size, 0.0, T)
    )


def _without_floor(theorem: Theorem) -> Theorem:
    return dataclasses.replace(
        theorem,
        bound=lambda setup, T, level: (
            setup.problem.gap
            * (1.0 - 0.25 * setup.mu * setup.step_size) ** np.asarray(T, dtype=float)
        ),
    )


def _with_mu(title: str, mu: float) -> Problem:
    problem = rates.problem(title, SEED)
    claimed = rates.Constant(mu, "claimed", "planted: the problem has none")
    return dataclasses.replace(
        problem, constants=dataclasses.replace(problem.constants, mu=claimed)
    )


def run(quick: bool = True, *, folder: Path | None = None) -> pd.DataFrame:
    """Verify, and write the four tables.

    Parameters
    ----------
    quick : bool
        200 seeds and two batch sizes; otherwise 1000 seeds, and batch sizes 1, 4, n with several m.
    folder : pathlib.Path, optional
        Where to, ``results/`` by default.

    Returns
    -------
    pandas.DataFrame
        The table of verdicts, see :func:`sam_theory.convergence.verify`.
    """
    made_by = provenance(quick)
    stated = {"seed": SEED, "seeds": SEEDS[quick]}
    table, coverage = verdicts(quick)
    for name, content in (
        ("convergence_rates", table),
        ("convergence_coverage", coverage),
        ("convergence_exponents", exponents(quick)),
        ("convergence_controls", controls(quick)),
    ):
        write_table(name, content, stated, made_by, folder=folder)
    return table
