r"""Theorems T1 to T6: upper bounds for (stochastic, normalised, Unified) SAM.

Throughout beta bounds the smoothness of every l_i, sigma^2 the variance (1/n) sum |grad l_i - grad
L|^2 on the region that the runs visited, mu is the PL constant, b = m the number of examples per
perturbation: with several blocks of m in a batch the step is their mean, and convexity of |.|^2
gives the bounds of a single block. Proofs: docs/convergence.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sam_theory.convergence import measures
from sam_theory.convergence.problems import Array
from sam_theory.convergence.runs import Schedule, constant_schedule
from sam_theory.convergence.theorems import Assumption, Setup, Theorem

_PAPER = "Andriushchenko and Flammarion (ICML 2022)"
_SLACK = 1.0 + 1e-12


def _at_most(name: str, text: str, value: Any, limit: Any) -> Assumption:
    def failure(setup: Setup) -> str | None:
        found, most = value(setup), limit(setup)
        if found <= most * _SLACK:
            return None
        return f"{text} fails: {found:.6g} > {most:.6g}"

    return Assumption(name, text, failure)


VARIANCE = Assumption(
    "A1", r"$E_i |\nabla l_i - \nabla L|^2 \le \sigma^2$ on the sublevel set that the runs visit",
    lambda setup: None,
)  # fmt: skip
SMOOTH = Assumption("A2", r"every $l_i$ is $\beta$-smooth", lambda setup: None)
SMOOTH_MEAN = Assumption("A2", r"$L$ is $\beta$-smooth", lambda setup: None)
PL = Assumption(
    "PL", r"$\frac12 |\nabla L|^2 \ge \mu (L - L_*)$",
    lambda setup: "no PL constant is known for this problem" if math.isnan(setup.mu) else None,
    of_problem=True,
)  # fmt: skip
FULL = Assumption(
    "full batch", "every step uses all examples, one perturbation",
    lambda setup: None if setup.full_batch
    else f"batch_size = {setup.batch_size}, m = {setup.m}, n = {setup.problem.n}",
)  # fmt: skip
STEP = _at_most("gamma", "step size <= 1/beta", lambda s: s.step_size * s.smoothness, lambda s: 1.0)
RADIUS = Assumption(
    "rho", "rho < 1/beta",
    lambda s: None if s.rho * s.smoothness < 1.0
    else f"rho < 1/beta fails: rho = {s.rho:.6g}, 1/beta = {1.0 / s.smoothness:.6g}",
)  # fmt: skip
RADIUS_EACH = _at_most("rho", "rho <= 1/beta", lambda s: s.rho * s.beta, lambda s: 1.0)


def _constant(setup: Setup, T: int) -> Schedule:
    return constant_schedule(setup.step_size, setup.rho, T, setup.normalization)


def _full_batch_defaults(setup: Setup) -> tuple[float, float]:
    return 1.0 / setup.smoothness, 0.5 / setup.smoothness


def _small_radius(setup: Setup) -> tuple[float, float]:
    return 1.0 / setup.smoothness, 0.1 / setup.smoothness


def _quarter(setup: Setup) -> tuple[float, float]:
    return 0.25 / setup.beta, 0.25 / setup.beta


def _along_the_run(setup: Setup) -> tuple[float, float]:
    return np.nan, np.nan


def _sigma2(setup: Setup, level: float) -> float:
    return setup.problem.variance_on(level).value


def _t1_schedule(setup: Setup, T: int) -> Schedule:
    return constant_schedule(1.0 / (setup.beta * math.sqrt(T)), 1.0 / (setup.beta * T**0.25), T)


def _t1_bound(setup: Setup, T: Any, level: float) -> Array:
    noise = 8.0 * _sigma2(setup, level) / setup.m
    return (4.0 * setup.beta * setup.problem.gap + noise) / np.sqrt(T)


def _t2_schedule(setup: Setup, T: int) -> Schedule:
    t = np.arange(T, dtype=np.float64)
    gammas = np.minimum((8.0 * t + 4.0) / (3.0 * setup.mu * (t + 1.0) ** 2), 0.5 / setup.beta)
    return Schedule(gammas, np.sqrt(gammas / setup.beta))


def _t2_bound(setup: Setup, T: Any, level: float) -> Array:
    beta, mu = setup.beta, setup.mu
    noise = 22.0 * beta * _sigma2(setup, level) / (setup.m * mu**2)
    return 3.0 * beta**2 * setup.problem.gap / (mu**2 * T**2.0) + noise / T


def _t3_decrease(setup: Setup) -> float:
    return 1.0 - (setup.smoothness * setup.rho) ** 2


def _t3_bound(setup: Setup, T: Any, level: float) -> Array:
    return 2.0 * setup.problem.gap / (setup.step_size * _t3_decrease(setup) * T)


def _t3_linear_bound(setup: Setup, T: Any, level: float) -> Array:
    factor = 1.0 - setup.step_size * setup.mu * _t3_decrease(setup)
    return setup.problem.gap * factor ** np.asarray(T, dtype=np.float64)


def _t4_bound(setup: Setup, T: Any, level: float) -> Array:
    floor = (setup.smoothness * setup.rho) ** 2
    return 2.0 * setup.problem.gap / (setup.step_size * T) + floor


def t5_coefficients(setup: Setup) -> tuple[float, float]:
    """Return c and N of E L(w+) <= L - gamma c |grad L|^2 + gamma N sigma^2/b."""
    move = (setup.beta * setup.rho) ** 2
    noise = 0.5 * setup.step_size * setup.beta * (1.0 + setup.beta * setup.rho) ** 2
    return 0.75 - move - noise, move + noise


def _t5_right(setup: Setup, gap: Array, square: Array, variance: Array) -> Array:
    gain, noise = t5_coefficients(setup)
    return gap - setup.step_size * (gain * square - noise * variance / setup.m)


def _t5_bound(setup: Setup, T: Any, level: float) -> Array:
    return np.full(len(T), np.nan)


def _t5_mean_bound(setup: Setup, T: Any, level: float) -> Array:
    gain, noise = t5_coefficients(setup)
    floor = noise * _sigma2(setup, level) / (setup.m * gain)
    return setup.problem.gap / (setup.step_size * gain * T) + floor


def _t5_linear_bound(setup: Setup, T: Any, level: float) -> Array:
    gain, noise = t5_coefficients(setup)
    factor = 1.0 - 2.0 * setup.mu * setup.step_size * gain
    floor = noise * _sigma2(setup, level) / (2.0 * setup.mu * gain * setup.m)
    return setup.problem.gap * factor ** np.asarray(T, dtype=np.float64) + floor


_POSITIVE = Assumption(
    "gain", r"$3/4 - \beta^2\rho^2 - \frac{\gamma\beta}{2}(1+\beta\rho)^2 > 0$",
    lambda setup: None if t5_coefficients(setup)[0] > 0.0
    else f"the coefficient of |grad L|^2 is {t5_coefficients(setup)[0]:.4g}",
)  # fmt: skip


def residual_constants(setup: Setup) -> tuple[float, float, float]:
    """Return A, B, C of E|g_S|^2 <= 2 A (L - L*) + B |grad L|^2 + C for samples of m of n."""
    n, m = setup.problem.n, setup.m
    known = setup.problem.constants
    if n == 1 or m == n:
        return 0.0, 1.0, 0.0
    A = (n - m) * setup.beta / (m * (n - 1.0))
    lower = known.example_minimum
    assert lower is not None
    return A, n * (m - 1.0) / (m * (n - 1.0)), 2.0 * A * (known.minimum.value - lower.value)


def t6_coefficients(setup: Setup) -> tuple[float, float]:
    """Return kappa and N of E L(w+) - L* <= (1 - 2 mu gamma kappa)(L - L*) + gamma N."""
    A, B, C = residual_constants(setup)
    beta, lam = setup.beta, setup.normalization
    step = setup.step_size * beta
    move = 2.0 * (beta * setup.rho) ** 2 * (1.0 + step)
    share = step + move * (1.0 - lam) ** 2
    return 0.75 - share * (A / setup.mu + B), share * C + move * lam**2


def t6_steps(setup: Setup) -> tuple[float, float]:
    """Return the constant step size and radius of Unified SAM, theorem 3.2."""
    A, B, _ = residual_constants(setup)
    whole = B * setup.mu + A
    keep = (1.0 - setup.normalization) ** 2
    radius = min(1.0, setup.mu / (2.0 * whole * keep)) if keep > 0.0 else 1.0
    return min(2.0, setup.mu / (8.0 * whole)) / setup.beta, radius / (4.0 * setup.beta)


def _t6_bound(setup: Setup, T: Any, level: float) -> Array:
    gain, noise = t6_coefficients(setup)
    factor = 1.0 - 2.0 * setup.mu * setup.step_size * gain
    floor = noise / (2.0 * setup.mu * gain)
    return setup.problem.gap * factor ** np.asarray(T, dtype=np.float64) + floor


_RESIDUAL = Assumption(
    "ER", r"expected residual: the $l_i$ are bounded below, by known numbers",
    lambda setup: None if setup.full_batch or setup.problem.constants.example_minimum is not None
    else "example_minimum is not known for this problem",
    of_problem=True,
)  # fmt: skip
_T6_POSITIVE = Assumption(
    "gain", r"$\kappa > 0$",
    lambda setup: None if t6_coefficients(setup)[0] > 0.0
    else f"kappa = {t6_coefficients(setup)[0]:.4g}: step size or radius too large",
)  # fmt: skip


T1 = Theorem(
    name="T1",
    title="stochastic SAM, mean squared gradient",
    statement=r"\frac1T \sum_{t<T} E|\nabla L(w_t)|^2 \le \frac{4\beta (L_0 - L_*)}{\sqrt T} + "
    r"\frac{8\sigma^2}{b\sqrt T},\quad \gamma = \frac{1}{\beta\sqrt T},\ \rho = "
    r"\frac{1}{\beta T^{1/4}}",
    kind="upper", quantity="mean of |grad L|^2", expectation=True,
    source=f"{_PAPER}, convergence theorem, quoted; from T5 for T >= 19", proved_from=19,
    assumptions=(VARIANCE, SMOOTH), schedule=_t1_schedule, bound=_t1_bound,
    measure=measures.on_own_runs(measures.mean_square), defaults=_along_the_run, exponent=-0.5,
    fixed=True, horizons=(25, 100, 400, 1600, 6400),
)  # fmt: skip
T2 = Theorem(
    name="T2",
    title="stochastic SAM under PL, decreasing steps",
    statement=r"E L(w_T) - L_* \le \frac{3\beta^2 (L_0 - L_*)}{\mu^2 T^2} + "
    r"\frac{22\beta\sigma^2}{b\mu^2 T},\quad \gamma_t = \min\Big\{\frac{8t+4}{3\mu(t+1)^2}, "
    r"\frac{1}{2\beta}\Big\},\ \rho_t = \sqrt{\gamma_t/\beta}",
    kind="upper", quantity="L - L*", expectation=True,
    source=f"{_PAPER}, convergence theorem under PL, quoted", proved_from=None,
    assumptions=(VARIANCE, SMOOTH, PL), schedule=_t2_schedule, bound=_t2_bound,
    measure=measures.on_one_run(measures.gap), defaults=_along_the_run, exponent=-1.0,
    fixed=True, horizons=(100, 400, 1600, 3200, 6400),
)  # fmt: skip
T3 = Theorem(
    name="T3",
    title="n-SAM, smallest squared gradient",
    statement=r"\min_{t<T} |\nabla L(w_t)|^2 \le \frac{2(L_0 - L_*)}"
    r"{\gamma(1-\beta^2\rho^2)T},\quad \gamma \le 1/\beta,\ \rho < 1/\beta",
    kind="upper", quantity="min of |grad L|^2", expectation=False,
    source="derived: docs/convergence.md, T3", proved_from=1,
    assumptions=(SMOOTH_MEAN, FULL, STEP, RADIUS), schedule=_constant, bound=_t3_bound,
    measure=measures.on_one_run(measures.least_square), defaults=_full_batch_defaults,
    exponent=-1.0,
)  # fmt: skip
T3_PL = Theorem(
    name="T3-PL",
    title="n-SAM under PL, linear rate",
    statement=r"L(w_T) - L_* \le (1 - \gamma\mu(1-\beta^2\rho^2))^T (L_0 - L_*),\quad "
    r"\gamma \le 1/\beta,\ \rho < 1/\beta",
    kind="upper", quantity="L - L*", expectation=False,
    source="derived: docs/convergence.md, T3", proved_from=1,
    assumptions=(SMOOTH_MEAN, PL, FULL, STEP, RADIUS), schedule=_constant, bound=_t3_linear_bound,
    measure=measures.on_one_run(measures.gap), defaults=_full_batch_defaults,
    horizons=(4, 8, 16, 32, 64),
)  # fmt: skip
T4 = Theorem(
    name="T4",
    title="normalised n-SAM, smallest squared gradient down to a floor",
    statement=r"\min_{t<T} |\nabla L(w_t)|^2 \le \frac{2(L_0 - L_*)}{\gamma T} + "
    r"\beta^2\rho^2,\quad \gamma \le 1/\beta",
    kind="upper", quantity="min of |grad L|^2", expectation=False,
    source="derived: docs/convergence.md, T4", proved_from=1,
    assumptions=(SMOOTH_MEAN, FULL, STEP), schedule=_constant, bound=_t4_bound,
    measure=measures.on_one_run(measures.least_square), defaults=_small_radius,
    normalization=1.0,
)  # fmt: skip
T5 = Theorem(
    name="T5",
    title="stochastic SAM, one step",
    statement=r"E L(w_+) \le L - \gamma\Big(\frac34 - \beta^2\rho^2 - \frac{\gamma\beta}{2}"
    r"(1+\beta\rho)^2\Big)|\nabla L|^2 + \gamma\Big(\beta^2\rho^2 + "
    r"\frac{\gamma\beta}{2}(1+\beta\rho)^2\Big)\frac{\sigma^2}{b},\quad \beta\rho \le 1",
    kind="upper", quantity="L - L* after the step", expectation=True,
    source="derived: docs/convergence.md, T5", proved_from=1,
    assumptions=(VARIANCE, SMOOTH, RADIUS_EACH), schedule=_constant, bound=_t5_bound,
    measure=measures.one_step(_t5_right), defaults=_quarter, horizons=(0, 3, 15, 63, 255),
)  # fmt: skip
T5_MEAN = Theorem(
    name="T5-mean",
    title="stochastic SAM with constant steps, mean squared gradient",
    statement=r"\frac1T\sum_{t<T} E|\nabla L(w_t)|^2 \le \frac{L_0 - L_*}{\gamma c T} + "
    r"\frac{N\sigma^2}{c\,b}\quad (c, N \text{ as in T5})",
    kind="upper", quantity="mean of |grad L|^2", expectation=True,
    source="derived: docs/convergence.md, T5 summed", proved_from=1,
    assumptions=(VARIANCE, SMOOTH, RADIUS_EACH, _POSITIVE), schedule=_constant,
    bound=_t5_mean_bound, measure=measures.on_one_run(measures.mean_square), defaults=_quarter,
)  # fmt: skip
T5_PL = Theorem(
    name="T5-PL",
    title="stochastic SAM with constant steps under PL: linear to a neighbourhood",
    statement=r"E L(w_T) - L_* \le (1-2\mu\gamma c)^T (L_0 - L_*) + "
    r"\frac{N\sigma^2}{2\mu c\,b}\quad (c, N \text{ as in T5})",
    kind="upper", quantity="L - L*", expectation=True,
    source="derived: docs/convergence.md, T5 under PL", proved_from=1,
    assumptions=(VARIANCE, SMOOTH, PL, RADIUS_EACH, _POSITIVE), schedule=_constant,
    bound=_t5_linear_bound, measure=measures.on_one_run(measures.gap), defaults=_quarter,
)  # fmt: skip
T6 = Theorem(
    name="T6",
    title="Unified SAM under PL and expected residual",
    statement=r"E L(w_T) - L_* \le (1-2\mu\gamma\kappa)^T (L_0 - L_*) + \frac{N}{2\mu\kappa},"
    r"\quad \kappa = \frac34 - \Big(\gamma\beta + 2\beta^2\rho^2(1-\lambda)^2(1+\gamma\beta)"
    r"\Big)\Big(\frac A\mu + B\Big)",
    kind="upper", quantity="L - L*", expectation=True,
    source="steps and sampling constants: Oikonomou and Loizou (ICLR 2025), theorem 3.2; bound "
    "derived: docs/convergence.md, T6", proved_from=1,
    assumptions=(SMOOTH, PL, _RESIDUAL, _T6_POSITIVE), schedule=_constant, bound=_t6_bound,
    measure=measures.on_one_run(measures.gap), defaults=t6_steps, normalization=None,
)  # fmt: skip
BOUNDS = (T1, T2, T3, T3_PL, T4, T5, T5_MEAN, T5_PL, T6)
