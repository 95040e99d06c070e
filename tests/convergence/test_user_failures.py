"""A user's objective that fails or overflows, and claims that only rounding seems to refute."""

import math
import warnings

import numpy as np
import pytest
from numba import njit

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.cli import main


def table(problem, **setting):
    """The verdicts of a search that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rates.refute(problem, **setting).set_index("constant")


def barrier(seen=None, **changes):
    """w - log w, whose domain is w > 0; the points asked for go to seen."""

    def objective(w):
        if seen is not None:
            seen.append(float(w[0]))
        return w[0] - math.log(w[0])

    def gradient(w):
        return np.array([1.0 - 1.0 / w[0]])

    settings = {"start": [1.5], "beta": 4.0, "minimum": 1.0} | changes
    return rates.claim(objective, gradient, **settings)


@pytest.mark.parametrize(
    ("objective", "gradient", "reason"),
    [
        (lambda w: w[0] - math.log(w[0]), lambda w: 1.0 - 1.0 / w, "ValueError"),
        (lambda w: math.exp(300.0 * w[0]), lambda w: 300.0 * np.exp(300.0 * w), "OverflowError"),
        (lambda w: 0.5 * w[0] ** 2 if w[0] < 2.0 else None, lambda w: w, "TypeError"),
    ],
)
def test_failure_names_the_point(objective, gradient, reason):
    problem = rates.claim(objective, gradient, start=[1.0], beta=4.0, minimum=-5.0)
    with pytest.raises(st.InputError, match=rf"fails at w = \(.*\): {reason}: ") as caught:
        rates.refute(problem)
    assert "\n" not in str(caught.value)


def test_failure_in_a_run_names_the_point():
    with pytest.raises(st.InputError, match=r"fails at w = \(-.*\): ValueError: "):
        rates.simulate(barrier(), rates.Schedule([9.0] * 4, [0.0] * 4), horizons=[4])


@pytest.mark.parametrize("value", [None, "1.0", 1j])
def test_no_number_is_refused_at_once(value):
    with pytest.raises(st.InputError, match="objective must return a real number"):
        rates.claim(lambda w: value, lambda w: w, start=[1.0], beta=1.0, minimum=0.0)


def test_failure_is_status_two(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import math\nimport numpy as np\nfrom sam_theory import convergence as rates\n"
        "problem = rates.claim(lambda w: w[0] - math.log(w[0]), lambda w: 1 - 1 / w,\n"
        "                      start=[1.5], beta=4.0, minimum=1.0)\n"
    )
    assert main(["rates", "--file", str(file), "--theorem", "T3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sam-theory: error: ") and error.count("\n") == 1
    assert "fails at w = (" in error


def test_nothing_is_evaluated_outside_the_radius():
    seen = []
    problem = barrier(seen, radius=0.9, beta=1.0 / 0.6**2)
    assert set(table(problem)["verdict"]) == {"not refuted"}
    assert len(seen) > 100 and max(abs(w - 1.5) for w in seen) <= 0.9


def test_variance_is_searched_inside_the_radius():
    seen = []

    def objective(w, i):
        seen.append(float(np.linalg.norm(w - 1.0)))
        return 0.5 * float((w - i) @ (w - i))

    problem = rates.claim(
        objective, lambda w, i: w - i, start=[1.0, 1.0], n=3, beta=1.0, minimum=2.0 / 3.0,
        variance=4.0 / 3.0, radius=0.2,
    )  # fmt: skip
    assert set(table(problem)["verdict"]) == {"not refuted"}
    assert max(seen) <= 0.2


@pytest.mark.parametrize(("start", "beta"), [(5.0, 200.0), (5.0, 70.0), (1.8, 1.0)])
def test_overflow_does_not_stop_the_search(start, beta):
    """cosh is infinite beyond 710; f''(1.8) = 3.1 refutes beta = 1 all the same."""
    problem = rates.claim(
        lambda w: float(np.sum(np.cosh(w))), np.sinh, start=[start], beta=beta, minimum=1.0
    )
    found = table(problem)
    assert found.loc["beta", "verdict"] == "refuted"
    assert np.isfinite(found.loc["beta", "found"])
    assert found.loc["minimum", "verdict"] == "not refuted"


def test_nan_far_away_does_not_stop_the_search():
    def gradient(w):
        return np.where(np.abs(w) > 8.0, np.nan, 3.1 * w)

    problem = rates.claim(
        lambda w: 1.55 * float(w @ w), gradient, start=[1.0, 1.0], beta=1.0, minimum=0.0
    )
    assert table(problem).loc["beta", "found"] == pytest.approx(3.1, rel=1e-6)


def test_rounding_refutes_no_variance():
    problem = rates.claim(
        lambda w, i: 0.5 * float((w - 0.1) @ (w - 0.1)), lambda w, i: w - 0.1, n=3,
        start=[1.0, 0.7], beta=1.0, mu=1.0, minimum=0.0, variance=0.0,
    )  # fmt: skip
    assert set(table(problem)["verdict"]) == {"not refuted"}


def test_a_small_variance_is_refuted():
    problem = rates.claim(
        lambda w, i: 0.5 * float((w - 1e-9 * i) @ (w - 1e-9 * i)), lambda w, i: w - 1e-9 * i, n=3,
        start=[1.0, 0.7], beta=1.0, minimum=0.0, variance=0.0,
    )  # fmt: skip
    found = table(problem).loc["variance"]
    assert found["verdict"] == "refuted" and found["found"] == pytest.approx(4e-18 / 3, rel=1e-5)


@pytest.mark.parametrize(("beta", "verdict"), [(1e-6, "not refuted"), (0.9e-6, "refuted")])
def test_rounding_of_a_large_gradient_refutes_no_smoothness(beta, verdict):
    slope = np.array([1e3, 0.0])
    problem = rates.claim(
        lambda w: float(slope @ w) + 0.5e-6 * float(w @ w), lambda w: slope + 1e-6 * w,
        start=[1.0, 1.0], beta=beta, minimum=-1e12,
    )  # fmt: skip
    assert table(problem).loc["beta", "verdict"] == verdict


def test_minimum_above_the_start_is_refused():
    with pytest.raises(st.InputError, match=r"minimum = 1.2 exceeds L\(start\) = 1.09453"):
        barrier(minimum=1.2)
    assert barrier(minimum=1.5 - math.log(1.5)).n == 1


@pytest.mark.parametrize("fails", ["objective", "gradient"])
@pytest.mark.parametrize("n", [None, 3])
def test_failure_in_a_compiled_run_names_the_point(fails, n):
    """The second seed of three alone leaves the domain w > 0."""
    of_objective = fails == "objective"

    @njit
    def objective(w, i=0):
        if of_objective and w[0] <= 0.0:
            raise ValueError("outside the domain")
        return w[0] - math.log(abs(w[0]))

    @njit
    def gradient(w, i=0):
        if not of_objective and w[0] <= 0.0:
            raise ValueError("outside the domain")
        return 1.0 - 1.0 / w

    problem = rates.claim(
        objective, gradient, start=[1.5], beta=4.0, minimum=1.0, n=n, variance=0.0
    )
    schedule = rates.Schedule([9.0] * 4, [0.0] * 4)
    with pytest.raises(st.InputError, match=r"fails at w = \(-1.5\): ValueError: outside the"):
        rates.simulate(
            problem, schedule, horizons=[4], seeds=3, start=[[1.0], [1.5], [1.0]],
            batch_size=None if n is None else 1, track=False,
        )  # fmt: skip
