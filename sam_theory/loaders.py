"""Readers of regression data: CSV, NPZ, Parquet.  Every refusal names the file and the place."""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from sam_theory.errors import InputError, MissingExtra
from sam_theory.regression import Regression

_SHOWN_COLUMNS = 8
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,  # encrypted, or (NotImplementedError) an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)


def read_file(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a ``.csv``, ``.npz`` or ``.parquet`` file, by its ending."""
    ending = Path(path).suffix.lower()
    if ending == ".csv":
        return read_csv(path, target)
    if ending == ".npz":
        if target not in (None, "y"):
            raise InputError(f"{path}: the target of an NPZ file is its array y, not {target!r}")
        return read_npz(path)
    if ending == ".parquet":
        return read_parquet(path, target)
    raise InputError(f"{path}: unknown ending {ending!r}; known are .csv, .npz and .parquet")


def read_csv(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a CSV file with a header row.

    Parameters
    ----------
    path : path
        UTF-8 text, comma separated, one row per example.
    target : str
        Name of the column of labels; every other column is a feature.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        The file cannot be read, or has a ragged row or a cell that is not a finite number; the
        message names the line and the column.
    """
    file = _existing(path)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header = next(filter(None, csv.reader(stream)), None)
            if header is None:
                raise InputError(f"{path}: the file is empty")
            names = [name.strip() for name in header]
            index = _target(path, names, target)
            table = _fast(stream, len(names))
        if table is None:
            table = _strict(file, path, names)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    if table.shape[0] == 0:
        raise InputError(f"{path}: there are no rows below the header (n = 0)")
    features = [name for j, name in enumerate(names) if j != index]
    return Regression(
        np.delete(table, index, axis=1),
        table[:, index].copy(),
        feature_names=tuple(features),
        target=names[index],
        source=str(path),
    )


def _existing(path: str | PathLike[str]) -> Path:
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{path}: is a directory, not a file")
    if not file.exists():
        raise InputError(f"{path}: no such file")
    return file


def _target(path: str | PathLike[str], names: list[str], target: str | None) -> int:
    if target is None:
        raise InputError(f"{path}: the target column must be named (target)")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}: column {name!r} appears twice in the header")
        seen.add(name)
    if target not in names:
        shown = ", ".join(names[:_SHOWN_COLUMNS]) + (", ..." if len(names) > _SHOWN_COLUMNS else "")
        raise InputError(f"{path}: no column {target!r}; the columns are {shown}")
    if len(names) == 1:
        raise InputError(f"{path}: there is no feature column beside {target!r}")
    return names.index(target)


def _fast(stream: object, columns: int) -> np.ndarray | None:
    """Parse the rest of the stream; None where the strict reader must find out what is wrong."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = np.loadtxt(stream, delimiter=",", ndmin=2, comments=None)  # type: ignore[call-overload]
    except ValueError:
        return None
    if table.size == 0:
        return np.empty((0, columns))
    if table.shape[1] != columns or not np.all(np.isfinite(table)):
        return None
    return np.asarray(table, dtype=np.float64)


def _strict(file: Path, path: str | PathLike[str], names: list[str]) -> np.ndarray:
    rows = []
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        lines = filter(None, reader)
        next(lines)
        for cells in lines:
            line = reader.line_num
            if len(cells) != len(names):
                raise InputError(
                    f"{path}: line {line} has {len(cells)} cells, the header has {len(names)}"
                )
            row = [_number(path, line, name, c) for name, c in zip(names, cells, strict=True)]
            rows.append(np.array(row))
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _number(path: str | PathLike[str], line: int, name: str, cell: str) -> float:
    where = f"{path}: line {line}, column {name!r}"
    if not cell.strip():
        raise InputError(f"{where}: the cell is empty")
    try:
        # float() also takes 1_000 and the digits of other scripts.
        if "_" in cell or not cell.isascii():
            raise ValueError
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: {cell.strip()[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {cell.strip()} is not finite")
    return value


def read_npz(path: str | PathLike[str]) -> Regression:
    """Read an NPZ file with X (n, d), y (n,), optionally X_test, y_test, beta_star, feature_names.

    Raises
    ------
    InputError
        The file is not an NPZ file, is truncated, lacks X or y, or needs pickle.
    """
    file = _existing(path)
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if not zipfile.is_zipfile(file):
        raise InputError(f"{path}: not an NPZ file (or a truncated one)")
    try:
        # np.load leaves a damaged file open if it has opened it itself.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise InputError(f"{path}: holds Python objects (needs pickle), refused") from None
        raise InputError(f"{path}: a damaged NPZ file ({error})") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: a damaged NPZ file ({error})") from None
    missing = [name for name in ("X", "y") if name not in found]
    if missing:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{path}: no array {missing[0]!r}; the arrays are {names}")
    if ("X_test" in found) != ("y_test" in found):
        raise InputError(f"{path}: X_test and y_test must come together")
    features = _feature_names(path, found.get("feature_names"))
    test = None
    if "X_test" in found:
        test = Regression(
            found["X_test"],
            found["y_test"],
            feature_names=features,
            source=f"{path} (X_test, y_test)",
        )
    return Regression(
        found["X"],
        found["y"],
        feature_names=features,
        test=test,
        beta_star=found.get("beta_star"),
        source=str(path),
    )


def _feature_names(path: str | PathLike[str], array: np.ndarray | None) -> tuple[str, ...] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise InputError(f"{path}: feature_names must be a one-dimensional array of strings")
    try:
        return tuple(array.astype(str).tolist())
    except UnicodeDecodeError:
        raise InputError(f"{path}: feature_names must be ASCII bytes or Unicode strings") from None


def read_parquet(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a Parquet table (extra ``parquet``); target names the column of labels."""
    file = _existing(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    names = list(table.column_names)
    index = _target(path, names, target)
    if table.num_rows == 0:
        raise InputError(f"{path}: the table has no rows (n = 0)")
    columns = []
    for name in names:
        column = table.column(name)
        try:
            values = np.asarray(column.to_pylist(), dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{path}: column {name!r} is not numeric or has empty cells") from None
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise InputError(f"{path}: row {bad[0] + 1}, column {name!r}: not a finite number")
        columns.append(values)
    return Regression(
        np.column_stack([c for j, c in enumerate(columns) if j != index]),
        columns[index],
        feature_names=tuple(name for j, name in enumerate(names) if j != index),
        target=names[index],
        source=str(path),
    )
