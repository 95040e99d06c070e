"""What studies left in ``results/``, and where pictures go."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


class MissingTable(FileNotFoundError):
    """A table is not there; the message is one line with the command that makes it."""

    def __init__(self, path: Path, study: str) -> None:
        self.path = path
        self.command = f"python -m analysis {study}"
        super().__init__(f"{path.name} is missing; make it with: {self.command}")


class UnfitTable(ValueError):
    """A table cannot be used; the message is one line with the command that makes it again."""

    def __init__(self, path: Path, study: str, reason: str) -> None:
        command = f"python -m analysis {study}"
        super().__init__(f"{path.name} {reason}; make it again with: {command}")


def read_table(
    name: str, study: str, *, folder: Path | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read ``name.csv`` with its sidecar.

    Parameters
    ----------
    name : str
        Stem of both files.
    study : str
        Which study writes them.
    folder : pathlib.Path, optional
        Where they are, ``results/`` of the checkout by default.

    Returns
    -------
    table : pandas.DataFrame
    sidecar : dict
        "provenance" and "settings" (empty where the file has none), "rows".

    Raises
    ------
    MissingTable
        Either file is not there.
    UnfitTable
        Either file cannot be read, the table has no rows or fewer than were written.
    """
    folder = RESULTS if folder is None else folder
    for path in (folder / f"{name}.csv", folder / f"{name}.json"):
        if not path.is_file():
            raise MissingTable(path, study)
    sidecar = _sidecar(folder / f"{name}.json", study)
    table = _table(folder / f"{name}.csv", study)
    wanted = sidecar.get("rows")
    if isinstance(wanted, int) and len(table) < wanted:
        reason = f"has {len(table)} rows, but {wanted} were written"
        raise UnfitTable(folder / f"{name}.csv", study, reason)
    return table, sidecar


def _table(path: Path, study: str) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except ValueError as error:
        reason = f"cannot be read ({' '.join(str(error).split())})"
        raise UnfitTable(path, study, reason) from None
    if table.empty:
        raise UnfitTable(path, study, "has no rows")
    return table


def _sidecar(path: Path, study: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnfitTable(path, study, f"cannot be read ({error})") from None
    if isinstance(found, dict):
        sidecar: dict[str, Any] = {"provenance": {}, "settings": {}} | found
        if all(isinstance(sidecar[key], dict) for key in ("provenance", "settings")):
            return sidecar
    raise UnfitTable(path, study, "is no description of a table")


def write_atomically(path: Path, content: bytes) -> None:
    """Write content so that the file is either the old one or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
