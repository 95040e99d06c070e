"""The published 1-D experiment: its 12 points, its initialisation, its two ways of training.

Source: Andriushchenko and Flammarion, ICML 2022 (arXiv 2206.06232), notebook
``one_layer_relu_nets/1d_nn.ipynb`` of tml-epfl/understanding-sam; the points are those of Maennel
et al. (2018). There, SAM runs with a step that decays linearly to 0 and ERM, by an accident of the
code, with a constant one; both are available for both here. SAM stops by the perturbed objective.
The published runs drew their weights in another framework, so seeds 0 to 4 here are other draws
from the same distribution.
"""

from __future__ import annotations

import numpy as np

from ..algorithms import n_sam
from ..regression import Regression
from .network import Network, random_network
from .plan import Run, Schedule

WIDTH, STEP_SIZE, STEPS, RHO, TOL = 100, 5e-5, 1_000_000, 0.3, 1e-5
SEEDS = (0, 1, 2, 3, 4)


def published_data() -> Regression:
    """Return the 12 points.

    Returns
    -------
    Regression
        X (12, 1) = (-5.5, -4.5, ..., 5.5)/4 + 0.07, y (12,) = 0.345 + (-2, 1.5, 0, ..., 2, -1).
    """
    x = (np.arange(12.0) - 5.5) / 4.0 + 0.07
    y = 0.345 + np.array([-2.0, 1.5, 0.0, 0.0, 2.0, 1.0, 0.0, -1.0, 0.0, 1.0, 2.0, -1.0])
    return Regression(x[:, None], y, source="12 points of the published 1-D experiment")


def published_start(seed: int, *, scale: float = 1.0) -> Network:
    """Draw the published initialisation: width 100, +-2.5, 2.5 N(0,1), 4 N(0,1), times ``scale``.

    Parameters
    ----------
    seed : int
        As in :func:`random_network`.
    scale : float
        Initialisation scale, > 0.

    Returns
    -------
    Network
        Of width 100 and one input.
    """
    return random_network(WIDTH, 1, seed=seed, scale=scale)


def published_run(
    seed: int,
    *,
    rho: float = RHO,
    scale: float = 1.0,
    schedule: Schedule | None = None,
    steps: int = STEPS,
    record: int | None = None,
) -> Run:
    """Describe a published run: full batch, step 5e-5, normalised n-SAM, stop at 1e-5.

    Parameters
    ----------
    seed : int
        Of the initial weights.
    rho : float
        Radius, 0 for ERM.
    scale : float
        Initialisation scale, > 0.
    schedule : {"linear", "constant"}, optional
        By default as published: linear for SAM, constant for ERM.
    steps : int
        Published: 1e6.
    record : int, optional
        Record every so many steps.

    Returns
    -------
    Run
        For ``train_batch(published_data(), [...])``.
    """
    if schedule is None:
        schedule = "linear" if rho > 0.0 else "constant"
    return Run(
        published_start(seed, scale=scale),
        n_sam(rho, normalized=True),
        STEP_SIZE,
        steps,
        schedule=schedule,
        tol=TOL,
        tol_at="perturbed",
        record=record,
    )
