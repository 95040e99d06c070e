"""Lists of settings and of their results, for the calls that take many at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression

if TYPE_CHECKING:
    import pandas as pd


class Summarized(Protocol):
    """What a batch needs to know of a result."""

    @property
    def status(self) -> str:
        """How it ended."""

    def summary(self) -> dict[str, Any]:
        """Return the scalars of the result by name, ``status`` first."""


Result = TypeVar("Result", bound=Summarized, covariant=True)
Report = Callable[[float], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """One run of a batch.

    Attributes
    ----------
    algorithm : Algorithm
        What is run.
    alpha : float or (d,) array
        Initial scale, units of beta^(1/2).
    step_size : float or (steps,) array, optional
        gamma, dimensionless; needed by :func:`descend_batch` only.
    seed : int, optional
        Source of the minibatches of a stochastic algorithm; 0 unless given.
    data : Regression, optional
        Instead of the data of the batch: other labels, or another X altogether.
    """

    algorithm: Algorithm
    alpha: npt.ArrayLike
    step_size: npt.ArrayLike | None = None
    seed: int | None = None
    data: Regression | None = field(default=None, repr=False)


def settings_grid(
    *,
    algorithm: Algorithm | Iterable[Algorithm],
    alpha: npt.ArrayLike,
    step_size: npt.ArrayLike | None = None,
    seed: int | Iterable[int] | None = None,
    data: Regression | Iterable[Regression] | None = None,
) -> tuple[Setting, ...]:
    """Return the product of the given values, the last argument running fastest.

    Parameters
    ----------
    algorithm : Algorithm or iterable of Algorithm
        What is run.
    alpha, step_size : float or sequence of float
        One number per setting; use :class:`Setting` for arrays per coordinate or per step.
    seed : int or iterable of int, optional
        Source of the minibatches of a stochastic algorithm.
    data : Regression or iterable of Regression, optional
        Instead of the data of the batch.

    Returns
    -------
    tuple of Setting
        One per combination.

    Raises
    ------
    InputError
        An argument is empty.

    Examples
    --------
    >>> import sam_theory as st
    >>> grid = st.settings_grid(algorithm=[st.gd(), st.one_sam(0.1)], alpha=[0.01, 0.1, 1.0])
    >>> len(grid), grid[-1].algorithm.label, grid[-1].alpha
    (6, '1-SAM', 1.0)
    """
    axes: list[list[Any]] = []
    given: dict[str, Any] = {
        "algorithm": algorithm,
        "alpha": alpha,
        "step_size": step_size,
        "seed": seed,
    }
    for name, several in (given | {"data": data}).items():
        value = several[()] if isinstance(several, np.ndarray) and several.ndim == 0 else several
        one = value is None or np.isscalar(value) or isinstance(value, Algorithm | Regression)
        if not one and not isinstance(value, Iterable):
            raise InputError(f"{name} must be one value or several, not {type(value).__name__}")
        axis = [value] if one else list(value)
        if not axis:
            raise InputError(f"{name} is empty")
        axes.append(axis)
    return tuple(
        Setting(algorithm=a, alpha=b, step_size=c, seed=s, data=e)
        for a, b, c, s, e in itertools.product(*axes)
    )


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Sequence[Result], Generic[Result]):
    """Results of a batch, in the order of its settings.

    Attributes
    ----------
    settings : tuple of Setting
    results : tuple of Descent or of ImplicitBias
    """

    settings: tuple[Setting, ...]
    results: tuple[Result, ...]

    def __repr__(self) -> str:
        """Say how many there are and how they ended."""
        counts: dict[str, int] = {}
        for result in self.results:
            counts[result.status] = counts.get(result.status, 0) + 1
        ends = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"Batch({len(self)}: {ends})"

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | Sequence[Result]:
        """Return the result of one setting, or a tuple of them."""
        return self.results[index]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per setting: what was asked, and the ``summary`` of what came of it.

        ``alpha`` and ``step_size`` are nan where they are arrays of different values.
        """
        import pandas as pd

        rows = []
        for index, (setting, result) in enumerate(zip(self.settings, self.results, strict=True)):
            rule = setting.algorithm
            row: dict[str, Any] = {
                "setting": index,
                "algorithm": rule.label,
                "rho": rule.rho,
                "m": rule.m,
                "batch_size": rule.batch_size,
                "alpha": _common(setting.alpha),
            }
            if setting.step_size is not None:
                row["step_size"] = _common(setting.step_size)
            if setting.seed is not None:
                row["seed"] = setting.seed
            rows.append(row | result.summary())
        return pd.DataFrame(rows)


def _common(value: Any) -> float:
    numbers = np.asarray(value, dtype=np.float64).ravel()
    return float(numbers[0]) if np.all(numbers == numbers[0]) else float("nan")


def checked_settings(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Return the settings as a tuple; InputError names one that is not a Setting."""
    if not isinstance(settings, Iterable) or getattr(settings, "ndim", 1) == 0:
        raise InputError("settings must be a sequence of Setting")
    chosen = tuple(settings)
    for index, setting in enumerate(chosen):
        if not isinstance(setting, Setting):
            raise InputError(f"settings[{index}] must be a Setting, not {type(setting).__name__}")
    if not chosen:
        raise InputError("settings is empty")
    return chosen


class naming:
    """Put the number of the setting in front of an InputError."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, InputError):
            raise InputError(f"settings[{self.index}]: {error}") from None


class Meter:
    """Fraction of all settings done, from fractions of jobs on several threads."""

    def __init__(self, progress: Report | None, sizes: list[int]) -> None:
        if progress is not None and not callable(progress):
            raise InputError("progress must be a function of one number")
        self.progress, self.sizes, self.lock = progress, sizes, threading.Lock()
        self.done = [0.0] * len(sizes)

    def of(self, job: int) -> Report:
        """Progress of one job."""

        def report(fraction: float) -> None:
            if self.progress is None:
                return
            with self.lock:
                self.done[job] = fraction * self.sizes[job]
                self.progress(sum(self.done) / sum(self.sizes))

        return report
