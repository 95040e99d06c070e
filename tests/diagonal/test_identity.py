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


NEVER_CONVERGE = {
    "normalized n-sam": (st.n_sam(0.02, normalized=True), 0.0),
    "normalized 2-sam": (st.m_sam(0.02, 2, normalized=True), 0.0),
    "normalized 1-sam, batch 2": (st.one_sam(0.02, batch_size=2, normalized=True), 0.0),
    "weight decay": (st.m_sam(0.1, 2), 1e-3),
}


def safe_step(data):
    return 0.3 / np.max(np.sum(data.X**2, axis=1))


@pytest.mark.parametrize("rule, decay", NEVER_CONVERGE.values(), ids=NEVER_CONVERGE)
def test_identity_where_the_loss_keeps_a_floor(rule, decay):
    """Fixed radii and decay stop short of zero loss; the identity holds at the labels X beta_T."""
    for seed in range(INSTANCES):
        data, alpha = instance(seed)
        run = st.descend(
            data,
            alpha=alpha,
            algorithm=rule,
            step_size=safe_step(data),
            steps=20_000,
            weight_decay=decay,
        )
        assert run.status == "max_steps" and run.loss > 1e-12
        assert np.max(np.abs(run.beta - run.limit("reached").beta)) <= CLOSE, seed


@pytest.mark.parametrize("rules", [(st.one_sam(0.1), st.gd()), (st.gd(), st.n_sam(0.3))])
def test_identity_across_a_switch_of_algorithm(rules):
    """A run that changes its algorithm on the way still carries all its history in two vectors."""
    done = 0
    for seed in range(INSTANCES):
        data, alpha = instance(seed)
        stretches = [(rules[0], safe_step(data), 100), (rules[1], 3.0 * safe_step(data), 60_000)]
        run = st.descend(data, alpha=alpha, phases=stretches, tol=1e-26)
        done += run.status == "converged"
        limit = run.limit("labels" if run.status == "converged" else "reached")
        assert np.max(np.abs(run.beta - limit.beta)) <= CLOSE, seed
        second_alone = st.descend(
            data, alpha=alpha, algorithm=rules[1], step_size=stretches[1][1], steps=60_000
        )
        assert np.max(np.abs(second_alone.beta - run.beta)) > 1e3 * CLOSE
    assert done >= INSTANCES // 2


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
