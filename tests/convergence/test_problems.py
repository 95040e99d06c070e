"""The constants of the built-in problems against independent answers."""

import mpmath
import numpy as np
import pytest
import rates_twins as twins

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.convergence.checks import check_problem
from sam_theory.convergence.constants import bound, claimed, exact
from sam_theory.convergence.nonconvex import WAVE_MU
from sam_theory.convergence.regression import largest_on_ball

NAMES = list(rates.PROBLEMS)


def test_at_least_twelve():
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_objective_is_its_definition(name):
    problem = rates.problem(name)
    check_problem(problem)
    generator = np.random.default_rng(0)
    for rows in (np.arange(problem.n), np.array([problem.n - 1]), np.array([0, problem.n // 2])):
        w = problem.start + 0.2 * generator.standard_normal(problem.d)
        loss, gradient = problem.evaluate(w, rows)
        value, slope = twins.loss_and_gradient(
            problem, w, np.unique(rows) if len(rows) < 3 else rows
        )
        if len(rows) == len(np.unique(rows)):
            assert loss == pytest.approx(value, rel=1e-13, abs=1e-15)
            assert np.allclose(gradient, slope, rtol=0, atol=1e-13 * (1 + np.abs(slope).max()))


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_not_refuted(name):
    table = rates.refute(rates.problem(name), effort=2)
    assert list(table["verdict"].unique()) == ["not refuted"]


@pytest.mark.parametrize("name", ["least_squares", "ridge", "rank_deficient", "quadratic", "wave"])
def test_exact_constants_are_attained(name):
    """A constant called exact is met by the search, so that nothing better can hold."""
    problem = rates.problem(name)
    found = rates.refute(problem).set_index("constant")
    exactly = found[(found["how"] == "exact") & found.index.isin(["beta", "beta_mean", "minimum"])]
    assert len(exactly) == 3
    assert np.allclose(exactly["found"], exactly["claimed"], rtol=1e-5, atol=1e-12)


def test_least_squares_against_svd():
    generator = np.random.default_rng(3)
    X, y = generator.standard_normal((9, 5)), generator.standard_normal(9)
    known = rates.least_squares(X, y).constants
    s = np.linalg.svd(X, compute_uv=False)
    solution = np.linalg.lstsq(X, y, rcond=None)[0]
    assert known.mu.value == pytest.approx(s[-1] ** 2 / 9, rel=1e-12)
    assert known.beta_mean.value == pytest.approx(s[0] ** 2 / 9, rel=1e-12)
    assert known.minimum.value == pytest.approx(np.mean((X @ solution - y) ** 2) / 2, rel=1e-12)


def test_logistic_minimum_against_scipy():
    from scipy.optimize import minimize

    problem = rates.problem("logistic")
    best = minimize(
        lambda w: problem.evaluate(w), problem.start, jac=True, method="BFGS",
        options={"gtol": 1e-10},
    )  # fmt: skip
    least = problem.constants.minimum.value
    assert least <= best.fun and best.fun - least < 1e-12


@pytest.mark.parametrize("name", ["least_squares", "interpolation", "ridge", "rank_deficient"])
def test_variance_is_the_supremum(name):
    """The S-lemma's value is an upper bound, and a point of the level set attains it."""
    problem = rates.problem(name)
    level = problem.loss(problem.start)
    most = problem.variance_on(level).value
    generator = np.random.default_rng(0)
    best = 0.0
    center = problem.features["solution"]
    for _ in range(300):
        direction = generator.standard_normal(problem.d)
        if name in ("interpolation", "ridge"):
            direction = problem.A.T @ generator.standard_normal(problem.n)
        height = problem.loss(center + direction) - problem.constants.minimum.value
        scale = np.sqrt((level - problem.constants.minimum.value) / height)
        value = problem.variance(center + scale * direction)
        assert value <= most * (1 + 1e-12)
        best = max(best, value)
    assert best > 0.6 * most


@pytest.mark.parametrize("seed", range(6))
def test_largest_on_ball(seed):
    """Against a fine search of the circle and its inside, in two dimensions."""
    generator = np.random.default_rng(seed)
    Q = generator.standard_normal((2, 2))
    Q = Q + Q.T - (3.0 * np.eye(2) if seed % 2 else 0.0)
    b = generator.standard_normal(2) * (0.0 if seed == 4 else 1.0)
    angle, radius = np.meshgrid(np.linspace(0, 2 * np.pi, 4001), np.linspace(0, 1.5, 301))
    s = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    best = np.max(np.einsum("...i,ij,...j", s, Q, s) + s @ b)
    found = largest_on_ball(Q, b, 1.5**2)
    assert best <= found + 1e-12 and found - best < 1e-4


def test_largest_on_ball_hard_case():
    """b without a part along the top eigenvector: the maximiser is not unique."""
    assert largest_on_ball(np.diag([2.0, -1.0]), np.array([0.0, 3.0]), 4.0) == pytest.approx(
        2.0 * (4.0 - 0.25) - 0.25 + 1.5, rel=1e-10
    )


def test_wave_pl_constant_by_intervals():
    """f'^2 - 2 mu f >= 0 on (0.02, 6], proved by interval arithmetic; beyond, by hand."""

    def positive(low, high, mu):
        z = mpmath.iv.mpf([low, high])
        slope = 2 + 3 * mpmath.iv.sin(2 * z) / z
        ratio = 1 + 3 * (mpmath.iv.sin(z) / z) ** 2
        return (slope**2 - 2 * mpmath.iv.mpf(mu) * ratio).a > 0

    def proved(mu):
        stack = [(0.02 + 0.5 * k, 0.02 + 0.5 * (k + 1)) for k in range(12)]
        while stack:
            low, high = stack.pop()
            if positive(low, high, mu):
                continue
            if high - low < 1e-10:
                return False
            middle = 0.5 * (low + high)
            stack += [(low, middle), (middle, high)]
        return True

    assert proved(WAVE_MU * (1.0 - 1e-5))
    assert not proved(WAVE_MU * (1.0 + 1e-4))
    # For z > 6: f' > 2z - 3 and f < z^2 + 3; near 0 f'/z -> 8 and f/z^2 -> 4.
    assert (2 * 6.0 - 3) ** 2 / (2 * (6.0**2 + 3)) > WAVE_MU
    assert (8 * (1 - 1e-3)) ** 2 / (2 * 4.0) > WAVE_MU
    f, slope = 2.2017**2 + 3 * np.sin(2.2017) ** 2, 2 * 2.2017 + 3 * np.sin(2 * 2.2017)
    assert slope**2 / (2 * f) == pytest.approx(WAVE_MU, rel=1e-6)


def network(X, largest):
    return rates.diagonal(X, np.ones(2), alpha=1.0, largest=largest, least=0.5)


def constants(beta, beta_mean, minimum, **others):
    rest = {name: claimed(value) for name, value in others.items()}
    return rates.Constants(exact(beta, ""), bound(beta_mean, ""), claimed(minimum), **rest)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rates.least_squares([[1.0, np.nan]], [1.0]), "nan"),
        (lambda: rates.least_squares([[1.0]], [1.0, 2.0]), "1 rows"),
        (lambda: rates.least_squares([[0.0]], [1.0]), "X is 0"),
        (lambda: rates.least_squares([[1.0]], [1.0], l2=-1.0), "l2 must be >= 0"),
        (lambda: rates.logistic([[1.0]], [0.5]), "labels must be -1 or 1, row 1 has 0.5"),
        (lambda: rates.quadratic([1.0, -1.0]), "positive"),
        (lambda: rates.quadratic([1.0], centers=np.zeros((2, 2))), "shape"),
        (lambda: rates.wave([[1.0, 1.0]]), "orthonormal"),
        (lambda: rates.double_well(start=9.0), "outside"),
        (lambda: rates.factorization(np.eye(2), np.eye(2)[:, :1], np.eye(2)[:, :1]), "width 1"),
        (lambda: rates.factorization(np.eye(2), np.eye(2), np.eye(2), radius=1.5), "full rank"),
        (lambda: network(np.ones((2, 3)), largest=2.0), "row rank"),
        (lambda: network(np.eye(2), largest=0.5), "inside"),
        (lambda: rates.problem("none"), "known: least_squares"),
        (lambda: rates.theorem("T9"), "known: T1"),
        (lambda: constants(1, 2, 0), "beta_mean = 2 exceeds"),
        (lambda: constants(-1, 1, 0), "beta must be positive"),
        (lambda: constants(1, 1, 0, mu=2), "mu = 2 exceeds"),
        (lambda: constants(1, 1, np.nan), "minimum must be finite"),
        (lambda: constants(1, 1, 0, example_minimum=1), "example_minimum = 1 exceeds"),
    ],
)  # fmt: skip
def test_refused(make, message):
    with pytest.raises(st.InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
