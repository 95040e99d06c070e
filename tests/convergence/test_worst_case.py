"""Worst cases by performance estimation: closed forms, T3 beside them, planted faults caught."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sam_theory import InputError, MissingExtra
from sam_theory.convergence import performance_program as program
from sam_theory.convergence.performance_estimation import (
    refutations,
    t3_bound,
    worst_case,
    worst_case_table,
)

needs_pep = pytest.mark.skipif(find_spec("PEPit") is None, reason="needs the extra pep (PEPit)")
PAGE = Path(__file__).parents[2] / "docs" / "worst_case.md"


def slow_horizons(*horizons):
    return [T if T <= 2 else pytest.param(T, marks=pytest.mark.slow) for T in horizons]


@needs_pep
@pytest.mark.parametrize("T", slow_horizons(1, 2, 4, 8))
def test_control_gd_on_smooth_convex_functions(T):
    """beta R^2 / (4 T + 2) at gamma = 1 / beta (Drori and Teboulle 2014)."""
    found = worst_case("convex", beta=3.0, gamma=1 / 3, rho=0.0, T=T, measure="distance")
    exact = 3 / (4 * T + 2)
    assert abs(found.dual - exact) <= 1e-4 * exact and abs(found.primal - exact) <= 1e-4 * exact
    assert found.guarantee >= found.dual and found.guarantee - found.dual <= 1e-4 * exact


@needs_pep
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("T", slow_horizons(1, 2, 4, 8))
def test_control_gd_on_smooth_functions(T, gamma):
    """2 beta / (1 + (T-1) h (4-h) / 2), h = beta gamma <= 1 (Abbaszadehpeivasti et al. 2021)."""
    found = worst_case("smooth", beta=2.0, gamma=gamma / 2, rho=0.0, T=T)
    exact = 4 / (1 + (T - 1) * gamma * (4 - gamma) / 2)
    assert abs(found.dual - exact) <= 1e-5 * exact


@needs_pep
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("T", slow_horizons(1, 2, 8))
def test_control_quadratics_are_the_worst_strongly_convex_functions(T, rho):
    """(1 - gamma (lambda + rho lambda^2))^(2T) at lambda = mu or beta: the exact quadratic rate."""
    found = worst_case("strongly_convex", beta=1.0, mu=0.1, gamma=1.0, rho=rho, T=T)
    rates = [1 - (lam + rho * lam**2) for lam in (0.1, 1.0)]
    exact = max(abs(rate) for rate in rates) ** (2 * T)
    assert abs(found.dual - exact) <= 1e-5 * exact


@needs_pep
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("T", slow_horizons(1, 2, 8))
def test_observed_closed_forms_on_convex_functions(T, rho, gamma):
    """Far away linear, or the quadratic with lambda = beta: observed, docs/worst_case.md."""
    given = {"beta": 1.0, "gamma": gamma, "rho": rho, "T": T}
    rate = abs(1 - gamma * (1 + rho))
    value = max(1 / (4 * T * gamma + 2), rate ** (2 * T) / 2)
    slope = max(2 / (1 + 2 * (T - 1) * gamma), 2 * rate ** (2 * T - 2))
    for measure, exact in (("distance", value), ("gradient", slope)):
        assert abs(worst_case("convex", measure=measure, **given).dual - exact) <= 2e-6 * exact


def run(gradient, x, gamma, rho, T):
    """The method as it is written; returns the iterates and their gradients."""
    points = [np.asarray(x, dtype=float)]
    for _ in range(T):
        points.append(points[-1] - gamma * gradient(points[-1] + rho * gradient(points[-1])))
    return points, [gradient(point) for point in points]


@needs_pep
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_no_function_is_worse_than_the_worst(rho):
    """Huber's function and x^2 + 3 sin^2 x from many starts; each comes near the worst case."""
    gamma, T, best = 0.8, 2, {}
    cases = {
        "convex": (
            lambda x: np.where(np.abs(x) <= 0.3, x**2 / 2, 0.3 * np.abs(x) - 0.045),
            lambda x: np.clip(x, -0.3, 0.3),
            np.linspace(0.01, 4, 200),
        ),
        "smooth": (
            lambda x: (x**2 + 3 * np.sin(x) ** 2) / 8,
            lambda x: (2 * x + 3 * np.sin(2 * x)) / 8,
            np.linspace(0.01, 6, 400),
        ),
    }
    for name, (value, slope, starts) in cases.items():
        limit = worst_case(name, beta=1.0, gamma=gamma, rho=rho, T=T).guarantee
        for start in starts:
            gradients = run(slope, start, gamma, rho, T)[1][:T]
            reached = min(float(g**2) for g in gradients) / float(value(start))
            best[name] = max(best.get(name, 0), reached / limit)
            assert reached <= limit
    assert best["convex"] > 0.5 and best["smooth"] > 0.3


@needs_pep
def test_t3_is_not_exceeded_and_a_wrong_constant_is_flagged():
    grid = {"gammas": (0.5, 1.0), "rhos": (0.0, 0.5, 0.9), "horizons": (1, 2)}
    tables = [worst_case_table("smooth", **grid), worst_case_table("pl", mu=0.1, **grid)]
    for table in tables:
        assert len(table) == 12 and np.isfinite(table["bound"]).all()
        assert refutations(table) == []
        # At T = 1, gamma = 1 / beta, rho = 0 the bound on gradients is attained.
        assert 1 - 1e-6 <= table["looseness"].min() < 1.1
    planted = tables[0].assign(bound=tables[0]["bound"] * 0.5)
    assert len(refutations(planted)) >= 6
    assert re.search("gamma = 1, rho = 0, T = 1: worst case 2.* above the bound 1", *found(planted))
    other = tables[0].assign(
        bound=2 * (1 - tables[0]["rho"]) / (tables[0]["gamma"] * tables[0]["T"])
    )
    assert refutations(other) != []
    lost = tables[0].assign(dual=np.nan)
    assert len(refutations(lost)) == 12 and "no worst case was found" in refutations(lost)[0]


def found(table):
    return [line for line in refutations(table) if "gamma = 1, rho = 0, T = 1:" in line]


@needs_pep
def test_table_compares_with_gd():
    table = worst_case_table("smooth", gammas=[1.0], rhos=[0.0, 0.5], horizons=[2], beta=2.0)
    # gamma beta = 2 is outside T3: neither method need move, and nothing is guaranteed.
    assert table["against_gd"].tolist() == ["equal", "equal"]
    assert table["bound"].isna().all() and table["guarantee"].isna().all()
    table = worst_case_table("strongly_convex", mu=0.1, gammas=[1.0], rhos=[0.5], horizons=[2])
    assert table["against_gd"].tolist() == ["better"]
    table = worst_case_table("smooth", gammas=[0.5], rhos=[0.0, 0.25], horizons=[2], beta=2.0)
    assert table["against_gd"].tolist() == ["equal", "worse"]
    assert table["ratio"].tolist() == pytest.approx([1, 4 / 3], rel=1e-5)
    exact = 2 * np.array([2 / 2, 2 / (1 - 0.25) / 2])
    assert table["bound"].tolist() == pytest.approx(exact.tolist(), rel=1e-12)
    table = worst_case_table("pl", mu=0.1, gammas=[1.0], rhos=[0.5], horizons=[1])
    assert table["against_gd"].tolist() == ["bound worse"] and table["relaxation"].all()


@needs_pep
def test_units_only_scale():
    one = worst_case("smooth", beta=1.0, gamma=0.7, rho=0.2, T=2)
    ten = worst_case("smooth", beta=10.0, gamma=0.07, rho=0.02, T=2)
    assert ten.dual == pytest.approx(10 * one.dual, rel=1e-9)
    value = [
        worst_case("pl", beta=b, mu=0.2 * b, gamma=0.7 / b, rho=0.2 / b, T=1).dual for b in (1, 10)
    ]
    assert value[0] == pytest.approx(value[1], rel=1e-7)


@needs_pep
def test_feasibility_and_planted_false_multiplier():
    import PEPit

    result = worst_case("smooth", beta=1.0, gamma=1.0, rho=0.5, T=2)
    assert result.status == "optimal" and not result.relaxation
    assert -1e-7 < result.smallest_eigenvalue < 1e-7
    assert result.residual < 1e-6 and result.primal_residual < 1e-6
    assert 0 <= result.guarantee - result.dual < 1e-5
    assert abs(result.dual - result.primal) < 1e-6
    problem = PEPit.PEP()
    program._state(problem, "smooth", "gradient", np.nan, 1.0, 0.5, 2)
    problem.solve(wrapper="cvxpy", solver=program.SOLVER, verbose=0)
    honest = program._proof(problem)
    assert honest["dual"] == pytest.approx(result.dual, rel=1e-9)
    largest = max(problem._list_of_constraints_sent_to_wrapper, key=lambda one: one.eval_dual())
    largest._dual_variable_value = 0.9 * largest.eval_dual()
    planted = program._proof(problem)
    assert planted["residual"] > 1e-2
    wrong = planted["dual"] + program._correction(planted, "gradient", np.nan, 1.0, 0.5, 2)
    assert wrong >= result.primal


def pl_function(scale):
    x = np.linspace(-9, 9, 181)
    return np.array([x, (2 * x + 3 * np.sin(2 * x)) / scale, (x**2 + 3 * np.sin(x) ** 2) / scale])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_pl_conditions_hold_for_a_pl_function(share):
    """(x^2 + 3 sin^2 x) / 8 is 1-smooth and PL with mu = 1 / 256 (Karimi et al. 2016)."""
    points = pl_function(8.0)
    pairs = points[:, :, None], points[:, None, :]
    assert np.min(program.pl_slack(*pairs, 1 / 256, share)) >= -1e-12
    # At share 1 the condition is about upper bounds alone, which a less smooth function keeps.
    less_smooth = pl_function(4.0)
    planted = less_smooth[:, :, None], less_smooth[:, None, :]
    assert (np.min(program.pl_slack(*planted, 1 / 256, share)) < -1e-3) == (share < 1)


def test_planted_pl_constant():
    points = pl_function(8.0)
    assert np.min(program.pl_slack(points[:, :, None], points[:, None, :], 0.5, 1.0)) < -0.01


def test_t3_bound_is_the_theorem():
    given = {"beta": 2.0, "gamma": 0.4, "rho": 0.25, "T": 3}
    assert t3_bound("gradient", **given) == pytest.approx(2 / (0.4 * 0.75 * 3), rel=1e-15)
    assert t3_bound("value", mu=0.5, **given) == pytest.approx((1 - 0.15) ** 3, rel=1e-15)
    for change in ({"gamma": 0.51}, {"rho": 0.5}, {"gamma": 0.0}):
        assert np.isnan(t3_bound("gradient", **(given | change)))
    assert np.isnan(t3_bound("distance", **given)) and np.isnan(t3_bound("value", **given))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"class_name": "quasiconvex"},
            "unknown class of functions 'quasiconvex'; known are smooth",
        ),
        ({"measure": "value"}, "unknown measure 'value' for smooth; known are gradient"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"gamma": -1.0}, "gamma must be at least 0, not -1.0"),
        ({"rho": float("nan")}, "rho must be finite"),
        ({"T": 9}, "T must be between 1 and 8, not 9"),
        ({"T": 1.5}, "T must be an integer"),
        ({"mu": 0.1}, "the class smooth has no constant mu"),
        ({"class_name": "pl"}, "the class pl needs a constant mu"),
        ({"class_name": "pl", "mu": 2.0}, "mu must be above 0 and at most beta = 1.0, not 2.0"),
    ],
)
def test_bad_input(change, message):
    given = {"class_name": "smooth", "beta": 1.0, "gamma": 1.0, "rho": 0.1, "T": 1} | change
    with pytest.raises(InputError, match=message) as caught:
        worst_case(given.pop("class_name"), **given)
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PEPit", None)
    with pytest.raises(MissingExtra, match=r"sam-theory\[pep\]"):
        worst_case("smooth", beta=1.0, gamma=1.0, rho=0.1, T=1)


def printed_rows():
    """(class, measure, mu, gamma, rho, T, columns) of every table row on the page."""
    heading, rows = None, []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        match = re.match(r"### `(\w+)`, `(\w+)`(?:, mu = ([\d.]+))?", line)
        if match:
            heading = match[1], match[2], float(match[3]) if match[3] else None
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if heading and re.fullmatch(r"\d", cells[0]):
            rows.append((*heading, *cells))
    return rows


@needs_pep
@pytest.mark.slow
def test_the_page_is_what_is_computed():
    rows = printed_rows()
    assert len(rows) >= 60
    for name, measure, mu, T, gamma, rho, value, bound, looseness, ratio in rows:
        given = {"beta": 1.0, "gamma": float(gamma), "T": int(T), "mu": mu}
        one = worst_case(name, rho=float(rho), measure=measure, **given)
        plain = worst_case(name, rho=0.0, measure=measure, **given)
        three = t3_bound(measure, rho=float(rho), **given)
        assert abs(one.dual - float(value)) <= 6e-6
        assert (
            f"{one.dual / plain.dual:.3f}" == ratio
            or abs(one.dual / plain.dual - float(ratio)) < 6e-4
        )
        assert bound == ("-" if np.isnan(three) else f"{three:.5f}")
        assert looseness == ("-" if np.isnan(three) else f"{three / one.dual:.2f}")


@needs_pep
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mu"), [("smooth", None), ("convex", None), ("strongly_convex", 0.1), ("pl", 0.1)]
)
def test_t3_is_not_exceeded_up_to_eight_steps(name, mu):
    horizons = range(1, 9) if name != "pl" else (1, 3, 5, 8)
    table = worst_case_table(
        name, gammas=(0.25, 0.5, 1.0), rhos=(0.0, 0.25, 0.5, 0.9), horizons=horizons, mu=mu
    )
    assert np.isfinite(table["bound"]).all() and refutations(table) == []
    assert (table["guarantee"] <= table["bound"] * (1 + 1e-5)).all()
    assert (table["dual"] >= table["primal"] - 1e-6).all()
    assert refutations(table.assign(bound=0.9 * table["bound"])) != []
