"""What the command prints and writes: text for the screen, a table for CSV, everything for JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory import __version__
from sam_theory.errors import InputError


@dataclass(frozen=True, eq=False)
class Report:
    """Text for the screen, a table as (header, rows), and the content of the JSON file."""

    text: str
    header: list[str]
    rows: list[list[Any]]
    content: dict[str, Any]


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse an output file that cannot or must not be written, before anything is computed."""
    taken = {os.path.realpath(arguments.file): "the data"}
    for flag in ("json", "csv"):
        path = getattr(arguments, flag)
        if path is None:
            continue
        where = f"--{flag} {path}"
        target = os.path.realpath(path)
        if target in taken:
            raise InputError(f"{where}: would overwrite {taken[target]}")
        taken[target] = f"the file of --{flag}"
        check_writable(where, Path(target))


def check_writable(where: str, target: Path) -> None:
    """Refuse a file that cannot be written; the message begins with where it was named."""
    folder = target.parent
    if target.is_dir():
        raise InputError(f"{where}: is a directory")
    if target.exists() and not target.is_file():
        raise InputError(f"{where}: is not a regular file")
    if not folder.is_dir():
        raise InputError(f"{where}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise InputError(f"{where}: cannot be written")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{where}: cannot be written ({error.strerror})") from None


def write(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that the flags ask for: all of them, each atomically, or none."""
    texts = {}
    if arguments.csv is not None:
        stream = io.StringIO(newline="")
        writer = csv.writer(stream)
        writer.writerow(report.header)
        writer.writerows([[_cell(value) for value in row] for row in report.rows])
        texts[arguments.csv] = stream.getvalue()
    if arguments.json is not None:
        content = {"settings": _settings(arguments), "versions": _versions()} | report.content
        texts[arguments.json] = json.dumps(_clean(content), indent=1, allow_nan=False) + "\n"
    temporary: dict[str, str] = {}
    try:
        for path, text in texts.items():
            target = os.path.realpath(path)
            temporary[target] = _write_beside(Path(target), text)
        for target in list(temporary):
            os.replace(temporary[target], target)
            del temporary[target]
    finally:
        for left in temporary.values():
            Path(left).unlink(missing_ok=True)


def _write_beside(target: Path, text: str) -> str:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        # Half of a surrogate pair, as in names that are not UTF-8, has no bytes: it is spelled out.
        data = text.encode("utf-8", "backslashreplace")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary


def _cell(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, float) else value


def _clean(value: Any) -> Any:
    """Return value as JSON: NumPy scalars as Python's, what is not finite as null."""
    if isinstance(value, dict):
        return {key: _clean(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    given = vars(arguments).items()
    return {name: value for name, value in given if value is not None and not callable(value)}


def _versions() -> dict[str, str]:
    import platform

    import numba
    import scipy

    return {
        "sam_theory": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
    }
