"""Regression data: validated (X, y), its row space, splits, recorded preprocessing, a generator.

The loss throughout is L(beta) = (1/2n) sum_i r_i^2 with r = X beta - y. Files are read by
:mod:`sam_theory.loaders`.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from os import PathLike

import numpy as np
import numpy.typing as npt

from sam_theory._validate import (
    checked_generator,
    checked_integer,
    checked_matrix,
    checked_names,
    checked_number,
    checked_vector,
)
from sam_theory.design import Array, Matrix, product
from sam_theory.errors import InputError
from sam_theory.preprocessing import Preprocessing, fit_columns
from sam_theory.row_space import RowSpace, find_row_space


@dataclass(frozen=True, eq=False, repr=False)
class Regression:
    """A validated regression problem; two objects are equal only if they are the same object.

    Parameters
    ----------
    X : (n, d) array or scipy.sparse array
        Design matrix, finite and real. Stored as C-contiguous float64, or as csr_array with sorted
        indices and without stored zeros; not copied if it is that already (a memory-mapped array
        stays mapped); do not change it afterwards.
    y : (n,) array
        Target, finite and real.
    feature_names : sequence of d str, optional
        Names of the columns.
    target : str, optional
        Name of the target.
    test : Regression, optional
        Held-out data with the same d columns.
    beta_star : (d,) array, optional
        The coefficients that made y, where they are known.
    preprocessing : Preprocessing, optional
        What has been done to the columns; set by :meth:`standardize`.
    source : str, optional
        File or generator the data come from; begins the error messages.

    Raises
    ------
    InputError
        Wrong shape, mismatched length, complex, object or masked data, or a value that is not
        finite (the message gives its 1-based row and column).
    """

    X: Matrix
    y: Array
    _: KW_ONLY
    feature_names: tuple[str, ...] | None = None
    target: str | None = None
    test: Regression | None = None
    beta_star: Array | None = None
    preprocessing: Preprocessing | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        """Check the data and store it in its canonical form."""
        for field in ("source", "target"):
            if not isinstance(value := getattr(self, field), str | None):
                raise InputError(f"{field} must be a string, not {type(value).__name__}")
        where = f"{self.source}: " if self.source else ""
        names = checked_names(self.feature_names, where)
        X = checked_matrix(self.X, where=where, names=names)
        y = checked_vector("y", self.y, where=where)
        n, d = X.shape
        if y.shape[0] != n:
            raise InputError(f"{where}y has length {y.shape[0]} but X has {n} rows")
        if names is not None and len(names) != d:
            raise InputError(f"{where}feature_names has {len(names)} names but X has {d} columns")
        if self.test is not None:
            if not isinstance(self.test, Regression):
                raise InputError(f"{where}test must be a Regression")
            if self.test.d != d:
                raise InputError(f"{where}test has {self.test.d} columns but X has {d}")
        if not isinstance(self.preprocessing, Preprocessing | None):
            raise InputError(f"{where}preprocessing must be a Preprocessing")
        if self.beta_star is not None:
            star = checked_vector("beta_star", self.beta_star, where=where)
            if star.shape[0] != d:
                raise InputError(
                    f"{where}beta_star has length {star.shape[0]} but X has {d} columns"
                )
            object.__setattr__(self, "beta_star", star)
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "feature_names", names)

    def __repr__(self) -> str:
        parts = [f"n={self.n}", f"d={self.d}"]
        if "row_space" in self.__dict__:
            parts.append(f"rank={self.rank}")
        if self.test is not None:
            parts.append(f"test n={self.test.n}")
        if self.source is not None:
            parts.append(f"source={self.source!r}")
        return f"Regression({', '.join(parts)})"

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.X.shape[0])

    @property
    def d(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    @cached_property
    def row_space(self) -> RowSpace:
        """Rank, independent rows and solvable part of X beta = y (computed once)."""
        return find_row_space(self.X, self.y)

    @property
    def rank(self) -> int:
        """Numerical rank of X."""
        return self.row_space.rank

    @property
    def consistent(self) -> bool:
        """Whether X beta = y can be solved, see :class:`RowSpace`."""
        return self.row_space.consistent

    def loss(self, beta: npt.ArrayLike) -> float:
        """L(beta) = ||X beta - y||^2 / (2n), in squared units of y.

        Parameters
        ----------
        beta : (d,) array
            Coefficients.

        Returns
        -------
        float
            >= 0.
        """
        beta = checked_vector("beta", beta)
        if beta.shape[0] != self.d:
            raise InputError(f"beta has length {beta.shape[0]} but X has {self.d} columns")
        residual = product(self.X, beta) - self.y
        return float(residual @ residual) / (2 * self.n)

    def split(self, test_fraction: float, *, seed: int | np.random.Generator = 0) -> Regression:
        """Move a random part of the rows into ``.test``.

        Parameters
        ----------
        test_fraction : float
            Share of the rows, in (0, 1); rounded, with at least one row on each side.
        seed : int or numpy.random.Generator
            Source of the random choice. The order of the rows is kept on both sides.

        Returns
        -------
        Regression
            The rows that stay, with the others as its ``test``.

        Raises
        ------
        InputError
            The fraction is outside (0, 1), n = 1, or there is a test set already.
        """
        fraction = checked_number("test_fraction", test_fraction)
        if not 0.0 < fraction < 1.0:
            raise InputError(f"test_fraction must lie strictly between 0 and 1, not {fraction:g}")
        if self.test is not None:
            raise InputError("test_fraction given, but the data already has a test set")
        if self.n < 2:
            raise InputError("test_fraction given, but the data has only n = 1 row")
        count = min(max(round(fraction * self.n), 1), self.n - 1)
        held = np.zeros(self.n, dtype=bool)
        held[checked_generator(seed).permutation(self.n)[:count]] = True
        test = replace(self, X=self.X[held], y=self.y[held])
        return replace(self, X=self.X[~held], y=self.y[~held], test=test)

    def standardize(
        self, center: bool = True, scale: bool = True, center_target: bool = False
    ) -> Regression:
        """Centre and scale the columns, and record how.

        The coefficients of the result refer to the transformed columns. ``test`` goes through the
        same transform (with the numbers of the training rows). ``beta_star`` becomes
        ``scale * beta_star`` if the target is centred exactly when the columns are, and is dropped
        otherwise, because no coefficients then reproduce the target without an intercept.

        Parameters
        ----------
        center : bool
            Subtract each column's mean.
        scale : bool
            Divide each column by its standard deviation (about the mean, 1/n).
        center_target : bool
            Subtract the target's mean.

        Returns
        -------
        Regression
            In the new units; ``preprocessing`` says what was done.

        Raises
        ------
        InputError
            A constant column is to be scaled (the message names it), or a sparse X to be centred.
        """
        given = {"center": center, "scale": scale, "center_target": center_target}
        for name, flag in given.items():
            if not isinstance(flag, bool | np.bool_):
                raise InputError(f"{name} must be True or False, not {type(flag).__name__}")
        where = f"{self.source}: " if self.source else ""
        middle, deviation = fit_columns(self.X, center, scale, self.feature_names, where)
        step = Preprocessing(middle, deviation, float(self.y.mean()) if center_target else 0.0)
        star = self.beta_star
        if star is not None:
            star = deviation * star if center == center_target else None
        before = self.preprocessing

        def transform(data: Regression) -> Regression:
            return replace(
                data,
                X=step.apply(data.X),
                y=data.y - step.target_center,
                beta_star=star,
                preprocessing=step if before is None else step.after(before),
            )

        test = None if self.test is None else transform(self.test)
        return replace(transform(self), test=test)

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        target: str | None = None,
        *,
        test_fraction: float = 0.0,
        seed: int | np.random.Generator = 0,
    ) -> Regression:
        """Read a CSV file with a header; see :func:`sam_theory.loaders.read_csv`.

        Parameters
        ----------
        path : path
            UTF-8 text, comma separated, one row per example.
        target : str
            Name of the column of labels; every other column is a feature.
        test_fraction : float
            Share of the rows that becomes ``test``, in [0, 1); see :meth:`split`.
        seed : int or numpy.random.Generator
            Decides which rows.

        Returns
        -------
        Regression
            With ``feature_names`` and ``target`` from the header.
        """
        from sam_theory.loaders import read_csv

        data = read_csv(path, target)
        return data.split(test_fraction, seed=seed) if test_fraction != 0.0 else data

    @classmethod
    def from_npz(cls, path: str | PathLike[str]) -> Regression:
        """Read X, y and more from the NPZ file ``path``: :func:`sam_theory.loaders.read_npz`."""
        from sam_theory.loaders import read_npz

        return read_npz(path)

    @classmethod
    def from_npy(cls, X_path: str | PathLike[str], y_path: str | PathLike[str]) -> Regression:
        """Map a dense or read a sparse design from ``X_path``, labels from ``y_path``.

        See :func:`sam_theory.loaders.read_npy`.
        """
        from sam_theory.loaders import read_npy

        return read_npy(X_path, y_path)

    @classmethod
    def from_parquet(cls, path: str | PathLike[str], target: str | None = None) -> Regression:
        """Read the Parquet table ``path`` (extra ``parquet``); ``target`` names the labels' column.

        See :func:`sam_theory.loaders.read_parquet`.
        """
        from sam_theory.loaders import read_parquet

        return read_parquet(path, target)

    @classmethod
    def from_file(cls, path: str | PathLike[str], target: str | None = None) -> Regression:
        """Read the ``.csv``, ``.npz`` or ``.parquet`` file ``path``, by its ending.

        ``target`` names the column of labels; in an NPZ file they are always y.
        """
        from sam_theory.loaders import read_file

        return read_file(path, target)


def sparse_regression(
    n: int = 20,
    d: int = 30,
    *,
    nonzeros: int = 3,
    noise: float = 0.0,
    seed: int | np.random.RandomState = 0,
    n_test: int = 1000,
    correlation: float = 0.0,
) -> Regression:
    """Gaussian design with a sparse, positive, unit-norm coefficient vector.

    At its defaults it is, bit for bit, the instance of the published notebook of Andriushchenko
    and Flammarion (2022). Drawn in this order: X, the test rows, beta_star, the noise of y.

    Parameters
    ----------
    n, d : int
        Rows and columns.
    nonzeros : int
        The first ``nonzeros`` entries of beta_star are not zero, 1 <= nonzeros <= d.
    noise : float
        Standard deviation of the noise on y, >= 0; the test target has none.
    seed : int or numpy.random.RandomState
        Seed of the legacy Mersenne-Twister stream, or a stream to be continued.
    n_test : int
        Rows of the test set, 0 for none. They are drawn before beta_star.
    correlation : float
        In [0, 1): column j is ``correlation`` times column j-1 plus an independent part (AR(1)).

    Returns
    -------
    Regression
        With ``beta_star`` and, unless ``n_test`` is 0, ``test``.

    Examples
    --------
    >>> from sam_theory import sparse_regression
    >>> data = sparse_regression(n=20, d=30, nonzeros=3, seed=0)
    >>> data.n, data.d, data.rank, data.consistent, data.test.n
    (20, 30, 20, True, 1000)
    """
    n, d = checked_integer("n", n, 1), checked_integer("d", d, 1)
    nonzeros, n_test = (
        checked_integer("nonzeros", nonzeros, 1),
        checked_integer("n_test", n_test, 0),
    )
    noise, correlation = checked_number("noise", noise), checked_number("correlation", correlation)
    if nonzeros > d:
        raise InputError(f"nonzeros = {nonzeros} exceeds d = {d}")
    if noise < 0.0:
        raise InputError(f"noise must be >= 0, not {noise:g}")
    if not 0.0 <= correlation < 1.0:
        raise InputError(f"correlation must lie in [0, 1), not {correlation:g}")
    stream = seed
    if not isinstance(stream, np.random.RandomState):
        stream = np.random.RandomState(checked_integer("seed", seed, 0, 2**32 - 1))
    X = _autoregressive(stream.standard_normal((n, d)), correlation)
    X_test = _autoregressive(stream.standard_normal((n_test, d)), correlation)
    theta = stream.standard_normal(d)
    theta[nonzeros:] = 0.0
    theta = np.abs(theta) / np.linalg.norm(theta)
    y = X @ theta
    if noise > 0.0:
        y = y + noise * stream.standard_normal(n)
    test = Regression(X_test, X_test @ theta, beta_star=theta) if n_test else None
    return Regression(X, y, beta_star=theta, test=test, source="sparse_regression")


def _autoregressive(draws: Array, correlation: float) -> Array:
    if correlation > 0.0:
        fresh = math.sqrt((1.0 - correlation) * (1.0 + correlation))
        for j in range(1, draws.shape[1]):
            draws[:, j] = correlation * draws[:, j - 1] + fresh * draws[:, j]
    return draws
