"""Cells on disk: one file each, complete or absent, and a lock while it is computed.

``FOLDER/ab/abcd....cell`` is written beside its place, flushed to disk and renamed, so that no
reader ever sees a part of it. While a process computes a cell it holds ``abcd....lock`` by flock,
which the kernel releases however the process ends; a lock file that is left behind holds nothing.
Where the file system knows no flock, two processes may compute the same cell at the same time; each
of them still writes a complete record.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam_theory.errors import InputError
from sam_theory.sweeps.records import Outcome, unpack

_DAY, _MINUTE = 86_400.0, 60.0
_DYING = 1.0
"""Seconds that a killed process may take to let go of its lock."""


@dataclass(frozen=True)
class Store:
    """The folder of a cache.

    Attributes
    ----------
    folder : str
        Absolute path; every worker must see the same folder there.
    """

    folder: str

    def path(self, key: str, ending: str = "cell") -> Path:
        """Return where a file of a cell lies."""
        return Path(self.folder, key[:2], f"{key}.{ending}")

    def load(self, key: str) -> Outcome | None:
        """Return the outcome of a cell, None if there is no record.

        Raises
        ------
        Damaged
            There is a file, but not the record that was written.
        InputError
            There is a file that this process may not read.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return unpack(key, data)

    def prepare(self) -> None:
        """Make the folder, prove that it can be written, remove what killed writers left."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            probe = Path(self.folder, f"{uuid.uuid4().hex}.tmp")
            with self._new(probe):
                pass
            probe.unlink()
            for left in self._temporary():
                with contextlib.suppress(FileNotFoundError):
                    age = time.time() - left.stat().st_mtime
                    if age > _DAY or (age > _MINUTE and self._free(_key_of(left))):
                        left.unlink()
        except OSError as error:
            raise InputError(f"cache {self.folder}: cannot be written ({error.strerror})") from None

    def clear(self, keys: Collection[str]) -> None:
        """Remove what killed writers of these cells left, as far as that is possible."""
        deadline = time.monotonic() + _DYING
        with contextlib.suppress(OSError):
            for left in [path for path in self._temporary() if _key_of(path) in keys]:
                while not (free := self._free(_key_of(left))) and time.monotonic() < deadline:
                    time.sleep(0.01)
                if free:
                    left.unlink(missing_ok=True)

    def write(self, key: str, data: bytes) -> None:
        """Store a record, all of it or nothing; InputError in one line if the disk refuses."""
        path = self.path(key)
        temporary = path.with_name(f"{key}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            try:
                with self._new(temporary) as descriptor:
                    _write_all(descriptor, data)
                    os.fsync(descriptor)
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise InputError(self._refused(error)) from None

    @contextlib.contextmanager
    def claim(self, key: str, wait: bool) -> Iterator[bool]:
        """Hold a cell while it is computed.

        Parameters
        ----------
        key : str
            Of the cell.
        wait : bool
            Until another process that holds it is done.

        Yields
        ------
        bool
            Whether the cell is held; False only without `wait`.
        """
        path = self.path(key, "lock")
        descriptor = self._lock(path, wait)
        if descriptor is None:
            yield False
            return
        try:
            yield True
        finally:
            # Removed while it is held: who waits for it sees that it is no longer the file there.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def left_behind(self, key: str) -> bool:
        """Whether a process that computed the cell has ended without recording it."""
        return self._hold(key) in ("ended", "unknown")

    def _temporary(self) -> list[Path]:
        return list(Path(self.folder).glob("??/*.tmp"))

    def _free(self, key: str) -> bool:
        """Whether surely nobody holds a cell, and thus writes what is beside its place now."""
        return self._hold(key) in ("none", "ended")

    def _hold(self, key: str) -> str:
        """Return "none", "held", "ended" (its process), "unknown" (no locks here) or "unseen"."""
        try:
            descriptor = os.open(self.path(key, "lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return "none"
        except OSError:
            return "unseen"
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "held"
        except OSError:
            return "unknown"
        finally:
            os.close(descriptor)
        return "ended"

    def _lock(self, path: Path, wait: bool) -> int | None:
        while True:
            try:
                path.parent.mkdir(exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise InputError(self._refused(error)) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                return descriptor
            if _is_at(descriptor, path):
                return descriptor
            os.close(descriptor)

    def _refused(self, error: OSError) -> str:
        place = f"cache {self.folder}"
        if not os.path.isdir(self.folder):
            return f"{place}: is not there on {os.uname().nodename}; all workers must see it"
        return f"{place}: cannot be written ({error.strerror}); what is stored stays valid"

    @contextlib.contextmanager
    def _new(self, path: Path) -> Iterator[int]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _key_of(temporary: Path) -> str:
    return temporary.name.partition(".")[0]


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
