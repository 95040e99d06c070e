"""Tables on disk: CSV in full precision and a JSON sidecar that says how they came about."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sam_theory

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


def write_atomically(path: Path, text: str) -> None:
    """Write text so that the file is either the old one or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(folder: Path | None = None) -> None:
    """Raise OSError if no table can be written there, before anything is computed for it."""
    folder = RESULTS if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def commit() -> str:
    """Return the commit of the checkout, with "+ changes" where files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short=12", "HEAD")
    if not name:
        return "not committed"
    return f"{name} + changes" if git("status", "--porcelain") else name


def provenance(quick: bool | None = None, *, custom: bool = False) -> dict[str, Any]:
    """Return versions, commit, date, kind of machine, and the size of a study.

    Parameters
    ----------
    quick : bool, optional
        Which of a study's two sizes; without it there is none to tell.
    custom : bool
        The caller chose a size of its own instead.

    Returns
    -------
    dict
        JSON types; "size" is "quick", "full" or "custom".
    """
    packages = ("numpy", "scipy", "numba", "pandas")
    size = {} if quick is None else {"size": "custom" if custom else "quick" if quick else "full"}
    return {
        **size,
        "sam_theory": sam_theory.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def write_table(
    name: str,
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    made_by: Mapping[str, Any],
    *,
    folder: Path | None = None,
) -> Path:
    """Write ``name.csv`` and ``name.json`` atomically.

    Parameters
    ----------
    name : str
        Stem of both files.
    table : pandas.DataFrame
        Tidy, one observation a row; written with as many digits as read back to the same number.
    settings : mapping
        What produced it, with the seed; JSON types.
    made_by : mapping
        The result of :func:`provenance`.
    folder : pathlib.Path, optional
        Where to, ``results/`` of the checkout by default.

    Returns
    -------
    pathlib.Path
        Of the CSV file.
    """
    folder = RESULTS if folder is None else folder
    sidecar = {"provenance": dict(made_by), "settings": dict(settings), "rows": len(table)}
    write_atomically(folder / f"{name}.json", json.dumps(sidecar, indent=2) + "\n")
    path = folder / f"{name}.csv"
    write_atomically(path, table.to_csv(index=False))
    return path
