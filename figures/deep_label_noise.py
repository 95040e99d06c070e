"""A small ResNet with 60 % wrong labels: it learns, then memorises; where one should stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("name", "kind", "rho", "seed", "epoch", "train_error_clean", "train_error_noisy",
           "test_error")  # fmt: skip
PANELS = {
    "train_error_clean": "training error, true labels",
    "train_error_noisy": "training error, wrong labels",
    "test_error": "test error",
}
CAPTION = (
    "A small ResNet on scikit-learn's digits with 60 % of the training labels wrong: errors on "
    "training examples with true and with wrong labels (against the labels as given), and on the "
    "clean test set. Means over seeds, bands from the least to the largest seed, open markers "
    "where the mean test error is least; of several radii the one that ends best. Everyone learns "
    "the true labels first and the wrong ones later. Published, CIFAR-10 (read off the figure): "
    "final test error 49 % for ERM and 43 % for SAM, at the best epoch 20 % and 10 %."
)
ALT = "Three panels against epochs: training error of true and of wrong labels, and test error."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per error.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/deep_label_noise.csv``; of several radii of a method, the one that ends best
        is shown.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels on a common axis of epochs.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "deep_label_noise")
    table = table[table["epoch"] > 0]
    with style.house("deep_label_noise"):
        figure, panels = plt.subplots(
            3, 1, figsize=(style.COLUMN_WIDTH, 6.0), sharex=True, layout="constrained"
        )
        for index, (axes, (name, title)) in enumerate(zip(panels, PANELS.items(), strict=True)):
            for kind, own in table.groupby("kind", sort=False):
                look, part = style.LOOKS[kind], _best(own)
                group = part.assign(shown=100.0 * part[name]).groupby("epoch")["shown"]
                mean = group.mean()
                axes.fill_between(
                    mean.index, group.min(), group.max(), color=look.color, alpha=0.1, lw=0
                )
                label = part["name"].iloc[0].replace("rho", "ρ")
                axes.plot(mean.index, mean, color=look.color, ls=look.line, label=label)
                if name == "test_error":
                    axes.plot(
                        mean.idxmin(), mean.min(), color=look.color, marker=look.marker,
                        mfc="white", ls="none", zorder=3,
                    )  # fmt: skip
            axes.set_ylabel(f"{title.split(',')[0]}, %")
            axes.set_ylim(bottom=0.0)
            style.letter(axes, index, title)
        panels[-1].set_xlabel("epochs")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
            title=f"60 % wrong labels, {table['seed'].nunique()} seeds", title_fontsize=7,
        )  # fmt: skip
    return figure


def _best(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the radius whose mean test error is least at the last epoch."""
    last = table[table["epoch"] == table["epoch"].max()]
    return table[table["rho"] == last.groupby("rho")["test_error"].mean().idxmin()]
