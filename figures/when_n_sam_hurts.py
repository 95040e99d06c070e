"""The exact slope of the test loss in rho against its measured change, over many designs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("design", "kind", "slope", "change_0.1")
LINEAR = 0.01
MARKERS = {"published": "*", "spectra": "P"}
CAPTION = (
    "When does n-SAM hurt? To first order in ρ if and only if <dT/dlog α, Δ> < 0, with T the "
    "test loss and Δ the exponent of the shrinkage. Horizontal: the slope that this predicts; "
    "vertical: the change measured at a largest log-shrinkage of 0.1; both relative to the test "
    "loss of GD and per unit of log-shrinkage. Above 0 the algorithm hurts. Circles: synthetic "
    "instances of eight designs, sparsities, scales and noise levels; star: published instance; "
    "plus: spectra. Scales are linear within ±0.01. Published: n-SAM gets worse with ρ (0.0151 "
    "at ρ = 0.01 to 0.0361 at ρ = 1), which the slope predicts."
)
ALT = "Two panels, measured change against predicted slope for n-SAM and 1-SAM, on the diagonal."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per algorithm.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/when_n_sam_hurts.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        n-SAM left, 1-SAM right, on common axes.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "when_n_sam_hurts")
    kinds = list(dict.fromkeys(table["kind"]))
    reach = 1.3 * float(table[["slope", "change_0.1"]].abs().to_numpy().max())
    ticks = [-1.0, -0.1, 0.0, 0.1, 1.0]
    with style.house("when_n_sam_hurts"):
        figure, panels = plt.subplots(
            1, len(kinds), figsize=(1.4 * style.COLUMN_WIDTH, 3.1), sharex=True, sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for index, (axes, kind) in enumerate(zip(panels[0], kinds, strict=True)):
            part, look = table[table["kind"] == kind], style.LOOKS[kind]
            axes.plot([-reach, reach], [-reach, reach], color="0.7", lw=0.8, zorder=1)
            drawn = part[~part["design"].isin(MARKERS)]
            axes.plot(
                drawn["slope"], drawn["change_0.1"], color=look.color, marker="o", ls="none",
                ms=2.5, mew=0, alpha=0.5, zorder=2, label="synthetic",
            )  # fmt: skip
            for design, marker in MARKERS.items():
                rows = part[part["design"] == design]
                axes.plot(
                    rows["slope"], rows["change_0.1"], color="black", mfc="white", marker=marker,
                    ls="none", ms=7, mew=0.8, zorder=3, label=design,
                )  # fmt: skip
            axes.set_xscale("symlog", linthresh=LINEAR)
            axes.set_yscale("symlog", linthresh=LINEAR)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.axhline(0.0, color="0.4", lw=0.6)
            axes.axvline(0.0, color="0.4", lw=0.6)
            axes.set_xlabel("predicted slope (dimensionless)")
            agree = int(((drawn["slope"] > 0) == (drawn["change_0.1"] > 0)).sum())
            style.letter(axes, index, f"{style.NAMES[kind]}: {agree} of {len(drawn)} signs")
        panels[0, 0].set_ylabel("measured change (dimensionless)")
        panels[0, 0].legend(loc="upper left", handletextpad=0.3)
    return figure
