"""Search for points that refute claimed constants. What is not refuted is not thereby proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sam_theory._validate import checked_integer
from sam_theory.convergence.checks import check_problem
from sam_theory.convergence.problems import Array, Problem
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[[Array], float]
_MARGIN = 1e-6
"""Relative excess that refutes: far above the rounding of difference quotients."""
_SCALES = (0.03, 0.3, 1.0, 3.0)
_POWER_STEPS = 12
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Finding:
    """The worst value of a constant that was found, and where.

    Attributes
    ----------
    constant : str
        Its name.
    claimed, found : float
        What the problem says, and the worst value found.
    refuted : bool
        Whether found contradicts claimed beyond rounding.
    point, other : arrays of shape (d,)
        Where; smoothness is refuted by a pair of points.
    example : int
        Index of the example whose smoothness is refuted, -1 for L.
    """

    constant: str
    claimed: float
    found: float
    refuted: bool
    point: Array
    other: Array | None = None
    example: int = -1


class Search:
    """A seeded search over the region where the constants are claimed."""

    def __init__(self, problem: Problem, seed: int, effort: int) -> None:
        self.problem = problem
        self.generator = np.random.default_rng(seed)
        self.effort = effort
        self.points = self._points()

    def _points(self) -> list[Array]:
        """Return the start, 0, points around them at several scales, and descents from them."""
        problem, generator = self.problem, self.generator
        size = 1.0 + float(np.max(np.abs(problem.start)))
        tried = [problem.start, np.zeros(problem.d)]
        for _ in range(self.effort):
            for scale in _SCALES:
                tried.append(problem.start + scale * size * generator.standard_normal(problem.d))
        found = [point for point in tried if self._usable(point)]
        if not found:
            raise InputError(f"{problem.name}: no point searched has a finite loss and gradient")
        return found + [self._descend(point, 50) for point in found[: 2 + self.effort]]

    def _usable(self, w: Array) -> bool:
        """Whether the claims are about w, and loss and gradient are finite there."""
        if not (np.all(np.isfinite(w)) and self.problem.inside(w)):
            return False
        loss, gradient = self.problem.evaluate(w)
        return bool(np.isfinite(loss) and np.all(np.isfinite(gradient)))

    def _descend(self, point: Array, steps: int) -> Array:
        problem = self.problem
        w, step = point.copy(), 1.0 / problem.constants.beta_mean.value
        loss, gradient = problem.evaluate(w)
        for _ in range(steps):
            trial = w - step * gradient
            if not np.all(np.isfinite(trial)):
                step *= 0.5
                continue
            if not problem.inside(trial):
                break
            value, slope = problem.evaluate(trial)
            if np.isfinite(value) and value < loss and np.all(np.isfinite(slope)):
                w, loss, gradient, step = trial, value, slope, 1.5 * step
            else:
                step *= 0.5
        return w

    def _climb(self, score: Score, point: Array, rounds: int) -> tuple[float, Array]:
        """Improve a score by random steps whose length adapts (a (1+1) evolution strategy)."""
        best, where = score(point), point
        length = 0.3 * (1.0 + float(np.max(np.abs(point))))
        for _ in range(rounds):
            trial = where + length * self.generator.standard_normal(len(point)) / np.sqrt(
                len(point)
            )
            value = score(trial)
            if value > best:
                best, where, length = value, trial, 1.5 * length
            else:
                length *= 0.85
        return best, where

    def smoothness(self, example: int) -> tuple[float, Array, Array]:
        """Return the largest quotient |grad(w) - grad(w')| / |w - w'| found for one l_i, or L."""
        rows = None if example < 0 else [example]
        best, pair = -np.inf, (self.problem.start, self.problem.start)
        for point in self.points:
            value, other = self._curvature(point, rows)
            if value > best:
                best, pair = value, (point, other)
        if best == -np.inf:
            raise InputError(
                f"{self.problem.name}: the gradient is not finite near any point searched"
            )
        better, where = self._climb(
            lambda w: self._curvature(w, rows)[0] if self.problem.inside(w) else -np.inf,
            pair[0],
            20 * self.effort,
        )
        if better > best:
            best, pair = better, (where, self._curvature(where, rows)[1])
        return best, *pair

    def _curvature(self, w: Array, rows: list[int] | None) -> tuple[float, Array]:
        """Power iteration on difference quotients of the gradient at w, less their rounding.

        -inf where none is finite; 0 where no pair is in the region.
        """
        problem = self.problem
        h = 1e-4 * (1.0 + float(np.max(np.abs(w))))
        base = problem.evaluate(w, rows)[1]
        if not np.all(np.isfinite(base)):
            return -np.inf, w
        rounding = 8.0 * _EPS * self._terms(w, base, rows) / h
        finite, tried = False, False
        direction = base if np.any(base) else self.generator.standard_normal(len(w))
        best, other = 0.0, w
        for _ in range(_POWER_STEPS):
            direction = direction / np.linalg.norm(direction)
            point = w + h * direction
            if not problem.inside(point):
                point = w - h * direction
                if not problem.inside(point):
                    break
            tried = True
            change = problem.evaluate(point, rows)[1] - base
            quotient = float(np.linalg.norm(change) / np.linalg.norm(point - w))
            if not np.isfinite(quotient):
                direction = self.generator.standard_normal(len(w))
                continue
            finite = True
            if quotient - rounding > best:
                best, other = quotient - rounding, point
            if not np.any(change):
                direction = self.generator.standard_normal(len(w))
            else:
                direction = change if quotient > 0.0 else direction
        return (best if finite or not tried else -np.inf), other

    def _terms(self, w: Array, gradient: Array, rows: list[int] | None) -> float:
        """Size of what is summed into a gradient: its rounding is relative to that."""
        if rows is not None or self.problem.n == 1:
            return float(np.linalg.norm(gradient))
        return float(np.mean(np.linalg.norm(self.problem.gradients(w), axis=1)))

    def _variance_at(self, w: Array) -> float:
        """Return sigma^2(w) less its rounding; -inf where it is not finite.

        The deviations g_i - g are rounded by a multiple of eps |g_i|, so that sigma is by the same
        multiple of eps times the root of the mean of |g_i|^2 (triangle inequality).
        """
        gradients = self.problem.gradients(w)
        deviations = gradients - gradients.mean(axis=0)
        sigma = np.sqrt(np.mean(np.sum(deviations**2, axis=1)))
        rounding = 8.0 * _EPS * np.sqrt(np.mean(np.sum(gradients**2, axis=1)))
        value = float(max(sigma - rounding, 0.0) ** 2)
        return value if np.isfinite(value) else -np.inf

    def pl(self) -> tuple[float, Array]:
        """Return the smallest (1/2) |grad L|^2 / (L - L*) found."""
        problem = self.problem
        least = problem.constants.minimum.value
        floor = 1e-8 * (1.0 + abs(least) + abs(problem.loss(problem.start)))

        def score(w: Array) -> float:
            if not problem.inside(w):
                return -np.inf
            loss, gradient = problem.evaluate(w)
            height = loss - least
            return -0.5 * float(gradient @ gradient) / height if height > floor else -np.inf

        return self._best(score, -1.0)

    def variance(self) -> tuple[float, Array]:
        """Return the largest sigma^2 found on {L <= L(start)} in the region, at its boundary."""
        problem = self.problem
        level = problem.loss(problem.start)
        center = self._descend(problem.start, 200)

        def at_level(direction: Array) -> Array:
            """Return the point of the ray from the centre where L reaches the level, or leaves."""
            low, high = 0.0, 1.0
            while within(center + high * direction) and high < 1e6:
                low, high = high, 2.0 * high
            for _ in range(40):
                middle = 0.5 * (low + high)
                fits = within(center + middle * direction)
                low, high = (middle, high) if fits else (low, middle)
            return center + low * direction

        def within(w: Array) -> bool:
            return problem.inside(w) and problem.loss(w) <= level

        def score(direction: Array) -> float:
            return self._variance_at(at_level(direction))

        best, where = self._variance_at(problem.start), problem.start
        for point in [problem.start, *self.points[: 2 * self.effort]]:
            value, direction = self._climb(score, point - center, 10 * self.effort)
            if value > best:
                best, where = value, at_level(direction)
        return best, where

    def minimum(self) -> tuple[float, Array]:
        """Return the smallest L found."""
        ends = [self._descend(point, 200) for point in self.points[: 4 + 4 * self.effort]]
        values = [self.problem.loss(w) for w in ends]
        k = int(np.argmin(values))
        return float(values[k]), ends[k]

    def _best(self, score: Score, sign: float) -> tuple[float, Array]:
        values = [score(point) for point in self.points]
        order = np.argsort(values)[::-1][: max(3, self.effort)]
        best, where = -np.inf, self.problem.start
        for k in order:
            if np.isfinite(values[k]):
                value, point = self._climb(score, self.points[k], 60 * self.effort)
                if value > best:
                    best, where = value, point
        return sign * best, where


@np.errstate(all="ignore")
def findings(problem: Problem, *, seed: int = 0, effort: int = 4) -> list[Finding]:
    """Search for points that contradict each constant of a problem.

    Parameters
    ----------
    problem : Problem
        Its smoothness (of L and of every l_i, at most eight of them), PL constant, variance on the
        sublevel set of the start, and least value are searched.
    seed : int
        Of the search.
    effort : int
        Proportional to its length, >= 1.

    Returns
    -------
    list of Finding

    Raises
    ------
    InputError
        The problem's functions do not belong together, or fail at a point in the region, which is
        named.
    """
    check_problem(problem, seed=seed)
    search = Search(problem, checked_integer("seed", seed, 0), checked_integer("effort", effort, 1))
    known = problem.constants
    found = []
    each = [-1] if problem.n == 1 else _examples(problem)
    worst = max(((*search.smoothness(i), i) for i in each), key=lambda item: item[0])
    found.append(_above("beta", known.beta.value, *worst))
    found.append(_above("beta_mean", known.beta_mean.value, *search.smoothness(-1), -1))
    if known.mu is not None:
        value, where = search.pl()
        found.append(
            Finding("mu", known.mu.value, value, value < known.mu.value * (1.0 - _MARGIN), where)
        )
    if problem.n > 1:
        value, where = search.variance()
        most = problem.variance_on(problem.loss(problem.start)).value
        found.append(Finding("variance", most, value, value > most * (1.0 + _MARGIN), where))
    value, where = search.minimum()
    least = known.minimum.value
    size = 1.0 + abs(least)
    found.append(Finding("minimum", least, value, value < least - _MARGIN * size, where))
    return found


def _examples(problem: Problem) -> list[int]:
    """Return those with the largest curvature, and with the largest gradient, at the start."""
    gradients = np.linalg.norm(problem.gradients(problem.start), axis=1)
    shift = 1e-3 * (1.0 + np.abs(problem.start))
    for _ in range(40):
        if problem.inside(problem.start + shift):
            break
        shift = 0.5 * shift
    shifted = problem.start + shift
    change = np.linalg.norm(problem.gradients(shifted) - problem.gradients(problem.start), axis=1)
    order = [*np.argsort(change)[::-1][:4], *np.argsort(gradients)[::-1][:4]]
    return [int(i) for i in dict.fromkeys(order)]


def _above(
    name: str, most: float, value: float, point: Array, other: Array, example: int
) -> Finding:
    return Finding(name, most, value, value > most * (1.0 + _MARGIN), point, other, example)


def refute(problem: Problem, *, seed: int = 0, effort: int = 4) -> pd.DataFrame:
    """Test claimed constants by search.

    Parameters
    ----------
    problem : Problem
        Its constants are searched for counterexamples.
    seed : int
        Of the search.
    effort : int
        Proportional to its length, >= 1.

    Returns
    -------
    pandas.DataFrame
        One row per constant: constant, how (how it was obtained), claimed, found (the worst value
        met), verdict ("refuted" or "not refuted", never more), point, other (a second point for
        smoothness), example.

    Raises
    ------
    InputError
        The problem's functions do not belong together, or fail at a point in the region, which is
        named.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> square = rates.claim(  # beta = 2 would be right
    ...     lambda w: float(w @ w), lambda w: 2.0 * w, start=[1.0, 1.0], beta=1.5, minimum=0.0
    ... )
    >>> table = rates.refute(square, effort=1).set_index("constant")
    >>> table.loc["beta", "verdict"], float(table.loc["beta", "found"].round(6))
    ('refuted', 2.0)
    >>> table.loc["minimum", "verdict"]
    'not refuted'
    """
    import pandas as pd

    known = {
        **{
            name: getattr(problem.constants, name)
            for name in ("beta", "beta_mean", "mu", "minimum")
        },
        "variance": problem.variance_on(problem.loss(problem.start)),
    }
    return pd.DataFrame(
        [
            {
                "constant": one.constant,
                "how": known[one.constant].how,
                "claimed": one.claimed,
                "found": one.found,
                "verdict": "refuted" if one.refuted else "not refuted",
                "point": _text(one.point) if one.refuted else "",
                "other": _text(one.other) if one.refuted and one.other is not None else "",
                "example": one.example,
            }
            for one in findings(problem, seed=seed, effort=effort)
        ]
    )


def _text(point: Array) -> str:
    return "(" + ", ".join(repr(float(x)) for x in point) + ")"
