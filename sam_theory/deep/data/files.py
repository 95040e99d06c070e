"""Bytes from files, plain or gzipped, with their size and checksum compared; nothing is trusted."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_theory.errors import InputError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class KnownFile:
    """A file of a published data set.

    Attributes
    ----------
    name : str
        Without ``.gz``.
    size : int, optional
        In bytes, unpacked.
    digest : str, optional
        ``algorithm:hex digits`` of the unpacked content, where it is known for certain.
    """

    name: str
    size: int | None = None
    digest: str | None = None


def find(known: KnownFile, folders: Sequence[Path], data_set: str) -> Path:
    """Return where a file lies, plain or with ``.gz``.

    Raises
    ------
    InputError
        In none of the folders; the line names the file, its size and the folders.
    """
    for folder in folders:
        for name in (known.name, known.name + ".gz"):
            if (folder / name).is_file():
                return folder / name
    size = "" if known.size is None else f" ({known.size:,} bytes)"
    places = ", ".join(map(str, folders))
    raise InputError(f"{data_set}: no file {known.name}{size}, plain or .gz; looked in {places}")


def read(path: Path, known: KnownFile | None = None, *, size: int | None = None) -> bytes:
    """Return the content of a file, unpacked if its name ends in ``.gz``.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    known : KnownFile, optional
        What its size and checksum must be.
    size : int, optional
        The size in bytes, where the file is not a known one.

    Raises
    ------
    InputError
        It cannot be read, has another size (found and expected are given) or another checksum.
    """
    if known is not None:
        size = known.size
    content = bytes(_bounded(path, size))
    if size is not None and len(content) != size:
        _wrong_size(path, len(content), size)
    if known is not None and known.digest is not None:
        check_digest(path, content, known.digest)
    return content


def head(path: Path, count: int) -> bytes:
    """Return the first bytes of the content, fewer if it is shorter."""
    return bytes(_bounded(path, count - 1))[:count]


def check_digest(path: Path, content: bytes, digest: str) -> None:
    """Raise InputError if the content does not have the digest ``algorithm:hex digits``."""
    algorithm, _, expected = digest.partition(":")
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise InputError(
            f"{path}: damaged or another file: its {algorithm} is {found}, the published "
            f"file's {expected}"
        )


def _bounded(path: Path, size: int | None) -> bytearray:
    """Return at most size + 1 bytes, so that a file that is too long is seen and not swallowed."""
    found = bytearray()
    packed = path.suffix == ".gz"
    try:
        opened: Any = gzip.open(path, "rb") if packed else path.open("rb")
        with opened as stream:
            while size is None or len(found) <= size:
                wanted = _CHUNK if size is None else min(_CHUNK, size + 1 - len(found))
                part = stream.read(wanted)
                if not part:
                    break
                found += part
    except EOFError:
        expected = "" if size is None else f"; {size:,} are expected"
        raise InputError(
            f"{path}: truncated: the packed data ends after {len(found):,} bytes unpacked{expected}"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: a damaged .gz file ({error})") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return found


def _wrong_size(path: Path, found: int, expected: int) -> None:
    unpacked = ", unpacked" if path.suffix == ".gz" else ""
    if found < expected:
        raise InputError(
            f"{path}: truncated: {found:,} bytes where {expected:,} are expected{unpacked}"
        )
    raise InputError(f"{path}: longer than the {expected:,} bytes expected{unpacked}")
