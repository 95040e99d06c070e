r"""Largest Hessian eigenvalue of a fit beside the edges of stability of GD and SAM.

GD on a quadratic is stable below lambda = 2/gamma. Unnormalised SAM multiplies an eigendirection by
1 - gamma (lambda + rho lambda^2); normalised SAM, whose radius per gradient is rho / ||g||, by
1 - gamma (lambda + rho lambda^2 / ||g||). Setting those to -1 gives the edges

    unnormalised  (sqrt(1 + 8 rho/gamma) - 1) / (2 rho)         Agarwala and Dauphin 2023
    normalised    (||g|| / 2 rho) (sqrt(1 + 8 rho/(gamma ||g||)) - 1)    Long and Bartlett 2023

(arXiv 2302.08692 and 2309.12488), both written below as (4/gamma) / (1 + sqrt(1 + 8 q/gamma)),
q = rho or rho/||g||, which loses no digits. A ReLU network is no quadratic: between kinks it has
the Hessian of :mod:`.closed_forms`, and the edges say what a step of that size can sit in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._threads import single_threaded
from .._validate import checked_integer, checked_number
from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .closed_forms import Expansion, Objective, expand
from .network import Network

Array = npt.NDArray[np.float64]

_DENSE = 400


@dataclass(frozen=True, eq=False)
class Curvature:
    """Curvature of the objective at a network.

    Attributes
    ----------
    largest : float
        Largest eigenvalue of the Hessian; units of L / theta^2.
    direction : (size,) array
        Its eigenvector, of length 1, in the order of ``network.parameters``.
    gradient_norm : float
        ||grad L||, over all parameters.
    objective : float
        L.
    method : {"dense", "Lanczos"}
        How the eigenvalue was found.
    residual : float
        ||H v - largest v||, which bounds the distance of ``largest`` to the nearest eigenvalue.
    smooth_radius : float
        Distance in weight space to the nearest weights at which an example lies on a kink. The
        Hessian describes L only up to there; training often ends with a kink on an example.
    """

    largest: float
    direction: Array
    gradient_norm: float
    objective: float
    method: str
    residual: float
    smooth_radius: float

    def __repr__(self) -> str:
        """Give the eigenvalue and what it can be trusted to."""
        return (
            f"Curvature(largest={self.largest:.6g}, gradient_norm={self.gradient_norm:.3g}, "
            f"{self.method}, residual={self.residual:.1e})"
        )

    def edge(self, algorithm: Algorithm, step_size: float) -> float:
        """Return the eigenvalue above which ``algorithm`` with ``step_size`` is unstable here."""
        return edge_of_stability(algorithm, step_size, self.gradient_norm)


def edge_of_stability(algorithm: Algorithm, step_size: float, gradient_norm: float) -> float:
    """Eigenvalue at which a step of GD or n-SAM on a quadratic multiplies a direction by -1.

    Parameters
    ----------
    algorithm : Algorithm
        Full batch, one ascent step: GD or n-SAM.
    step_size : float
        gamma > 0.
    gradient_norm : float
        ||grad L|| >= 0; used by normalised SAM only, whose edge is 0 where the gradient is.

    Returns
    -------
    float
        Units of L / theta^2, as the eigenvalues of the Hessian.

    Raises
    ------
    InputError
        An argument is out of range; the algorithm has a batch_size, several blocks or ascent steps.

    Examples
    --------
    >>> from sam_theory import gd, relu
    >>> relu.edge_of_stability(gd(), step_size=0.5, gradient_norm=1.0)
    4.0
    """
    gamma, size = (
        checked_number("step_size", step_size),
        checked_number("gradient_norm", gradient_norm),
    )
    if gamma <= 0.0 or size < 0.0:
        raise InputError("step_size must be > 0 and gradient_norm >= 0")
    sam = algorithm.rho > 0.0
    if algorithm.batch_size is not None or (sam and algorithm.m is not None):
        raise InputError(f"the edge of {algorithm.label} is not known: only that of GD and n-SAM")
    if sam and algorithm.ascent_steps > 1:
        raise InputError("the edge of SAM with several ascent steps is not known")
    if not sam:
        return 2.0 / gamma
    if algorithm.normalized and size == 0.0:
        return 0.0
    share = algorithm.rho / size if algorithm.normalized else algorithm.rho
    return (4.0 / gamma) / (1.0 + float(np.sqrt(1.0 + 8.0 * share / gamma)))


def measure_curvature(
    network: Network,
    data: Regression,
    *,
    objective: Objective = "half_sum",
    dense_below: int = _DENSE,
) -> Curvature:
    """Largest eigenvalue of the Hessian where no kink lies on an example.

    Parameters
    ----------
    network : Network
        Where.
    data : Regression
        X dense, of the network's input dimension.
    objective : {"half_sum", "half_mean"}
    dense_below : int
        Networks of at most this many parameters get the whole Hessian in closed form; larger ones
        Lanczos' method with exact Hessian-vector products, to rounding. >= 0.

    Returns
    -------
    Curvature
        The eigenvalue with its eigenvector and what it can be trusted to.

    Raises
    ------
    InputError
        Network and data do not fit.
    """
    checked_integer("dense_below", dense_below, 0)
    at = expand(network, data, objective)
    method = "dense" if network.size <= dense_below else "Lanczos"
    largest, direction = largest_eigenpair(at, method)
    lengths = np.sqrt(1.0 + np.sum(at.X**2, axis=1))
    return Curvature(
        largest=largest,
        direction=direction,
        gradient_norm=float(np.linalg.norm(at.gradient())),
        objective=at.objective,
        method=method,
        residual=float(np.linalg.norm(at.hessian_product(direction) - largest * direction)),
        smooth_radius=float(np.min(np.min(np.abs(at.z), axis=1) / lengths)),
    )


@single_threaded
def largest_eigenpair(at: Expansion, method: str) -> tuple[float, Array]:
    """Return the largest eigenvalue of the Hessian and its eigenvector, whose sign is fixed.

    Where the Hessian is 0, as it is where all neurons are dead, 0 and some vector of length 1.
    """
    size = at.network.size
    if method == "dense":
        from scipy.linalg import eigh

        values, vectors = eigh(at.hessian(), subset_by_index=[size - 1, size - 1])
    else:
        from scipy.sparse.linalg import LinearOperator, eigsh

        operator = LinearOperator((size, size), matvec=at.hessian_product, dtype=np.float64)
        begin = at.gradient() + 1e-3 * np.random.default_rng(0).standard_normal(size)
        # ARPACK refuses to begin with a vector that the operator maps to 0.
        if np.any(at.hessian_product(begin)):
            values, vectors = eigsh(operator, k=1, which="LA", v0=begin, tol=0.0)
        else:
            values, vectors = np.zeros(1), (begin / np.linalg.norm(begin))[:, None]
    direction = vectors[:, 0]
    direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
    return float(values[0]), direction
