"""The folder of a run: metrics, times, settings and checkpoints; one process writes it at a time.

FOLDER/run.json                 settings, sizes, versions
FOLDER/metrics.csv              a row per evaluation; always whole, and the same bits however often
                                the run was interrupted
FOLDER/seconds.csv              when each row was written, which no two runs share
FOLDER/checkpoints/*.npz        last, previous, best, averaged_last, averaged_best

Tables are written beside their place and renamed. What counts is the checkpoint, which holds the
rows before it: a table that a killed run left further ahead is put back when it resumes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory import __version__
from sam_theory.errors import InputError

from ..checkpoints import CheckpointFolder
from .evaluation import COLUMNS, INTEGERS

SECONDS = ("iteration", "seconds", "seconds_evaluating")


@dataclass(frozen=True)
class RunFolder:
    """Where a run writes.

    Attributes
    ----------
    folder : str
        Path; made by :meth:`prepare`.
    """

    folder: str

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The folder of its checkpoints."""
        return CheckpointFolder(str(Path(self.folder, "checkpoints")))

    @property
    def metrics(self) -> Path:
        """The file of its metrics."""
        return Path(self.folder, "metrics.csv")

    def has_checkpoint(self) -> bool:
        """Whether there is one to resume from, whatever its state."""
        return any(self.checkpoints.path(kind).exists() for kind in ("last", "previous"))

    def check_new(self) -> None:
        """Refuse a folder that holds a run."""
        path = Path(self.folder)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is not a folder")
        names = ("run.json", "metrics.csv", "checkpoints")
        if any(Path(self.folder, name).exists() for name in names):
            raise InputError(f"{path}: holds a run already; resume it, or name another folder")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it, so that no other process trains in it.

        Raises
        ------
        InputError
            It cannot be written, or another process holds it.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
            stream = open(Path(self.folder, "lock"), "w", encoding="ascii")
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written ({error.strerror})") from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.folder}: another process is training in it") from None
            except OSError:
                pass  # A file system without flock: nobody else is kept out.
            # What killed writers left; nobody else is writing now.
            self.checkpoints.prepare()
            for left in Path(self.folder).glob(".*.tmp"):
                left.unlink(missing_ok=True)
            yield

    def describe(self, content: Mapping[str, Any]) -> None:
        """Write run.json: settings and sizes, with the versions of packages."""
        versions = {
            "sam_theory": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
        text = json.dumps(dict(content) | {"versions": versions}, indent=1, allow_nan=False)
        write_text(Path(self.folder, "run.json"), text + "\n")

    def write(self, rows: np.ndarray, seconds: Sequence[Sequence[float]]) -> None:
        """Write both tables, each whole or not at all.

        Parameters
        ----------
        rows : array of shape (evaluations, columns)
        seconds : sequence of rows
            iteration, seconds, seconds evaluating.
        """
        write_text(self.metrics, as_csv(rows))
        lines = [",".join(SECONDS), *(f"{int(i)},{a:.3f},{b:.3f}" for i, a, b in seconds)]
        write_text(Path(self.folder, "seconds.csv"), "\n".join(lines) + "\n")


def as_csv(rows: np.ndarray) -> str:
    """Return metrics as CSV with as many digits as read back to the same number; nan is empty."""
    whole = [name in INTEGERS for name in COLUMNS]

    def cell(value: float, integer: bool) -> str:
        if math.isnan(value):
            return ""
        return str(int(value)) if integer else repr(value)

    lines = [",".join(COLUMNS)]
    for row in rows.tolist():
        lines.append(",".join(cell(*pair) for pair in zip(row, whole, strict=True)))
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text so that the file is either the old one or all of the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            with open(temporary, "x", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); what was written before stays valid"
        ) from None
