"""On which designs n-SAM and 1-SAM raise the test loss, by initial scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("design", "kind", "alpha", "hurt", "low", "high", "instances")
CAPTION = (
    "Share of instances on which the test loss grows with ρ to first order, with 95 % intervals, "
    "for three initial scales. n-SAM hurts most where its exponent is concentrated on the "
    "support (isotropic, sparse and large-support designs) and at large alpha; correlated "
    "columns spread it. 1-SAM mostly helps, but hurts where the features that matter are the "
    "large ones."
)
ALT = "One panel per initial scale: designs from top to bottom, share hurt from 0 to 1."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per scale.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/when_n_sam_hurts_designs.csv``; synthetic designs only.

    Returns
    -------
    matplotlib.figure.Figure
        Panels in rising order of alpha.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "when_n_sam_hurts_designs")
    table = table[~table["design"].isin(("published", "spectra"))]
    designs, scales = list(dict.fromkeys(table["design"])), sorted(set(table["alpha"]))
    with style.house("when_n_sam_hurts_designs"):
        figure, panels = plt.subplots(
            1, len(scales), figsize=(1.4 * style.COLUMN_WIDTH, 3.2), sharex=True, sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for index, (axes, alpha) in enumerate(zip(panels[0], scales, strict=True)):
            part = table[table["alpha"] == alpha]
            for offset, kind in ((-0.15, "n-sam"), (0.15, "1-sam")):
                rows = part[part["kind"] == kind].set_index("design").loc[designs]
                look = style.LOOKS[kind]
                axes.errorbar(
                    rows["hurt"], np.arange(len(designs)) + offset,
                    xerr=(rows["hurt"] - rows["low"], rows["high"] - rows["hurt"]),
                    color=look.color, marker=look.marker, mfc="white", ls="none", capsize=2,
                    lw=0.9, label=style.NAMES[kind],
                )  # fmt: skip
            axes.set(xlim=(-0.03, 1.03), xlabel="share hurt")
            axes.set_xticks([0.0, 0.5, 1.0], ["0", "½", "1"])
            style.letter(axes, index, f"α = {alpha:g}")
        panels[0, 0].set_yticks(range(len(designs)), designs)
        panels[0, 0].invert_yaxis()
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2
        )
    return figure
