"""What the explorer shows: settings in, limits and sentences out; it knows nothing of the page.

Whatever cannot be answered, a flow without a limit or a setting that is refused, comes back as one
sentence in place of the numbers.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam_theory.algorithms import Algorithm, gd, m_sam, n_sam, one_sam
from sam_theory.design import Array
from sam_theory.diagonal.flow import implicit_bias
from sam_theory.diagonal.limit import ImplicitBias
from sam_theory.errors import InputError
from sam_theory.explorer.sources import Problem
from sam_theory.regression import Regression, sparse_regression

NAMES = {"gd": "GD", "n-sam": "n-SAM", "m-sam": "m-SAM", "1-sam": "1-SAM"}
"""What each kind of algorithm is called in the page."""
PATIENCE = 0.07
"""Seconds after which the limits that are ready are shown without the others."""
TURN = 0.05
"""Seconds that the page takes at most to show the first answers, before they are replaced."""
_MANTISSAS = ("1", "1.25", "1.6", "2", "2.5", "3.2", "4", "5", "6.3", "8")
_PENDING = "the flow is still being followed"
_SENTENCES = {
    "least_squares": "no coefficients interpolate these labels; shown is the least-squares limit",
    "no_interpolation": "no limit to show: no coefficients interpolate these labels, and with "
    "m < n its loss stalls above zero",
    "at_rest": "no limit to show: with so large a ρ the flow comes to rest above zero loss",
    "singular": "no limit to show: its flow is not defined to the end",
    "max_steps": "no limit to show: the flow was given up before it settled; a smaller ρ may help",
}
_WARMING = threading.Lock()


def decades(low: int, high: int) -> tuple[float, ...]:
    """Return ten rounded numbers a decade, from 10^low to 10^high."""
    steps = [float(f"{m}e{k}") for k in range(low, high) for m in _MANTISSAS]
    return (*steps, float(f"1e{high}"))


ALPHAS = decades(-3, 1)
"""Positions of the slider of alpha."""
RHOS = (0.0, *(rho for rho in decades(-3, 1) if rho <= 1.0))
"""Positions of the slider of rho."""


@dataclass(frozen=True)
class Choice:
    """An algorithm as chosen in the page; its radius is that of the page.

    Attributes
    ----------
    kind : str
        "gd", "n-sam", "m-sam" or "1-sam".
    m : int or None
        Examples per perturbation of "m-sam".
    """

    kind: str
    m: int | None = None

    @property
    def label(self) -> str:
        """Name in the page, for instance "m-SAM, m = 5"."""
        return f"{NAMES[self.kind]}, m = {self.m}" if self.kind == "m-sam" else NAMES[self.kind]

    def algorithm(self, rho: float) -> Algorithm:
        """Return it with radius rho; InputError where m is missing or rho is not usable."""
        if self.kind == "m-sam":
            if self.m is None:
                raise InputError("m-SAM needs m, and no number but 1 and n divides n")
            return m_sam(rho, self.m)
        return {"gd": lambda _: gd(), "n-sam": n_sam, "1-sam": one_sam}[self.kind](rho)


GD = Choice("gd")


@dataclass(frozen=True, eq=False)
class Answer:
    """What theory says of one algorithm.

    Attributes
    ----------
    choice : Choice
        Which algorithm.
    status : str
        That of the limit; "refused", "pending" or "stopped" without one.
    limit : ImplicitBias or None
        The limit, only where it is one: status "converged" or "least_squares".
    sentence : str
        What a reader must know about it, empty if nothing.
    """

    choice: Choice
    status: str
    limit: ImplicitBias | None = field(default=None, repr=False)
    sentence: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table of numbers.

    Attributes
    ----------
    name : str
        What the number is.
    meaning : str
        Which side it bounds, or what it is measured in.
    values : tuple of (float or None)
        One per algorithm, None where it is not defined.
    bound : bool
        Whether the numbers are proved upper bounds.
    """

    name: str
    meaning: str
    values: tuple[float | None, ...]
    bound: bool = False


def divisors(n: int) -> tuple[int, ...]:
    """Return the sizes of blocks that m-SAM can have on n examples, strictly between 1 and n."""
    return tuple(m for m in range(2, n) if n % m == 0)


def chosen(kind: str, m: int | None) -> Choice:
    """Return the choice of a kind; m counts for m-SAM only."""
    return Choice(kind, m if kind == "m-sam" else None)


def beside(first: Choice, second: Choice) -> tuple[Choice, ...]:
    """Return GD and the chosen algorithms, each once."""
    return tuple(dict.fromkeys((GD, first, second)))


class _Stopped(Exception):
    """Nobody wants the answer any more."""


def answer(
    data: Regression,
    alpha: float,
    rho: float,
    choice: Choice,
    stop: Callable[[], bool] = lambda: False,
) -> Answer:
    """Return the limit of one algorithm, as :func:`sam_theory.implicit_bias` computes it.

    Parameters
    ----------
    data : Regression
        n examples in d dimensions.
    alpha : float
        Initial scale, u(0) = alpha, units of beta^(1/2).
    rho : float
        Perturbation radius, dimensionless; GD has none.
    choice : Choice
        The algorithm.
    stop : callable
        Asked every few steps; once it returns True the answer is given up, with status "stopped".
    """

    def ask(_share: float) -> None:
        if stop():
            raise _Stopped

    try:
        with np.errstate(all="ignore"):
            limit = implicit_bias(data, alpha=alpha, algorithm=choice.algorithm(rho), progress=ask)
    except _Stopped:
        return Answer(choice, "stopped", sentence=_PENDING)
    except (InputError, np.linalg.LinAlgError) as error:
        return Answer(choice, "refused", sentence=" ".join(str(error).split()))
    known = limit.status in ("converged", "least_squares")
    known = known and bool(np.all(np.isfinite(limit.beta)))
    # Consistent labels could be fitted: then it is the radius that keeps the loss from zero.
    rests = limit.status == "no_interpolation" and data.row_space.consistent
    sentence = _SENTENCES.get("at_rest" if rests else limit.status, "")
    return Answer(choice, limit.status, limit if known else None, sentence)


def answers(
    problem: Problem, choices: Sequence[Choice], *, alpha: float, rho: float
) -> tuple[Answer, ...]:
    """Return the answers for all choices, in their order; none without data.

    Parameters
    ----------
    problem : Problem
        The data.
    choices : sequence of Choice
        The algorithms.
    alpha, rho : float
        As in :func:`answer`.
    """
    work = Work(problem, choices, alpha=alpha, rho=rho)
    work.run()
    return work.found()


class Work:
    """The answers for all choices, computed in one thread and looked at from another.

    Parameters
    ----------
    problem, choices, alpha, rho
        As in :func:`answers`.
    """

    def __init__(
        self, problem: Problem, choices: Sequence[Choice], *, alpha: float, rho: float
    ) -> None:
        self._problem, self._choices, self._settings = problem, tuple(choices), (alpha, rho)
        self._found: dict[Choice, Answer] = {}
        self._lock, self._over, self._awaited = threading.Lock(), threading.Event(), True

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Compute the answers, one after the other, until ``stop()`` says that nobody wants them.

        Returns whether whoever called :meth:`first` has gone on without them and is to be told.
        """
        data = self._problem.data
        try:
            # One after the other: threads that compute wait for each other longer than they save.
            for choice in self._choices:
                if data is None:
                    break
                found = answer(data, *self._settings, choice, stop)
                if found.status == "stopped":
                    return False
                self._found[choice] = found
        finally:
            with self._lock:
                self._over.set()
                told = self._awaited
        return not told

    def first(self, patience: float = PATIENCE) -> tuple[Answer, ...]:
        """Return all answers, or what there is after ``patience`` seconds, the rest "pending"."""
        self._over.wait(patience)
        with self._lock:
            self._awaited = self._over.is_set()
        return self.found()

    def found(self) -> tuple[Answer, ...]:
        """Return what there is by now, the rest "pending"; nothing without data."""
        if self._problem.data is None:
            return ()
        return tuple(
            self._found.get(choice, Answer(choice, "pending", sentence=_PENDING))
            for choice in self._choices
        )


def numbers(data: Regression, found: Sequence[Answer]) -> list[Row]:
    """Return the scalars of the answers: losses, norms, sharpness, effective scale."""
    rows = []

    def add(name: str, meaning: str, value: Callable[[ImplicitBias], float]) -> None:
        rows.append(Row(name, meaning, tuple(_value(one, value) for one in found)))

    star, test = data.beta_star, data.test
    if test is not None:
        add("test loss", f"(1/2n) ‖Xβ − y‖² on {test.n} rows", lambda limit: limit.loss(test))
    if star is not None:
        add("distance to β*", "‖β − β*‖₂", lambda limit: float(np.linalg.norm(limit.beta - star)))
    add("l1 norm", "‖β‖₁", lambda limit: limit.l1_norm)
    add("sharpness", "largest eigenvalue of the loss Hessian", lambda limit: limit.sharpness)
    add("Hessian trace", "of the loss", lambda limit: limit.hessian_trace)
    add("train loss", "(1/2n) ‖Xβ − y‖²", lambda limit: limit.loss(data))
    add("smallest α_eff", "over coordinates", lambda limit: float(limit.alpha_effective.min()))
    add("largest α_eff", "over coordinates", lambda limit: float(limit.alpha_effective.max()))
    add("error of α_eff", "relative, an estimate", lambda limit: limit.alpha_effective_error)
    return rows


def certificates(found: Sequence[Answer]) -> list[Row]:
    """Return what is proved about each answer, each row with the side that it bounds."""
    proofs = [None if one.limit is None else one.limit.certificate for one in found]
    known = next((proof for proof in proofs if proof is not None), None)
    if known is None:
        return []
    rows = []
    for line in known.lines():
        name, _, side = line.split(maxsplit=2)
        values = tuple(None if proof is None else float(getattr(proof, name)) for proof in proofs)
        rows.append(Row(name.replace("_", " "), side, values, bound=True))
    return rows


def _value(one: Answer, value: Callable[[ImplicitBias], float]) -> float | None:
    if one.limit is None:
        return None
    number = value(one.limit)
    return number if math.isfinite(number) else None


def largest(vectors: Sequence[Array], most: int) -> np.ndarray:
    """Return the places of the ``most`` coordinates that are largest in any vector, in order.

    Parameters
    ----------
    vectors : sequence of (d,) arrays
        At least one.
    most : int
        How many; all if there are no more.
    """
    size = np.max(np.abs(np.vstack(vectors)), axis=0)
    return np.sort(np.argsort(-size, kind="stable")[:most])


@functools.cache
def _compiled() -> None:
    wide = sparse_regression(20, 30)
    for choice in (GD, Choice("n-sam"), Choice("m-sam", 5), Choice("1-sam")):
        answer(wide, 0.1, 0.1, choice)
    tall = sparse_regression(40, 20, noise=0.1)
    for choice in (GD, Choice("n-sam"), Choice("1-sam")):
        answer(tall, 0.1, 0.1, choice)


def prepare() -> None:
    """Compile everything that an answer needs; a second call waits for the first, then returns."""
    with _WARMING:
        _compiled()
