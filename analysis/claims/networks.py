"""Claims about ReLU networks with one hidden layer and about deep networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.claim import (
    PUBLISHED,
    Claim,
    Judgement,
    interval,
    less,
    more,
    number,
)

if TYPE_CHECKING:
    import pandas as pd

    Tables = Mapping[str, pd.DataFrame]

RHO_RELU = 0.3
EARLY = "ERM, stopped early"


def _simpler(measure: str, base: str) -> Callable[[Tables], Judgement]:
    def judge(tables: Tables) -> Judgement:
        table = tables["relu_complexity_verdict"]
        found = table[
            (table["name"] == f"n-SAM, rho = {RHO_RELU:g}")
            & (table["base"] == base)
            & (table["measure"] == measure)
        ]
        row = _only(found)
        return less(row["ratio"], row["ratio_low"], row["ratio_high"], 1.0, than="1 (ratio to ERM)")

    return judge


def _only(found: pd.DataFrame) -> pd.Series:
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows to judge, one expected")
    return found.iloc[0]


def _difference(table: str, better: bool = True, **where: object) -> Callable[[Tables], Judgement]:
    """Judge a difference of test errors: the row, or of several the one with the least mean."""

    def judge(tables: Tables) -> Judgement:
        found = tables[table]
        for column, value in where.items():
            found = found[found[column] == value]
        if found.empty:
            raise ValueError(f"table {table} has no rows of {where}")
        row = found.loc[found["difference"].idxmin()]
        judged = (less if better else more)(
            row["difference"], row["low"], row["high"], 0.0, than="0 (difference of test errors)",
            percent=True,
        )  # fmt: skip
        at = f" at rho = {row['rho']:g}" if len(found) > 1 and "rho" in row else ""
        return Judgement(judged.holds, judged.measured + at, judged.predicted, judged.slack)

    return judge


def _smallest_m(tables: Tables) -> Judgement:
    """Judge m-SAM with the smallest m, at its best radius."""
    table = tables["deep_effect_of_m_verdict"]
    small = table[(table["kind"].isin(["m-sam", "1-sam"]))]
    m = small["m"].min()
    return _difference("deep_effect_of_m_verdict", m=m, value="test_error")(tables)


def _sharpness(tables: Tables) -> Judgement:
    table = tables["deep_sharpness"]
    part = table[table["target"] == "test_error"]
    largest = float(np.max(part["rank_correlation"].to_numpy(float)))
    runs = int(part["runs"].max())
    return Judgement(
        None if np.isnan(largest) else largest < 0.5,
        f"at most {number(largest)} ({runs} networks)",
        "below 0.5 (rank correlation)", f"{number(0.5 - largest)} below",
    )  # fmt: skip


def _label_noise(name: str) -> Callable[[Tables], Judgement]:
    def judge(tables: Tables) -> Judgement:
        table = tables["deep_label_noise_summary"]
        sam = table[table["kind"] == name]
        row = sam.loc[sam["final"].idxmin()]
        erm = _only(table[table["kind"] == "gd"])
        differences = tables["deep_label_noise_verdict"]
        found = _only(
            differences[(differences["name"] == row["name"]) & (differences["value"] == "final")]
        )
        judged = less(
            found["difference"], found["low"], found["high"], 0.0, than="ERM", percent=True
        )
        measured = (
            f"{interval(row['final'], row['final_low'], row['final_high'], percent=True)} against "
            f"{interval(erm['final'], erm['final_low'], erm['final_high'], percent=True)}"
        )
        return Judgement(judged.holds, measured, "below ERM (43 against 49 %)", judged.slack)

    return judge


RELU = tuple(
    Claim(
        f"relu_{measure}{'_early' if base == EARLY else ''}", PUBLISHED,
        f"SAM fits a simpler function than {base}: {words} at rho = {RHO_RELU:g}",
        "paper, one hidden layer in 1-D", "relu_complexity", ("relu_complexity_verdict",),
        _simpler(measure, base),
    )
    for base in ("ERM", EARLY)
    for measure, words in (
        ("kinks", "visible kinks"), ("total_variation", "total variation of f'"),
    )
)  # fmt: skip
DEEP = (
    Claim(
        "deep_small_m", PUBLISHED, "m-SAM with the smallest m studied lowers the test error "
        "(digits, best radius)", "paper, deep networks (CIFAR-10)", "deep_effect_of_m",
        ("deep_effect_of_m_verdict",), _smallest_m,
    ),
    Claim(
        "deep_n_sam", PUBLISHED, "n-SAM does not lower it",
        "paper, deep networks", "deep_effect_of_m", ("deep_effect_of_m_verdict",),
        _difference("deep_effect_of_m_verdict", False, kind="n-sam", value="test_error"),
    ),
    Claim(
        "deep_sharpness", PUBLISHED, "Sharpness of the final networks does not explain their test "
        "error", "paper, sharpness and generalisation", "deep_effect_of_m", ("deep_sharpness",),
        _sharpness,
    ),
    Claim(
        "deep_erm_then_sam", PUBLISHED, "ERM, then SAM ends better than ERM (digits)",
        "paper, fine-tuning", "deep_fine_tuning", ("deep_fine_tuning_verdict",),
        _difference("deep_fine_tuning_verdict", name="ERM, then SAM", base="ERM",
                    value="test_error"),
    ),
    Claim(
        "deep_early_stopping", PUBLISHED, "With 60 % wrong labels ERM ends worse than its "
        "early-stopped network", "paper, noisy labels", "deep_label_noise",
        ("deep_label_noise_verdict",),
        _difference("deep_label_noise_verdict", False, name="ERM", value="final - early_stopped"),
    ),
    Claim(
        "deep_sam_with_noise", PUBLISHED, "With 60 % wrong labels m-SAM, at its best radius, ends "
        "better than ERM", "paper, noisy labels", "deep_label_noise",
        ("deep_label_noise_summary", "deep_label_noise_verdict"), _label_noise("m-sam"),
    ),
    Claim(
        "deep_n_sam_with_noise", PUBLISHED, "So does n-SAM on the minibatch, at its best radius",
        "this project", "deep_label_noise",
        ("deep_label_noise_summary", "deep_label_noise_verdict"),
        _label_noise("n-sam"),
    ),
)  # fmt: skip


CLAIMS = (*RELU, *DEEP)
