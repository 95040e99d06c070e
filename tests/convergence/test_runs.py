"""The compiled runs against their twin, their random numbers, and what they refuse."""

import numpy as np
import pytest
import rates_twins as twins

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.convergence.runs import Schedule, constant_schedule, simulate

SEEDS = 3


def schedule(problem, T, lam):
    beta = problem.constants.beta.value
    return Schedule(np.linspace(0.3, 0.1, T) / beta, np.linspace(0.1, 0.3, T) / beta, lam)


def against_twin(problem, runs, plan, batch, m):
    """Largest relative difference from the twin over seeds and horizons."""
    worst = 0.0
    for k in range(len(runs.points)):
        expected = twins.run(problem, plan, list(runs.horizons), batch, m, 7, k)
        for r, (w, loss, mean, least) in enumerate(expected):
            pairs = [
                (runs.points[k, r], w),
                (runs.loss[k, r], loss),
                (runs.least_square[k, r], least),
            ]
            if runs.horizons[r] > 0:
                pairs.append((runs.mean_square[k, r], mean))
            for found, value in pairs:
                if np.all(np.isfinite(value)):
                    scale = 1.0 + np.max(np.abs(value))
                    worst = max(worst, np.max(np.abs(found - value)) / scale)
    return worst


@pytest.mark.parametrize("name", rates.PROBLEMS)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_twin(name, lam):
    problem = rates.problem(name)
    n = problem.n
    for batch, m in dict.fromkeys([(n, n), (1, 1), (min(4, n), min(2, n)), (n, 1)]):
        plan = schedule(problem, 12, lam)
        runs = simulate(
            problem, plan, horizons=[0, 1, 5, 12], batch_size=batch, m=m, seeds=SEEDS, seed=7
        )
        assert against_twin(problem, runs, plan, batch, m) < 1e-11


def test_planted_wrong_radius_and_order_are_seen():
    problem = rates.problem("logistic")
    plan = schedule(problem, 12, 0.0)
    runs = simulate(problem, plan, horizons=[12], batch_size=4, m=2, seeds=1, seed=7)
    wrong = Schedule(plan.step_sizes, 1.0005 * plan.radii)
    assert against_twin(problem, runs, wrong, 4, 2) > 1e-7
    assert against_twin(problem, runs, plan, 4, 4) > 1e-4


@pytest.mark.parametrize("name", ["least_squares", "ridge", "logistic", "saturating", "wave"])
def test_planted_wrong_radius_is_seen_on_single_examples(name):
    """Steps on one example of a linear predictor have a path of their own."""
    problem = rates.problem(name)
    plan = schedule(problem, 12, 0.0)
    runs = simulate(problem, plan, horizons=[12], batch_size=1, m=1, seeds=1, seed=7)
    assert against_twin(problem, runs, plan, 1, 1) < 1e-11
    wrong = Schedule(plan.step_sizes, 1.0005 * plan.radii)
    assert against_twin(problem, runs, wrong, 1, 1) > 1e-8


def test_minibatches_are_uniform():
    """On a quadratic with one-hot centres a step shows which examples were drawn."""
    n = 6
    problem = rates.quadratic(np.ones(n), centers=np.eye(n), start=np.zeros(n))
    runs = simulate(
        problem, constant_schedule(1.0, 0.0, 1), horizons=[1], batch_size=2, seeds=6000, seed=3
    )
    drawn = runs.points[:, 0] > 0.25
    assert np.all(drawn.sum(axis=1) == 2)
    counts = np.zeros((n, n))
    for row in drawn:
        i, j = np.flatnonzero(row)
        counts[i, j] += 1
    pairs = counts[np.triu_indices(n, 1)]
    chi2 = np.sum((pairs - 400.0) ** 2 / 400.0)
    assert 3.0 < chi2 < 36.0  # 14 degrees of freedom


def test_threads_and_number_of_seeds_change_no_bit():
    problem = rates.problem("ridge")
    plan = schedule(problem, 40, 0.0)
    same = {"horizons": [40], "batch_size": 2, "seed": 5}
    one = simulate(problem, plan, seeds=60, threads=1, **same)
    two = simulate(problem, plan, seeds=60, threads=2, **same)
    few = simulate(problem, plan, seeds=7, **same)
    assert np.array_equal(one.points, two.points) and np.array_equal(one.points[:7], few.points)
    assert not np.array_equal(one.points[0], one.points[1])
    other = simulate(problem, plan, seeds=7, **(same | {"seed": 6}))
    assert not np.array_equal(other.points, few.points)


def test_rho_zero_is_sgd_and_sam_is_not():
    problem = rates.problem("logistic")
    same = {"horizons": [30], "batch_size": 4, "seeds": 5, "seed": 1}
    plain = simulate(problem, constant_schedule(0.1, 0.0, 30), **same)
    blocks = simulate(problem, constant_schedule(0.1, 0.0, 30, 1.0), **same)
    sam = simulate(problem, constant_schedule(0.1, 0.2, 30), **same)
    assert np.array_equal(plain.points, blocks.points)
    assert np.max(np.abs(plain.points - sam.points)) > 1e-4


def test_divergence_is_counted_and_observed():
    problem = rates.problem("quadratic")
    runs = simulate(problem, constant_schedule(5.0, 0.5, 4000), horizons=[1, 4000])
    assert runs.diverged == 1 and np.isfinite(runs.loss[0, 0]) and np.isinf(runs.loss[0, 1])


def test_agrees_with_the_diagonal_simulator():
    """Full-batch runs on the diagonal network are `descend`'s."""
    problem = rates.problem("diagonal")
    data = st.Regression(problem.A, problem.y)
    run = st.descend(data, alpha=0.8, algorithm=st.n_sam(0.05), step_size=0.1, steps=200)
    ours = simulate(problem, constant_schedule(0.1, 0.05, 200), horizons=[200])
    u, v = np.split(ours.points[0, 0], 2)
    assert np.allclose(u * v, run.beta, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizons": [3, 3]}, "increasing"),
        ({"horizons": []}, "increasing"),
        ({"horizons": 5}, "horizons must be a sequence of integers, not 5"),
        ({"horizons": ["a"]}, "horizons must be an integer, not 'a'"),
        ({"horizons": [99]}, "exceeds the schedule"),
        ({"batch_size": 41}, "batch_size = 41 exceeds"),
        ({"batch_size": 4, "m": 3}, "m = 3 does not divide"),
        ({"seeds": 0}, "seeds must be >= 1"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"start": np.zeros(3)}, "start must have shape"),
        ({"start": np.full(8, np.nan)}, "start must be finite"),
    ],
)
def test_refused(change, message):
    problem = rates.problem("logistic")
    with pytest.raises(st.InputError, match=message):
        simulate(problem, constant_schedule(0.1, 0.0, 10), **({"horizons": [10]} | change))


@pytest.mark.parametrize(
    ("gammas", "radii", "lam", "message"),
    [
        ([0.1, 0.0], [0.0, 0.0], 0.0, "positive"),
        ([0.1], [-0.1], 0.0, "radii"),
        ([0.1], [0.1, 0.1], 0.0, "one length"),
        ([0.1], [np.nan], 0.0, "radii"),
        ([0.1], [0.1], 1.5, "normalization"),
    ],
)
def test_schedule_refused(gammas, radii, lam, message):
    with pytest.raises(st.InputError, match=message):
        Schedule(np.array(gammas), np.array(radii), lam)
