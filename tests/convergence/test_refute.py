"""False claims are refuted with points that anybody can check; true ones are not."""

import dataclasses

import numpy as np
import pytest
from numba import njit

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.convergence.refutation import findings


def scaled(problem, name, factor):
    """The problem with one constant multiplied by a factor."""
    known = problem.constants
    constant = getattr(known, name)
    false = dataclasses.replace(constant, value=factor * constant.value, how="claimed")
    changed = {name: false}
    if name == "beta" and known.beta_mean.value > false.value:
        changed["beta_mean"] = false
    return dataclasses.replace(problem, constants=dataclasses.replace(known, **changed))


@pytest.mark.parametrize(
    "name", ["least_squares", "ridge", "logistic", "saturating", "wave", "waves", "quadratic"]
)
def test_smoothness_of_nine_tenths_is_refuted(name):
    false = scaled(rates.problem(name), "beta", 0.9)
    (found,) = [f for f in findings(false) if f.constant == "beta"]
    assert found.refuted
    # The offending pair, checked from scratch.
    rows = None if false.n == 1 else [found.example]
    change = false.evaluate(found.point, rows)[1] - false.evaluate(found.other, rows)[1]
    quotient = np.linalg.norm(change) / np.linalg.norm(found.point - found.other)
    assert quotient > false.constants.beta.value
    assert quotient == pytest.approx(found.found, rel=1e-6)


@pytest.mark.parametrize("name", ["least_squares", "rank_deficient", "wave", "logistic"])
def test_pl_constant_too_large_is_refuted(name):
    false = scaled(rates.problem(name), "mu", 1.1)
    (found,) = [f for f in findings(false) if f.constant == "mu"]
    assert found.refuted
    loss, gradient = false.evaluate(found.point)
    height = loss - false.constants.minimum.value
    assert 0.5 * gradient @ gradient < false.constants.mu.value * height


def test_variance_too_small_is_refuted():
    problem = rates.problem("rank_deficient")
    true = problem.variance_on

    def too_small(level):
        return dataclasses.replace(true(level), value=0.9 * true(level).value)

    false = dataclasses.replace(problem, variance_on=too_small)
    (found,) = [f for f in findings(false) if f.constant == "variance"]
    assert found.refuted and problem.loss(found.point) <= problem.loss(problem.start) * (1 + 1e-9)
    assert problem.variance(found.point) > false.variance_on(problem.loss(problem.start)).value


def test_minimum_too_high_is_refuted():
    problem = rates.problem("ridge")
    known = problem.constants
    high = dataclasses.replace(known.minimum, value=known.minimum.value * 1.01)
    false = dataclasses.replace(problem, constants=dataclasses.replace(known, minimum=high))
    (found,) = [f for f in findings(false) if f.constant == "minimum"]
    assert found.refuted and problem.loss(found.point) < high.value


def test_never_proved():
    table = rates.refute(rates.problem("wave"))
    assert set(table["verdict"]) == {"not refuted"}
    assert list(table.columns) == [
        "constant", "how", "claimed", "found", "verdict", "point", "other", "example",
    ]  # fmt: skip


@njit
def cosh_loss(w):
    return np.sum(np.cosh(w)) - w.size


@njit
def cosh_gradient(w):
    return np.sinh(w)


def plain_loss(w):
    return float(np.sum(np.cosh(w)) - w.size)


def plain_gradient(w):
    return np.sinh(w)


def claim(**changes):
    settings = {
        "objective": cosh_loss, "gradient": cosh_gradient, "start": [1.0, -0.5], "beta": 6.0,
        "mu": 1.0, "minimum": 0.0, "radius": 1.4,
    }  # fmt: skip
    settings |= changes
    return rates.claim(settings.pop("objective"), settings.pop("gradient"), **settings)


def test_users_problem_compiled_and_in_python_agree():
    """cosh is 1-strongly convex; |w| <= 2.4 gives beta = cosh 2.4 < 6."""
    fast = rates.verify("T3-PL", claim())
    slow = rates.verify("T3-PL", claim(objective=plain_loss, gradient=plain_gradient))
    assert list(fast["verdict"].unique()) == ["holds"]
    assert np.allclose(fast["measured"], slow["measured"], rtol=1e-9, atol=1e-15)
    assert set(rates.refute(claim())["verdict"]) == {"not refuted"}
    assert fast["assumptions"].iloc[0].startswith("A2 (claimed), PL (claimed)")


def test_users_false_claims_are_refuted():
    table = rates.refute(claim(beta=4.0)).set_index("constant")
    assert table.loc["beta", "verdict"] == "refuted" and table.loc["beta", "point"] != ""
    # At the minimum (1/2)|grad|^2/(L - L*) is 1, larger elsewhere.
    table = rates.refute(claim(mu=1.05)).set_index("constant")
    assert table.loc["mu", "verdict"] == "refuted" and table.loc["beta", "verdict"] == "not refuted"


def test_users_finite_sum():
    A = np.random.default_rng(0).standard_normal((6, 3))

    @njit
    def loss(w, i):
        return 0.5 * np.dot(A[i], w) ** 2

    @njit
    def gradient(w, i):
        return np.dot(A[i], w) * A[i]

    eigenvalues = np.linalg.eigvalsh(A.T @ A / 6)
    mine = rates.claim(
        loss, gradient, start=np.ones(3), n=6, beta=np.max(np.sum(A**2, axis=1)) * 1.001,
        beta_mean=eigenvalues[-1] * 1.001, mu=eigenvalues[0] * 0.999, minimum=0.0, variance=30.0,
        example_minimum=0.0,
    )  # fmt: skip
    same = rates.least_squares(A, np.zeros(6), start=np.ones(3))
    setting = {"step_size": 0.05, "rho": 0.02, "batch_size": 2, "seeds": 50}
    ours, theirs = (rates.verify("T5-PL", p, **setting) for p in (mine, same))
    assert np.allclose(ours["measured"], theirs["measured"], rtol=1e-12)
    assert set(rates.refute(mine)["verdict"]) == {"not refuted"}


def nan_beyond(w):
    return np.where(np.abs(w) > 1.2, np.nan, w)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": -1.0}, "beta must be positive"),
        ({"beta": np.inf}, "beta must be finite"),
        ({"beta": 0.5, "mu": 1.0}, "mu = 1 exceeds the smoothness 0.5"),
        ({"mu": 0.0}, "mu must be positive"),
        ({"beta_mean": 7.0}, "beta_mean = 7 exceeds beta = 6"),
        ({"minimum": np.nan}, "minimum must be finite"),
        ({"n": 3}, "variance is missing"),
        ({"n": 3, "variance": -1.0}, "variance must be >= 0"),
        ({"radius": 0.0}, "radius must be positive"),
        ({"start": []}, "start must not be empty"),
        ({"start": [np.nan, 0.0]}, "start is nan"),
        ({"gradient": lambda w: np.zeros(3)}, r"gradient must return shape \(2,\), not \(3,\)"),
        ({"objective": lambda w: w}, r"must return a number, not an array of shape \(2,\)"),
        ({"objective": lambda w: 1 / 0}, "fails at the start: division by zero"),
    ],
)  # fmt: skip
def test_claims_refused(changes, message):
    with pytest.raises(st.InputError, match=message) as caught:
        claim(**changes)
    assert "\n" not in str(caught.value)


def test_missing_constant_is_a_type_error_that_names_it():
    with pytest.raises(TypeError, match="beta"):
        rates.claim(cosh_loss, cosh_gradient, start=[1.0], minimum=0.0)


def test_nan_gradient_names_the_point():
    bad = claim(objective=lambda w: float(np.sum(nan_beyond(w) ** 2)) / 2, gradient=nan_beyond,
                start=[1.19, 0.0], radius=None)  # fmt: skip
    with pytest.raises(st.InputError, match=r"not finite at w = \(1\.[23]"):
        rates.verify("T3", bad)


def test_nan_in_a_run_names_the_point():
    """Met on the way only: the checks near the start see nothing."""

    def gradient(w):
        return np.where(w < 0.5, np.nan, w)

    bad = claim(
        objective=lambda w: float(w @ w) / 2, gradient=gradient, start=[8.0, 8.0], radius=None,
        beta=1.0, mu=None,
    )  # fmt: skip
    with pytest.raises(st.InputError, match=r"loss or gradient is not finite at w = \(0\.[0-4]"):
        rates.verify("T3", bad, step_size=0.3)


def test_wrong_gradient_is_caught():
    with pytest.raises(st.InputError, match="not that of the objective"):
        rates.verify("T3", claim(gradient=lambda w: 1.0005 * np.sinh(w)))


def test_compile_error_is_one_line():
    @njit
    def broken(w):
        return w.no_such_thing

    with pytest.raises(st.InputError) as caught:
        claim(objective=broken)
    assert "\n" not in str(caught.value)
