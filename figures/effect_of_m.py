"""Test loss against m, at equal radius parameter, equal length and equal shrinkage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMNS = (
    "equality", "level", "m", "kind", "seeds", "ratio_theory", "ratio_theory_low",
    "ratio_theory_high", "ratio_random_blocks", "published_gd", "published_simulation",
)  # fmt: skip
TITLES = {
    "rho": "equal ρ",
    "radius": "equal length of the perturbation at the start",
    "shrinkage": "equal mean shrinkage of the scale",
}
FILLS = ("white", None)
CAPTION = (
    "Test loss of the selected solution over that of gradient descent on the same instance, "
    "against the number m of examples that share a perturbation. Lines: exact limits, geometric "
    "means over instances with 95 % bootstrap intervals; open and filled markers: two radii ρ of "
    "1-SAM, to which the other m are made equal in the sense of each panel. Crosses: runs with "
    "finite steps on the published 20 x 30 instance. Dotted: blocks drawn at random, to leading "
    "order. On average a smaller m is better in every sense, also at the same mean shrinkage: "
    "then the shape of the effective scale alone decides. Published at m = 1 and m = n (step "
    "10/d, ρ = 0.1 of the published code, 0.2 here for m = 1): 1.52e-3 and 1.67e-2, reproduced "
    "here to the digits printed there (results/effect_of_m_conversion.csv). At ρ = 0.1 in one "
    "convention 1-SAM ends at 5.9e-3."
)
ALT = "Three panels, ratio of test losses against m from 1 to 20; every curve rises with m."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per equality, the two largest levels in each.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/effect_of_m_summary.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels, on a common axis of m.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "effect_of_m_summary")
    levels = sorted(set(table["level"]))[-2:]
    with style.house("effect_of_m"):
        figure, panels = plt.subplots(
            3, 1, figsize=(style.COLUMN_WIDTH, 6.4), sharex=True, layout="constrained"
        )
        for index, (axes, (equality, title)) in enumerate(zip(panels, TITLES.items(), strict=True)):
            part = table[table["equality"] == equality]
            for level, fill in zip(levels, FILLS[-len(levels) :], strict=True):
                _line(axes, part[part["level"] == level].sort_values("m"), fill)
            axes.axhline(1.0, color=style.LOOKS["gd"].color, lw=0.8)
            axes.set(xscale="log", yscale="log", ylabel="test loss / test loss of GD")
            style.letter(axes, index, title)
            style.plain_ticks(axes.yaxis)
        ms = sorted(set(table["m"]))
        panels[-1].set_xticks(ms, [str(m) for m in ms])
        panels[-1].minorticks_off()
        panels[-1].set_xlabel(
            f"m, examples per perturbation ({int(table['seeds'].max())} instances)"
        )
        figure.legend(handles=_keys(levels), loc="outside upper center", ncols=3)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, fill: str | None) -> None:
    axes.plot(rows["m"], rows["ratio_theory"], color="0.55", lw=1, zorder=2)
    axes.plot(rows["m"], rows["ratio_random_blocks"], color="0.55", lw=0.9, ls=":", zorder=2)
    for _, row in rows.iterrows():
        look = style.LOOKS[row["kind"]]
        spread = [
            [row["ratio_theory"] - row["ratio_theory_low"]],
            [row["ratio_theory_high"] - row["ratio_theory"]],
        ]
        axes.errorbar(
            row["m"], row["ratio_theory"], yerr=spread, color=look.color, marker=look.marker,
            mfc=fill or look.color, capsize=2, lw=0.9, zorder=3,
        )  # fmt: skip
    axes.plot(
        rows["m"], rows["published_simulation"] / rows["published_gd"], color="0.35", marker="x",
        ls="none", ms=4, mew=0.8, zorder=4,
    )  # fmt: skip


def _keys(levels: list[float]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    kinds = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=style.NAMES[kind])
        for kind, look in style.LOOKS.items()
        if kind in ("1-sam", "m-sam", "n-sam")
    ]
    radii = [
        Line2D([], [], color="0.4", marker="o", mfc=fill or "0.4", label=f"ρ of 1-SAM = {level:g}")
        for level, fill in zip(levels, FILLS[-len(levels) :], strict=True)
    ]
    run = Line2D([], [], color="0.35", marker="x", ls="none", label="finite steps, published data")
    return [*kinds, *radii, run]
