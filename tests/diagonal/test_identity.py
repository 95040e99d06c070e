"""The finite-step identity: a run's accumulators alone give its limit (THEORY section 3).

Twenty random instances for each algorithm, run to a loss of 1e-26 and compared on the labels; where
that takes too long, on the labels X beta_T. Both sides go through the certified convex solver.
"""

import numpy as np
import pytest

import sam_theory as st
from sam_theory.diagonal.limit import solve_limit

CLOSE = 1e-11
INSTANCES = 20
RULES = {
    "gd": st.gd(),
    "sgd": st.sgd(),
    "n-sam": st.n_sam(0.2),
    "2-sam": st.m_sam(0.1, 2),
    "4-sam": st.m_sam(0.1, 4),
    "1-sam": st.one_sam(0.05),
    "2-sam-batch-4": st.m_sam(0.1, 2, batch_size=4),
}


def instance(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([4, 8, 12]))
    d = n + int(rng.integers(1, 25))
    X = rng.standard_normal((n, d)) * np.exp(0.3 * rng.standard_normal(d))
    beta = np.where(rng.random(d) < 0.3, rng.standard_normal(d), 0.0)
    alpha = 10.0 ** rng.uniform(-1.5, 0.0) * np.exp(0.3 * rng.standard_normal(d))
    return st.Regression(X, X @ beta), alpha


def trained(rule, seed, steps=100_000):
    data, alpha = instance(seed)
    step_size = 0.3 / np.max(np.sum(data.X**2, axis=1))
    if rule.batch_size is None:
        step_size *= 3.0
    run = st.descend(
        data,
        alpha=alpha,
        algorithm=rule,
        step_size=step_size,
        steps=steps,
        seed=seed,
        record=1000,
        tol=1e-26,
    )
    assert run.status != "diverged"
    return run


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_limit_of_a_run_is_where_it_ends(rule):
    on_labels = 0
    for seed in range(INSTANCES):
        run = trained(rule, seed)
        done = run.status == "converged"
        on_labels += done
        assert run.loss <= 1e-24 or not done
        limit = run.limit("labels" if done else "reached")
        assert limit.status == "converged"
        assert np.max(np.abs(run.beta - limit.beta)) <= CLOSE, seed
        assert limit.certificate.error_bound <= CLOSE, seed
    assert on_labels >= INSTANCES // 2


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_identity_holds_on_the_way(rule):
    for seed in range(INSTANCES):
        run = trained(rule, seed, steps=200)
        assert np.max(np.abs(run.beta - run.limit("reached").beta)) <= CLOSE, seed


def gap(run, log_alpha_effective, shift):
    """Distance from the end of the run to the limit with these accumulators, at its labels."""
    found = solve_limit(
        run.data,
        alpha=run.alpha,
        algorithm=run.algorithm,
        log_alpha_effective=log_alpha_effective,
        shift=shift,
        y=run.data.X @ run.beta,
    )
    return float(np.max(np.abs(run.beta - found.beta)))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_dropped_shift_and_wrong_scale_are_caught(rule):
    run = trained(rule, 0)
    right = (run.log_alpha_effective, run.shift)
    assert gap(run, *right) <= CLOSE
    assert gap(run, right[0], np.zeros(run.data.d)) > 1e4 * CLOSE
    assert gap(run, np.log(run.alpha), right[1]) > 1e4 * CLOSE
    assert gap(run, right[0], -right[1]) > 1e4 * CLOSE
