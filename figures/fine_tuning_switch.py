"""What 1-SAM after ERM still gains, against the step of the switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("radius", "switch", "fraction", "seeds", "diverged", "ratio", "ratio_low", "ratio_high")
MARKERS = ("D", "s", "o", "^")
CAPTION = (
    "Panel a: test loss after switching from ERM to 1-SAM, over that of ERM alone for as many "
    "steps, against the step of the switch; radii are fractions of the stability edge at the "
    "switch. Geometric means over the instances whose run did not diverge, 95 % bootstrap "
    "intervals. Panel b: share that diverged. The later the switch, the less residual is left "
    "and the less 1-SAM changes: stable fine-tuning of a converged solution does little. The "
    "published run switches at 10,001 with a radius 1.6 times beyond the edge; on the published "
    "instance that lowers the test loss a hundredfold (0.0146 to 1.43e-4); with that radius 10 "
    "of 12 instances diverge, all but those beyond the edge by less than 1.6 times."
)
ALT = "Ratio of test losses against the step of the switch, rising towards 1; share diverged below."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one line per radius, and the shares of runs that diverged.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/fine_tuning_switch_summary.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Ratio of test losses above, divergence below.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "fine_tuning_switch_summary")
    table = table[table["radius"] == "edge"]
    look, seeds = style.LOOKS["1-sam"], int(table["seeds"].max())
    with style.house("fine_tuning_switch"):
        figure, (ratio, share) = plt.subplots(
            2, 1, figsize=(style.COLUMN_WIDTH, 3.9), sharex=True, height_ratios=(2, 1),
            layout="constrained",
        )  # fmt: skip
        groups = list(table.groupby("fraction", sort=True))
        for index, (fraction, rows) in enumerate(groups):
            place = rows["switch"] * 1.07 ** (index - (len(groups) - 1) / 2)
            shape = {
                "color": look.color, "marker": MARKERS[index], "ls": ("-", "--", ":", "-.")[index],
                "mfc": "white", "lw": 1,
            }  # fmt: skip
            ratio.errorbar(
                place, rows["ratio"],
                yerr=(rows["ratio"] - rows["ratio_low"], rows["ratio_high"] - rows["ratio"]),
                capsize=2, label=f"ρ = {fraction:g} of the edge", **shape,
            )  # fmt: skip
            share.plot(place, rows["diverged"], **shape)
        ratio.axhline(1.0, color=style.LOOKS["gd"].color, lw=0.8)
        ratio.set(xscale="log", yscale="log", ylabel="test loss / that of ERM")
        share.set(ylim=(-0.05, 1.05), ylabel="share diverged")
        share.set_xlabel(f"steps of ERM before the switch ({seeds} instances)")
        switches = sorted(set(table["switch"]))
        share.set_xticks(switches, [f"{switch:,}" for switch in switches])
        share.minorticks_off()
        style.plain_ticks(ratio.yaxis)
        style.letter(ratio, 0, "test loss")
        style.letter(share, 1, "divergence")
        figure.legend(
            *ratio.get_legend_handles_labels(), loc="outside upper center", ncols=3,
            handletextpad=0.5, columnspacing=1.0,
        )  # fmt: skip
    return figure
