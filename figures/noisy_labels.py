"""Test loss along the flow with noisy labels, and where it would be best to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("share", "kind", "seeds", "time", "test_loss", "test_loss_low", "test_loss_high")
SHOWN = 4
CAPTION = (
    "Test loss on clean labels along the flows of ERM (gradient descent), n-SAM and 1-SAM (ρ = "
    "0.1), when a share of the 100 training labels is replaced by noise; geometric means over "
    "instances, bands with 95 % bootstrap intervals, open markers at the best time. With noise, "
    "stopping early gains a factor of 2 or 3, 1-SAM a fifth at 10 % noise and nothing at 60 %, "
    "and at the end of the flow 1-SAM is worse than ERM. Published, on deep networks with 60 % "
    "noise (CIFAR-10): final test error 49 % for ERM and 43 % for SAM, at the best epoch 20 % "
    "and 10 % (read off the figure). Ours is a far smaller model and data set (100 x 200), on "
    "which early stopping is confirmed and the advantage of SAM at high noise is not."
)
ALT = "Four panels by share of replaced labels: test loss against time, falling and then rising."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per share of replaced labels, the first three and the last.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/noisy_labels_curves.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Panels on a common axis of time.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "noisy_labels_curves")
    shares = sorted(set(table["share"]))
    shares = [*shares[: SHOWN - 1], *shares[max(SHOWN - 1, len(shares) - 1) :]]
    with style.house("noisy_labels"):
        deep = -(-len(shares) // 2)
        figure, panels = plt.subplots(
            deep, 2, figsize=(1.4 * style.COLUMN_WIDTH, 2.0 * deep + 0.6), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axes in panels.flat[len(shares) :]:
            axes.remove()
        for index, (axes, share) in enumerate(zip(panels.flat, shares, strict=False)):
            part = table[table["share"] == share]
            for kind, rows in part.groupby("kind", sort=False):
                look, rows = style.LOOKS[kind], rows.sort_values("time")
                axes.fill_between(
                    rows["time"], rows["test_loss_low"], rows["test_loss_high"], color=look.color,
                    alpha=0.1, lw=0,
                )  # fmt: skip
                axes.plot(
                    rows["time"], rows["test_loss"], color=look.color, ls=look.line,
                    label="ERM" if kind == "gd" else style.NAMES[kind],
                )  # fmt: skip
                best = rows.loc[rows["test_loss"].idxmin()]
                axes.plot(
                    best["time"], best["test_loss"], color=look.color, marker=look.marker,
                    mfc="white", zorder=3,
                )  # fmt: skip
            axes.set(xscale="log", yscale="log")
            style.plain_ticks(axes.yaxis)
            style.letter(axes, index, f"{share:.0%} of the labels replaced")
            if index + 2 >= len(shares):
                axes.set_xlabel("time, step size × steps")
        for axes in panels[:, 0]:
            axes.set_ylabel("test loss")
        seeds = int(table["seeds"].max())
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
            title=f"means over {seeds} instances", title_fontsize=7,
        )  # fmt: skip
    return figure
