"""Intervals over seeds, shares and rank correlations, as all studies state them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
RESAMPLES = 2000


def mean_interval(values: npt.ArrayLike, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap percentile interval.

    It needs independent values, and enough of them: a resample never leaves their range, so that
    with fewer than 6 the interval holds the true mean less often than its 95 % (with two, which it
    joins, in half of all cases if the distribution is symmetric). Six is where 2 / 2^k, the
    probability that all differences have one sign by chance, falls below 5 %; with fewer the
    interval describes the values and decides nothing.

    Parameters
    ----------
    values : array_like, shape (k,)
        One per seed, finite, k >= 1; a single one has no interval (nan).
    seed : int
        Of the resampling.
    """
    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean())
    if found.size < 2:
        return mean, float("nan"), float("nan")
    picks = np.random.default_rng(seed).integers(0, found.size, (RESAMPLES, found.size))
    low, high = np.quantile(found[picks].mean(axis=1), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return mean, float(low), float(high)


def geometric_interval(values: npt.ArrayLike, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the geometric mean and its 95 % bootstrap interval, for positive values.

    Zeros count as the smallest positive number, so that they do not hide the others.
    """
    found = np.maximum(np.asarray(values, dtype=np.float64), np.finfo(np.float64).tiny)
    mean, low, high = np.exp(mean_interval(np.log(found), seed=seed))
    return float(mean), float(low), float(high)


def share_interval(hits: npt.ArrayLike) -> tuple[float, float, float]:
    """Return a share of successes and its 95 % Wilson interval.

    Parameters
    ----------
    hits : array_like of bool, shape (k,), k >= 1
        Independent trials.
    """
    found = np.asarray(hits, dtype=bool)
    k, share, z = found.size, float(found.mean()), 1.959963984540054
    middle = (share + z * z / (2 * k)) / (1 + z * z / k)
    half = z * np.sqrt(share * (1 - share) / k + z * z / (4 * k * k)) / (1 + z * z / k)
    return (
        share,
        float(min(max(middle - half, 0.0), share)),
        float(max(min(middle + half, 1.0), share)),
    )


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation, nan where one of the two is constant."""
    from scipy.stats import rankdata

    one, other = rankdata(np.asarray(x)), rankdata(np.asarray(y))
    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def summarize(
    table: pd.DataFrame, by: Sequence[str], values: Sequence[str], *, geometric: bool = False
) -> pd.DataFrame:
    """Return mean, low and high of columns over the seeds of each group.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per group and seed.
    by : sequence of str
        Columns that name the group; their order of appearance is kept.
    values : sequence of str
        Columns to summarise; X becomes ``X``, ``X_low``, ``X_high``.
    geometric : bool
        Geometric instead of arithmetic means.

    Returns
    -------
    pandas.DataFrame
        One row per group, with ``seeds``, their number.
    """
    import pandas as pd

    interval = geometric_interval if geometric else mean_interval
    rows: list[dict[str, Any]] = []
    for key, part in table.groupby(list(by), sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"seeds": len(part)}
        for name in values:
            known = part[name].dropna()
            found = interval(known) if len(known) else (float("nan"),) * 3
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)
