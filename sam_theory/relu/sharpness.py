r"""m-sharpness of a fit: how much the objective can grow within a ball of radius rho.

    S_m(theta) = C_B [ max over ||e|| <= rho of L_B(theta + e) - L_B(theta) ]

over consecutive blocks B of m examples, C_B and L_B as in :class:`~sam_theory.relu.Run`: a sum for
half_sum, a mean for half_mean. Source: Foret et al. 2021 (arXiv 2010.01412), section 4.1. The
maximum is approached by ascent, so the number is a lower bound of S_m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._threads import single_threaded
from .._validate import checked_generator, checked_integer, checked_number
from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .closed_forms import Expansion, Objective, checked_objective, checked_pair
from .curvature import largest_eigenpair
from .network import Network

Array = npt.NDArray[np.float64]

_DENSE = 400


@single_threaded
def m_sharpness(
    network: Network,
    data: Regression,
    *,
    rho: float,
    m: int | None = None,
    objective: Objective = "half_sum",
    ascent_steps: int = 30,
    restarts: int = 4,
    seed: int | np.random.Generator = 0,
) -> float:
    """Lower bound of the m-sharpness, by ascent on the sphere from several directions.

    Every ascent goes from e to rho g/||g|| with g the gradient at theta + e, which grows a convex
    objective in every step and is the direction of SAM's own ascent; where it overshoots, the steps
    are halved towards e. It begins at the gradient's direction, at both ends of the block Hessian's
    top eigenvector and at ``restarts`` random directions; the largest value ever seen counts.

    Parameters
    ----------
    network : Network
        Centre of the ball.
    data : Regression
        X dense, of the network's input dimension.
    rho : float
        Radius > 0 in weight space.
    m : int, optional
        Examples per block; divides n. None is all.
    objective : {"half_sum", "half_mean"}
    ascent_steps, restarts : int
        >= 1 and >= 0.
    seed : int or numpy.random.Generator
        Of the random directions.

    Returns
    -------
    float
        Units of y^2, >= 0.

    Raises
    ------
    InputError
        An argument is out of range; m does not divide n.
    """
    X = checked_pair(network, data)
    radius = checked_number("rho", rho)
    if radius <= 0.0:
        raise InputError(f"rho must be > 0, not {radius:g}")
    _, block = Algorithm(rho=radius, m=m).resolve(data.n)
    chosen = checked_objective(objective)
    checked_integer("ascent_steps", ascent_steps, 1)
    checked_integer("restarts", restarts, 0)
    rng = checked_generator(seed)
    gains = []
    for low in range(0, data.n, block):
        part = slice(low, low + block)
        at = Expansion.of(network, X[part], data.y[part], chosen)
        gains.append(_largest_gain(at, data.y[part], chosen, radius, ascent_steps, restarts, rng))
    return float(np.sum(gains) if chosen == "half_sum" else np.mean(gains))


def _largest_gain(
    at: Expansion,
    y: Array,
    objective: Objective,
    rho: float,
    ascent_steps: int,
    restarts: int,
    rng: np.random.Generator,
) -> float:
    network, here = at.network, at.network.parameters
    top = largest_eigenpair(at, "dense" if network.size <= _DENSE else "Lanczos")[1]
    starts = [at.gradient(), top, -top, *rng.standard_normal((restarts, network.size))]
    best = 0.0

    def there(offset: Array) -> Expansion:
        moved = Network.from_parameters(here + offset, network.width, network.d)
        return Expansion.of(moved, at.X, y, objective)

    for direction in starts:
        offset = _on_sphere(direction, rho)
        point = there(offset)
        for _ in range(ascent_steps):
            best = max(best, point.objective - at.objective)
            aim = _on_sphere(point.gradient(), rho)
            step, moved = 1.0, there(aim)
            while moved.objective <= point.objective and step > 0.01:
                step *= 0.5
                moved = there(_on_sphere((1.0 - step) * offset + step * aim, rho))
            if moved.objective <= point.objective:
                break
            offset = moved.network.parameters - here
            point = moved
        best = max(best, point.objective - at.objective)
    return best


def _on_sphere(direction: Array, rho: float) -> Array:
    length = float(np.linalg.norm(direction))
    return direction * (rho / length) if length > 0.0 else np.zeros_like(direction)
