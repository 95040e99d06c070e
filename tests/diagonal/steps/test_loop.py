"""Where a run is cut into calls of a kernel, and which state it keeps after a divergence."""

import numpy as np
import pytest

import sam_theory as st
from sam_theory.diagonal.steps import loop as descent_loop

STATE = ("beta", "w_plus", "w_minus", "nu", "smallest_factor")
RULES = [
    st.gd(),
    st.one_sam(0.02),
    st.m_sam(0.1, 3, normalized=True),
    st.sgd(),
    st.m_sam(0.1, 2, batch_size=6),
]


def same_run(first, second):
    same = all(np.array_equal(getattr(first, x), getattr(second, x)) for x in STATE)
    ends = [(run.status, run.steps, run.diverged_at, run.loss) for run in (first, second)]
    return same and ends[0] == ends[1]


def train(rule, **options):
    data = st.sparse_regression(n=12, d=17, n_test=0)
    options = {"alpha": 0.3, "step_size": 0.05, "steps": 500, **options}
    return st.descend(data, algorithm=rule, **options)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
@pytest.mark.parametrize("options", [{}, {"step_size": 8.0, "steps": 5000}, {"tol": 1e-6}])
def test_cutting_a_run_changes_no_bit(rule, options, monkeypatch):
    whole = train(rule, **options)
    calls = []
    monkeypatch.setattr(descent_loop, "_ROWS", 40)
    monkeypatch.setattr(descent_loop, "_WORK", 1)
    pieces = train(rule, progress=calls.append, **options)
    assert len(calls) >= whole.steps / 41
    assert same_run(pieces, whole)


def rarely_seen(seed):
    """Uncoupled examples, one of them with a step far too large: most minibatches look well."""
    X = np.eye(12)
    X[0, 0] = 6.0
    data = st.Regression(X, X.sum(axis=1))
    rows = np.random.default_rng(seed).integers(12, size=(2000, 1))
    return data, rows


def first_bad(data, rows, step_size):
    """First step whose loss on all examples exceeds 1e100 times the first, one step at a time."""
    u, v = np.full(12, 0.3), np.zeros(12)
    limit = 1e100 * max(1.0, data.loss(u * v))
    for k, i in enumerate(rows[:, 0]):
        pull = data.X[i] * (data.X[i] @ (u * v) - data.y[i])
        u, v = u - step_size * pull * v, v - step_size * pull * u
        if not data.loss(u * v) <= limit:
            return k + 1
    raise AssertionError("the run did not diverge")


@pytest.mark.parametrize("seed", range(10))
def test_the_first_bad_step_is_found_though_its_example_is_rarely_drawn(seed):
    data, rows = rarely_seen(seed)

    def run(steps=2000, **options):
        return st.descend(
            data,
            alpha=0.3,
            algorithm=st.sgd(),
            step_size=0.2,
            steps=steps,
            batches=rows[:steps],
            **options,
        )

    plain = run()
    assert plain.status == "diverged" and np.isfinite(plain.loss)
    assert plain.diverged_at == plain.steps + 1 == first_bad(data, rows, 0.2)
    for record in (1, 3, 50):
        assert same_run(run(record=record), plain)
    before = run(steps=plain.steps)
    assert before.status == "max_steps" and np.array_equal(before.beta, plain.beta)
