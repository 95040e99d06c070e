"""Verdicts: theorems hold where they must, and every planted fault is caught."""

import dataclasses

import numpy as np
import pytest

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.convergence import bounds, verification
from sam_theory.convergence.constants import claimed
from sam_theory.convergence.runs import constant_schedule

COLUMNS = ["T", "measured", "predicted", "verdict"]


def verdicts(table):
    return sorted(table["verdict"].unique())


@pytest.mark.parametrize("name", ["T1", "T2", "T5", "T5-mean", "T5-PL", "T6"])
@pytest.mark.parametrize(("batch", "m"), [(1, 1), (4, 4), (4, 2), (32, 32), (32, 4)])
def test_stochastic(name, batch, m):
    table = rates.verify(name, "noisy_quadratic", batch_size=batch, m=m, seeds=150)
    assert len(table) >= 5 and verdicts(table) == ["holds"]
    seeds = 1 if m == 32 else 150
    assert list(table["seeds"].unique()) == [seeds]
    assert np.all(table["confidence_bound"] >= table["measured"])
    if batch < 32:
        assert np.all(table["standard_error"] > 0.0)


@pytest.mark.parametrize("name", list(rates.THEOREMS))
def test_every_problem(name):
    """Each theorem on each problem: it holds, or is refused with the assumption that fails."""
    theorem, held, refused = rates.theorem(name), 0, 0
    for title in rates.PROBLEMS:
        problem = rates.problem(title)
        batch = 1 if theorem.expectation else None
        try:
            table = rates.verify(theorem, problem, batch_size=batch, seeds=40)
        except st.InputError as error:
            refused += 1
            assert str(error).startswith(f"{name} does not apply to {title}: ")
        else:
            held += 1
            assert verdicts(table) == ["holds"], (title, table[COLUMNS])
    assert held >= 1 and held + refused >= 12


@pytest.mark.parametrize(
    ("name", "problem", "setting"),
    [
        ("quadratic-rate", "quadratic", {}),
        ("quadratic-rate", "quadratic", {"step_size": 1.2, "rho": 0.3}),
        ("quadratic-edge", "quadratic", {"rho": 0.9}),
        ("quadratic-edge", "isotropic", {"rho": 0.0}),
        ("limit-cycle", "quadratic", {"rho": 0.05}),
        ("limit-cycle", "isotropic", {"step_size": 1.3, "rho": 2.0}),
        ("normalized-edge", "quadratic", {"step_size": 0.8, "rho": 0.3}),
        ("spurious-point", "double_well", {"rho": 1.5, "step_size": 0.6}),
    ],
)
def test_tight(name, problem, setting):
    table = rates.verify(name, problem, **setting)
    assert verdicts(table) == ["holds"]
    assert np.allclose(table["measured"], table["predicted"], rtol=1e-10, atol=0.0)


def test_edge_value():
    """The measured edge solves gamma (lambda + rho lambda^2) = 2 for lambda = 1."""
    table = rates.verify("quadratic-edge", "quadratic", rho=0.6)
    assert table["measured"].iloc[0] == pytest.approx(2.0 / 1.6, rel=1e-10)


def test_spurious_point_is_not_stationary():
    x = rates.verify("spurious-point", "double_well", rho=1.2)["measured"].iloc[-1]
    assert x == pytest.approx(-0.2, rel=1e-10)
    assert rates.double_well().evaluate([x])[1][0] == pytest.approx(0.192, rel=1e-10)


def test_exponents_where_attained():
    long = (1000, 4000, 16_000, 64_000)
    t1 = rates.verify("T1", "noisy_quadratic", batch_size=1, seeds=20, horizons=long)
    t2 = rates.verify("T2", "noisy_quadratic", batch_size=1, seeds=100, horizons=long)
    t3 = rates.verify("T3", "slow_quadratic")
    for table in (t1, t2, t3):
        row = table.iloc[0]
        assert abs(row["rate"] - row["predicted_rate"]) < 0.1
        assert row["rate_low"] <= row["rate"] <= row["rate_high"]


def test_exponent_where_it_must_not_hold():
    """Constant steps stop at a floor: the loss has no power of T at all."""
    stuck = dataclasses.replace(
        bounds.T2, schedule=lambda setup, T: constant_schedule(0.1, 0.1, T), fixed=False
    )
    table = rates.verify(stuck, "noisy_quadratic", batch_size=1, seeds=200)
    assert abs(table["rate"].iloc[0]) < 0.1


# Planted faults.


def test_radius_above_its_range_is_refused():
    beta = rates.problem("logistic").constants.beta.value
    for name, title in (("T3", "logistic"), ("T5", "logistic")):
        with pytest.raises(st.InputError, match=r"does not apply to logistic: rho: .*1/beta fails"):
            rates.verify(name, title, rho=12.0 / beta)


def test_step_size_three_times_too_large_is_refused_and_violates():
    beta = rates.problem("quadratic").constants.beta.value
    with pytest.raises(st.InputError, match="gamma: step size <= 1/beta fails: 3 > 1"):
        rates.verify("T3", "quadratic", step_size=3.0 / beta)
    table = rates.verify("T3", "quadratic", step_size=3.0 / beta, enforce=False)
    assert "violated" in verdicts(table)
    assert table["assumptions"].iloc[0].startswith("FAIL gamma")


def test_bound_with_the_wrong_power_of_T_is_violated():
    def steep(setup, T, level):
        return bounds.T1.bound(setup, T, level) / np.sqrt(T)

    wrong = dataclasses.replace(bounds.T1, bound=steep, exponent=-1.0)
    table = rates.verify(wrong, "noisy_quadratic", batch_size=1, seeds=100)
    assert "violated" in verdicts(table)
    assert abs(table["rate"].iloc[0] - table["predicted_rate"].iloc[0]) > 0.3


def test_biased_gradient_is_caught():
    problem = rates.problem("ridge")

    def biased(w, examples, A, y, p, out):
        loss = problem.value.arrays.py_func(w, examples, A, y, p, out)
        if len(examples) < problem.n:
            out *= 1.01
        return loss

    def wrong(w, examples, A, y, p, out):
        loss = problem.value.arrays.py_func(w, examples, A, y, p, out)
        out *= 1.0005
        return loss

    with pytest.raises(st.InputError, match="biased gradient at w = "):
        rates.verify("T1", dataclasses.replace(problem, value=biased))
    with pytest.raises(st.InputError, match="not that of the objective at w = "):
        rates.verify("T1", dataclasses.replace(problem, value=wrong))


def test_sgd_passed_off_as_sam_is_violated(monkeypatch):
    """A simulator that ignores rho fails the tight statements, and no tolerance hides it."""
    from sam_theory.convergence import measures
    from sam_theory.convergence.runs import Schedule, simulate

    def without_ascent(problem, schedule, **settings):
        plain = Schedule(schedule.step_sizes, 0.0 * schedule.radii, schedule.normalization)
        return simulate(problem, plain, **settings)

    monkeypatch.setattr(measures, "simulate", without_ascent)
    assert verdicts(rates.verify("quadratic-rate", "quadratic")) == ["violated"]
    assert verdicts(rates.verify("limit-cycle", "quadratic")) == ["violated"]


def test_a_false_claim_that_is_not_checked_ends_violated():
    """L* claimed too low: with it PL fails, and T3-PL promises what does not happen."""
    problem = rates.problem("isotropic")
    known = problem.constants
    fast = dataclasses.replace(
        problem,
        constants=dataclasses.replace(
            known, minimum=dataclasses.replace(known.minimum, value=-0.5), example_minimum=None
        ),
    )
    table = rates.verify("T3-PL", fast, step_size=0.7 / known.beta.value, rho=0.0)
    assert "violated" in verdicts(table)


def test_noise_makes_inconclusive_not_holds():
    """A bound inside the confidence interval is neither confirmed nor refuted."""
    table = rates.verify("T1", "noisy_quadratic", batch_size=1, seeds=4, horizons=[50])
    mean, error = table["measured"].iloc[0], table["standard_error"].iloc[0]
    close = dataclasses.replace(
        bounds.T1, bound=lambda setup, T, level: np.full(len(T), mean + error)
    )
    again = rates.verify(close, "noisy_quadratic", batch_size=1, seeds=4, horizons=[50])
    assert verdicts(again) == ["inconclusive"]


@pytest.mark.parametrize("name", ["T1", "T5"])
def test_one_seed_of_something_random_is_inconclusive(name):
    """A mean over minibatches is neither confirmed nor refuted by one run."""
    setting = {"step_size": 0.02, "rho": 0.01} if name == "T5" else {}
    table = rates.verify(name, "ridge", batch_size=1, seeds=1, **setting)
    assert verdicts(table) == ["inconclusive"] and "one seed" in table["why"].iloc[0]
    assert np.all(np.isnan(table["standard_error"])) and np.all(np.isinf(table["confidence_bound"]))
    full = rates.verify(name, "ridge", seeds=1, **setting)
    assert verdicts(full) == ["holds"] and np.all(full["standard_error"] == 0.0)


def test_a_minimum_above_the_start_is_refused():
    problem = rates.problem("isotropic")
    high = claimed(problem.loss(problem.start) + 1e-6)
    known = dataclasses.replace(problem.constants, minimum=high)
    with pytest.raises(st.InputError, match=r"isotropic: minimum = .* exceeds L\(start\) = "):
        rates.verify("T3-PL", dataclasses.replace(problem, constants=known))


def test_leaving_the_region_is_inconclusive():
    problem = rates.diagonal([[1.0, 0.5]], [3.0], alpha=0.5, largest=0.6, least=0.2)
    table = rates.verify("T3", problem, horizons=[500])
    assert verdicts(table) == ["inconclusive"] and "left the region" in table["why"].iloc[0]


def test_confidence_covers():
    """The one-sided 90 % bound lies above the true mean in about nine of ten repetitions."""
    truth = rates.verify("T1", "noisy_quadratic", batch_size=1, seeds=20_000, horizons=[20])
    mean = truth["measured"].iloc[0]
    above = [
        rates.verify(
            "T1", "noisy_quadratic", batch_size=1, seeds=30, horizons=[20], seed=s, confidence=0.9
        )["confidence_bound"].iloc[0] >= mean
        for s in range(100, 400)
    ]  # fmt: skip
    assert 0.83 < np.mean(above) < 0.96


def test_deterministic_and_independent_of_threads():
    same = {"batch_size": 2, "seeds": 60}
    one = rates.verify("T2", "ridge", threads=1, **same)
    two = rates.verify("T2", "ridge", threads=2, **same)
    assert one.equals(two)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"theorem": "T9"}, "no theorem named 'T9'; known: T1"),
        ({"problem": "no"}, "no problem named 'no'; known: least_squares"),
        ({"horizons": [4, 2]}, "increasing"),
        ({"horizons": [0, 2]}, "horizons must be >= 1"),
        ({"horizons": 5}, "horizons must be a sequence of integers, not 5"),
        ({"horizons": []}, "increasing"),
        ({"seeds": 0}, "seeds must be >= 1"),
        ({"batch_size": 7, "m": 2}, "m = 2 does not divide batch_size = 7"),
        ({"step_size": 0.1}, "T1 fixes step_size itself"),
        ({"theorem": "T3", "step_size": -1.0}, "step_size must be positive"),
        ({"theorem": "T3", "rho": -1.0}, "rho must be >= 0"),
        ({"theorem": "T3", "rho": np.nan}, "rho must be finite"),
        ({"theorem": "T6", "normalization": 2.0}, "normalization must lie"),
        ({"theorem": "T3", "normalization": 1.0}, "T3 is about normalization 0"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"theorem": "T3", "batch_size": 4}, "does not apply to ridge: full batch: batch_size = 4"),
        ({"theorem": "T2", "problem": "saturating"}, "T2 does not apply to saturating: PL: no PL"),
        ({"theorem": "T5-mean", "step_size": 3.0}, "gain: the coefficient"),
        ({"theorem": "spurious-point", "problem": "double_well", "rho": 0.5}, "1 < rho < 2 fails"),
        ({"theorem": "limit-cycle", "problem": "slow_quadratic"}, "gap: the distance to the cycle"),
    ],
)  # fmt: skip
def test_refused(setting, message):
    chosen = {"theorem": "T1", "problem": "ridge"} | setting
    theorem, problem = chosen.pop("theorem"), chosen.pop("problem")
    with pytest.raises(st.InputError, match=message) as caught:
        rates.verify(theorem, problem, **chosen)
    assert "\n" not in str(caught.value)


def test_columns_are_documented():
    text = rates.verify.__doc__
    for column in verification.COLUMNS:
        assert column in text


def test_statements_name_their_source():
    for theorem in rates.THEOREMS.values():
        assert theorem.statement and theorem.source and theorem.kind in ("upper", "lower", "tight")
        assert len(theorem.horizons) >= 5
