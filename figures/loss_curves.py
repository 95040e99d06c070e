"""Train and test loss against steps, with the test loss that the theory predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "algorithm", "kind", "rho", "step", "train_loss", "test_loss", "test_loss_theory",
    "test_loss_identity",
)  # fmt: skip
CAPTION = (
    "Loss of GD, n-SAM and 1-SAM on the published 20 x 30 instance, with the published step "
    "size. Dashed lines in panel b: the test loss that the theory of the flow predicts without "
    "running a step. Markers at the end: the limit of that very run by the finite-step identity, "
    "which includes the effect of the step size. Published figure of the same quantities (1e6 "
    "iterations, other settings, which the code does not state; read off the figure): test loss "
    "1.2e-3 of GD and n-SAM, 1.5e-4 of 1-SAM. There too 1-SAM ends lowest; n-SAM ends level with "
    "GD, here above it at ρ = 1."
)
ALT = (
    "Train loss against steps above, test loss against steps below with a dashed line at each "
    "predicted value."
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the curves.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/loss_curves.csv``: one row per algorithm and recorded step.

    Returns
    -------
    matplotlib.figure.Figure
        Panel a train loss, panel b test loss with the predictions.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "loss_curves")
    with style.house("loss_curves"):
        figure, (train, test) = plt.subplots(
            2, 1, figsize=(style.COLUMN_WIDTH, 4.6), sharex=True, layout="constrained"
        )
        for (kind, algorithm, rho), part in table.groupby(["kind", "algorithm", "rho"], sort=False):
            look = style.LOOKS[kind]
            shown = part[part["step"] > 0]
            train.plot(
                shown["step"],
                shown["train_loss"],
                color=look.color,
                label=style.label(algorithm, rho),
            )
            test.plot(shown["step"], shown["test_loss"], color=look.color)
            test.axhline(part["test_loss_theory"].iloc[0], color=look.color, ls=(0, (4, 3)), lw=0.8)
            test.plot(
                shown["step"].iloc[-1],
                part["test_loss_identity"].iloc[0],
                color=look.color,
                marker=look.marker,
                mfc="white",
            )
        for index, (axes, name) in enumerate(((train, "train loss"), (test, "test loss"))):
            axes.set(xscale="log", yscale="log", ylabel=name)
            style.letter(
                axes,
                index,
                name if axes is train else "test loss; dashed: theory, markers: identity",
            )
        train.legend()
        test.set_xlabel("steps")
    return figure
