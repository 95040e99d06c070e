"""Whether a problem's functions belong together: the gradient is the objective's, and unbiased."""

from __future__ import annotations

import numpy as np

from sam_theory.convergence.problems import Array, Problem, shown
from sam_theory.errors import InputError

_POINTS = 3
_SPREAD = 0.1
_TOLERANCE = 1e-5


def check_problem(problem: Problem, *, seed: int = 0) -> None:
    """Compare the gradient with central differences of the objective, and with its examples' mean.

    Parameters
    ----------
    problem : Problem
        What is checked, at its start and at points near it.
    seed : int
        Of the points.

    Raises
    ------
    InputError
        A value is not finite, the gradient of L is not that of the objective, or the mean of the
        examples' gradients is not the gradient of L (a biased gradient); the point is named.
    """
    generator = np.random.default_rng(seed)
    scale = _SPREAD * (1.0 + float(np.max(np.abs(problem.start))))
    points = [problem.start]
    points += [problem.start + scale * generator.standard_normal(problem.d) for _ in range(_POINTS)]
    with np.errstate(all="ignore"):
        for point in points:
            if problem.inside(point):
                _check_at(problem, point, generator)


def _check_at(problem: Problem, point: Array, generator: np.random.Generator) -> None:
    loss, gradient = problem.evaluate(point)
    where = f"w = {shown(point)}"
    if not (np.isfinite(loss) and np.all(np.isfinite(gradient))):
        raise InputError(f"{problem.name}: loss or gradient is not finite at {where}")
    size = float(np.linalg.norm(gradient))
    direction = generator.standard_normal(problem.d)
    direction /= np.linalg.norm(direction)
    # The slope along the gradient and along a random direction; the best of two step lengths.
    for along in (direction, gradient / size if size > 0.0 else direction):
        slope = float(gradient @ along)
        errors = []
        for h in (1e-4, 1e-6):
            h *= 1.0 + float(np.max(np.abs(point)))
            ends = point + h * along, point - h * along
            if not all(problem.inside(end) for end in ends):
                continue
            forward, backward = (problem.loss(end) for end in ends)
            noise = 1e-15 * (abs(forward) + abs(backward)) / h
            errors.append(
                (abs((forward - backward) / (2.0 * h) - slope) - 8.0 * noise, forward - backward, h)
            )
        if not errors:
            continue
        error, change, h = min(errors)
        if error > _TOLERANCE * (1.0 + size):
            raise InputError(
                f"{problem.name}: the gradient is not that of the objective at {where}: slope "
                f"{slope:.8g} against {change / (2.0 * h):.8g} by differences"
            )
    each = np.mean(problem.gradients(point), axis=0)
    bias = float(np.linalg.norm(each - gradient))
    if bias > 1e-9 * (1.0 + float(np.linalg.norm(each)) + size):
        raise InputError(
            f"{problem.name}: biased gradient at {where}: the mean over single examples differs "
            f"from the gradient of L by {bias:.3g}"
        )


def check_minimum(name: str, loss: float, minimum: float) -> None:
    """Compare a least value with L(start).

    Parameters
    ----------
    name : str
        Of the problem, for the message.
    loss, minimum : float
        L(start), and what L* is said to be.

    Raises
    ------
    InputError
        minimum exceeds loss beyond rounding.
    """
    if minimum > loss + 1e-12 * (abs(loss) + abs(minimum) + 1.0):
        raise InputError(f"{name}: minimum = {minimum:.6g} exceeds L(start) = {loss:.6g}")
