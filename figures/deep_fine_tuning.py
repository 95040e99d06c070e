"""Test loss of a small ResNet when SAM is switched on or off during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("name", "switch", "seed", "epoch", "train_loss", "test_error", "test_loss")
LOOKS = {
    "ERM": ("gd", (0, (1, 1))),
    "SAM": ("m-sam", (0, (1, 1))),
    "ERM, then SAM": ("gd", "-"),
    "SAM, then ERM": ("m-sam", "-"),
}
SHOWN = ("test_error", "test_loss")
CAPTION = (
    "A small ResNet on scikit-learn's digits, ERM (black) and m-SAM (green) with one cosine "
    "schedule; solid: the algorithm is switched at the vertical line, dotted: it is not; a line "
    "has the colour of the algorithm that is on. Means over seeds. Published, 1000 epochs and 100 "
    "more (read off the figure): CIFAR-10 test error ERM 4.65 %, ERM then SAM 4.2 %, SAM then ERM "
    "3.95 %."
)
ALT = "Test error above, test loss below against epochs, a column per time of the switch."


def draw(table: pd.DataFrame) -> Figure:
    """Draw test error and loss, a column per switch.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/deep_fine_tuning.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Test error in the first row, test loss in the second.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    style.require(table.columns, COLUMNS, "deep_fine_tuning")
    switches = sorted(set(table["switch"]) - {1.0})
    last = table["epoch"].max()
    with style.house("deep_fine_tuning"):
        figure, panels = plt.subplots(
            2, len(switches), figsize=(1.5 * style.COLUMN_WIDTH, 4.2), sharex=True, sharey="row",
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for column, switch in enumerate(switches):
            part = table[table["switch"].isin([1.0, switch]) & (table["epoch"] > 0)]
            means = part.groupby(["name", "epoch"])[list(SHOWN)].mean().reset_index()
            for row, name in enumerate(SHOWN):
                axes, unit = panels[row, column], 100.0 if name == "test_error" else 1.0
                axes.axvline(switch * last, color="0.6", lw=0.8)
                for method, (kind, line) in LOOKS.items():
                    rows = means[means["name"] == method].sort_values("epoch")
                    other = "m-sam" if kind == "gd" else "gd"
                    for color, shown in (
                        (kind, rows["epoch"] <= switch * last),
                        (other if line == "-" else kind, rows["epoch"] >= switch * last),
                    ):
                        axes.plot(
                            rows["epoch"][shown], unit * rows[name][shown], ls=line,
                            color=style.LOOKS[color].color, lw=1.1,
                        )  # fmt: skip
                axes.set(yscale="log")
                style.plain_ticks(axes.yaxis)
                style.letter(axes, row * len(switches) + column, f"switch at {switch:.0%}")
            panels[1, column].set_xlabel("epochs")
        panels[0, 0].set_ylabel("test error, %")
        panels[1, 0].set_ylabel("test loss")
        keys = [
            Line2D([], [], color=style.LOOKS["gd"].color, label="ERM"),
            Line2D([], [], color=style.LOOKS["m-sam"].color, label="m-SAM"),
            Line2D([], [], color="0.5", label="switched at the line"),
            Line2D([], [], color="0.5", ls=(0, (1, 1)), label="not switched"),
        ]
        figure.legend(
            handles=keys, loc="outside upper center", ncols=4,
            title=f"means over {table['seed'].nunique()} seeds", title_fontsize=7,
        )  # fmt: skip
    return figure
