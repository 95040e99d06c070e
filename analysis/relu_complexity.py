"""Does SAM fit a simpler piecewise-linear function than ERM? The published claim, measured.

The published 1-D experiment (12 points, width 100, at most 1e6 steps) over 20 initialisations:

ERM                  constant step, as published; also with SAM's decaying step;
n-SAM                normalised, decaying step, as published at rho = 0.3; other radii beside it;
ERM, stopped early   a control: ERM that stops at the objective where n-SAM (rho = 0.3) of the same
                     seed ended, because SAM does not fit the points to 1e-5 and a worse fit may be
                     simpler for that reason alone.

Measures are those of :mod:`sam_theory.relu.complexity`; differences are paired over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.store import provenance, write_table
from sam_theory import relu
from sam_theory._threads import parallel_map
from sam_theory.algorithms import Algorithm, m_sam, one_sam
from sam_theory.relu import complexity, published
from sam_theory.relu.complexity import Entry

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from sam_theory.regression import Regression
    from sam_theory.relu.result import Training

SEEDS = {True: 10, False: 20}
ERM, LINEAR, CONTROL = "ERM", "ERM, decaying step", "ERM, stopped early"
SAM = f"n-SAM, rho = {published.RHO:g}"
RADII = (0.1, published.RHO, 1.0)
ALL_RADII = (0.01, 0.03, *RADII)
CLAIM = ("kinks", "total_variation")
"""The measures that the claim is about: its verdict is theirs."""


def run(
    quick: bool = True,
    *,
    folder: Path | None = None,
    seeds: int | None = None,
    steps: int = published.STEPS,
) -> pd.DataFrame:
    """Train, measure, compare, and write the tables.

    Parameters
    ----------
    quick : bool
        ERM and n-SAM at three radii, 10 seeds; otherwise five radii, 20 seeds, and m-SAM (m = 4)
        and 1-SAM as well.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    seeds : int
        Initialisations, at least 2, by default 10 (quick) or 20; the published figure shows 5.
    steps : int
        At most so many; published: 1e6.

    Returns
    -------
    pandas.DataFrame
        One row per run: the columns of :func:`sam_theory.relu.compare`, and ``area_to_others``, the
        mean area between the fit and those of the other seeds (units of x y). Written beside it:
        ``relu_complexity_summary`` (means with intervals), ``relu_complexity_verdict`` (paired
        differences to ERM and to the control), ``relu_fits`` (vertices of the fits of five seeds)
        and ``relu_path`` (balancedness, sharpness and edge of stability along their runs).
    """
    import pandas as pd

    seeds = SEEDS[quick] if seeds is None else seeds
    data = published.published_data()
    made_by = provenance(quick)
    with _Bar("training") as bar:
        table, results = complexity.compare(data, entries(quick, seeds, steps), progress=bar)
    controls, controlled = complexity.compare(data, control(table, seeds, steps))
    table = pd.concat([table, controls], ignore_index=True)
    table["area_to_others"] = areas(table, (*results, *controlled))
    measures = (*complexity.MEASURES, "area_to_others")
    settings = described(data, quick, seeds, steps)
    pair = table[table["name"].isin([CONTROL, SAM])]
    differences = pd.concat(
        [
            complexity.paired_differences(table, base=ERM, measures=measures),
            complexity.paired_differences(pair, base=CONTROL, measures=measures),
        ],
        ignore_index=True,
    )
    shown = [
        (row["name"], row["seed"], result)
        for row, result in zip(table.to_dict("records"), results, strict=False)
        if row["name"] in (ERM, SAM) and row["seed"] < len(published.SEEDS)
    ]
    tables = {
        "relu_complexity": table,
        "relu_complexity_summary": complexity.summarize(table, measures=measures),
        "relu_complexity_verdict": verdict(differences),
        "relu_fits": fits(data, shown),
        "relu_path": pd.concat(
            parallel_map(lambda of_run: path(*of_run), shown), ignore_index=True
        ),
    }
    for name, content in tables.items():
        write_table(name, content, settings, made_by, folder=folder)
    return table


def entries(quick: bool, seeds: int, steps: int) -> list[Entry]:
    """Return all runs but the control."""
    found = []
    for seed in range(seeds):
        erm = published.published_run(seed, rho=0.0, steps=steps)
        found += [Entry(ERM, seed, erm), Entry(LINEAR, seed, replace(erm, schedule="linear"))]
        for rho in RADII if quick else ALL_RADII:
            sam = published.published_run(seed, rho=rho, steps=steps)
            found.append(Entry(f"n-SAM, rho = {rho:g}", seed, sam))
            if quick:
                continue
            for kind, rule in _blocks(rho).items():
                found.append(Entry(f"{kind}, rho = {rho:g}", seed, replace(sam, algorithm=rule)))
    return sorted(found, key=lambda entry: (entry.name, entry.seed))


def _blocks(rho: float) -> dict[str, Algorithm]:
    return {
        "m-SAM, m = 4": m_sam(rho, 4, normalized=True),
        "1-SAM": one_sam(rho, normalized=True),
    }


def control(table: pd.DataFrame, seeds: int, steps: int) -> list[Entry]:
    """Return ERM runs that stop at the objective that n-SAM of the same seed has reached."""
    ends = table[table["name"] == SAM].set_index("seed")["objective"]
    runs = [published.published_run(seed, rho=0.0, steps=steps) for seed in range(seeds)]
    return [
        Entry(CONTROL, seed, replace(run, tol=float(ends[seed]))) for seed, run in enumerate(runs)
    ]


def areas(table: pd.DataFrame, results: Sequence[Training]) -> list[float]:
    """Mean area between each fit and those of the other seeds of the same name."""
    names = list(table["name"])
    X = np.asarray(results[0].data.X)
    low, high = float(X.min()), float(X.max())
    size = len(results)
    area = np.zeros((size, size))
    for one in range(size):
        for two in range(one):
            if names[one] == names[two]:
                fits = results[one].network, results[two].network
                area[one, two] = area[two, one] = relu.area_between(*fits, low, high)
    return [float(area[k].sum() / (names.count(names[k]) - 1)) for k in range(size)]


def verdict(differences: pd.DataFrame) -> pd.DataFrame:
    """Put the claim's measures first, each with the answer in words."""
    order = differences["measure"].isin(CLAIM)
    found = differences.assign(claim=order).sort_values("claim", ascending=False, kind="stable")
    found["words"] = [
        complexity.sentence(
            differences[differences["base"] == row["base"]], row["name"], row["measure"]
        )
        for row in found.to_dict("records")
    ]
    return found.reset_index(drop=True)


def fits(data: Regression, shown: list[tuple[str, int, Training]]) -> pd.DataFrame:
    """Vertices of the fits between the outermost points, and the points themselves.

    Returns
    -------
    pandas.DataFrame
        name ("data" for the points), kind, rho, seed (-1 for the points), x, f. Straight lines
        between consecutive vertices of a run are its fit, exactly.
    """
    import pandas as pd

    X = np.asarray(data.X)
    points = {"name": "data", "kind": "", "rho": 0.0, "seed": -1, "x": X[:, 0], "f": data.y}
    frames = [pd.DataFrame(points)]
    for name, seed, result in shown:
        x, f = relu.vertices(result.network, float(X.min()), float(X.max()))
        rule = result.run.algorithm
        frames.append(
            pd.DataFrame(
                {"name": name, "kind": rule.kind, "rho": rule.rho, "seed": seed, "x": x, "f": f}
            )
        )
    return pd.concat(frames, ignore_index=True)


def path(name: str, seed: int, result: Training, points: int = 25) -> pd.DataFrame:
    """Follow one run again, and look at what theory speaks of along it.

    Gradient flow conserves a_j^2 - ||w_j||^2 - b_j^2, SAM moves it. GD can sit in a minimum of
    sharpness below 2/gamma_k, normalised SAM below the edge at its gradient norm.

    Returns
    -------
    pandas.DataFrame
        name, kind, rho, seed, step, step_size (gamma_k), objective, gradient_norm, sharpness,
        gd_edge, edge (of the algorithm itself), balance_moved (largest change so far),
        total_variation.
    """
    import pandas as pd

    run, data = result.run, result.data
    X = np.asarray(data.X)
    low, high = float(X.min()), float(X.max())
    wanted = np.unique(np.rint(np.geomspace(1, max(result.steps, 2), points)).astype(int))
    rows = []
    reached: Training | None = None
    for step in wanted[wanted <= result.steps]:
        after = int(step) - (0 if reached is None else reached.steps)
        if reached is None:
            reached = relu.train_run(data, run, pause_after=after)
        else:
            reached = relu.continue_training(reached, pause_after=after)
        at = relu.measure_curvature(reached.network, data, objective=run.objective)
        gamma = float(run.gammas(int(step) - 1, int(step))[0])
        moved = reached.network.balancedness - run.start.balancedness
        rows.append(
            {
                "name": name,
                "kind": run.algorithm.kind,
                "rho": run.algorithm.rho,
                "seed": seed,
                "step": int(step),
                "step_size": gamma,
                "objective": at.objective,
                "gradient_norm": at.gradient_norm,
                "sharpness": at.largest,
                "gd_edge": 2.0 / gamma if gamma > 0.0 else np.inf,
                "edge": at.edge(run.algorithm, gamma) if gamma > 0.0 else np.inf,
                "balance_moved": float(np.max(np.abs(moved))),
                "total_variation": relu.kinks(reached.network, low, high).variation,
            }
        )
    return pd.DataFrame(rows)


def described(data: Regression, quick: bool, seeds: int, steps: int) -> dict[str, Any]:
    """Return what was run, for the sidecars."""
    X = np.asarray(data.X)
    return {
        "seeds": seeds,
        "seeds_from": 0,
        "data_set": data.source,
        "width": published.WIDTH,
        "step_size": published.STEP_SIZE,
        "steps_at_most": steps,
        "tol": published.TOL,
        "radii": list(RADII if quick else ALL_RADII),
        "merge": complexity.MERGE,
        "share": complexity.SHARE,
        "radius_of_sharpness": complexity.SHARPNESS_RHO,
        "least_variation_of_an_interpolant": relu.least_variation(X[:, 0], data.y),
    }


class _Bar:
    """Progress bar on stderr, if that is a terminal."""

    def __init__(self, name: str) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=1.0, desc=name, leave=False, disable=None, bar_format="{l_bar}{bar}")

    def __call__(self, share: float) -> None:
        self.bar.update(max(0.0, share - self.bar.n))

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()
