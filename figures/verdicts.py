"""The verdicts as Markdown: all of them in docs/verdicts.md, the chief ones in the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from figures import store

if TYPE_CHECKING:
    import pandas as pd

CHIEF = (
    "error_bound", "identity_minus_simulation", "theory_minus_extrapolated", "one_sam_helps",
    "n_sam_does_not", "smaller_m_radius", "when_n_sam_hurts", "sharpness", "sam_with_noise",
    "T1", "T2", "T3", "T5-PL", "exponents", "relu_kinks", "relu_total_variation", "deep_small_m",
    "deep_erm_then_sam", "deep_sam_with_noise",
)  # fmt: skip
"""Of the README: what the paper is known for."""
START, END = "<!-- verdicts -->\n", "<!-- end of verdicts -->\n"
INTRODUCTION = """# Verdicts

Every statement of the paper, theorem and finding that a study decides, with the study's numbers
(`make report-full` makes all at full size). A published observation may fail at our sizes, which is
a finding. Slack is the bound over the measured value where there is a bound, and the distance of
the 95 % interval from no effect where there is an interval.
"""


def markdown(claims: pd.DataFrame, chosen: Sequence[str] | None = None) -> str:
    """Return a table of claims.

    Parameters
    ----------
    claims : pandas.DataFrame
        ``results/claims.csv``.
    chosen : sequence of str, optional
        Keys of the rows and their order; all by default.

    Raises
    ------
    ValueError
        A chosen claim is not there.
    """
    table = claims.set_index("claim")
    missing = [key for key in chosen or () if key not in table.index]
    if missing:
        raise ValueError(f"table claims lacks the rows {', '.join(missing)}")
    rows = table.loc[list(chosen)] if chosen else table
    shown = ["statement", "measured", "predicted", "slack", "size", "verdict"]
    lines = [
        "| claim | measured | predicted | slack | size | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for cells in rows[shown].astype(object).where(rows[shown].notna(), "").to_numpy():
        lines.append("| " + " | ".join(_escaped(text) for text in cells) + " |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def pages(claims: pd.DataFrame, readme: str) -> dict[str, str]:
    """Return the two pages by their path from the root, the README with its table replaced."""
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md lacks the lines {START.strip()} and {END.strip()}")
    before, rest = readme.split(START)
    _, after = rest.split(END)
    full = INTRODUCTION
    for group, part in claims.groupby("group", sort=False):
        full += f"\n## {group}\n\n{markdown(part)}"
    chief = markdown(claims, CHIEF)
    return {
        "docs/verdicts.md": full,
        "README.md": f"{before}{START}{chief}{END}{after}",
    }


def write(root: Path = store.ROOT) -> list[str]:
    """Write both pages from ``results/claims.csv``; returns their paths from the root.

    Raises
    ------
    MissingTable
        The table is not there.
    ValueError
        It lacks a row, or the README its place for the table.
    """
    claims, _ = store.read_table("claims", "claims")
    made = pages(claims, (root / "README.md").read_text(encoding="utf-8"))
    for path, text in made.items():
        store.write_atomically(root / path, text.encode())
    return list(made)
