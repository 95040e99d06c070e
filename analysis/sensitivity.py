r"""How the test loss of the selected solution moves with the effective scale, in closed form.

beta(a) = argmin phi_alpha over {X beta = y}, a_j = log alpha_j. From beta = (alpha^2/2) sinh(2 xi),
xi = X^T nu, and S = diag(sqrt(4 beta^2 + alpha^4)) (the inverse Hessian of phi, u^2 + v^2):

    d beta = 2 beta da + S X^T dmu,   X d beta = 0
    d beta / d a = 2 P diag(beta),    P = I - S X^T (X S X^T)^-1 X.

For a test loss T with gradient h at beta, then,

    dT/da_j = 2 beta_j (P^T h)_j,     P^T h = h - X^T (X S X^T)^-1 X S h.

SAM multiplies alpha by exp(-rho Delta) (THEORY section 2), so that, exactly,

    dT/drho at rho = 0   =   - <dT/da, Delta>,

with Delta = int g^2 dt along gradient flow for n-SAM, int mean_i (x_i r_i)^2 dt for 1-SAM.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import sam_theory as st

Array = npt.NDArray[np.float64]
_RADIUS = 1e-9
"""At which Delta is read: it is that of gradient flow to a relative error of this order."""


def scale_gradient(X: Array, beta: Array, alpha: Array, h: Array) -> Array:
    """Return dT/dlog alpha_j of a loss T at the solution selected by alpha.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Design of any rank.
    beta : ndarray, shape (d,)
        argmin phi_alpha over the interpolators.
    alpha : ndarray, shape (d,) or scalar
        Effective scale that selected it, units of beta^(1/2).
    h : ndarray, shape (d,)
        Gradient of T with respect to beta, at beta.

    Returns
    -------
    ndarray, shape (d,)
        Units of T.
    """
    S = np.hypot(2.0 * beta, np.square(alpha))
    normal = X @ (S[:, None] * X.T)
    multiplier = np.linalg.lstsq(normal, X @ (S * h), rcond=None)[0]
    return 2.0 * beta * (h - X.T @ multiplier)


def loss_gradient(data: st.Regression, beta: Array) -> Array:
    """Return the gradient X^T (X beta - y)/n of the loss on data, shape (d,)."""
    return np.asarray(data.X.T @ (data.X @ beta - data.y) / data.n)


def exponents(data: st.Regression, alpha: float, m: int) -> Array:
    """Return Delta of m-SAM to leading order: int mean_B g_B^2 dt along gradient flow.

    Parameters
    ----------
    data : Regression
        n examples in d dimensions.
    alpha : float
        Initial scale.
    m : int
        Block size; blocks are consecutive.

    Returns
    -------
    ndarray, shape (d,)
        Units of beta.
    """
    return st.implicit_bias(data, alpha=alpha, algorithm=st.m_sam(_RADIUS, m)).delta


def random_block_exponents(of_n: Array, of_one: Array, n: int, m: int) -> Array:
    """Return the mean over all blocks of m of n examples, from Delta of n-SAM and of 1-SAM.

    E[g_B^2] = g^2 + (n - m)/(m (n - 1)) (sbar - g^2), sbar = mean_i x_i^2 r_i^2 (THEORY section 5).
    It is also the exponent of SGD with minibatches of m, per unit of rho = (step size)/2.
    """
    if n == 1:
        return of_n
    return of_n + (n - m) / (m * (n - 1)) * (of_one - of_n)


def leave_one_out_gradient(data: st.Regression, alpha: float) -> Array:
    """Return dT/dlog alpha_j, shape (d,), with the leave-one-out loss of the training data as T.

    Each example is left out in turn, the solution selected from the others, and half its own
    squared error differentiated. Needs no test data.
    """
    X, y, total = data.X, data.y, np.zeros(data.d)
    scale = np.full(data.d, alpha)
    for i in range(data.n):
        rest = np.arange(data.n) != i
        beta = st.minimize_potential(X[rest], y[rest], alpha).beta
        total += scale_gradient(X[rest], beta, scale, X[i] * (X[i] @ beta - y[i]))
    return total / data.n
