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
        "provenance", "settings", "rows".

    Raises
    ------
    MissingTable
        Either file is not there.
    """
    import pandas as pd

    folder = RESULTS if folder is None else folder
    for path in (folder / f"{name}.csv", folder / f"{name}.json"):
        if not path.is_file():
            raise MissingTable(path, study)
    table = pd.read_csv(folder / f"{name}.csv")
    sidecar: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return table, sidecar


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
