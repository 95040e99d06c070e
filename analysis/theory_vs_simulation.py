"""Compare what theory says training selects with what simulated training selects.

Three routes to the solution that GD, n-SAM, m-SAM and 1-SAM select, started from u = alpha, v = 0:

theory       the exact limit of the flow (step size -> 0), never simulating a step;
simulation   finite steps until the loss is zero to rounding, at step sizes gamma, gamma/2, gamma/4;
identity     the exact finite-step identity: the limit from the run's accumulated factors alone.

The identity must agree with the simulation to rounding at every step size. The flow differs from a
run by O(gamma): halving the step halves the difference, and extrapolating the three runs to
gamma = 0 leaves O(gamma^3).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis.store import provenance, write_table
from analysis.verdict import CRITERIA, STEP_RATIO_TOLERANCE, verdict

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from sam_theory.algorithms import Algorithm
    from sam_theory.diagonal.limit import ImplicitBias

SEED = 0
"""Of the published instance and of the choice of test rows; nothing else is random."""
TOL = 1e-24
"""Loss at which a run has ended, for targets of order one."""
HALVINGS = 2


@dataclass(frozen=True)
class Setting:
    """One data set with everything that is run on it.

    Attributes
    ----------
    name : str
        In the tables.
    load : callable
        Returns the Regression.
    alpha : float
        Initial scale.
    step_size : float
        Largest of the step sizes.
    steps : int
        Upper limit at the largest step size.
    m : int
        Block size of m-SAM; divides n.
    rho : tuple of float
        Radii of n-SAM and m-SAM.
    rho_one : tuple of float
        Radii of 1-SAM, whose perturbation per unit of rho is larger.
    about, licence : str
        Origin and preprocessing, and the terms of the data, in a sentence each.
    """

    name: str
    load: Callable[[], st.Regression]
    alpha: float
    step_size: float
    steps: int
    m: int
    rho: tuple[float, ...]
    rho_one: tuple[float, ...]
    about: str
    licence: str

    def algorithms(self) -> list[Algorithm]:
        """Return every algorithm that is run, GD first."""
        return [
            st.gd(),
            *(st.n_sam(rho) for rho in self.rho),
            *(st.m_sam(rho, self.m) for rho in self.rho),
            *(st.one_sam(rho) for rho in self.rho_one),
        ]


_RHO, _RHO_ONE = (0.03, 0.1, 0.3, 1.0), (0.01, 0.03, 0.1, 0.3)
PUBLISHED = Setting(
    name="published 20 x 30",
    load=data_sets.published,
    alpha=0.1,
    step_size=1 / 30,
    steps=4_000_000,
    m=5,
    rho=_RHO,
    rho_one=_RHO_ONE,
    about="Sparse regression of Andriushchenko and Flammarion (ICML 2022): Gaussian rows, three "
    "nonzero coefficients, no noise, seed 0; not preprocessed.",
    licence="none needed, the data is generated.",
)
SPECTRA = Setting(
    name="fermentation spectra",
    load=data_sets.fermentation,
    alpha=0.1,
    step_size=1 / 400,
    steps=200_000,
    m=5,
    rho=_RHO,
    rho_one=_RHO_ONE,
    about="Infrared spectra of mixtures that resemble fermentation broth, with their glucose "
    "concentration (Technical University of Denmark, 2019; package chemotools 0.5.0). Constant "
    "columns left out, the others centred and divided by their standard deviation, the target "
    "centred and in units of 10 g/L, all by the training rows; 6 of the 21 rows held out.",
    licence="MIT, Copyright (c) 2026 Pau Cabaneros; see analysis/datasets/fermentation.",
)
SPECTRA_ALL_ROWS = replace(
    SPECTRA, name="fermentation spectra, no test rows", load=data_sets.fermentation_all_rows, m=7
)


def run(quick: bool = True, *, folder: Path | None = None) -> pd.DataFrame:
    """Compare the three routes and write all tables of the report.

    Parameters
    ----------
    quick : bool
        The two data sets of the report; otherwise also the spectra with all 21 rows.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.

    Returns
    -------
    pandas.DataFrame
        One row per data set, algorithm, rho and step size: the columns of :func:`compare`.
        ``verdict``, ``loss_curves`` and ``alpha_effective`` are written beside it.
    """
    import pandas as pd

    settings = [PUBLISHED, SPECTRA] + ([] if quick else [SPECTRA_ALL_ROWS])
    made_by = provenance(quick)
    rows: list[dict[str, Any]] = []
    coordinates: list[pd.DataFrame] = []
    for setting in settings:
        data = setting.load()
        for algorithm in _with_progress(setting):
            compared, per_coordinate = compare(data, algorithm, setting)
            rows += compared
            coordinates.append(per_coordinate)
    table = pd.DataFrame(rows)
    described = {
        "seed": SEED,
        "criteria": {name: limit for name, (_, limit) in CRITERIA.items()},
        "step_ratio_tolerance": STEP_RATIO_TOLERANCE,
        "data_sets": [_describe(setting) for setting in settings],
    }
    write_table("theory_vs_simulation", table, described, made_by, folder=folder)
    write_table("verdict", verdict(table), described, made_by, folder=folder)
    write_table("alpha_effective", pd.concat(coordinates), described, made_by, folder=folder)
    curves, curve_settings = loss_curves()
    write_table("loss_curves", curves, curve_settings, made_by, folder=folder)
    return table


def compare(
    data: st.Regression, algorithm: Algorithm, setting: Setting
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Compute one algorithm's limit by all routes.

    Returns
    -------
    rows : list of dict
        One per step size. Losses are (1/2n) sum of squared residuals; differences are max |.| over
        the coordinates of beta: ``theory_minus_simulation`` (flow limit against the run),
        ``theory_minus_extrapolated`` (against all runs extrapolated to step size 0; on the row of
        the smallest step), ``identity_minus_simulation``.
    coordinates : pandas.DataFrame
        One row per coordinate: beta and alpha_effective by theory and from the smallest step.
    """
    start = time.perf_counter()
    limit = st.implicit_bias(data, alpha=setting.alpha, algorithm=algorithm)
    known = _of_limit(data, algorithm, setting, limit, time.perf_counter() - start)
    rows: list[dict[str, Any]] = []
    reached: list[np.ndarray] = []
    for halvings in range(HALVINGS + 1):
        step_size = setting.step_size / 2**halvings
        start = time.perf_counter()
        run = st.descend(
            data,
            alpha=setting.alpha,
            algorithm=algorithm,
            step_size=step_size,
            steps=setting.steps * 2**halvings,
            tol=TOL,
        )
        seconds = time.perf_counter() - start
        identity = run.limit(at="labels" if run.status == "converged" else "reached")
        reached.append(run.beta)
        rows.append(
            known
            | {
                "step_size": step_size,
                "steps": run.steps,
                "status_simulation": run.status,
                "train_loss_simulation": data.loss(run.beta),
                "test_loss_simulation": _test_loss(data, run.beta),
                "status_identity": identity.status,
                "test_loss_identity": _test_loss(data, identity.beta),
                "theory_minus_simulation": _distance(limit.beta, run.beta),
                "theory_minus_extrapolated": _distance(limit.beta, extrapolate(reached))
                if halvings == HALVINGS
                else np.nan,
                "identity_minus_simulation": _distance(identity.beta, run.beta),
                "seconds_simulation": seconds,
            }
        )
    return rows, _coordinates(data, algorithm, setting, limit, identity, run.beta)


def loss_curves(
    *, alpha: float = 0.1, step_size: float = 5 / 30, steps: int = 10_001
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Record the losses of GD, n-SAM and 1-SAM on the published instance, at its step size.

    Returns
    -------
    curves : pandas.DataFrame
        One row per algorithm and recorded step: train_loss, test_loss; and, the same on every row
        of an algorithm, the test loss that the flow's theory predicts and the one by the
        finite-step identity.
    settings : dict
        What was run.
    """
    import pandas as pd

    data = data_sets.published()
    record = np.unique(np.rint(np.geomspace(1, steps, 240)).astype(int))
    frames = []
    algorithms = [st.gd(), st.n_sam(1.0), st.one_sam(0.1)]
    for algorithm in algorithms:
        limit = st.implicit_bias(data, alpha=alpha, algorithm=algorithm)
        run = st.descend(
            data,
            alpha=alpha,
            algorithm=algorithm,
            step_size=step_size,
            steps=steps,
            record=record,
        )
        frame = run.table[["step", "loss", "test_loss"]].rename(columns={"loss": "train_loss"})
        frame.insert(0, "algorithm", algorithm.label)
        frame.insert(1, "kind", algorithm.kind)
        frame.insert(2, "rho", algorithm.rho)
        frame["test_loss_theory"] = _test_loss(data, limit.beta)
        frame["test_loss_identity"] = _test_loss(data, run.limit().beta)
        frames.append(frame)
    settings = {
        "seed": SEED,
        "data_set": PUBLISHED.name,
        "alpha": alpha,
        "step_size": step_size,
        "steps": steps,
        "algorithms": [f"{a.label}, rho = {a.rho:g}" for a in algorithms],
    }
    return pd.concat(frames), settings


def _of_limit(
    data: st.Regression,
    algorithm: Algorithm,
    setting: Setting,
    limit: ImplicitBias,
    seconds: float,
) -> dict[str, Any]:
    certificate = limit.certificate
    return {
        "data_set": setting.name,
        "n": data.n,
        "d": data.d,
        "algorithm": algorithm.label,
        "kind": algorithm.kind,
        "m": algorithm.resolve(data.n)[1],
        "rho": algorithm.rho,
        "alpha": setting.alpha,
        "status_theory": limit.status,
        "test_loss_theory": _test_loss(data, limit.beta),
        "error_bound": np.nan if certificate is None else certificate.error_bound,
        "residual": np.nan if certificate is None else certificate.residual,
        "alpha_effective_error": limit.alpha_effective_error,
        "alpha_effective_min": float(limit.alpha_effective.min()),
        "alpha_effective_mean": float(limit.alpha_effective.mean()),
        "alpha_effective_max": float(limit.alpha_effective.max()),
        "l1_norm": limit.l1_norm,
        "l2_norm": limit.l2_norm,
        "sharpness": limit.sharpness,
        "seconds_theory": seconds,
    }


def _coordinates(
    data: st.Regression,
    algorithm: Algorithm,
    setting: Setting,
    limit: ImplicitBias,
    identity: ImplicitBias,
    beta: np.ndarray,
) -> pd.DataFrame:
    import pandas as pd

    star = np.full(data.d, np.nan) if data.beta_star is None else data.beta_star
    names = range(data.d) if data.feature_names is None else data.feature_names
    return pd.DataFrame(
        {
            "data_set": setting.name,
            "algorithm": algorithm.label,
            "kind": algorithm.kind,
            "rho": algorithm.rho,
            "alpha": setting.alpha,
            "coordinate": np.arange(data.d),
            "feature": [str(name) for name in names],
            "alpha_effective_theory": limit.alpha_effective,
            "alpha_effective_identity": identity.alpha_effective,
            "beta_theory": limit.beta,
            "beta_simulation": beta,
            "beta_star": star,
        }
    )


def _describe(setting: Setting) -> dict[str, Any]:
    data = setting.load()
    return {
        "name": setting.name,
        "source": data.source,
        "n": data.n,
        "d": data.d,
        "test_rows": 0 if data.test is None else data.test.n,
        "alpha": setting.alpha,
        "step_sizes": [setting.step_size / 2**k for k in range(HALVINGS + 1)],
        "steps_at_most": [setting.steps * 2**k for k in range(HALVINGS + 1)],
        "about": setting.about,
        "licence": setting.licence,
    }


def _with_progress(setting: Setting) -> Iterator[Algorithm]:
    from tqdm import tqdm

    yield from tqdm(setting.algorithms(), desc=setting.name, leave=False, disable=None)


def _test_loss(data: st.Regression, beta: np.ndarray) -> float:
    return float("nan") if data.test is None else data.test.loss(beta)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one - other)))


def extrapolate(values: list[np.ndarray]) -> np.ndarray:
    """Extrapolate to step size 0 what was computed at steps gamma, gamma/2, gamma/4, ...

    Richardson's scheme for an error that is a power series in gamma: k values leave O(gamma^k).

    Parameters
    ----------
    values : list of ndarray
        All of one shape, in the order of the steps.

    Returns
    -------
    ndarray
        Of the same shape.
    """
    order = 1
    while len(values) > 1:
        values = [
            finer + (finer - coarser) / (2.0**order - 1.0)
            for coarser, finer in itertools.pairwise(values)
        ]
        order += 1
    return values[0]
