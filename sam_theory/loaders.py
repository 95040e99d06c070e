"""Readers of regression data: CSV, NPZ, Parquet.  Every refusal names the file and the place."""

from __future__ import annotations

import csv
import math
import warnings
import zipfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory.errors import InputError, MissingExtra
from sam_theory.regression import Regression

_SHOWN_COLUMNS = 8
_MEMBERS = ("X", "y", "X_test", "y_test", "beta_star", "feature_names")


def read_file(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a ``.csv``, ``.npz`` or ``.parquet`` file, by its ending."""
    ending = _checked_path(path).suffix.lower()
    if ending == ".csv":
        return read_csv(path, target)
    if ending == ".npz":
        if target is not None and not (isinstance(target, str) and target == "y"):
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
            if any("\0" in name for name in names):
                raise InputError(f"{path}: not a text file (NUL in the header)")
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
    file = _checked_path(path)
    if file.is_dir():
        raise InputError(f"{path}: is a directory, not a file")
    if not file.exists():
        raise InputError(f"{path}: no such file")
    return file


def _checked_path(path: str | PathLike[str]) -> Path:
    """Return the path; InputError for what cannot be one."""
    if not isinstance(path, str | PathLike):
        raise InputError(f"path must be a string or a path, not {type(path).__name__}")
    if "\0" in str(path):
        raise InputError(f"path must not hold a NUL character: {str(path)!r}")
    return Path(path)


def _target(path: str | PathLike[str], names: list[str], target: str | None) -> int:
    if target is None:
        raise InputError(f"{path}: the target column must be named (target)")
    if not isinstance(target, str):
        raise InputError(f"{path}: target must be a string, not {type(target).__name__}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}: column {name!r} appears twice in the header")
        seen.add(name)
    if target not in names:
        raise InputError(f"{path}: no column {target!r}; the columns are {_listing(names)}")
    if len(names) == 1:
        raise InputError(f"{path}: there is no feature column beside {target!r}")
    return names.index(target)


def _listing(names: list[str]) -> str:
    shown = [name if name.isprintable() else repr(name) for name in names[:_SHOWN_COLUMNS]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN_COLUMNS else "")


def _fast(stream: object, columns: int) -> np.ndarray | None:
    """Parse the rest of the stream; None where the strict reader must find out what is wrong."""
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
    found = _arrays(file, path)
    missing = [name for name in ("X", "y") if name not in found]
    if missing:
        names = _listing(sorted(found)) or "none"
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


def _arrays(file: Path, path: str | PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # np.load leaves a damaged file open if it has opened it itself.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
    except MemoryError:
        raise
    except Exception as error:
        # Of any class: NumPy parses an array's header with Python's own tokenizer and parser.
        if isinstance(error, ValueError) and "pickle" in str(error).lower():
            raise InputError(f"{path}: holds Python objects (needs pickle), refused") from None
        raise InputError(f"{path}: a damaged NPZ file ({_line(error)})") from None
    for name, array in found.items():
        # A member that is not in NumPy's format comes back as bytes.
        if name in _MEMBERS and not isinstance(array, np.ndarray):
            raise InputError(f"{path}: a damaged NPZ file ({name} is not a NumPy array)")
    return found


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:160]
    return text if text.isprintable() else repr(text)


def _feature_names(path: str | PathLike[str], array: np.ndarray | None) -> tuple[str, ...] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise InputError(f"{path}: feature_names must be a one-dimensional array of strings")
    try:
        return tuple(array.astype(str).tolist())
    except (UnicodeDecodeError, SystemError):  # the latter: code points beyond Unicode
        raise InputError(f"{path}: feature_names must be ASCII bytes or Unicode strings") from None


def read_npy(X_path: str | PathLike[str], y_path: str | PathLike[str]) -> Regression:
    """Read X (n, d) and y (n,) from files of their own, X without loading it where possible.

    Parameters
    ----------
    X_path : path
        A ``.npy`` file, which is mapped into memory if it is C-ordered float64 (pages are read
        when they are used, and never written back) and read otherwise; or an ``.npz`` file
        written by ``scipy.sparse.save_npz``.
    y_path : path
        A ``.npy`` file.

    Raises
    ------
    InputError
        A file cannot be read, is damaged, or needs pickle.
    """
    sparse = _checked_path(X_path).suffix.lower() == ".npz"
    X = _opened(X_path, _read_sparse if sparse else _map)
    return Regression(X, np.array(_opened(y_path, _map)), source=str(X_path))


def _map(file: Path) -> np.ndarray:
    return np.asarray(np.lib.format.open_memmap(file, mode="c"))


def _read_sparse(file: Path) -> Any:
    from scipy.sparse import load_npz

    if not zipfile.is_zipfile(file):
        raise ValueError("not an NPZ file, or a truncated one")
    # Opened here: what np.load opens itself it leaves open if the file is damaged.
    with file.open("rb") as stream:
        return load_npz(stream)


def _opened(path: str | PathLike[str], read: Callable[[Path], Any]) -> Any:
    file = _existing(path)
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(file)
    except MemoryError:
        raise
    except Exception as error:
        if "Python objects" in str(error):
            raise InputError(f"{path}: holds Python objects (needs pickle), refused") from None
        raise InputError(f"{path}: a damaged file ({_line(error)})") from None


def read_parquet(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a Parquet table (extra ``parquet``); target names the column of labels.

    Raises
    ------
    InputError
        The file is not a Parquet file, or has a column that is not of a numeric type or a cell
        that is empty or not finite; the message names the column.
    MissingExtra
        pyarrow is not installed.
    """
    file = _existing(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    # A damaged file can also hold text that is not UTF-8.
    damage = (pyarrow.ArrowException, OSError, UnicodeDecodeError)
    try:
        table = parquet.ParquetFile(file, page_checksum_verification=True)
        with table:
            names = list(table.schema_arrow.names)
            index = _target(path, names, target)
            data = table.read()
    except damage as error:
        raise InputError(f"{path}: not a Parquet file ({_line(error)})") from None
    if data.num_rows == 0:
        raise InputError(f"{path}: the table has no rows (n = 0)")
    columns = [_parquet_column(path, name, data.column(name)) for name in names]
    return Regression(
        np.column_stack([c for j, c in enumerate(columns) if j != index]),
        columns[index],
        feature_names=tuple(name for j, name in enumerate(names) if j != index),
        target=names[index],
        source=str(path),
    )


def _parquet_column(path: str | PathLike[str], name: str, column: Any) -> np.ndarray:
    from pyarrow import types

    kind = column.type
    numeric = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    if not any(of_kind(kind) for of_kind in numeric):
        raise InputError(f"{path}: column {name!r} is of type {kind}, not numeric")
    cells = column.to_pylist()
    if column.null_count:
        raise InputError(f"{path}: row {cells.index(None) + 1}, column {name!r}: the cell is empty")
    values = np.asarray(cells, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{path}: row {row + 1}, column {name!r}: {values[row]} is not finite")
    return values
