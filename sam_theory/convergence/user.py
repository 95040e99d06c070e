"""A user's own problem: functions in Python or compiled by numba, with the constants they claim."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_integer, checked_number, checked_vector
from sam_theory.convergence.checks import check_minimum
from sam_theory.convergence.constants import Constant, Constants, claimed
from sam_theory.convergence.problems import Array, Problem, failed
from sam_theory.errors import InputError


def claim(
    objective: Callable[..., float],
    gradient: Callable[..., Array],
    *,
    start: npt.ArrayLike,
    beta: float,
    minimum: float,
    n: int | None = None,
    mu: float | None = None,
    beta_mean: float | None = None,
    variance: float | None = None,
    example_minimum: float | None = None,
    radius: float | None = None,
    name: str = "claimed",
) -> Problem:
    """Describe your own problem and what you claim about it.

    Parameters
    ----------
    objective : callable
        ``objective(w) -> float``, or ``objective(w, i) -> float`` for example i if n is given.
    gradient : callable
        ``gradient(w) -> array (d,)``, or ``gradient(w, i)``. If both functions are compiled
        (``numba.njit``), runs are; otherwise they run in Python, some hundred times slower.
    start : array of shape (d,)
        Where runs begin.
    beta : float
        Claimed smoothness of every l_i.
    minimum : float
        Claimed least value L*. A lower bound will do unless mu is claimed: the PL inequality is
        about L - L*, and with a value below the true one it fails near the minimum.
    n : int, optional
        Number of examples; L is the mean of the l_i. None: one function, nothing random.
    mu : float, optional
        Claimed PL constant, if you claim one.
    beta_mean : float, optional
        Claimed smoothness of L, beta by default.
    variance : float, optional
        Claimed bound of sigma^2 wherever the runs go; needed for n > 1.
    example_minimum : float, optional
        Claimed lower bound of the mean of the least values of the l_i.
    radius : float, optional
        The claims hold for |w - start| <= radius; everywhere by default.
    name : str
        In tables.

    Returns
    -------
    Problem
        Its constants are "claimed": :func:`sam_theory.convergence.refute` searches for points that
        refute them.

    Raises
    ------
    InputError
        A constant is missing, negative or contradicts another, the minimum exceeds L(start), or a
        function returns something of the wrong type or shape. Wherever a function fails later, on
        the way of a search or a run, it is an InputError that names the point.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> mine = rates.claim(
    ...     lambda w: float(w @ w), lambda w: 2.0 * w, start=[1.0, 1.0], beta=2.0, minimum=0.0
    ... )
    >>> mine.constants.beta.how, mine.d
    ('claimed', 2)
    """
    count = 1 if n is None else checked_integer("n", n, 1)
    first = checked_vector("start", start)
    if first.size == 0:
        raise InputError("start must not be empty")
    if count > 1 and variance is None:
        raise InputError("variance is missing: with n > 1 the theorems need a bound of sigma^2")
    sigma2 = 0.0 if variance is None else checked_number("variance", variance)
    if sigma2 < 0.0:
        raise InputError(f"variance must be >= 0, not {sigma2:g}")
    half = None if radius is None else checked_number("radius", radius)
    if half is not None and half <= 0.0:
        raise InputError(f"radius must be positive, not {half:g}")
    _check_functions(objective, gradient, first, n)
    smooth = claimed(checked_number("beta", beta))
    constants = Constants(
        beta=smooth,
        beta_mean=smooth if beta_mean is None else claimed(checked_number("beta_mean", beta_mean)),
        minimum=claimed(checked_number("minimum", minimum)),
        mu=None if mu is None else claimed(checked_number("mu", mu)),
        example_minimum=None
        if example_minimum is None
        else claimed(checked_number("example_minimum", example_minimum)),
    )
    value, region = _functions(objective, gradient, n is not None, half is not None)
    problem = Problem(
        name=name, about="a user's problem",
        A=np.zeros((count, 1)), y=np.zeros(count),
        p=np.zeros(1) if half is None else np.concatenate([[half], first]),
        value=value, start=first, constants=constants, region=region,
        variance_on=lambda level: Constant(sigma2, "claimed", "claimed"),
    )  # fmt: skip
    check_minimum(name, problem.loss(first), constants.minimum.value)
    return problem


def _check_functions(objective: Any, gradient: Any, start: Array, n: int | None) -> None:
    arguments = (start.copy(),) if n is None else (start.copy(), 0)
    try:
        loss, slope = objective(*arguments), gradient(*arguments)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"objective or gradient fails at the start: {reason}") from None
    if np.ndim(loss) != 0:
        raise InputError(f"objective must return a number, not an array of shape {np.shape(loss)}")
    if np.asarray(loss).dtype.kind not in "fiub":
        raise InputError(f"objective must return a real number, not {loss!r}")
    if np.shape(slope) != start.shape:
        raise InputError(f"gradient must return shape {start.shape}, not {np.shape(slope)}")
    if np.asarray(slope).dtype.kind not in "fiub":
        raise InputError("gradient must return real numbers")


def _functions(objective: Any, gradient: Any, finite_sum: bool, bounded: bool) -> tuple[Any, Any]:
    """Return value and region with the signatures of the built-in problems."""
    from sam_theory.convergence import objectives

    def mean(w, examples, A, y, p, out):  # type: ignore[no-untyped-def]
        total = 0.0
        out[:] = 0.0
        for i in examples:
            total += objective(w, i)
            out += gradient(w, i)
        out /= len(examples)
        return total / len(examples)

    def single(w, examples, A, y, p, out):  # type: ignore[no-untyped-def]
        out[:] = gradient(w)
        return objective(w)

    value: Any = mean if finite_sum else single
    if hasattr(objective, "py_func") and hasattr(gradient, "py_func"):
        value = _compiled(value)
    else:
        value = _guarded(value)
    return value, objectives.ball if bounded else None


def _guarded(value: Any) -> Any:
    """Return a Python objective whose failures name the point, in runs too."""

    def guarded(w, examples, A, y, p, out):  # type: ignore[no-untyped-def]
        try:
            return float(value(w, examples, A, y, p, out))
        except Exception as error:
            raise failed(w, error) from None

    return guarded


def _compiled(value: Any) -> Any:
    """Return both compiled forms of a function of arrays; InputError if it does not compile."""
    from numba import carray, njit
    from numba.core.errors import NumbaError

    from sam_theory.convergence.objectives import KERNEL, SIGNATURE, Compiled

    try:
        arrays = njit(SIGNATURE, nogil=True)(value)

        @njit(KERNEL, nogil=True)
        def kernel(w, d, e, first, count, A, n, c, y, p, q, out):  # type: ignore[no-untyped-def]
            rows = carray(e, (first + count,))[first:]
            data = carray(A, (n, c)), carray(y, (n,)), carray(p, (q,))
            return arrays(carray(w, (d,)), rows, data[0], data[1], data[2], carray(out, (d,)))

    except NumbaError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"objective or gradient does not compile: {reason}") from None
    return Compiled(arrays, kernel)


def load(path: str | Path) -> Problem:
    """Read the problem that a Python file defines as ``problem``.

    Parameters
    ----------
    path : str or Path
        A file that defines ``problem``: a Problem, or a function of no arguments that returns one.
        It is run as any Python program is.

    Raises
    ------
    InputError
        The file is missing or fails, or defines no problem.
    """
    file = Path(path)
    if not file.is_file():
        kind = "is a directory, not a file" if file.is_dir() else "no such file"
        raise InputError(f"{path}: {kind}")
    spec = importlib.util.spec_from_file_location("sam_theory_user_problem", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        found = getattr(module, "problem", None)
        if callable(found) and not isinstance(found, Problem):
            found = found()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Problem):
        raise InputError(
            f"{path}: defines no problem (problem = sam_theory.convergence.claim(...))"
        )
    return found
