"""How complex the function is that a run has fitted, and whether SAM makes it simpler.

The published claim, that SAM fits a simpler piecewise-linear function than ERM, was shown by
pictures. Here it is a table: measures of each run, their means over seeds, and the difference to
ERM, paired over seeds, with an interval and a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import checked_number
from ..errors import InputError
from ..regression import Regression
from . import bootstrap
from .curvature import measure_curvature
from .geometry import kinks, measure_geometry
from .plan import Run
from .result import Training
from .sharpness import m_sharpness
from .training import train_batch

if TYPE_CHECKING:
    import pandas as pd

MERGE, SHARE, SHARPNESS_RHO = 0.01, 0.01, 0.3


@dataclass(frozen=True)
class Complexity:
    """Measures of one fit.

    Attributes
    ----------
    kinks : float
        Visible kinks between the outermost examples: places within 1 % of the range are one, and a
        change of slope of at most 1 % of the total variation is none. Nan unless d = 1.
    all_kinks : float
        All of them, merged where only rounding separates them. Nan unless d = 1.
    effective_kinks : float
        (sum |c|)^2 / sum c^2 of all of them; nan unless d = 1.
    total_variation : float
        Of f' between the outermost examples, units of y/x; nan unless d = 1.
    active_neurons, dead_neurons, duplicate_neurons : int
        See :class:`Geometry`.
    neuron_patterns : int
        Distinct sets of examples on which a neuron is active.
    path_norm : float
        sum_j |a_j| ||(w_j, b_j)||, units of y.
    sharpness : float
        Largest eigenvalue of the Hessian.
    gradient_norm : float
        ||grad L||.
    n_sharpness : float
        Lower bound of the growth of L in a ball of the given radius, units of y^2.
    balance_moved : float
        Largest change of a_j^2 - ||w_j||^2 - b_j^2 between the start and the end of the run.
    """

    kinks: float
    all_kinks: float
    effective_kinks: float
    total_variation: float
    active_neurons: int
    dead_neurons: int
    duplicate_neurons: int
    neuron_patterns: int
    path_norm: float
    sharpness: float
    gradient_norm: float
    n_sharpness: float
    balance_moved: float


MEASURES = tuple(Complexity.__dataclass_fields__)


def measure(
    result: Training,
    *,
    merge: float = MERGE,
    share: float = SHARE,
    rho: float = SHARPNESS_RHO,
) -> Complexity:
    """Measure a run.

    Parameters
    ----------
    result : Training
        A run on data with one feature.
    merge : float
        Kinks closer than this share of the range of x are one, 0 <= merge < 1.
    share : float
        A visible kink has more than this share of the total variation, 0 <= share < 1.
    rho : float
        Radius of ``n_sharpness``, > 0.

    Returns
    -------
    Complexity
        Of the network that was reached; ``balance_moved`` is of the run.

    Raises
    ------
    InputError
        An argument is out of range.
    """
    for name, value in (("merge", merge), ("share", share)):
        if not 0.0 <= checked_number(name, value) < 1.0:
            raise InputError(f"{name} must be >= 0 and < 1, not {value:g}")
    network, data, kind = result.network, result.data, result.run.objective
    X = np.asarray(data.X)
    shape = measure_geometry(network, X)
    curvature = measure_curvature(network, data, objective=kind)
    visible, every, effective, variation = (float("nan"),) * 4
    if shape.kinks is not None:
        low, high = float(X.min()), float(X.max())
        merged = kinks(network, low, high, tolerance=merge * (high - low))
        visible, every = float(merged.larger_than(share)), float(shape.kinks.count)
        effective, variation = shape.kinks.effective_count, shape.kinks.variation
    return Complexity(
        kinks=visible,
        all_kinks=every,
        effective_kinks=effective,
        total_variation=variation,
        active_neurons=shape.active,
        dead_neurons=shape.dead,
        duplicate_neurons=shape.duplicates,
        neuron_patterns=shape.neuron_patterns,
        path_norm=shape.path_norm,
        sharpness=curvature.largest,
        gradient_norm=curvature.gradient_norm,
        n_sharpness=m_sharpness(network, data, rho=rho, objective=kind, restarts=2),
        balance_moved=float(np.max(np.abs(network.balancedness - result.run.start.balancedness))),
    )


@dataclass(frozen=True, eq=False)
class Entry:
    """One run of a comparison.

    Attributes
    ----------
    name : str
        What the run is filed under.
    seed : int
        That goes with the name.
    run : Run
        What to run.
    """

    name: str
    seed: int
    run: Run


def compare(
    data: Regression,
    entries: Iterable[Entry],
    *,
    rho: float = SHARPNESS_RHO,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[pd.DataFrame, tuple[Training, ...]]:
    """Train and measure.

    Parameters
    ----------
    data : Regression
        Examples with one feature.
    entries : iterable of Entry
        What is compared: label, run and seed of each.
    rho : float
        Radius of the sharpness.
    threads, progress
        As in :func:`train_batch`.

    Returns
    -------
    table : pandas.DataFrame
        One row per entry: name, algorithm, rho, schedule, seed, the run's summary, MEASURES.
    results : tuple of Training
        The runs, in the order of the entries.

    Raises
    ------
    InputError
        A run does not fit the data, or diverged.
    """
    import pandas as pd

    chosen = tuple(entries)
    results = train_batch(data, [e.run for e in chosen], threads=threads, progress=progress)
    diverged = [k for k, result in enumerate(results) if result.status == "diverged"]
    if diverged:
        first, name = results[diverged[0]], chosen[diverged[0]].name
        raise InputError(
            f"{len(diverged)} of {len(results)} runs diverged, the first ({name}) "
            f"at step {first.diverged_at} with step size {first.run.step_size:g}"
        )
    rows: list[dict[str, Any]] = []
    for entry, result in zip(chosen, results, strict=True):
        rule = entry.run.algorithm
        rows.append(
            {
                "name": entry.name,
                "algorithm": rule.label,
                "kind": rule.kind,
                "rho": rule.rho,
                "schedule": entry.run.schedule,
                "seed": entry.seed,
                **result.summary(),
                **asdict(measure(result, rho=rho)),
            }
        )
    return pd.DataFrame(rows), results


def summarize(table: pd.DataFrame, *, measures: Sequence[str] = MEASURES) -> pd.DataFrame:
    """Average over seeds, with bootstrap intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`compare`, with at least two seeds for each name.
    measures : sequence of str
        Columns; ``objective`` is added.

    Returns
    -------
    pandas.DataFrame
        name, kind, rho, measure, seeds, mean, low, high: 95 % percentile interval of 10,000
        resamples. Measures that are nan throughout are left out.

    Raises
    ------
    InputError
        A measure is not finite for some of the seeds, or there is one seed only.
    """
    import pandas as pd

    rows = []
    for (name, kind, rho), part in table.groupby(["name", "kind", "rho"], sort=False):
        for column in ("objective", *measures):
            if part[column].isna().all():
                continue
            if not np.isfinite(part[column]).all():
                raise InputError(f"{column} of {name} is not finite: rescale the data")
            found = bootstrap.mean_interval(part[column])
            known = {"name": name, "kind": kind, "rho": rho, "measure": column, "seeds": len(part)}
            rows.append(known | asdict(found))
    return pd.DataFrame(rows)


def paired_differences(
    table: pd.DataFrame, *, base: str, measures: Sequence[str] = MEASURES
) -> pd.DataFrame:
    """Compare every other name with ``base``, paired over the seeds, with a verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`compare`; every name has the same seeds.
    base : str
        Name of the runs to compare with.
    measures : sequence of str
        Columns of the table that are compared.

    Returns
    -------
    pandas.DataFrame
        name, base, measure, seeds, difference, low, high (mean over seeds of other - base, and its
        95 % interval), ratio, ratio_low, ratio_high (of the means), smaller_share (of the seeds),
        verdict: "smaller", "larger" or "not decided", which it always is with fewer than 6 seeds.

    Raises
    ------
    InputError
        ``base`` is not in the table, or the seeds differ.
    """
    import pandas as pd

    if base not in set(table["name"]):
        raise InputError(f"the table has no runs named {base!r}")
    first = table[table["name"] == base].set_index("seed").sort_index()
    rows = []
    for name, part in table[table["name"] != base].groupby("name", sort=False):
        other = part.set_index("seed").sort_index()
        if list(other.index) != list(first.index):
            raise InputError(f"{name!r} and {base!r} do not have the same seeds")
        for column in measures:
            if other[column].isna().any() or first[column].isna().any():
                continue
            found = bootstrap.paired_difference(first[column], other[column])
            rows.append(
                {
                    "name": name,
                    "base": base,
                    "measure": column,
                    "seeds": found.seeds,
                    "difference": found.difference.mean,
                    "low": found.difference.low,
                    "high": found.difference.high,
                    "ratio": found.ratio.mean,
                    "ratio_low": found.ratio.low,
                    "ratio_high": found.ratio.high,
                    "smaller_share": found.smaller_share,
                    "verdict": found.verdict,
                }
            )
    return pd.DataFrame(rows)


def sentence(differences: pd.DataFrame, name: str, measure: str) -> str:
    """Say one row of :func:`paired_differences` in words."""
    chosen = (differences["name"] == name) & (differences["measure"] == measure)
    row = differences[chosen].iloc[0]
    what = measure.replace("_", " ")
    change = (
        f"{row['difference']:+.4g} [{row['low']:+.4g}, {row['high']:+.4g}], "
        f"ratio {row['ratio']:.3g} [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}], "
        f"smaller on {100 * row['smaller_share']:.0f} % of {row['seeds']} seeds"
    )
    found = f"{row['verdict']} under {name} than under {row['base']}"
    if row["verdict"] == bootstrap.UNDECIDED:
        found = f"no difference shown between {name} and {row['base']}"
        if row["seeds"] < bootstrap.LEAST_SEEDS:
            found = (
                f"not decided between {name} and {row['base']}, "
                f"fewer than {bootstrap.LEAST_SEEDS} seeds"
            )
    return f"{what}: {found}: {change}"
