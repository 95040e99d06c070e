"""From a grid or a table to the list of its cells, in the order of the rows of the result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam_theory.errors import InputError
from sam_theory.sweeps.inputs import private

RESERVED = ("state", "error_type", "error", "traceback")
_FORMS = "a mapping of names to lists of values, a list of mappings, or a DataFrame"


def expand(grid: Any) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the names of the settings and one dict of settings per cell.

    Parameters
    ----------
    grid : mapping, sequence of mappings or DataFrame
        A mapping of names to sequences of values is their product, the last name running fastest; a
        sequence of mappings or a DataFrame lists the cells one by one.

    Raises
    ------
    InputError
        Another form, no cell, a name that is no string or is reserved, or rows whose names differ.
    """
    if isinstance(grid, Mapping):
        values = {name: _values(name, given) for name, given in grid.items()}
        names = _checked_names(values)
        rows = [dict(zip(names, row, strict=True)) for row in itertools.product(*values.values())]
    elif hasattr(grid, "columns") and hasattr(grid, "to_numpy"):
        names = _checked_names(grid.columns)
        columns = [grid[name].to_numpy() for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    elif isinstance(grid, Sequence) and not isinstance(grid, str | bytes):
        rows = list(grid)
        names = _names_of_rows(rows)
        rows = [{name: row[name] for name in names} for row in rows]
    else:
        raise InputError(f"grid must be {_FORMS}, not a {type(grid).__name__}")
    if not rows:
        raise InputError("grid has no cells")
    return names, [private(row) for row in rows]


def _values(name: Any, given: Any) -> list[Any]:
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not is_list and not (isinstance(given, np.ndarray) and given.ndim):
        raise InputError(f"grid: {name} must be a list of values, not a {type(given).__name__}")
    if not len(given):
        raise InputError(f"grid: {name} has no values")
    return list(given)


def _checked_names(names: Any) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        if not isinstance(name, str) or not name:
            raise InputError(f"grid: the name of a setting must be a string, not {name!r}")
        if name in RESERVED:
            raise InputError(f"grid: {name!r} is a column of the result, choose another name")
        if name in found:
            raise InputError(f"grid: {name!r} appears twice")
        found.append(str(name))
    if not found:
        raise InputError("grid has no settings")
    return tuple(found)


def _names_of_rows(rows: list[Any]) -> tuple[str, ...]:
    for j, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"grid: row {j + 1} must be a mapping, not a {type(row).__name__}")
    if not rows:
        raise InputError("grid has no cells")
    names = _checked_names(rows[0])
    for j, row in enumerate(rows):
        for missing in set(names) - set(row):
            raise InputError(f"grid: row {j + 1} has no {missing!r}")
        for extra in set(row) - set(names):
            raise InputError(f"grid: row {j + 1} has {extra!r}, which row 1 has not")
    return names
