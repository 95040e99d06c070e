"""Fit noisy labels, stop early or not: gradient flow, n-SAM and 1-SAM along their paths.

A share of the labels is replaced by independent Gaussian draws of the same variance; the test
target is clean. The flows (step size -> 0) give the test loss at every time, hence the best time;
one instance is also trained with finite steps at the same times. At the best time, the loss on
clean and on replaced examples says what has been memorised.

The published experiment replaces 60 % of CIFAR labels on deep networks; this is its analogue on
diagonal linear networks, smaller in every respect.

Tables: ``noisy_labels`` (one row per instance and time), ``noisy_labels_curves`` (geometric means
over instances), ``noisy_labels_summary`` (best and final loss with intervals).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import grids
from analysis.statistics import geometric_interval, summarize
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

ALPHA = 0.1
STEP_SIZE = 0.02
ALGORITHMS = {"gd": st.gd, "n-sam": st.n_sam, "1-sam": st.one_sam}


@dataclass(frozen=True)
class Size:
    """What is computed.

    Attributes
    ----------
    shares : tuple of float
        Of labels that are replaced.
    seeds : tuple of int
        Of instances and labels; the first is also trained.
    rho : float
        Radius of both SAMs.
    times : int
        Points of time, spaced logarithmically from 0.3 to 3000.
    trained_until : float
        Time up to which the first instance is trained.
    n, d, nonzeros : int
        Of the instances.
    """

    shares: tuple[float, ...] = (0.0, 0.1, 0.2, 0.6)
    seeds: tuple[int, ...] = tuple(range(8))
    rho: float = 0.1
    times: int = 100
    trained_until: float = 200.0
    n: int = 100
    d: int = 200
    nonzeros: int = 5


QUICK = Size()
FULL = Size(shares=(0.0, 0.05, 0.1, 0.2, 0.4, 0.6), seeds=tuple(range(50)), times=200)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Follow the flows, and write the tables.

    Parameters
    ----------
    quick : bool
        4 shares and 8 instances; otherwise 6 and 50.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per share, instance, algorithm and time: the columns of :func:`cell`.
    """
    chosen = size or (QUICK if quick else FULL)
    times = np.geomspace(0.3, 3000.0, chosen.times)
    common = {
        "rho": chosen.rho, "times": times, "trained_until": chosen.trained_until, "n": chosen.n,
        "d": chosen.d, "nonzeros": chosen.nonzeros, "trained_seed": chosen.seeds[0],
    }  # fmt: skip
    grid = {"share": chosen.shares, "seed": chosen.seeds, "kind": tuple(ALGORITHMS)}
    table = grids.compute(cell, grid, folder=folder, common=common)
    settings = common | {
        "times": [0.3, 3000.0, chosen.times], "seed": list(chosen.seeds), "alpha": ALPHA,
        "step_size": STEP_SIZE, "shares": list(chosen.shares),
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    curves = summarize(
        table, ("share", "kind", "time"), ("train_loss", "test_loss"), geometric=True
    )
    first = table.loc[
        table["seed"] == chosen.seeds[0],
        ["share", "kind", "time", "test_loss", "test_loss_simulation"],
    ].rename(columns={"test_loss": "first_theory", "test_loss_simulation": "first_simulation"})
    curves = curves.merge(first, on=["share", "kind", "time"])
    for name, content in (
        ("noisy_labels", table),
        ("noisy_labels_curves", curves),
        ("noisy_labels_summary", summary(table)),
    ):
        write_table(name, content, settings, made_by, folder=folder)
    return table


def noisy(
    share: float, seed: int, n: int, d: int, nonzeros: int
) -> tuple[st.Regression, np.ndarray]:
    """Return an instance with replaced labels, and which examples (n,) they are."""
    data = st.sparse_regression(n=n, d=d, nonzeros=nonzeros, seed=seed)
    stream = np.random.default_rng(seed)
    replaced = np.zeros(n, dtype=bool)
    replaced[stream.permutation(n)[: round(share * n)]] = True
    draws = stream.standard_normal(n) * data.y.std()
    return replace(data, y=np.where(replaced, draws, data.y), beta_star=None), replaced


def cell(
    share: float, seed: int, kind: str, rho: float, times: np.ndarray, trained_until: float, n: int,
    d: int, nonzeros: int, trained_seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Follow one flow.

    Returns
    -------
    list of dict
        One per time: ``train_loss`` (on the labels as given), ``clean_loss`` and ``replaced_loss``
        (on the examples of either kind; nan if there are none), ``test_loss`` and
        ``test_loss_simulation`` (by finite steps; first instance, early times).
    """
    data, replaced = noisy(share, seed, n, d, nonzeros)
    assert data.test is not None
    algorithm = ALGORITHMS[kind]() if kind == "gd" else ALGORITHMS[kind](rho)
    path = st.flow(data, alpha=ALPHA, algorithm=algorithm, times=times)
    half_squares = 0.5 * np.square(path.beta @ data.X.T - data.y)
    test = 0.5 * np.mean(np.square(path.beta @ data.test.X.T - data.test.y), axis=1)
    trained = np.full(times.size, np.nan)
    if seed == trained_seed:
        steps = np.rint(times[times <= trained_until] / STEP_SIZE).astype(int)
        run = st.descend(
            data, alpha=ALPHA, algorithm=algorithm, step_size=STEP_SIZE, steps=int(steps[-1]),
            record=np.unique(steps),
        )  # fmt: skip
        trained[: steps.size] = run.table.set_index("step")["test_loss"].loc[steps]
    return [
        {
            "time": float(times[k]), "train_loss": float(path.loss[k]),
            "clean_loss": _mean(half_squares[k, ~replaced]),
            "replaced_loss": _mean(half_squares[k, replaced]),
            "test_loss": float(test[k]), "test_loss_simulation": float(trained[k]),
        }
        for k in range(times.size)
    ]  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return best and final test loss per share and algorithm, geometric means with intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows of :func:`cell`.

    Returns
    -------
    pandas.DataFrame
        ``best`` and ``final`` test loss, ``best_ratio`` and ``final_ratio`` to gradient flow on the
        same instance, each with ``_low`` and ``_high``; medians of ``best_time`` and, there, of
        ``clean_loss`` and ``replaced_loss``.
    """
    import pandas as pd

    ends = []
    for (share, seed, kind), part in table.groupby(["share", "seed", "kind"], sort=False):
        part = part[part["test_loss"].notna()]
        best = part.loc[part["test_loss"].idxmin()]
        ends.append(
            {
                "share": share, "seed": seed, "kind": kind, "best": best["test_loss"],
                "final": part["test_loss"].iloc[-1], "best_time": best["time"],
                "clean_loss": best["clean_loss"], "replaced_loss": best["replaced_loss"],
            }
        )  # fmt: skip
    found = pd.DataFrame(ends)
    flow = found[found["kind"] == "gd"].set_index(["share", "seed"])
    rows = []
    for (share, kind), part in found.groupby(["share", "kind"], sort=False):
        base = flow.loc[list(zip(part["share"], part["seed"], strict=True))]
        row: dict[str, Any] = {"share": share, "kind": kind, "seeds": len(part)}
        for name in ("best", "final"):
            for column, values in (
                (name, part[name].to_numpy()),
                (f"{name}_ratio", part[name].to_numpy() / base[name].to_numpy()),
            ):
                columns = (column, f"{column}_low", f"{column}_high")
                row |= dict(zip(columns, geometric_interval(values), strict=True))
        for name in ("best_time", "clean_loss", "replaced_loss"):
            row[name] = part[name].median()
        rows.append(row)
    return pd.DataFrame(rows)
