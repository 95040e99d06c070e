"""The limit that training selects, however its exponent became known.

Flow and finite steps both end in argmin phi_{alpha_eff}(beta) - <shift/2, beta> over the
interpolators: the flow brings alpha_eff with shift = 0 (THEORY section 2), a finite-step run brings
both (section 3).  This module turns (alpha_eff, shift) into the certified solution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._threads import single_threaded
from ..algorithms import Algorithm
from ..design import Array
from ..regression import Regression
from ..row_space import find_row_space
from .certificate import Certificate
from .coordinates import check_shift
from .minimizer import minimize_on_rows
from .sharpness import largest_and_trace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ImplicitBias:
    """The solution selected by an algorithm on a diagonal linear network.

    Attributes
    ----------
    beta : ndarray, shape (d,)
        The selected solution.
    alpha_effective : ndarray, shape (d,)
        Effective initialisation scale, alpha exp(-rho delta), units of beta^(1/2).
    delta : ndarray, shape (d,)
        log(alpha/alpha_effective)/rho, i.e. int q dt/rho; zero for gradient descent's flow.
    shift : ndarray, shape (d,)
        Displacement of the mirror image by finite steps, dimensionless; zero for a flow.
    status : str
        "converged"; "least_squares" (y outside the range of X: the least-squares limit);
        "no_interpolation", "singular", "max_steps" (the flow has no zero-loss limit, or was
        stopped; beta is then the last point of the flow and nothing is certified).
    algorithm : Algorithm
        What was run.
    alpha : ndarray, shape (d,)
        Initial scale, u(0) = alpha, v(0) = 0.
    certificate : Certificate or None
        What is proved about beta given alpha_effective and shift.
    loss_integral : float or None
        int_0^inf L dt along the flow, units of beta; None where it was not computed.
    sharpness : float
        Largest eigenvalue of the loss Hessian at beta.
    hessian_trace : float
        Trace of the loss Hessian at beta.
    alpha_effective_error : float
        Estimated relative error of alpha_effective (largest coordinate; an estimate, not a bound).
    """

    beta: Array = field(repr=False)
    alpha_effective: Array = field(repr=False)
    delta: Array = field(repr=False)
    shift: Array = field(repr=False)
    status: str
    algorithm: Algorithm
    alpha: Array = field(repr=False)
    certificate: Certificate | None = field(repr=False)
    loss_integral: float | None
    sharpness: float
    hessian_trace: float
    alpha_effective_error: float

    def __repr__(self) -> str:
        """Return one line: algorithm, status, norms, sharpness and error bound."""
        bound = "none" if self.certificate is None else f"{self.certificate.error_bound:.1e}"
        return (
            f"ImplicitBias({self.algorithm.label}, {self.status}, d={self.beta.size}, "
            f"l1={self.l1_norm:.6g}, l2={self.l2_norm:.6g}, sharpness={self.sharpness:.6g}, "
            f"error_bound={bound})"
        )

    @property
    def l1_norm(self) -> float:
        """Sum of |beta|, units of beta."""
        return float(np.sum(np.abs(self.beta)))

    @property
    def l2_norm(self) -> float:
        """Euclidean norm of beta, units of beta."""
        return float(np.linalg.norm(self.beta))

    def loss(self, data: Regression) -> float:
        """Return (1/2n) ||X beta - y||^2 on data, for instance on a test set."""
        return data.loss(self.beta)

    def summary(self) -> dict[str, Any]:
        """Return status, l1, l2, sharpness, hessian_trace and error_bound (nan if none) by name."""
        proof = self.certificate
        return {
            "status": self.status,
            "l1": self.l1_norm,
            "l2": self.l2_norm,
            "sharpness": self.sharpness,
            "hessian_trace": self.hessian_trace,
            "error_bound": float("nan") if proof is None else proof.error_bound,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row per coordinate: beta, alpha_effective, delta, shift, error bound."""
        import pandas as pd

        bounds = (
            np.full(self.beta.shape, np.nan)
            if self.certificate is None
            else self.certificate.coordinate_bounds
        )
        return pd.DataFrame(
            {
                "beta": self.beta,
                "alpha_effective": self.alpha_effective,
                "delta": self.delta,
                "shift": self.shift,
                "error_bound": bounds,
            }
        ).rename_axis("coordinate")


@single_threaded
def solve_limit(
    data: Regression,
    *,
    alpha: Array,
    algorithm: Algorithm,
    log_alpha_effective: Array,
    shift: Array | None = None,
    y: Array | None = None,
    delta: Array | None = None,
    status: str = "converged",
    loss_integral: float | None = None,
    alpha_effective_error: float = 0.0,
    start: Array | None = None,
) -> ImplicitBias:
    """Solve for the limit with known effective scale; y (n,) replaces the labels of data.

    ``start`` (n,) is a guess of mu, where theta = X^T mu.
    """
    space = data.row_space if y is None else find_row_space(data.X, y)
    displacement = np.zeros(data.d) if shift is None else shift
    check_shift(displacement)
    found = minimize_on_rows(data.X, space, log_alpha_effective, displacement, start)
    return describe(
        data,
        found.beta,
        alpha=alpha,
        algorithm=algorithm,
        log_alpha_effective=log_alpha_effective,
        shift=displacement,
        delta=delta,
        status=found.status if status == "converged" else status,
        certificate=found.certificate,
        loss_integral=loss_integral,
        alpha_effective_error=alpha_effective_error,
    )


def describe(
    data: Regression,
    beta: Array,
    *,
    alpha: Array,
    algorithm: Algorithm,
    log_alpha_effective: Array,
    shift: Array | None = None,
    delta: Array | None = None,
    status: str,
    certificate: Certificate | None = None,
    loss_integral: float | None = None,
    alpha_effective_error: float = 0.0,
) -> ImplicitBias:
    """Assemble the result for a known beta."""
    if delta is None:
        exponent = np.log(alpha) - log_alpha_effective
        delta = exponent / algorithm.rho if algorithm.rho > 0.0 else np.zeros(data.d)
    sharpness, trace = largest_and_trace(data.X, beta, log_alpha_effective)
    return ImplicitBias(
        beta=beta,
        alpha_effective=np.exp(log_alpha_effective),
        delta=delta,
        shift=np.zeros(data.d) if shift is None else shift,
        status=status,
        algorithm=algorithm,
        alpha=alpha,
        certificate=certificate,
        loss_integral=loss_integral,
        sharpness=sharpness,
        hessian_trace=trace,
        alpha_effective_error=alpha_effective_error,
    )
