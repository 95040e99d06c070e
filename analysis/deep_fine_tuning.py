"""ERM, then SAM, and SAM, then ERM, in a small ResNet: what the last part of training decides.

One schedule, with SAM on before or after the switch. Tables: ``deep_fine_tuning`` (a row per run
and evaluation), ``deep_fine_tuning_summary`` (final networks, means with 95 % bootstrap intervals),
``deep_fine_tuning_verdict`` (differences to ERM and to SAM throughout, paired over seeds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import grids
from analysis.deep_runs import BASE, paired, sharpness, train
from analysis.statistics import summarize
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

VALUES = ("train_loss", "test_error", "test_loss", "sharpness_8", "sharpness_64", "hessian_top")


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes
    ----------
    seeds : int
    switches : tuple of float
        Fractions of training.
    rho : float
    m : int
    epochs, width, every : int
        ``every`` epochs are evaluated.
    """

    seeds: int = 5
    switches: tuple[float, ...] = (0.5,)
    rho: float = 0.05
    m: int = 8
    epochs: int = 6
    width: int = 8
    every: int = 2


QUICK = Size()
FULL = Size(10, (0.5, 0.8), epochs=30, every=3)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Train, measure, and write the tables.

    Parameters
    ----------
    quick : bool
        5 seeds, 6 epochs and one switch; otherwise 10, 30 and two.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per run and evaluation: the columns of :func:`cell`.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    common = {
        "rho": chosen.rho, "m": chosen.m, "epochs": chosen.epochs, "width": chosen.width,
        "every": chosen.every,
    }  # fmt: skip
    table = grids.compute(
        cell, entries(chosen), folder=folder, common=common, depends=("analysis.deep_runs",)
    )
    by, final = ("name", "switch"), table[table["last"]]
    verdict = pd.concat(
        [
            paired(final, by, base, ("test_error", "test_loss")).assign(base=base)
            for base in ("ERM", "SAM")
        ],
        ignore_index=True,
    )
    made_by = provenance(quick, custom=size is not None)
    settings = BASE | common | {"seed": list(range(chosen.seeds))}
    for name, content in (
        ("deep_fine_tuning", table),
        ("deep_fine_tuning_summary", summarize(final, by, VALUES)),
        ("deep_fine_tuning_verdict", verdict),
    ):
        write_table(name, content, settings, made_by, folder=folder)
    return table


def entries(size: Size) -> list[dict[str, Any]]:
    """Return the runs of a size: SAM from ``start`` to ``end``, fractions of training."""
    rows = [("ERM", 1.0, 0.0, 0.0), ("SAM", 1.0, 0.0, 1.0)]
    for switch in size.switches:
        rows += [("ERM, then SAM", switch, switch, 1.0), ("SAM, then ERM", switch, 0.0, switch)]
    names = ("name", "switch", "start", "end")
    return [
        dict(zip(names, row, strict=True)) | {"seed": seed}
        for seed in range(size.seeds)
        for row in rows
    ]


def cell(
    name: str,
    switch: float,
    start: float,
    end: float,
    seed: int,
    rho: float,
    m: int,
    epochs: int,
    width: int,
    every: int,
) -> list[dict[str, Any]]:
    """Train one network.

    Returns
    -------
    list of dict
        A row per evaluation: epoch, sam (whether it is on next), losses and errors, last (whether
        it is the final network, whose sharpness is measured: see
        :func:`analysis.deep_runs.sharpness`).
    """
    changes = {"rho": 0.0} if start == end else {"rho": rho, "m": m}
    found = train(
        sam_start=start, sam_end=end, seed=seed, epochs=epochs, width=width, evaluate_every=every,
        **changes,
    )  # fmt: skip
    shown = ("epoch", "sam", "train_loss", "train_error", "validation_error", "test_error",
             "test_loss", "gradient_norm", "gradient_cosine")  # fmt: skip
    rows = [dict(row) | {"last": False, "status": found.status}
            for row in found.table[list(shown)].to_dict("records")]  # fmt: skip
    measured = sharpness(found)
    for row in rows:
        row |= dict.fromkeys(measured, float("nan"))
    rows[-1] |= {"last": True} | measured
    return [{str(key): value for key, value in row.items()} for row in rows]
