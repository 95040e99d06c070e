"""The data sets of the studies, each with its origin and its preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import sam_theory as st

FOLDER = Path(__file__).resolve().parent / "datasets"
GRAMS_PER_UNIT = 10.0


def published() -> st.Regression:
    """Return the sparse regression of Andriushchenko and Flammarion, with 1000 test rows.

    n = 20, d = 30. Synthetic: Gaussian rows, three nonzero coefficients of unit Euclidean norm, no
    noise, seed 0.
    """
    return st.sparse_regression(n=20, d=30, nonzeros=3, noise=0.0, seed=0, n_test=1000)


def fermentation(test_fraction: float | None = 6 / 21, seed: int = 0) -> st.Regression:
    """Return infrared spectra of 21 mixtures with their glucose concentrations.

    Origin and licence: ``datasets/fermentation/NOTICE.md``. Of the 1,047 columns, 28 are constant
    and are left out. Columns are centred and divided by their standard deviation, the target is
    centred (all with the numbers of the training rows) and counted in units of 10 g/L. Centring
    makes the rows add up to zero, so the rank is n - 1.

    Parameters
    ----------
    test_fraction : float or None
        Share of the 21 rows that is held out; None keeps all for training.
    seed : int
        Of the choice of the held-out rows.
    """
    folder = FOLDER / "fermentation"
    spectra = np.loadtxt(folder / "train_spectra.csv", delimiter=",", skiprows=1)
    glucose = np.loadtxt(folder / "train_hplc.csv", skiprows=1)
    header = (folder / "train_spectra.csv").read_text(encoding="utf-8").partition("\n")[0]
    data = st.Regression(
        spectra,
        glucose / GRAMS_PER_UNIT,
        feature_names=header.strip().split(","),
        target="glucose, 10 g/L",
        source="fermentation spectra (chemotools 0.5.0, MIT)",
    )
    if test_fraction is not None:
        data = data.split(test_fraction, seed=seed)
    return _varying_columns(data).standardize(center=True, scale=True, center_target=True)


def fermentation_all_rows() -> st.Regression:
    """Return the same spectra without test rows: n = 21, d = 1019, rank 20."""
    return fermentation(None)


def _varying_columns(data: st.Regression) -> st.Regression:
    """Leave out the columns that are constant over the training rows."""
    varies = np.ptp(data.X, axis=0) > 0.0
    names = None if data.feature_names is None else np.array(data.feature_names)[varies].tolist()
    test = data.test
    if test is not None:
        test = replace(test, X=test.X[:, varies], feature_names=names)
    return replace(data, X=data.X[:, varies], feature_names=names, test=test)
