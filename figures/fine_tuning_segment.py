"""Loss on the line between the solutions before and after a switch of algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMNS = ("path", "position", "train_loss", "test_loss")
CAPTION = (
    "Train (dashed) and test loss (solid) on the straight line in weight space through the "
    "solution at the switch (0) and at the end (1). Left: from ERM to what 1-SAM makes of it: "
    "the train loss rises to 3.4e-4 between 3.9e-6 and 4.8e-5, a low barrier. Right: from 1-SAM "
    "to what ERM makes of it: none. For deep networks the publication reports that both ends lie "
    "in one basin, without a number."
)
ALT = "Two panels, train and test loss against the position between two solutions."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per switch.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/fine_tuning_segment.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Panels in the order of the table, on common axes.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "fine_tuning_segment")
    paths = list(dict.fromkeys(table["path"]))
    with style.house("fine_tuning_segment"):
        figure, panels = plt.subplots(
            1, len(paths), figsize=(1.4 * style.COLUMN_WIDTH, 2.6), sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for index, (axes, path) in enumerate(zip(panels[0], paths, strict=True)):
            rows = table[table["path"] == path]
            look = style.LOOKS["1-sam" if path.endswith("1-SAM") else "gd"]
            axes.plot(rows["position"], rows["test_loss"], color=look.color, label="test loss")
            axes.plot(
                rows["position"], rows["train_loss"], color=look.color, ls=(0, (4, 2)), lw=1.0,
                label="train loss",
            )  # fmt: skip
            for end in (0.0, 1.0):
                axes.axvline(end, color="0.6", lw=0.8)
            first, last = path.split(" -> ")
            axes.set_xticks([0.0, 0.5, 1.0], [first, "", path.replace("->", "→")])
            axes.set(yscale="log")
            style.letter(axes, index, f"{first} → {last}")
            axes.set_xlabel("position on the line")
        panels[0, 0].set_ylabel("loss")
        figure.legend(handles=_keys(), loc="outside upper center", ncols=2)
    return figure


def _keys() -> list[Line2D]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color="0.4", label="test loss"),
        Line2D([], [], color="0.4", ls=(0, (4, 2)), label="train loss"),
    ]
