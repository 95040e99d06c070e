"""60 % of the training labels wrong: a small ResNet learns, then memorises; SAM, early stopping.

Symmetric noise on the training labels; validation and test labels are clean. No augmentation, so
that the noise can be fitted. Early stopping keeps the evaluation with the least validation error.

Tables: ``deep_label_noise`` (a row per run and evaluation), ``deep_label_noise_summary`` (final and
best networks, means with 95 % bootstrap intervals), ``deep_label_noise_verdict`` (differences to
ERM, and of the end to the best epoch, paired over seeds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import grids
from analysis.deep_runs import BASE, BATCH, paired, train, words
from analysis.statistics import mean_interval, summarize
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

NOISE = 0.6
VALUES = ("final", "early_stopped", "least", "final_noisy", "averaged_final")


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes
    ----------
    seeds : int
    methods : tuple of (str, float, int)
        kind, rho, m.
    epochs, width, every : int
        ``every`` epochs are evaluated.
    """

    seeds: int = 5
    methods: tuple[tuple[str, float, int], ...] = (
        ("gd", 0.0, BATCH),
        ("n-sam", 0.05, BATCH),
        ("m-sam", 0.02, 8),
    )
    epochs: int = 10
    width: int = 8
    every: int = 2


QUICK = Size()
FULL = Size(
    10,
    (("gd", 0.0, BATCH), ("n-sam", 0.05, BATCH), ("n-sam", 0.1, BATCH), ("m-sam", 0.02, 8),
     ("m-sam", 0.05, 8)),
    epochs=40,
    every=4,
)  # fmt: skip


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Train, measure, and write the tables.

    Parameters
    ----------
    quick : bool
        5 seeds, 10 epochs and one radius per method; otherwise 10, 40 and two.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per run and evaluation: the columns of :func:`cell`.
    """
    chosen = size or (QUICK if quick else FULL)
    common = {"epochs": chosen.epochs, "width": chosen.width, "every": chosen.every}
    grid = [
        {"name": _name(kind, rho, m), "kind": kind, "rho": rho, "m": m, "seed": seed}
        for seed in range(chosen.seeds)
        for kind, rho, m in chosen.methods
    ]
    table = grids.compute(cell, grid, folder=folder, common=common, depends=("analysis.deep_runs",))
    ends = outcomes(table)
    made_by, settings = provenance(quick, custom=size is not None), BASE | common | {
        "seed": list(range(chosen.seeds)), "label_noise": NOISE, "augment": False,
    }  # fmt: skip
    for name, content in (
        ("deep_label_noise", table),
        ("deep_label_noise_summary", summarize(ends, ("name", "kind", "rho", "m"), VALUES)),
        ("deep_label_noise_verdict", verdict(ends)),
    ):
        write_table(name, content, settings, made_by, folder=folder)
    return table


def _name(kind: str, rho: float, m: int) -> str:
    return {"gd": "ERM", "n-sam": f"n-SAM, rho = {rho:g}"}.get(
        kind, f"m-SAM, m = {m}, rho = {rho:g}"
    )


def cell(
    name: str, kind: str, rho: float, m: int, seed: int, epochs: int, width: int, every: int
) -> list[dict[str, Any]]:
    """Train one network.

    Returns
    -------
    list of dict
        A row per evaluation: epoch, training errors of examples with true and with wrong labels
        (against the labels as given), validation and test error.
    """
    found = train(
        rho=rho, m=m, seed=seed, epochs=epochs, width=width, evaluate_every=every,
        label_noise=NOISE, augment=False,
    )  # fmt: skip
    shown = ["epoch", "train_loss", "train_error_clean", "train_error_noisy", "validation_error",
             "test_error", "test_loss", "averaged_test_error"]  # fmt: skip
    return [
        {str(key): value for key, value in row.items()} | {"status": found.status}
        for row in found.table[shown].to_dict("records")
    ]


def outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """Return test errors per run: at the end, early stopped, and the least of all evaluations."""
    import pandas as pd

    rows = []
    by = ["name", "kind", "rho", "m", "seed"]
    for key, part in table.groupby(by, sort=False):
        ordered = part.sort_values("epoch").reset_index(drop=True)
        chosen = int(ordered["validation_error"].idxmin())
        last = ordered.iloc[-1]
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "final": last["test_error"],
                "early_stopped": ordered["test_error"][chosen],
                "least": ordered["test_error"].min(),
                "best_epoch": ordered["epoch"][chosen],
                "final_noisy": last["train_error_noisy"],
                "averaged_final": last["averaged_test_error"],
            }
        )
    return pd.DataFrame(rows)


def verdict(ends: pd.DataFrame) -> pd.DataFrame:
    """Return differences to ERM, and of each method's end to its early-stopped network."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for name, part in ends.groupby("name", sort=False):
        rise = part["final"] - part["early_stopped"]
        mean, low, high = mean_interval(rise)
        rows.append(
            {
                "name": name, "value": "final - early_stopped", "seeds": len(part),
                "difference": mean, "low": low, "high": high, "words": words(low, high),
            }
        )  # fmt: skip
    others = paired(ends, ("name",), "ERM", ("final", "early_stopped"))
    return pd.concat([pd.DataFrame(rows), others], ignore_index=True)
