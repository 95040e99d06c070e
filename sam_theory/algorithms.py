"""Training algorithms as data: GD, SGD, n-SAM, m-SAM and 1-SAM in one frozen description.

A step draws a minibatch of ``batch_size`` examples, cuts it into consecutive blocks B of ``m``
examples, perturbs the weights once per block and averages the block gradients:

    w <- w - gamma mean_B grad L_B( w + rho_B grad L_B(w) ),    L_B = (1/2m) sum_{i in B} r_i^2

with ``rho_B = rho`` (unnormalised) or ``rho_B = rho / ||grad L_B(w)||_2`` (normalised). GD and SGD
are ``rho = 0``. Source: Andriushchenko and Flammarion, ICML 2022 (arXiv 2206.06232), section 2.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from sam_theory.errors import InputError

Kind = Literal["gd", "sgd", "n-sam", "m-sam", "1-sam"]
KINDS: tuple[Kind, ...] = ("gd", "sgd", "n-sam", "m-sam", "1-sam")
_REFERENCE_METHODS = ("gd", "sgd", "n-sam", "1-sam")


@dataclass(frozen=True)
class Algorithm:
    """One training algorithm, independent of the model and of the step size.

    Parameters
    ----------
    rho : float
        Perturbation radius, finite and >= 0; 0 is plain (stochastic) gradient descent. When
        ``normalized``, a length in weight space; otherwise the step of the ascent (dimensionless).
    m : int, optional
        Examples per perturbation; None is the whole batch.
    batch_size : int, optional
        Examples per step; None is all n examples.
    normalized : bool
        Divide each block's ascent step by the norm of the block's gradient.
    ascent_steps : int
        Number of ascent steps per perturbation, >= 1.

    Raises
    ------
    InputError
        A field is outside its range; the message names it.
    """

    rho: float = 0.0
    m: int | None = None
    batch_size: int | None = None
    normalized: bool = False
    ascent_steps: int = 1

    def __post_init__(self) -> None:
        """Check every field and store plain Python numbers."""
        object.__setattr__(self, "rho", _radius(self.rho))
        if self.m is not None:
            object.__setattr__(self, "m", _count("m", self.m))
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", _count("batch_size", self.batch_size))
        if not isinstance(self.normalized, bool | np.bool_):
            raise InputError(f"normalized must be True or False, not {self.normalized!r}")
        object.__setattr__(self, "normalized", bool(self.normalized))
        object.__setattr__(self, "ascent_steps", _count("ascent_steps", self.ascent_steps))

    @property
    def kind(self) -> Kind:
        """Family: "gd", "sgd", "n-sam", "m-sam" or "1-sam".

        ``rho = 0`` is "gd" or "sgd" whatever m is; a SAM whose block is its whole minibatch is
        named after the size of that minibatch.
        """
        if self.rho == 0.0:
            return "gd" if self.batch_size is None else "sgd"
        block = self.batch_size if self.m is None else self.m
        if block is None:
            return "n-sam"
        return "1-sam" if block == 1 else "m-sam"

    @property
    def label(self) -> str:
        """Human-readable name without the radius, for instance "m-SAM, m=5"."""
        kind = self.kind
        parts = [kind.upper() if kind in ("gd", "sgd") else kind.replace("sam", "SAM")]
        if kind == "m-sam":
            parts.append(f"m={self.batch_size if self.m is None else self.m}")
        if self.batch_size is not None:
            parts.append(f"batch {self.batch_size}")
        if self.rho > 0.0 and self.normalized:
            parts.append("normalized")
        if self.rho > 0.0 and self.ascent_steps > 1:
            parts.append(f"{self.ascent_steps} ascent steps")
        return ", ".join(parts)

    def resolve(self, n: int) -> tuple[int, int]:
        """Resolve the sizes on a data set of n examples.

        Parameters
        ----------
        n : int
            Number of examples, >= 1.

        Returns
        -------
        batch_size, m : int
            Examples per step and per perturbation; m divides batch_size.

        Raises
        ------
        InputError
            batch_size exceeds n, m exceeds the batch, or m does not divide it.
        """
        n = _count("n", n)
        batch = n if self.batch_size is None else self.batch_size
        if batch > n:
            raise InputError(f"batch_size = {batch} exceeds the number of examples n = {n}")
        m = batch if self.m is None else self.m
        whole = f"n = {n}" if self.batch_size is None else f"batch_size = {batch}"
        if m > batch:
            raise InputError(f"m = {m} exceeds {whole} (n = {n} examples)")
        if batch % m:
            raise InputError(f"m = {m} does not divide {whole} (n = {n} examples)")
        return batch, m


def gd() -> Algorithm:
    """Full-batch gradient descent.

    Returns
    -------
    Algorithm
        rho = 0, all n examples in every step.
    """
    return Algorithm()


def sgd(batch_size: int = 1) -> Algorithm:
    """Stochastic gradient descent.

    Parameters
    ----------
    batch_size : int
        Examples per step, >= 1.

    Returns
    -------
    Algorithm
        rho = 0 on minibatches.
    """
    return Algorithm(batch_size=batch_size)


def n_sam(rho: float, *, normalized: bool = False, ascent_steps: int = 1) -> Algorithm:
    """SAM with one perturbation from the full gradient (m = n).

    Parameters
    ----------
    rho : float
        Perturbation radius, >= 0.
    normalized : bool
        Divide the ascent step by the gradient's norm.
    ascent_steps : int
        Number of ascent steps, >= 1.

    Returns
    -------
    Algorithm
        Of :attr:`~Algorithm.kind` "n-sam"; "gd" if rho = 0.
    """
    return Algorithm(rho=rho, normalized=normalized, ascent_steps=ascent_steps)


def m_sam(
    rho: float,
    m: int,
    *,
    batch_size: int | None = None,
    normalized: bool = False,
    ascent_steps: int = 1,
) -> Algorithm:
    """SAM with one perturbation per block of m examples.

    Parameters
    ----------
    rho : float
        Perturbation radius, >= 0.
    m : int
        Examples per perturbation; divides the batch.
    batch_size : int, optional
        Examples per step, None is all of them.
    normalized : bool
        Divide each ascent step by its block gradient's norm.
    ascent_steps : int
        Number of ascent steps, >= 1.

    Returns
    -------
    Algorithm
        Of :attr:`~Algorithm.kind` "m-sam"; "1-sam" if m = 1, and "gd" or "sgd" if rho = 0.
    """
    return Algorithm(rho, m, batch_size, normalized, ascent_steps)


def one_sam(
    rho: float,
    *,
    batch_size: int | None = None,
    normalized: bool = False,
    ascent_steps: int = 1,
) -> Algorithm:
    """SAM with one perturbation per example (m = 1).

    Parameters
    ----------
    rho : float
        Perturbation radius, >= 0.
    batch_size : int, optional
        Examples per step, None is all of them.
    normalized : bool
        Divide each ascent step by its example's gradient norm.
    ascent_steps : int
        Number of ascent steps, >= 1.

    Returns
    -------
    Algorithm
        Of :attr:`~Algorithm.kind` "1-sam"; "gd" or "sgd" if rho = 0.

    Examples
    --------
    >>> from sam_theory import one_sam
    >>> one_sam(0.1).kind, one_sam(0.1).label
    ('1-sam', '1-SAM')
    """
    return Algorithm(rho, 1, batch_size, normalized, ascent_steps)


def from_reference(method: str, rho: float | None = None) -> Algorithm:
    """Algorithm of the published code of Andriushchenko and Flammarion (2022).

    That code's 1-SAM perturbs with ``2 rho r_i x_i``, twice the gradient of l_i = r_i^2/2, so its
    rho is doubled here; its n-SAM uses rho as this project does. Its SGD draws one example a step.

    Parameters
    ----------
    method : {"gd", "sgd", "n-sam", "1-sam"}
        Name of the method there.
    rho : float, optional
        The published radius; None (or 0) for "gd" and "sgd", required for the others.

    Returns
    -------
    Algorithm
        The same training in the conventions of this project.

    Raises
    ------
    InputError
        Unknown method, rho missing for a SAM, or rho given where the method has none.

    Examples
    --------
    >>> from sam_theory import from_reference
    >>> from_reference("1-sam", 0.1).rho, from_reference("n-sam", 0.1).rho
    (0.2, 0.1)
    """
    if method not in _REFERENCE_METHODS:
        raise InputError(f"method must be one of {', '.join(_REFERENCE_METHODS)}, not {method!r}")
    if method in ("gd", "sgd"):
        if rho is not None and _radius(rho) > 0.0:
            raise InputError(f"rho = {rho} given, but the method {method!r} has no perturbation")
        return gd() if method == "gd" else sgd(1)
    if rho is None:
        raise InputError(f"rho is required for the method {method!r}")
    radius = _radius(rho)
    return n_sam(radius) if method == "n-sam" else one_sam(2.0 * radius)


@overload
def from_woodworth(alpha: float) -> float: ...
@overload
def from_woodworth(alpha: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]: ...
def from_woodworth(alpha: Any) -> Any:
    """Convert the initial scale of Woodworth et al. (2020) and Pesme et al. (2021).

    They write beta = w_+^2 - w_-^2 with w(0) = alpha_W; the same flow has u(0) = 2 alpha_W here.

    Parameters
    ----------
    alpha : float or array of shape (d,)
        alpha_W > 0.

    Returns
    -------
    float or array of shape (d,)
        2 alpha_W.

    Examples
    --------
    >>> from sam_theory import from_woodworth
    >>> from_woodworth(0.05)
    0.1
    """
    return _scale(alpha, 2.0)


@overload
def from_even(alpha: float) -> float: ...
@overload
def from_even(alpha: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]: ...
def from_even(alpha: Any) -> Any:
    """Convert the initial scale of Even et al. (2023).

    They start from u(0) = sqrt(2) alpha_E, v(0) = 0.

    Parameters
    ----------
    alpha : float or array of shape (d,)
        alpha_E > 0.

    Returns
    -------
    float or array of shape (d,)
        sqrt(2) alpha_E.

    Examples
    --------
    >>> from sam_theory import from_even
    >>> round(from_even(1.0), 6)
    1.414214
    """
    return _scale(alpha, math.sqrt(2.0))


def _scale(alpha: Any, factor: float) -> Any:
    from sam_theory._validate import real_array

    values = np.asarray(real_array("alpha", alpha), dtype=np.float64)
    if not (np.all(np.isfinite(values)) and np.all(values > 0.0)):
        raise InputError("alpha must be positive and finite")
    return float(values) * factor if values.ndim == 0 else values * factor


def _radius(value: Any) -> float:
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise InputError(f"rho must be a finite number >= 0, not {value!r}")
    try:
        rho = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"rho must be a finite number >= 0, not {type(value).__name__}") from None
    if not (math.isfinite(rho) and rho >= 0.0):
        raise InputError(f"rho must be a finite number >= 0, not {rho:g}")
    return abs(rho)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be an integer >= 1, not {value!r}")
    try:
        count = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be an integer >= 1, not {value!r}") from None
    if count < 1:
        raise InputError(f"{name} must be an integer >= 1, not {count}")
    return count
