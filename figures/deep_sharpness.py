"""Whether the sharpness of a trained network says something about its test loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("name", "kind", "rho", "status", "test_loss", "sharpness_8", "sharpness_64",
           "hessian_top")  # fmt: skip
PANELS = {
    "sharpness_64": "m-sharpness, m = 64, radius 0.05",
    "sharpness_8": "m-sharpness, m = 8, radius 0.05",
    "hessian_top": "largest Hessian eigenvalue",
}
CAPTION = (
    "Test loss against the sharpness of the final network, one marker per run of the study of m "
    "on scikit-learn's digits: a small ResNet with ERM, SAM at several m and radii, and random "
    "perturbations. m-sharpness is the mean over batches of m training examples of the largest "
    "rise of the loss found by 20 projected ascent steps. The rank correlations are in "
    "results/deep_sharpness.csv."
)
ALT = "Three scatter plots of test loss against sharpness, one marker per trained network."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one scatter plot per measure of sharpness.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/deep_effect_of_m.csv``; runs that did not finish are left out.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels on a common axis of test losses.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "deep_effect_of_m")
    table = table[table["status"] == "finished"]
    with style.house("deep_sharpness"):
        figure, panels = plt.subplots(
            1, 3, figsize=(1.7 * style.COLUMN_WIDTH, 2.7), sharey=True, layout="constrained"
        )
        for index, (axes, (name, title)) in enumerate(zip(panels, PANELS.items(), strict=True)):
            for method, part in table.groupby("name", sort=False):
                look = style.LOOKS[part["kind"].iloc[0]]
                axes.plot(
                    part[name], part["test_loss"], color=look.color, marker=look.marker, ls="none",
                    ms=3, mfc="white", mew=0.8, label=method,
                )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel=title)
            style.plain_ticks(axes.xaxis)
            style.plain_ticks(axes.yaxis)
            style.letter(axes, index, "")
        panels[0].set_ylabel("test loss")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4
        )  # fmt: skip
    return figure
