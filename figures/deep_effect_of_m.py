"""Test error and loss of a small ResNet against the radius, for ERM and every m."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "name", "kind", "rho", "seeds", "test_error", "test_error_low", "test_error_high", "test_loss",
    "test_loss_low", "test_loss_high", "sharpness_8", "sharpness_8_low", "sharpness_8_high",
)  # fmt: skip
PANELS = {
    "test_error": ("test error", "test error, %", 100.0),
    "test_loss": ("test loss", "test loss", 1.0),
    "sharpness_8": ("m-sharpness, m = 8, radius 0.05", "rise of the loss", 1.0),
}
APART = 1.04
"""Factor between neighbours at one radius, so that bars do not cover each other."""
CAPTION = (
    "A small ResNet (tiny, group normalisation) on scikit-learn's digits: final networks against "
    "the radius ρ. Means over seeds, bars with 95 % bootstrap intervals; the line and its band "
    "are ERM. n-SAM: one perturbation per minibatch of 64; random: a random direction of length ρ "
    "in place of the ascent. One test image is 0.28 %. Published, width 64 on CIFAR-10 (read off "
    "the figure): ERM 5.1 %, 128-SAM at best 4.3 %, larger radii worse, n-SAM and random "
    "perturbations without gain."
)
ALT = "Three panels against the radius: test error, test loss and m-sharpness, with ERM as a band."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per quantity.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/deep_effect_of_m_summary.csv``; the row named "ERM" gives the horizontal band.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels on a common axis of radii.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "deep_effect_of_m_summary")
    erm, others = table[table["name"] == "ERM"].iloc[0], table[table["name"] != "ERM"]
    radii = sorted(set(others["rho"]))
    with style.house("deep_effect_of_m"):
        figure, panels = plt.subplots(
            3, 1, figsize=(style.COLUMN_WIDTH, 6.0), sharex=True, layout="constrained"
        )
        for index, (axes, (name, (title, label, unit))) in enumerate(
            zip(panels, PANELS.items(), strict=True)
        ):
            look = style.LOOKS["gd"]
            axes.axhline(unit * erm[name], color=look.color, lw=1, label="ERM")
            axes.axhspan(
                unit * erm[f"{name}_low"], unit * erm[f"{name}_high"], color=look.color,
                alpha=0.12, lw=0,
            )  # fmt: skip
            for k, (method, part) in enumerate(others.groupby("name", sort=False)):
                rows, apart = part.sort_values("rho"), APART ** (k - 1)
                look, y = style.LOOKS[rows["kind"].iloc[0]], unit * rows[name]
                spread = (y - unit * rows[f"{name}_low"], unit * rows[f"{name}_high"] - y)
                axes.errorbar(
                    apart * rows["rho"], y, yerr=spread, color=look.color, marker=look.marker,
                    ls=look.line, mfc="white", capsize=2, label=method,
                )  # fmt: skip
            axes.set(xscale="log", yscale="log", ylabel=label)
            style.plain_ticks(axes.yaxis)
            style.letter(axes, index, title)
        panels[-1].set_xticks(radii, [f"{rho:g}" for rho in radii])
        panels[-1].minorticks_off()
        panels[-1].set_xlabel(f"radius ρ ({int(table['seeds'].max())} seeds)")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4
        )  # fmt: skip
    return figure
