"""Readers of the standard distribution formats; each returns bytes as images and labels.

CIFAR, binary version: records of one label byte (CIFAR-100: coarse, then fine) and 3,072 pixels,
red, green and blue planes of 32 x 32. IDX: magic number 0x00000803 (images: N, H, W) or 0x00000801
(labels: N), sizes as big-endian uint32, then bytes. SVHN: a MATLAB 5 file with X (32, 32, 3, N) and
y (N, 1), where 10 stands for the digit 0. NPZ: `images` uint8, (N, H, W) or (N, C, H, W), and
integer `labels`. Nothing is unpickled.
"""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory.deep.data import files
from sam_theory.deep.data.files import KnownFile
from sam_theory.deep.data.images import checked_labels
from sam_theory.errors import InputError

_CIFAR_PIXELS = 3 * 32 * 32
_IDX_IMAGES, _IDX_LABELS = 0x00000803, 0x00000801
_LONGEST = 160
Pair = tuple[np.ndarray, np.ndarray]


def read_cifar(
    path: Path, known: KnownFile | None = None, *, classes: int, label_bytes: int
) -> Pair:
    """Read one file of the binary version of CIFAR.

    Parameters
    ----------
    path : pathlib.Path
        The file, possibly gzipped.
    known : KnownFile, optional
        Its size and checksum.
    classes : int
        10 or 100.
    label_bytes : int
        1 for CIFAR-10; 2 for CIFAR-100, where the second is the label.

    Returns
    -------
    images, labels : numpy.ndarray
        uint8 (N, 3, 32, 32) and int64 (N,).

    Raises
    ------
    InputError
        Another size, a label out of range.
    """
    content = files.read(path, known)
    record = label_bytes + _CIFAR_PIXELS
    if not content or len(content) % record:
        raise InputError(
            f"{path}: truncated, or not a CIFAR file: {len(content):,} bytes are not a number of "
            f"records of {record:,} bytes"
        )
    table = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = checked_labels(table[:, label_bytes - 1], classes, len(table), str(path))
    return table[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def read_idx(path: Path, known: KnownFile | None = None) -> np.ndarray:
    """Read one IDX file of bytes.

    Parameters
    ----------
    path : pathlib.Path
        The file, possibly gzipped.
    known : KnownFile, optional
        Its size and checksum.

    Returns
    -------
    numpy.ndarray
        uint8, (N, H, W) or (N,).

    Raises
    ------
    InputError
        Another magic number, or another size than the header says.
    """
    start = files.head(path, 16)
    (magic,) = struct.unpack(">I", start[:4]) if len(start) >= 4 else (None,)
    axes = {_IDX_IMAGES: 3, _IDX_LABELS: 1}.get(magic, 0)
    if not axes:
        shown = "nothing" if magic is None else f"0x{magic:08x}"
        raise InputError(
            f"{path}: wrong magic number {shown}; an IDX file begins with 0x{_IDX_IMAGES:08x} "
            f"(images) or 0x{_IDX_LABELS:08x} (labels)"
        )
    end = 4 + 4 * axes
    if len(start) < end:
        raise InputError(f"{path}: truncated: the header has {len(start)} of {end} bytes")
    shape = struct.unpack(f">{axes}I", start[4:end])
    size = end + math.prod(shape)
    if known is not None and known.size not in (None, size):
        raise InputError(
            f"{path}: not the published file: its header asks for {size:,} bytes, "
            f"{known.size:,} are expected"
        )
    content = files.read(path, known, size=size)
    return np.frombuffer(content, dtype=np.uint8, offset=end).reshape(shape)


def read_idx_pair(
    images: Path, labels: Path, *, known: tuple[KnownFile, KnownFile] | None = None
) -> Pair:
    """Read images and their labels; as :func:`read_idx`, the images as (N, 1, H, W)."""
    pixels = read_idx(images, known and known[0])
    values = read_idx(labels, known and known[1])
    if pixels.ndim != 3:
        raise InputError(f"{images}: holds labels, not images")
    if values.ndim != 1:
        raise InputError(f"{labels}: holds images, not labels")
    if len(pixels) != len(values):
        raise InputError(f"{labels}: {len(values):,} labels for {len(pixels):,} images")
    return pixels[:, None], values.astype(np.int64)


def read_svhn(path: Path, known: KnownFile | None = None) -> Pair:
    """Read one MATLAB file of cropped SVHN digits.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    known : KnownFile, optional
        Its size and checksum.

    Returns
    -------
    images, labels : numpy.ndarray
        uint8 (N, 3, 32, 32) and int64 (N,), the digit 0 as 0.

    Raises
    ------
    InputError
        Another size, a damaged file, or not the two arrays.
    """
    import io

    from scipy.io import loadmat

    content = files.read(path, known)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = loadmat(io.BytesIO(content), variable_names=["X", "y"])
    except MemoryError:
        raise
    except NotImplementedError:
        raise InputError(f"{path}: a MATLAB 7.3 file; SVHN is distributed as MATLAB 5") from None
    except Exception as error:
        # Of any class: the reader follows whatever sizes a damaged file claims.
        raise InputError(
            f"{path}: truncated or damaged MATLAB file of {len(content):,} bytes ({_line(error)})"
        ) from None
    pixels, values = (np.asarray(found.get(name)) for name in ("X", "y"))
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise InputError(f"{path}: X must be uint8 of shape (32, 32, 3, N), not {_kind(pixels)}")
    count = pixels.shape[3]
    if values.dtype.kind not in "iu" or values.shape != (count, 1):
        raise InputError(f"{path}: y must be integer of shape ({count}, 1), not {_kind(values)}")
    labels = values[:, 0].astype(np.int64)
    wrong = np.flatnonzero((labels < 1) | (labels > 10))
    if wrong.size:
        raise InputError(
            f"{path}: label {labels[wrong[0]]} of image {wrong[0] + 1}; labels must be from 1 to 10"
        )
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels % 10


def read_npz(path: Path) -> Pair:
    """Read `images` and `labels` from an NPZ file.

    Returns
    -------
    images, labels : numpy.ndarray
        uint8 (N, C, H, W) and int64 (N,).

    Raises
    ------
    InputError
        Not an NPZ file, a damaged one, one that needs pickle, or not the two arrays.
    """
    try:
        # np.load leaves a damaged file open if it has opened it itself.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = {name: archive[name] for name in ("images", "labels") if name in archive.files}
    except MemoryError:
        raise
    except Exception as error:
        # Of any class: NumPy parses an array's header with Python's own parser.
        if "pickle" in str(error).lower():
            raise InputError(
                f"{path}: not an NPZ file, or one that needs pickle, refused"
            ) from None
        raise InputError(f"{path}: truncated or damaged NPZ file ({_line(error)})") from None
    for name in ("images", "labels"):
        if not isinstance(found.get(name), np.ndarray):
            raise InputError(f"{path}: no array {name!r}")
    pixels, values = found["images"], found["labels"]
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise InputError(
            f"{path}: images must be uint8 of shape (N, H, W) or (N, C, H, W), not {_kind(pixels)}"
        )
    if values.dtype.kind not in "iu" or values.shape != (len(pixels),):
        raise InputError(f"{path}: labels must be {len(pixels)} integers, not {_kind(values)}")
    return pixels if pixels.ndim == 4 else pixels[:, None], values.astype(np.int64)


def _kind(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:_LONGEST]
    return text if text.isprintable() else repr(text)
