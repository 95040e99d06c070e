"""Test error of a small ResNet against the radius: ERM, n-SAM, m-SAM, 1-SAM, random perturbation.

"n-SAM" here is m = the minibatch of 64, as near to m = n as a stochastic method comes; "random" is
a direction of the same length instead of the ascent. The sharpness of every final network is
measured as well.

Tables: ``deep_effect_of_m`` (a row per run), ``deep_effect_of_m_summary`` (means with 95 %
bootstrap intervals), ``deep_effect_of_m_verdict`` (differences to ERM, paired over seeds),
``deep_sharpness`` (rank correlations of sharpness with test error and loss).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import grids
from analysis.deep_runs import BASE, BATCH, SHARPNESS_RHO, paired, sharpness, train
from analysis.statistics import rank_correlation, summarize
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

VALUES = ("train_loss", "test_error", "test_loss", "averaged_test_error", "best_test_error")
SHARPNESS = ("sharpness_8", "sharpness_64", "hessian_top")


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes
    ----------
    seeds : int
    radii : tuple of float
        Of every method but ERM.
    ms : tuple of int
        Of m-SAM.
    radii_one : tuple of float
        Of 1-SAM, which costs 18 times an epoch of ERM at this size.
    previous : bool
        Also the ascent on the previous minibatch, the published surrogate of n-SAM.
    epochs, width : int
    """

    seeds: int = 5
    radii: tuple[float, ...] = (0.05,)
    ms: tuple[int, ...] = (8,)
    radii_one: tuple[float, ...] = ()
    previous: bool = False
    epochs: int = 6
    width: int = 8


QUICK = Size()
FULL = Size(10, (0.02, 0.05, 0.1), (8,), (0.05,), epochs=30)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Train, measure, and write the tables.

    Parameters
    ----------
    quick : bool
        5 seeds, one radius, 6 epochs; otherwise 10 seeds, three radii, 1-SAM at one, 30 epochs.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per run: the columns of :func:`cell`.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    common = {"epochs": chosen.epochs, "width": chosen.width}
    table = grids.compute(
        cell, entries(chosen), folder=folder, common=common, depends=("analysis.deep_runs",)
    )
    by = ("name", "kind", "rho", "m")
    ended = table[table["status"] == "finished"]
    correlations = [
        {
            "sharpness": one, "target": target, "runs": len(ended),
            "rank_correlation": rank_correlation(ended[one], ended[target]),
        }
        for one in SHARPNESS for target in ("test_error", "test_loss")
    ]  # fmt: skip
    made_by, settings = provenance(quick, custom=size is not None), BASE | common | {
        "seed": list(range(chosen.seeds)), "radius_of_sharpness": SHARPNESS_RHO,
    }  # fmt: skip
    for name, content in (
        ("deep_effect_of_m", table),
        ("deep_effect_of_m_summary", summarize(table, by, (*VALUES, *SHARPNESS))),
        ("deep_effect_of_m_verdict", paired(table, by, "ERM", ("test_error", "test_loss"))),
        ("deep_sharpness", pd.DataFrame(correlations)),
    ):
        write_table(name, content, settings, made_by, folder=folder)
    return table


def entries(size: Size) -> list[dict[str, Any]]:
    """Return the runs of a size, seed by seed."""
    methods = [("ERM", "gd", "ascent", 0.0, BATCH)]
    for rho in size.radii:
        methods.append(("n-SAM", "n-sam", "ascent", rho, BATCH))
        methods += [(f"m-SAM, m = {m}", "m-sam", "ascent", rho, m) for m in size.ms]
        methods.append(("random", "sgd", "random", rho, BATCH))
        if size.previous:
            methods.append(("previous batch", "n-sam", "previous", rho, BATCH))
    methods += [("1-SAM", "1-sam", "ascent", rho, 1) for rho in size.radii_one]
    names = ("name", "kind", "direction", "rho", "m")
    return [
        dict(zip(names, method, strict=True)) | {"seed": seed}
        for seed in range(size.seeds)
        for method in methods
    ]


def cell(
    name: str, kind: str, direction: str, rho: float, m: int, seed: int, epochs: int, width: int
) -> dict[str, Any]:
    """Train one network.

    Returns
    -------
    dict
        status; losses and errors of the final network; ``best_test_error`` of the one with the
        least validation error; sharpness, see :func:`analysis.deep_runs.sharpness`. Of a run that
        did not finish, those of its last evaluation.
    """
    found = train(
        rho=rho, m=m, direction=direction, seed=seed, epochs=epochs, width=width, evaluate_every=5
    )
    last, table = found.last, found.table
    best = table["validation_error"].idxmin()
    shown = ("train_loss", "train_error", "validation_error", "test_error", "test_loss",
             "averaged_test_error", "gradient_norm", "gradient_cosine", "weight_norm")  # fmt: skip
    return {
        "status": found.status,
        **{name: last[name] for name in shown},
        "best_test_error": float(table["test_error"][best]),
        **sharpness(found),
    }
