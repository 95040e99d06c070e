"""Limits of many settings in one call, on all cores."""

from __future__ import annotations

from collections.abc import Iterable

from .._threads import parallel_map, single_threaded, worker_count
from ..regression import Regression
from .flow import implicit_bias
from .limit import ImplicitBias
from .settings import Batch, Meter, Report, Setting, checked_settings, naming


def implicit_bias_batch(
    data: Regression,
    settings: Iterable[Setting],
    *,
    threads: int | None = None,
    progress: Report | None = None,
) -> Batch[ImplicitBias]:
    """Compute the limits of many settings; each is that of :func:`implicit_bias`.

    Parameters
    ----------
    data : Regression
        X (n, d), y (n,); a setting may bring its own.
    settings : iterable of Setting
        Algorithm and alpha; step size and seed are not used.
    threads, progress
        As in :func:`descend_batch`.

    Returns
    -------
    Batch
        A sequence of ImplicitBias, with ``table``.

    Raises
    ------
    InputError
        A setting is not usable; the message begins with its number.

    Examples
    --------
    >>> import sam_theory as st
    >>> data = st.sparse_regression(n=4, d=8, nonzeros=1, seed=0)
    >>> grid = st.settings_grid(algorithm=st.one_sam(0.1), alpha=[0.01, 0.1, 1.0])
    >>> st.implicit_bias_batch(data, grid).table["l1"].is_monotonic_increasing
    True
    """
    workers = worker_count(threads)
    chosen = checked_settings(settings)
    meter = Meter(progress, [1] * len(chosen))

    def solve(index: int) -> ImplicitBias:
        setting = chosen[index]
        with naming(index):
            found = implicit_bias(
                data if setting.data is None else setting.data,
                alpha=setting.alpha,
                algorithm=setting.algorithm,
            )
        meter.of(index)(1.0)
        return found

    def solve_all() -> list[ImplicitBias]:
        return parallel_map(solve, range(len(chosen)), workers)

    return Batch(chosen, tuple(single_threaded(solve_all)()))
