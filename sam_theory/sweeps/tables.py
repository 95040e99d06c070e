"""The outcomes of a sweep as tables, without loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_theory.sweeps.records import Outcome

if TYPE_CHECKING:
    import pandas as pd

# A column of type str cannot hold half a surrogate pair; an object column can.
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST = 2**63
_EXACT = 2**53
STATES = ("done", "failed", "missing", "damaged")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """The result of a sweep.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per row that the study returned, in the order of the grid: the settings, then the
        results. A column is float64, int64, bool or str where all its values are, and otherwise
        holds the values themselves, with None where a cell did not return it.
    failures : pandas.DataFrame
        One row per cell that failed, in the order of the grid: the settings, then ``error_type``,
        ``error`` (the message) and ``traceback``.
    cells : int
        Cells of the grid.
    computed : int
        Cells that were computed in this call; the others came from the cache.
    damaged : int
        Cells whose record was damaged and that were therefore computed again.
    """

    table: pd.DataFrame
    failures: pd.DataFrame
    cells: int
    computed: int
    damaged: int

    def __repr__(self) -> str:
        return f"Sweep({self})"

    def __str__(self) -> str:
        failed = len(self.failures)
        damaged = f", {self.damaged} of them for a damaged record" if self.damaged else ""
        return (
            f"{self.cells} cells: {self.cells - failed} done, {failed} failed; "
            f"{self.computed} computed now{damaged}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Status:
    """What of a sweep is in its cache.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per cell, in the order of the grid: the settings, then ``state`` (done, failed,
        missing or damaged) and ``error`` (why it failed, or in what way it is damaged).
    """

    table: pd.DataFrame

    def count(self, state: str) -> int:
        """Return the number of cells in a ``state``: done, failed, missing or damaged."""
        return int((self.table["state"] == state).sum())

    def __repr__(self) -> str:
        return f"Status({self})"

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(state)} {state}" for state in STATES)
        return f"{len(self.table)} cells: {counts}"


def results(names: Sequence[str], cells: Sequence[tuple[dict[str, Any], Outcome]]) -> pd.DataFrame:
    """Return settings and results of the cells that have not failed."""
    rows = [settings | row for settings, outcome in cells for row in outcome.rows]
    columns = dict.fromkeys(names) | {name: None for row in rows for name in row}
    return frame(list(columns), rows)


def failures(names: Sequence[str], cells: Sequence[tuple[dict[str, Any], Outcome]]) -> pd.DataFrame:
    """Return settings and errors of the cells that have failed."""
    rows = [
        settings
        | {
            "error_type": outcome.failure.type,
            "error": outcome.failure.message,
            "traceback": outcome.failure.traceback,
        }
        for settings, outcome in cells
        if outcome.failure is not None
    ]
    return frame([*names, "error_type", "error", "traceback"], rows)


def frame(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a DataFrame in which every value reads back as it was, None if absent."""
    import pandas as pd

    index = pd.RangeIndex(len(rows))
    data = {name: _column([row.get(name) for row in rows]) for name in columns}
    return pd.DataFrame(data, index=index, columns=pd.Index(list(columns), dtype=object))


def _column(values: list[Any]) -> Any:
    import pandas as pd

    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, dtype=bool)
    if kinds == {float} or (kinds == {int, float} and all(map(_is_exact, values))):
        return np.array(values, dtype=np.float64)
    if kinds == {int} and all(-_LARGEST <= value < _LARGEST for value in values):
        return np.array(values, dtype=np.int64)
    if kinds == {str} and not any(map(_SURROGATE.search, values)):
        return pd.array(values, dtype="str")
    column = np.empty(len(values), dtype=object)
    for j, value in enumerate(values):
        column[j] = value
    return pd.Series(column, dtype=object)


def _is_exact(value: Any) -> bool:
    return isinstance(value, float) or -_EXACT <= value <= _EXACT
