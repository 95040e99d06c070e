"""Claims about convergence rates: every theorem, the exponents, and what must not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.claim import THEOREM, Claim, Judgement, number
from sam_theory.convergence.catalogue import THEOREMS

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.convergence.theorems import Theorem

    Tables = Mapping[str, pd.DataFrame]

EXPONENT_TOLERANCE = 0.1
TIGHT = 1e-10
STUDY = "convergence_rates"


def _bound(theorem: str, lower: bool) -> Callable[[Tables], Judgement]:
    def judge(tables: Tables) -> Judgement:
        part = _of(tables, theorem)
        holding = int((part["verdict"] == "holds").sum())
        slack = part["slack"].to_numpy(float)
        slack = 1.0 / slack if lower else slack
        slack = slack[np.isfinite(slack)]
        return Judgement(
            _all(part), f"{holding} of {len(part)} values, {_problems(part)}", "within the bound",
            f"{number(float(slack.min()))} to {number(float(np.median(slack)))} (median) times"
            if slack.size else "",
        )  # fmt: skip

    return judge


def _exact(theorem: str) -> Callable[[Tables], Judgement]:
    def judge(tables: Tables) -> Judgement:
        part = _of(tables, theorem)
        scale = np.maximum(np.abs(part["predicted"].to_numpy(float)), np.finfo(float).tiny)
        off = float(np.max(np.abs(part["measured"] - part["predicted"]).to_numpy(float) / scale))
        return Judgement(
            None if np.isnan(off) else _all(part) and off <= TIGHT,
            f"relative difference {number(off)}, {_problems(part)}",
            f"equality to {number(TIGHT)}",
            f"{number(TIGHT / off)} times" if off > 0.0 else "exact",
        )

    return judge


def _all(part: pd.DataFrame) -> bool | None:
    """Return whether all verdicts are "holds", None if some decide nothing and none says no."""
    if (part["verdict"] == "violated").any():
        return False
    return True if (part["verdict"] == "holds").all() else None


def _of(tables: Tables, theorem: str) -> pd.DataFrame:
    part = tables[STUDY][tables[STUDY]["theorem"] == theorem]
    if part.empty:
        raise ValueError(f"table {STUDY} has no rows of {theorem}")
    return part


def _problems(part: pd.DataFrame) -> str:
    count = part["problem"].nunique()
    return f"{count} problem{'s' if count > 1 else ''}"


def _exponents(tables: Tables) -> Judgement:
    table = tables["convergence_exponents"]
    table = table[table["attained"].astype(bool)]
    off = (table["measured"] - table["predicted"]).abs().to_numpy(float)
    worst = float(np.max(off)) if off.size else np.nan
    row = table.iloc[int(np.argmax(off))]
    return Judgement(
        None if np.isnan(worst) else worst <= EXPONENT_TOLERANCE,
        f"{len(table)} exponents; worst {row['measured']:.3f} ({row['theorem']}, {row['problem']})",
        f"{row['predicted']:g} there",
        f"off by {number(worst)}, {EXPONENT_TOLERANCE} allowed",
    )


def _controls(tables: Tables) -> Judgement:
    caught = tables["convergence_controls"]["caught"].astype(bool)
    return Judgement(
        bool(caught.all()), f"{int(caught.sum())} of {len(caught)} violated", "all violated"
    )


def _claim(theorem: Theorem) -> Claim:
    lower = theorem.kind == "lower"
    judge = _exact(theorem.name) if theorem.kind == "tight" else _bound(theorem.name, lower)
    statement = f"{theorem.name}: {theorem.title}"
    return Claim(theorem.name, THEOREM, statement, theorem.source, STUDY, (STUDY,), judge)


CLAIMS = (
    *(_claim(theorem) for theorem in THEOREMS.values()),
    Claim(
        "exponents", THEOREM, "Powers of T, step size and radius are those of the bounds, where "
        "attained", "docs/convergence.md", STUDY, ("convergence_exponents",), _exponents,
    ),
    Claim(
        "controls", THEOREM, "Bounds are violated where their assumptions are broken on purpose",
        "docs/convergence.md", STUDY, ("convergence_controls",), _controls,
    ),
)  # fmt: skip
