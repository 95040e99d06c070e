"""A problem: a mean of n losses with its compiled objective and its known constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory._validate import real_array
from sam_theory.convergence.constants import Constant, Constants
from sam_theory.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """L(w) = (1/n) sum_i l_i(w), w in R^d, with what is known about it.

    Attributes
    ----------
    name : str
        Short, for tables.
    about : str
        The formula and where it comes from, in a sentence.
    A, y, p : arrays of shapes (n, .), (n,), (.)
        Data of the compiled objective.
    value : callable
        ``value(w, examples, A, y, p, out)``: mean loss over examples, its gradient in out; see
        :mod:`sam_theory.convergence.objectives`. Compiled, or a Python function.
    start : array of shape (d,)
        Where runs begin.
    constants : Constants
        Smoothness, Polyak-Lojasiewicz constant, least value; they hold on the region.
    variance_on : callable
        variance_on(level): Constant, the supremum of sigma^2(w) on {L <= level}, within the region.
    region : callable, optional
        ``region(w, A, y, p)``: at most 1 where the constants hold; None is everywhere.
    features : mapping
        What special theorems need, such as the eigenvalues of a quadratic.
    """

    name: str
    about: str
    A: Array
    y: Array
    p: Array
    value: Callable[..., float]
    start: Array
    constants: Constants
    variance_on: Callable[[float], Constant]
    region: Callable[..., float] | None = None
    features: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        known = self.constants
        mu = "none" if known.mu is None else f"{known.mu.value:.3g}"
        return (
            f"Problem({self.name!r}, n={self.n}, d={self.d}, beta={known.beta.value:.3g}, mu={mu})"
        )

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.y)

    @property
    def d(self) -> int:
        """Number of parameters."""
        return len(self.start)

    def evaluate(
        self, w: npt.ArrayLike, examples: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Evaluate mean loss and gradient.

        Parameters
        ----------
        w : array of shape (d,)
            Where.
        examples : array of int, optional
            Over which examples, all by default.

        Returns
        -------
        loss : float
            Mean of l_i(w) over the examples.
        gradient : array of shape (d,)
            Of that mean.

        Raises
        ------
        InputError
            w or examples do not fit, or the objective fails at w, which is named.
        """
        point = np.array(real_array("w", w), dtype=np.float64)
        if point.shape != (self.d,):
            raise InputError(f"w must have shape ({self.d},), not {point.shape}")
        rows = np.arange(self.n) if examples is None else np.array(examples, dtype=np.int64)
        if rows.ndim != 1 or rows.size == 0 or rows.min() < 0 or rows.max() >= self.n:
            raise InputError(f"examples must be indices between 0 and {self.n - 1}")
        out = np.zeros(self.d)
        try:
            return float(self.value(point, rows, self.A, self.y, self.p, out)), out
        except InputError:
            raise
        except Exception as error:
            raise failed(point, error) from None

    def loss(self, w: npt.ArrayLike) -> float:
        """Return L(w), w of shape (d,)."""
        return self.evaluate(w)[0]

    def gradients(self, w: npt.ArrayLike) -> Array:
        """Return the gradient of every l_i at w, shape (n, d)."""
        return np.array([self.evaluate(w, [i])[1] for i in range(self.n)])

    def variance(self, w: npt.ArrayLike) -> float:
        """Return sigma^2(w), the left side of assumption A1 at w.

        sigma^2(w) = (1/n) sum_i |grad l_i(w) - grad L(w)|^2.
        """
        gradients = self.gradients(w)
        return float(np.mean(np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1)))

    def inside(self, w: npt.ArrayLike) -> bool:
        """Whether the constants hold at w."""
        if self.region is None:
            return True
        return bool(self.region(np.array(w, dtype=np.float64), self.A, self.y, self.p) <= 1.0)

    @property
    def gap(self) -> float:
        """L(start) - L*, where L* may be a lower bound."""
        return self.loss(self.start) - self.constants.minimum.value


def shown(point: Array) -> str:
    """Return a point in at most six numbers."""
    entries = ", ".join(f"{x:.6g}" for x in point[:6])
    return f"({entries}{', ...' if len(point) > 6 else ''})"


def failed(point: Array, error: Exception) -> InputError:
    """Return what is raised where a user's objective raises: one line with the point."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return InputError(f"objective or gradient fails at w = {shown(point)}: {reason}")
