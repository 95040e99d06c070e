"""How often rules, from exact to crude, predict whether n-SAM hurts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GROUPS = (("n-sam", "all"), ("n-sam", "sparse, no noise"), ("both", "all"))
COLUMNS = ("kind", "group", "rule", "instances", "accuracy", "low", "high", "base_rate")
CAPTION = (
    "Accuracy of rules that predict the sign of the change of the test loss under SAM, with 95 % "
    "intervals; ticks: always answering what is more frequent. The exact slope is right to first "
    "order, and nearly always at a log-shrinkage of one half. From 20 held-out rows, or by "
    "leaving training examples out one by one (no held-out data), the slope is right most of the "
    "time on sparse noiseless problems. The rule of thumb that the exponent Δ is twice as large "
    "on the support as off it was chosen on seeds 0 and 1; on other seeds it adds nothing to the "
    "tick for n-SAM alone and some to it for n-SAM and 1-SAM together (71 % against 60 %)."
)
ALT = (
    "Rules from top to bottom, accuracy from 0.4 to 1 with intervals, for two groups of instances."
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per algorithm and group of instances.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/when_n_sam_hurts_rules.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        n-SAM on all and on sparse noiseless instances, both algorithms together.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "when_n_sam_hurts_rules")
    groups = [group for group in GROUPS if group[0] in set(table["kind"])]
    names = list(dict.fromkeys(table["rule"]))
    with style.house("when_n_sam_hurts_rules"):
        figure, panels = plt.subplots(
            1, len(groups), figsize=(1.4 * style.COLUMN_WIDTH, 2.5), sharex=True, sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for index, (axes, (kind, group)) in enumerate(zip(panels[0], groups, strict=True)):
            part = table[(table["kind"] == kind) & (table["group"] == group)]
            rows = part.set_index("rule").loc[names]
            color = style.LOOKS[kind].color if kind in style.LOOKS else "0.4"
            places = np.arange(len(names))
            axes.errorbar(
                rows["accuracy"], places,
                xerr=(rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]),
                color=color, marker="o", mfc="white", ls="none", capsize=2,
            )  # fmt: skip
            axes.plot(rows["base_rate"], places, color="0.4", marker="|", ms=9, ls="none")
            axes.set(xlim=(0.4, 1.02), xlabel="share of signs right")
            who = style.NAMES.get(kind, "n- and 1-SAM")
            style.letter(axes, index, f"{who}, {group.partition(',')[0]}")
        labels = [name.replace("Delta", "Δ") for name in names]
        panels[0, 0].set_yticks(range(len(names)), labels)
        panels[0, 0].invert_yaxis()
    return figure
