"""Claims about diagonal linear networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.claim import (
    FINDING,
    PUBLISHED,
    THEOREM,
    Claim,
    Judgement,
    equals,
    interval,
    less,
    more,
    number,
    within,
)
from analysis.verdict import ERROR_BOUND, EXTRAPOLATED, IDENTITY, STEP_RATIO_TOLERANCE

if TYPE_CHECKING:
    import pandas as pd

    Tables = Mapping[str, pd.DataFrame]

RHO = 0.1
"""Radius at which algorithms are compared on synthetic instances; initial scale 0.1."""
PRINTED = 2e-5
"""Relative; the published numbers are printed with six digits."""


def _worst(column: str, limit: float, statement: str, source: str) -> Claim:
    def judge(tables: Tables) -> Judgement:
        table = tables["verdict"]
        # numpy's largest, unlike pandas', is nan where a number is missing.
        judged = within(float(np.max(table[column].to_numpy(float))), limit)
        complaints = int((~table["agrees"].astype(bool)).sum())
        if not complaints:
            return judged
        return Judgement(
            False, judged.measured, judged.predicted, f"{complaints} of {len(table)} rows disagree"
        )

    return Claim(column, THEOREM, statement, source, "theory_vs_simulation", ("verdict",), judge)


def _step_ratio(tables: Tables) -> Judgement:
    return equals(list(tables["verdict"]["step_ratio"]), 2.0, STEP_RATIO_TOLERANCE)


def _at(table: pd.DataFrame, **values: object) -> pd.Series:
    """Return the only row with these values."""
    for name, value in values.items():
        column = table[name]
        table = table[np.isclose(column, value) if isinstance(value, float) else column == value]
    if len(table) != 1:
        raise ValueError(f"{len(table)} rows with {values}, one expected")
    return table.iloc[0]


def _ratio(row: pd.Series, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _one_sam_helps(tables: Tables) -> Judgement:
    row = _at(tables["effect_of_m_summary"], equality="rho", level=RHO, m=1)
    return less(*_ratio(row, "ratio_theory"), 1.0, than="1 (test loss / test loss of GD)")


def _n_sam_does_not(tables: Tables) -> Judgement:
    table = tables["effect_of_m_summary"]
    row = _at(table, equality="rho", level=RHO, kind="n-sam")
    return more(*_ratio(row, "ratio_theory"), 1.0, than="1 (test loss / test loss of GD)")


def _smaller_m_is_better(equality: str, words: str) -> Claim:
    def judge(tables: Tables) -> Judgement:
        table = tables["effect_of_m_summary"]
        part = table[(table["equality"] == equality) & np.isclose(table["level"], RHO)]
        curve = part.sort_values("m")["ratio_theory"].to_numpy(float)
        first, last = _at(part, m=1), _at(part, m=int(part["m"].max()))
        apart = first["ratio_theory_high"] < last["ratio_theory_low"]
        rising = bool((np.diff(curve) > 0.0).all())
        return Judgement(
            True if apart and rising else None if rising else False,
            " < ".join(number(value) for value in curve) if rising
            else ", ".join(number(value) for value in curve),
            "rises with m", f"intervals {'apart' if apart else 'overlap'}",
        )  # fmt: skip

    return Claim(
        f"smaller_m_{equality}", PUBLISHED,
        f"A smaller m selects a better solution, {words} (test loss over GD's, m from 1 to n)",
        "paper, m-SAM and the 1-SAM against n-SAM comparison", "effect_of_m",
        ("effect_of_m_summary",), judge,
    )  # fmt: skip


def _printed(table: str) -> Callable[[Tables], Judgement]:
    def judge(tables: Tables) -> Judgement:
        found = tables[table]["relative_difference"].dropna().abs()
        return within(float(found.max()) if len(found) else np.nan, PRINTED)

    return judge


def _orders(tables: Tables) -> Judgement:
    table = tables["leading_order_orders"]
    resolved = table[table["resolved"].astype(bool)]
    return equals(list(resolved["order"]), 2.0, 0.1)


def _n_sam_worse_everywhere(tables: Tables) -> Judgement:
    table = tables["phase_diagram"]
    part = table[
        (table["data_set"] == "published 20 x 30")
        & (table["kind"] == "n-sam")
        & (table["status"] == "converged")
    ]
    ratio = part["test_loss"] / part["test_loss_gd"]
    holds = bool((ratio > 1.0).all()) if len(part) else None
    return Judgement(
        holds, f"{int((ratio > 1).sum())} of {len(part)} points of (rho, alpha) worse than GD",
        "all", f"ratio at least {ratio.min():.4f}" if len(part) else "",
    )  # fmt: skip


def _grows_with_rho(tables: Tables) -> Judgement:
    table = tables["theory_vs_simulation"]
    part = table[table["data_set"].eq(table["data_set"].iloc[0]) & table["kind"].eq("n-sam")]
    losses = part.groupby("rho")["test_loss_theory"].first().sort_index()
    rising = bool((np.diff(losses) > 0.0).all()) if len(losses) > 1 else None
    measured = f"{losses.iloc[0]:.4f} to {losses.iloc[-1]:.4f}, rho {losses.index[0]:g} to "
    return Judgement(
        rising, measured + f"{losses.index[-1]:g}", "grows with rho (0.0151 to 0.0361)"
    )


def _condition(tables: Tables) -> Judgement:
    row = _at(tables["when_n_sam_hurts_rules"], kind="n-sam", group="all", rule="exact slope")
    right = round(row["accuracy"] * row["instances"])
    return Judgement(
        bool(row["accuracy"] == 1.0),
        f"{right} of {int(row['instances'])} signs right",
        "all",
        f"share [{row['low']:.3f}, {row['high']:.3f}]; one answer for all: {row['base_rate']:.2f}",
    )


def _switch_helps(tables: Tables) -> Judgement:
    table = tables["fine_tuning_summary"].set_index("path")["test_loss"]
    before, after = table["ERM"], table["ERM -> 1-SAM"]
    return Judgement(
        bool(after < before), f"{number(after)} against {number(before)}",
        "1.427e-4 against 0.0146", f"{number(before / after)} times",
    )  # fmt: skip


def _stable_switch_does_little(tables: Tables) -> Judgement:
    table = tables["fine_tuning_switch_summary"]
    edge = table[table["radius"] == "edge"]
    late = edge[(edge["switch"] == edge["switch"].max()) & (edge["diverged"] == 0.0)]
    row = late.loc[late["fraction"].idxmax()]
    return Judgement(
        bool(row["ratio_low"] > 0.5),
        f"{interval(*_ratio(row, 'ratio'))} at {row['fraction']:g} of the edge",
        "above 0.5 (test loss / ERM's)", f"{number(row['ratio_low'] - 0.5)} above",
    )  # fmt: skip


def _sharpness_explains_less(tables: Tables) -> Judgement:
    table = tables["sharpness_correlations"]
    isotropic = table[(table["design"] == "isotropic") & (table["group"] == "all")]
    sharp, norm = (_at(isotropic, measure=name) for name in ("sharpness", "l1_norm"))
    apart = sharp["high"] < norm["low"]
    return Judgement(
        True if apart else None,
        f"{interval(*(sharp[c] for c in ('correlation', 'low', 'high')))} (sharpness), "
        f"{number(norm['correlation'])} (l1 norm)",
        "sharpness below the l1 norm", f"{number(norm['low'] - sharp['high'])} apart",
    )  # fmt: skip


def _early_stopping(tables: Tables) -> Judgement:
    table = tables["noisy_labels_summary"]
    noisy = table[(table["share"] > 0.0) & (table["kind"] == "gd")]
    ratios = noisy["final_low"] / noisy["best_high"]
    gains = noisy["final"] / noisy["best"]
    holds = True if (ratios > 1.0).all() else None
    return Judgement(
        holds, f"final over best test loss {number(gains.min())} to {number(gains.max())}",
        "above 1", f"intervals {'apart' if holds else 'overlap'}",
    )  # fmt: skip


def _sam_with_noise(tables: Tables) -> Judgement:
    table = tables["noisy_labels_summary"]
    row = _at(table, share=float(table["share"].max()), kind="1-sam")
    return less(*_ratio(row, "final_ratio"), 1.0, than="1 (final test loss of 1-SAM / ERM)")


def _depth(tables: Tables) -> Judgement:
    table = tables["depth_orders"]
    off = (table["order"] - table["predicted"]).abs()
    return Judgement(
        bool((off <= 0.05).all()),
        ", ".join(
            f"{o:.3f} (D = {d:g})" for d, o in zip(table["depth"], table["order"], strict=True)
        ),
        ", ".join(f"{p:.3f}" for p in table["predicted"]),
        f"off by {number(off.max())}, 0.05 allowed",
    )


def _lasso(tables: Tables) -> Judgement:
    table = tables["lasso_path_errors"]
    used = table[table["log_scale"] >= 9.0]
    slope = float(np.polyfit(np.log(used["log_scale"]), np.log(used["largest_error"]), 1)[0])
    return equals([slope], -1.0, 0.1)


MAIN = (
    _worst(
        "error_bound", ERROR_BOUND,
        "The flow selects the least potential at alpha_effective among the interpolators; largest "
        "proved error of the computed solution", "docs/theory.md, certificate",
    ),
    _worst(
        "identity_minus_simulation", IDENTITY,
        "The limit of a run with finite steps follows exactly from its accumulated factors; "
        "largest difference", "docs/theory.md, finite steps",
    ),
    _worst(
        "theory_minus_extrapolated", EXTRAPOLATED,
        "Theory of the flow and simulation meet at step size 0; largest difference",
        "paper, diagonal networks; docs/theory.md",
    ),
    Claim(
        "step_ratio", THEOREM,
        "Flow and run differ in proportion to the step: halving it divides the difference by 2",
        "docs/theory.md, finite steps", "theory_vs_simulation", ("verdict",), _step_ratio,
    ),
    Claim(
        "n_sam_grows", PUBLISHED, "On the published instance the test loss of n-SAM grows with rho",
        "published code, its own run", "theory_vs_simulation", ("theory_vs_simulation",),
        _grows_with_rho,
    ),
)  # fmt: skip
CLAIMS = (
    *MAIN,
    Claim(
        "one_sam_helps", PUBLISHED, "1-SAM selects a better solution than GD (rho = 0.1)",
        "paper, diagonal networks", "effect_of_m", ("effect_of_m_summary",), _one_sam_helps,
    ),
    Claim(
        "n_sam_does_not", PUBLISHED, "n-SAM does not: its solution is no better than GD's",
        "paper, n-SAM against 1-SAM", "effect_of_m", ("effect_of_m_summary",), _n_sam_does_not,
    ),
    _smaller_m_is_better("rho", "at equal rho"),
    _smaller_m_is_better("radius", "at equal length of the perturbation"),
    _smaller_m_is_better("shrinkage", "at equal mean shrinkage of the scale"),
    Claim(
        "conversion", PUBLISHED,
        "The published test losses follow with the published radius converted; largest relative "
        "difference", "published code", "effect_of_m", ("effect_of_m_conversion",),
        _printed("effect_of_m_conversion"),
    ),
    Claim(
        "leading_order", THEOREM,
        "log(alpha/alpha_effective) = rho Delta_m + (step/2) Delta_b: order of the error",
        "docs/theory.md, finite steps", "leading_order", ("leading_order_orders",), _orders,
    ),
    Claim(
        "n_sam_worse", PUBLISHED, "On the published instance n-SAM is worse than GD at every "
        "radius and scale", "published code, extended", "phase_diagram", ("phase_diagram",),
        _n_sam_worse_everywhere,
    ),
    Claim(
        "when_n_sam_hurts", FINDING,
        "n-SAM hurts to first order in rho iff <dT/dlog alpha, Delta_n> < 0", "this project",
        "when_n_sam_hurts", ("when_n_sam_hurts_rules",), _condition,
    ),
    Claim(
        "fine_tuning_printed", PUBLISHED, "The published losses of the switches follow; largest "
        "relative difference", "published code", "fine_tuning", ("fine_tuning_summary",),
        _printed("fine_tuning_summary"),
    ),
    Claim(
        "fine_tuning_helps", PUBLISHED, "ERM, then 1-SAM lowers the test loss (published instance, "
        "radius beyond the stability edge)", "paper, fine-tuning", "fine_tuning",
        ("fine_tuning_summary",), _switch_helps,
    ),
    Claim(
        "fine_tuning_stable", FINDING, "Within the stability edge, 1-SAM hardly changes a solution "
        "that ERM has converged to", "this project", "fine_tuning",
        ("fine_tuning_switch_summary",), _stable_switch_does_little,
    ),
    Claim(
        "sharpness", PUBLISHED, "Sharpness of the limit explains its test loss less than the "
        "norm does (rank correlations, isotropic design)", "paper, sharpness and generalisation",
        "sharpness_and_generalization", ("sharpness_correlations",), _sharpness_explains_less,
    ),
    Claim(
        "early_stopping", PUBLISHED, "With noisy labels, stopping early helps",
        "paper, noisy labels", "noisy_labels", ("noisy_labels_summary",), _early_stopping,
    ),
    Claim(
        "sam_with_noise", PUBLISHED, "With most labels noisy, 1-SAM ends better than ERM (diagonal "
        "network)", "paper, noisy labels (deep)", "noisy_labels", ("noisy_labels_summary",),
        _sam_with_noise,
    ),
    Claim(
        "depth", THEOREM, "The l1 excess at depth D falls like mu for D > 2 and like mu^0.527 at "
        "depth 2 (published instance)", "docs/theory.md, closed forms", "depth",
        ("depth_orders",), _depth,
    ),
    Claim(
        "lasso", THEOREM, "The averaged flow nears the lasso path like 1/log(1/alpha^2): exponent",
        "Berthier (2026)", "lasso_path", ("lasso_path_errors",), _lasso,
    ),
)  # fmt: skip
