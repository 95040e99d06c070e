"""Where the data of the explorer come from: the generator's sliders, or a CSV file.

Data that cannot be used come back as one sentence in their place.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam_theory.errors import InputError
from sam_theory.regression import Regression, sparse_regression

SIZES = ((20, 30), (10, 30), (20, 100), (50, 100), (40, 20))
"""Rows and columns of generated data; the last has more rows than columns."""
NOISES = tuple(k / 20 for k in range(21))
"""Positions of the slider of the noise."""
CORRELATIONS = tuple(k / 20 for k in range(19))
"""Positions of the slider of the correlation of neighbouring columns."""
HELD_OUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Positions of the slider of the share of rows held out."""
MOST_ENTRIES = 100_000


@dataclass(frozen=True, eq=False)
class Problem:
    """Data to be fitted, or why there are none.

    Attributes
    ----------
    data : Regression or None
        n examples in d dimensions.
    sentence : str
        Why there are no data; empty if there are.
    """

    data: Regression | None
    sentence: str = ""


@dataclass(frozen=True)
class File:
    """A CSV file.

    Attributes
    ----------
    name : str
        What it is called in sentences.
    contents : bytes or None
        All of it; None if it cannot be read.
    target : str or None
        Column of labels, where it was named.
    """

    name: str
    contents: bytes | None = field(repr=False)
    target: str | None = None


def generated(
    n: int, d: int, *, nonzeros: int, noise: float, correlation: float, seed: int
) -> Problem:
    """Return an instance of :func:`sam_theory.sparse_regression` with 1000 test rows.

    Parameters
    ----------
    n, d : int
        Rows and columns.
    nonzeros : int
        Entries of beta_star that are not zero; d if it is larger.
    noise : float
        Standard deviation of the noise on y.
    correlation : float
        Of neighbouring columns (AR(1)), in [0, 1).
    seed : int
        Of the draws.
    """
    try:
        data = sparse_regression(
            n, d, nonzeros=min(nonzeros, d), noise=noise, correlation=correlation, seed=seed
        )
    except InputError as error:
        return Problem(None, str(error))
    return Problem(data)


def columns(file: File | None) -> tuple[str, ...]:
    """Return the names in the header of a file; none where there is no header to read."""
    if file is None or file.contents is None:
        return ()
    try:
        text = file.contents.decode("utf-8-sig")
        header = next(filter(None, csv.reader(io.StringIO(text, newline=""))), [])
    except (UnicodeDecodeError, csv.Error):
        return ()
    return tuple(dict.fromkeys(name.strip() for name in header))


def given(meta: Mapping[str, Any]) -> File | None:
    """Return the file that the command line named, read anew; None if there is none.

    Parameters
    ----------
    meta : mapping
        With "data", its path, and "target".
    """
    path = meta.get("data")
    if not path:
        return None
    try:
        contents = Path(path).read_bytes()
    except OSError:
        contents = None
    return File(Path(path).name, contents, meta.get("target"))


def uploaded(
    file: File | None, target: str | None, *, standardize: bool = False, held_out: float = 0.0
) -> Problem:
    """Return the data of a CSV file, read by :meth:`sam_theory.Regression.from_csv`.

    Parameters
    ----------
    file : File or None
        The file.
    target : str or None
        Column of labels.
    standardize : bool
        Centre the columns and the target, and scale the columns to unit variance.
    held_out : float
        Share of the rows held out for the test loss, 0 for none.
    """
    if file is None:
        return Problem(None, "choose a CSV file: a header, one row per example, numbers only")
    name = file.name
    if file.contents is None:
        return Problem(None, f"{name}: cannot be read any more")
    if target is None and columns(file):
        return Problem(None, f"{name}: choose the column of labels")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(file.contents)
        try:
            data = replace(Regression.from_csv(path, target), source=name)
            if data.n * data.d > MOST_ENTRIES:
                raise InputError(
                    f"{name}: {data.n} x {data.d} is too much for sliders (at most "
                    f"{MOST_ENTRIES} numbers); use: sam-theory bias"
                )
            if held_out > 0.0:
                data = data.split(held_out)
            if standardize:
                data = data.standardize(center_target=True)
        except InputError as error:
            return Problem(None, " ".join(str(error).replace(str(path), name).split()))
    return Problem(data)
