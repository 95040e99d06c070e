"""Checkpoints: named arrays and what made them, one file each, complete or absent.

A checkpoint is an NPZ file without compression. Its member ``checkpoint.json`` holds the format
version, settings, seed, position, state and package versions, and for every array its type, shape
and SHA-256; the file's comment holds the SHA-256 of that text. So a file in which the text or an
array was changed or lost is refused. It is written beside its place, flushed to disk and renamed;
before that ``last.npz`` is renamed to ``previous.npz``, which is used where the newest file is
refused. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sam_theory import __version__
from sam_theory.errors import InputError

FORMAT = 1
KINDS = ("last", "best", "averaged_last", "averaged_best")
_MEMBER = "checkpoint.json"
_NAME = re.compile(r"\w[\w.\-]*(?:/\w[\w.\-]*)*")
_TIME = (1980, 1, 1, 0, 0, 0)
_SHOWN = 60


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run.

    Attributes
    ----------
    arrays : mapping of str to numpy.ndarray
        Any shapes and numeric types; they come back bit for bit.
    settings : mapping
        What must be equal for a run to continue from it; JSON types.
    seed : int
        Of the run.
    position : mapping
        Where the run stands, such as epoch and iteration; JSON types.
    state : mapping
        Whatever else the run needs to continue, such as its best error; JSON types.
    versions : mapping
        Of Python and packages; filled in when it is written.
    """

    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]
    seed: int
    position: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Found:
    """A checkpoint that was read.

    Attributes
    ----------
    checkpoint : Checkpoint
        The newest that can be used.
    path : pathlib.Path
        Its file.
    refused : tuple of str
        Why newer files were not used, one line each; empty if the newest was.
    """

    checkpoint: Checkpoint
    path: Path
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointFolder:
    """The folder of a run's checkpoints; one process writes it.

    Attributes
    ----------
    folder : str
        Path; made by :meth:`prepare`.
    """

    folder: str

    def path(self, kind: str) -> Path:
        """Return the file of a kind: last, previous, best, averaged_last or averaged_best."""
        if kind not in (*KINDS, "previous"):
            raise InputError(f"unknown kind of checkpoint {kind!r}; known are {', '.join(KINDS)}")
        return Path(self.folder, f"{kind}.npz")

    def prepare(self) -> None:
        """Make the folder, prove that it can be written, and remove what killed writers left."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            probe = Path(self.folder, f"probe.{uuid.uuid4().hex}.tmp")
            os.close(_new(probe))
            probe.unlink()
            for kind in KINDS:
                for left in Path(self.folder).glob(f"{kind}.npz.*.tmp"):
                    left.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"checkpoints {self.folder}: cannot be written ({error.strerror})"
            ) from None

    def save(self, kind: str, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, all of it or nothing.

        Parameters
        ----------
        kind : str
            One of `KINDS`; for "last" the file it replaces is kept as previous.
        checkpoint : Checkpoint
            The state; not changed.

        Returns
        -------
        pathlib.Path
            Of the file.

        Raises
        ------
        InputError
            The disk refuses it (the older files are intact), or it holds something that cannot be
            stored exactly; one line.
        """
        if kind == "previous":
            raise InputError("the previous checkpoint is made by writing the last one")
        path = self.path(kind)
        write(path, checkpoint, keep=self.path("previous") if kind == "last" else None)
        return path

    def load(
        self,
        kind: str = "last",
        *,
        settings: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Found:
        """Read the newest checkpoint of a kind that can be used.

        Parameters
        ----------
        kind : str
            One of `KINDS`; for "last" the previous one is used if the last is refused.
        settings : mapping, optional
            What its settings must be.
        arrays : mapping of str to numpy.ndarray, optional
            Arrays whose names, shapes and types it must have, such as the model's.

        Returns
        -------
        Found
            The checkpoint, its file, and why a newer one was not used.

        Raises
        ------
        InputError
            None can be used; one line says why for each file.
        """
        refused = []
        for name in ("last", "previous") if kind == "last" else (kind,):
            path = self.path(name)
            try:
                checkpoint = read(path)
                check(path, checkpoint, settings=settings, arrays=arrays)
            except InputError as error:
                refused.append(str(error))
            else:
                return Found(checkpoint, path, tuple(refused))
        raise InputError("no checkpoint can be used: " + "; ".join(refused))


def write(path: Path, checkpoint: Checkpoint, *, keep: Path | None = None) -> None:
    """Write a checkpoint to a file; an existing one is renamed to `keep`, or replaced."""
    arrays = {name: _array(name, value) for name, value in checkpoint.arrays.items()}
    text = _text(checkpoint, arrays)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            with os.fdopen(_new(temporary), "wb") as stream:
                _pack(stream, arrays, text)
                stream.flush()
                os.fsync(stream.fileno())
            if keep is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path, keep)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise InputError(
            f"checkpoint {path}: cannot be written ({error.strerror}); those written before stay "
            "valid"
        ) from None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    InputError
        There is none, it is truncated, damaged or foreign, or of a newer format; one line.
    """
    where = f"checkpoint {path}"
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            if _MEMBER not in archive.namelist():
                raise InputError(f"{where}: not a checkpoint of sam_theory")
            text = archive.read(_MEMBER)
            if archive.comment.decode("ascii", "replace") != hashlib.sha256(text).hexdigest():
                raise InputError(f"{where}: damaged: its description does not have its checksum")
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise InputError(
                    f"{where}: of format {content['format']}; this sam_theory reads {FORMAT}"
                )
            arrays = {
                name: _unpack(archive, name, entry, where)
                for name, entry in content["arrays"].items()
            }
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{where}: no such file") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise
    except Exception as error:
        # Of any class: a damaged archive is parsed before its checksums can be compared.
        raise InputError(f"{where}: truncated or not a checkpoint ({_line(error)})") from None
    named = {name: content[name] for name in ("settings", "seed", "position", "state", "versions")}
    return Checkpoint(arrays, **named)


def check(
    path: Path,
    checkpoint: Checkpoint,
    *,
    settings: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Refuse a checkpoint of other settings or another model; InputError says what differs."""
    where = f"checkpoint {path}: of another run"
    if settings is not None:
        there, here = _flat(checkpoint.settings), _flat(_json("settings", settings))
        for name in dict.fromkeys((*here, *there)):
            if there.get(name) != here.get(name):
                raise InputError(
                    f"{where}: {name} is {_shown(there, name)} there, {_shown(here, name)} here"
                )
    if arrays is not None:
        for name, array in arrays.items():
            stored = checkpoint.arrays.get(name)
            if stored is None:
                raise InputError(f"{where}: it has no array {name!r}")
            if (stored.shape, stored.dtype) != (array.shape, array.dtype):
                raise InputError(
                    f"{where}: {name} is {stored.dtype} {stored.shape} there, "
                    f"{array.dtype} {array.shape} here"
                )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return settings below settings as dotted names, each with its value as JSON."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{above}{name}.")
        else:
            found[above + name] = json.dumps(value, sort_keys=True)
    return found


def _shown(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, "not set")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _array(name: str, value: Any) -> np.ndarray:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"an array of a checkpoint cannot have the name {name!r}")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufc":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"checkpoint: {name} must be a numeric NumPy array, not {kind}")
    return np.asarray(value, order="C")


def _text(checkpoint: Checkpoint, arrays: Mapping[str, np.ndarray]) -> bytes:
    content = {
        "format": FORMAT,
        "settings": _json("settings", checkpoint.settings),
        "seed": _json("seed", checkpoint.seed),
        "position": _json("position", checkpoint.position),
        "state": _json("state", checkpoint.state),
        "versions": {
            "sam_theory": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **checkpoint.versions,
        },
        "arrays": {name: _entry(array) for name, array in arrays.items()},
    }
    return json.dumps(content, indent=1, allow_nan=False).encode("ascii") + b"\n"


def _json(part: str, value: Any) -> Any:
    """Return a value as it will be read back; InputError if JSON does not hold it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"checkpoint: {part} cannot be stored as JSON ({_line(error)})") from None


def _entry(array: np.ndarray) -> list[Any]:
    return [array.dtype.str, list(array.shape), hashlib.sha256(array.data).hexdigest()]


def _pack(stream: IO[bytes], arrays: Mapping[str, np.ndarray], text: bytes) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_MEMBER, _TIME), text)
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _TIME)
            with archive.open(member, "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)
        archive.comment = hashlib.sha256(text).hexdigest().encode("ascii")


def _unpack(archive: zipfile.ZipFile, name: str, entry: list[Any], where: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as part:
        array = np.lib.format.read_array(part, allow_pickle=False)
    if _entry(array) != entry:
        raise InputError(f"{where}: damaged: {name} does not have its checksum")
    return array


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:160]
    return text if text.isprintable() else repr(text)


def _new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
