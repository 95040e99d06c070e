"""The compiled loops against the twins, the accumulators, stopping, resuming, recording."""

import numpy as np
import pytest
import twins

import sam_theory as st
from sam_theory.diagonal.steps.kernels import draw_rows

STEPS, STEP_SIZE = 300, 0.04
N, D = 12, 17


def instance(seed=0, n=N, d=D):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.exp(0.3 * rng.standard_normal(d))
    return st.Regression(X, X @ np.where(np.arange(d) < 3, 1.0, 0.0))


def scale(d=D, seed=1):
    return 0.3 * np.exp(0.2 * np.random.default_rng(seed).standard_normal(d))


def random_rows(batch, steps=STEPS, n=N, seed=2):
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(n)[:batch] for _ in range(steps)])


def weights_differ(run, trace):
    """Largest difference of w+- relative to the size of the coordinate."""
    size = np.hypot(trace.u, trace.v)
    plus = np.abs(run.w_plus - (trace.u + trace.v) / np.sqrt(2.0)) / size
    minus = np.abs(run.w_minus - (trace.u - trace.v) / np.sqrt(2.0)) / size
    return max(plus.max(), minus.max())


def assert_twin(run, trace, tol=2e-12):
    assert weights_differ(run, trace) <= tol


def assert_accumulators(run, trace, tol=1e-11):
    exponent = 0.5 * (trace.log_plus + trace.log_minus)
    assert np.max(np.abs(np.log(run.alpha_effective / run.alpha) - exponent)) <= tol
    assert np.max(np.abs(run.shift - trace.shift)) <= tol
    assert np.max(np.abs(run.data.X.T @ run.nu - trace.drift)) <= tol
    assert np.array_equal(run.sign_changed, trace.negative)


CASES = {
    "gd": st.gd(),
    "sgd": st.sgd(),
    "sgd-5": st.sgd(5),
    "n-sam": st.n_sam(0.2),
    "n-sam-normalized": st.n_sam(0.05, normalized=True),
    "2-sam": st.m_sam(0.1, 2),
    "3-sam": st.m_sam(0.1, 3),
    "6-sam-normalized": st.m_sam(0.05, 6, normalized=True),
    "1-sam": st.one_sam(0.03),
    "1-sam-normalized": st.one_sam(0.05, normalized=True),
    "1-sam-batch-1": st.one_sam(0.03, batch_size=1),
    "1-sam-batch-5": st.one_sam(0.03, batch_size=5),
    "1-sam-batch-6-normalized": st.one_sam(0.05, batch_size=6, normalized=True),
    "4-sam-batch-8": st.m_sam(0.1, 4, batch_size=8),
    "5-sam-batch-5-normalized": st.m_sam(0.05, 5, batch_size=5, normalized=True),
}


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("rule", CASES.values(), ids=CASES)
def test_twin(rule, decay):
    data, alpha = instance(), scale()
    rows = None if rule.batch_size is None else random_rows(rule.batch_size)
    sizes = STEP_SIZE * np.linspace(1.5, 0.5, STEPS)
    run = st.descend(
        data,
        alpha=alpha,
        algorithm=rule,
        step_size=sizes,
        steps=STEPS,
        batches=rows,
        weight_decay=decay,
    )
    trace = twins.train(data, alpha, rule, sizes, STEPS, rows, decay)
    assert_twin(run, trace)
    assert_accumulators(run, trace)
    assert run.loss == pytest.approx(data.loss(trace.beta), rel=1e-9)


@pytest.mark.parametrize(
    "rule",
    [
        st.one_sam(0.02, ascent_steps=2),
        st.n_sam(0.1, ascent_steps=3),
        st.m_sam(0.03, 4, batch_size=8, ascent_steps=2, normalized=True),
    ],
    ids=lambda rule: rule.label,
)
def test_several_ascent_steps(rule):
    data, alpha = instance(), scale()
    rows = None if rule.batch_size is None else random_rows(rule.batch_size)
    run = st.descend(
        data, alpha=alpha, algorithm=rule, step_size=STEP_SIZE, steps=STEPS, batches=rows
    )
    assert_twin(run, twins.train(data, alpha, rule, STEP_SIZE, STEPS, rows))
    assert np.max(np.abs(run.limit("reached").beta - run.beta)) <= 1e-11


def test_planted_faults_are_caught():
    data, alpha = instance(), scale()

    def run(rule):
        return st.descend(data, alpha=alpha, algorithm=rule, step_size=STEP_SIZE, steps=STEPS)

    for rule in (st.n_sam(0.2), st.m_sam(0.1, 3), st.one_sam(0.03)):
        right = twins.train(data, alpha, rule, STEP_SIZE, STEPS)
        assert_twin(run(rule), right)
        with pytest.raises(AssertionError):
            assert_twin(run(rule), twins.train(data, alpha, rule, STEP_SIZE, STEPS, sign=-1.0))
        half = st.Algorithm(rule.rho / 2, rule.m)
        with pytest.raises(AssertionError):
            assert_twin(run(half), right)
        other = st.m_sam(rule.rho, 4)
        with pytest.raises(AssertionError):
            assert_twin(run(other), right)
        slower = twins.train(data, alpha, rule, STEP_SIZE * 1.0001, STEPS)
        with pytest.raises(AssertionError):
            assert_twin(run(rule), slower)
        with pytest.raises(AssertionError):
            assert_accumulators(run(rule), slower)


def test_dropped_shift_is_caught():
    data = instance()
    run = st.descend(data, alpha=scale(), algorithm=st.gd(), step_size=0.08, steps=5000)
    scale_only = np.exp(2.0 * run.log_alpha_effective) / 2.0
    dual = data.X.T @ run.nu
    assert np.max(np.abs(scale_only * np.sinh(run.shift - 2.0 * dual) - run.beta)) <= 1e-12
    assert np.max(np.abs(scale_only * np.sinh(-2.0 * dual) - run.beta)) > 1e-4


def test_sign_changes_are_reported_and_harmless():
    data = st.sparse_regression()
    rows = np.random.default_rng(0).integers(20, size=(400, 1))
    trace = twins.train(data, 0.1, st.sgd(), 0.4, 400, rows)
    run = st.descend(data, alpha=0.1, algorithm=st.sgd(), step_size=0.4, steps=400, batches=rows)
    assert run.status == "max_steps" and run.loss < 10.0
    assert 0 < run.sign_changed.sum() < data.d
    assert_accumulators(run, trace, tol=1e-9)
    size = np.max(np.abs(run.beta))
    assert np.max(np.abs(run.limit("reached").beta - run.beta)) <= 1e-11 * size


def train(rule, steps=STEPS, **options):
    options = {"step_size": STEP_SIZE, "alpha": scale(), **options}
    return st.descend(instance(), algorithm=rule, steps=steps, **options)


def same_bits(first, second):
    names = ("beta", "w_plus", "w_minus", "nu", "smallest_factor")
    return all(np.array_equal(getattr(first, x), getattr(second, x)) for x in names)


@pytest.mark.parametrize("normalized", [False, True])
def test_zero_radius_is_gradient_descent_bit_for_bit(normalized):
    gd = train(st.gd())
    for rule in (st.n_sam(0.0, normalized=normalized), st.m_sam(0.0, 3), st.one_sam(0.0)):
        assert same_bits(train(rule), gd)


def test_special_cases_of_m():
    assert same_bits(train(st.m_sam(0.1, N)), train(st.n_sam(0.1)))
    assert same_bits(train(st.m_sam(0.02, 1)), train(st.one_sam(0.02)))
    tiny = train(st.n_sam(1e-9))
    assert np.max(np.abs(tiny.beta - train(st.gd()).beta)) < 1e-8


def test_blocks_of_one_example_agree_with_the_general_loop():
    one = train(st.one_sam(0.02))
    data = instance()
    from sam_theory.diagonal.steps import kernels

    w = scale() / np.sqrt(2.0)
    state = [w.copy(), w.copy(), np.zeros(D), np.zeros(N), np.ones(D)]
    rows = np.arange(N)[None, :]
    gammas = np.full(STEPS, STEP_SIZE)
    kernels.run_blocks(
        data.X, data.y, rows, True, gammas, 0.0, -1.0, 1e100, *state, 0.02, 1, False, 1
    )
    assert np.max(np.abs(state[2] - one.beta)) <= 1e-13


@pytest.mark.parametrize("rule", [st.sgd(N), st.n_sam(0.02, normalized=True), st.one_sam(0.02)])
def test_batch_of_all_examples_is_the_full_batch_up_to_order(rule):
    whole = st.Algorithm(rule.rho, rule.m, None, rule.normalized)
    drawn = st.Algorithm(rule.rho, rule.m, N, rule.normalized)
    assert np.max(np.abs(train(drawn, seed=5).beta - train(whole).beta)) <= 1e-12
    in_order = np.tile(np.arange(N), (STEPS, 1))
    ordered = train(drawn, batches=in_order)
    assert np.max(np.abs(ordered.beta - train(whole).beta)) <= 1e-13


def test_draws_match_their_twin_and_are_fair():
    uniform = np.random.default_rng(0).random((4000, 3))
    rows = draw_rows(uniform, 7)
    assert np.array_equal(rows, twins.draw(uniform, 7))
    assert all(len(set(row)) == 3 for row in rows.tolist())
    counts = np.bincount(rows.ravel(), minlength=7)
    assert np.max(np.abs(counts - 12000 / 7)) < 4 * np.sqrt(12000 / 7)
    pairs = np.bincount(rows[:, 0] * 7 + rows[:, 2], minlength=49)
    assert np.count_nonzero(pairs) == 42
    largest = np.full((2, 4), 1.0 - 2.0**-53)
    assert np.array_equal(draw_rows(largest, 4), twins.draw(largest, 4))


STOCHASTIC = [st.sgd(), st.sgd(4), st.m_sam(0.1, 2, batch_size=6)]
FULL = [st.gd(), st.one_sam(0.02), st.n_sam(0.05, normalized=True)]


@pytest.mark.parametrize("rule", FULL + STOCHASTIC, ids=lambda rule: rule.label)
def test_recording_changes_no_bit(rule):
    plain = train(rule)
    for record in (1, 7, [0, 3, 150, 299], np.array([300])):
        assert same_bits(train(rule, record=record), plain)
    every, some = train(rule, record=1).table, train(rule, record=[3, 150]).table
    assert every["step"].tolist() == list(range(STEPS + 1))
    assert some["step"].tolist() == [0, 3, 150, 300]
    assert every.iloc[[0, 3, 150, 300]]["loss"].tolist() == some["loss"].tolist()
    assert some["loss"].iloc[-1] == plain.loss


@pytest.mark.parametrize("rule", FULL + STOCHASTIC, ids=lambda rule: rule.label)
def test_resuming_changes_no_bit(rule):
    seed = None if rule.batch_size is None else 3
    whole = train(rule, record=50, seed=seed)
    first = train(rule, steps=130, record=50, seed=seed)
    second = train(rule, steps=170, record=50, start=first, alpha=None)
    third = train(rule, steps=170, record=50, start=first)
    assert same_bits(whole, second) and same_bits(second, third)
    assert second.steps == 300
    table = second.table[second.table["step"] != 130]
    assert table["step"].tolist() == whole.table["step"].tolist()
    assert table["loss"].tolist() == whole.table["loss"].tolist()
    if rule.batch_size is not None:
        assert not same_bits(whole, train(rule, seed=4))


def test_phases_are_one_run_after_the_other():
    both = st.descend(
        instance(),
        alpha=scale(),
        phases=[(st.gd(), 0.02, 100), (st.one_sam(0.1), 0.04, 200)],
        record=50,
    )
    first = train(st.gd(), steps=100, step_size=0.02)
    assert same_bits(both, train(st.one_sam(0.1), steps=200, start=first))
    assert both.table["phase"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert both.table["algorithm"].tolist()[-1] == "1-SAM"
    assert [phase.steps for phase in both.phases] == [100, 200]
    middle = twins.train(instance(), scale(), st.gd(), 0.02, 100)
    trace = twins.train(instance(), scale(), st.one_sam(0.1), 0.04, 200, state=(middle.u, middle.v))
    assert_twin(both, trace)
    assert np.isnan(both.limit("reached").delta).all()


def test_tol_stops_at_the_first_step_that_reaches_it():
    run = train(st.one_sam(0.02), steps=100_000, tol=1e-8)
    assert run.status == "converged" and run.loss <= 1e-8 and run.steps < 100_000
    before = train(st.one_sam(0.02), steps=run.steps - 1)
    assert before.status == "max_steps" and before.loss > 1e-8
    recorded = train(st.one_sam(0.02), steps=100_000, tol=1e-8, record=7)
    assert same_bits(run, recorded) and recorded.steps == run.steps
    assert recorded.table["step"].iloc[-1] == run.steps
    stochastic = train(st.sgd(), steps=100_000, tol=1e-8, record=1000)
    assert stochastic.status == "converged" and stochastic.steps % 1000 == 0


DIVERGING = {
    "gd": (st.gd(), 3.0),
    "sgd": (st.sgd(), 8.0),
    "1-sam": (st.one_sam(20.0), 0.3),
    "n-sam": (st.n_sam(300.0), 0.3),
    "3-sam-batch": (st.m_sam(300.0, 3, batch_size=6), 0.3),
}


@pytest.mark.parametrize("rule, step_size", DIVERGING.values(), ids=DIVERGING)
def test_divergence_keeps_the_last_good_state(rule, step_size):
    seed = None if rule.batch_size is None else 0
    run = train(rule, step_size=step_size, steps=2000, seed=seed)
    assert run.status == "diverged"
    assert run.diverged_at == run.steps + 1
    assert np.isfinite(run.loss) and np.isfinite(run.beta).all() and np.isfinite(run.nu).all()
    assert same_bits(run, train(rule, step_size=step_size, steps=run.steps, seed=seed))
    for record in (1, 3):
        again = train(rule, step_size=step_size, steps=2000, seed=seed, record=record)
        assert same_bits(run, again) and again.diverged_at == run.diverged_at
    assert run.table["step"].iloc[-1] == run.steps
    assert sum(phase.steps for phase in run.phases) == run.steps
    assert "diverged at" in repr(run)
    with pytest.raises(st.InputError, match="diverged at step"):
        run.limit()
    if rule.batch_size is None:
        rows = None
        with np.errstate(all="ignore"):
            trace = twins.train(instance(), scale(), rule, step_size, run.diverged_at, rows)
        assert not instance().loss(np.nan_to_num(trace.beta, nan=1e200)) <= 1e100


def test_exact_zero_is_reported():
    data = st.Regression(np.array([[1.0]]), np.array([1.0]))
    run = st.descend(data, alpha=1.0, algorithm=st.gd(), step_size=1.0, steps=1)
    assert run.vanished.tolist() == [True] and run.alpha_effective.tolist() == [0.0]
    with pytest.raises(st.InputError, match="exactly zero"):
        run.limit()


def test_results_are_read_only_and_readable():
    run = train(st.one_sam(0.02))
    with pytest.raises(ValueError):
        run.beta[0] = 1.0
    assert repr(run).startswith("Descent(1-SAM, max_steps, steps=300, loss=")
    assert run.algorithm == st.one_sam(0.02) and run.step_size == STEP_SIZE
    seen = []
    train(st.gd(), record=100, progress=seen.append)
    assert seen[-1] == 1.0 and seen == sorted(seen)


GOOD = {"alpha": 0.1, "algorithm": st.gd(), "step_size": 0.1, "steps": 10}
BAD = [
    ({"alpha": 0.0}, "alpha"),
    ({"alpha": -1.0}, "alpha"),
    ({"alpha": np.ones(D + 1)}, "alpha"),
    ({"alpha": None}, "alpha"),
    ({"alpha": np.nan}, "alpha"),
    ({"algorithm": None}, "algorithm"),
    ({"algorithm": "gd"}, "algorithm"),
    ({"algorithm": st.m_sam(0.1, 5)}, "m = 5"),
    ({"algorithm": st.sgd(N + 1)}, "batch_size"),
    ({"step_size": 0.0}, "step_size"),
    ({"step_size": np.inf}, "step_size"),
    ({"step_size": "x"}, "step_size"),
    ({"step_size": np.ones(9)}, "step_size"),
    ({"step_size": np.full(10, -1.0)}, "step_size"),
    ({"steps": 0}, "steps"),
    ({"steps": 2.5}, "steps"),
    ({"steps": True}, "steps"),
    ({"record": 0}, "record"),
    ({"record": [11]}, "record"),
    ({"record": [0.5]}, "record"),
    ({"seed": -1}, "seed"),
    ({"seed": "a"}, "seed"),
    ({"weight_decay": -0.1}, "weight_decay"),
    ({"weight_decay": np.nan}, "weight_decay"),
    ({"tol": -1.0}, "tol"),
    ({"tol": "x"}, "tol"),
    ({"batches": np.zeros((10, 1), int)}, "batches"),
    ({"algorithm": st.sgd(), "batches": np.zeros((9, 1), int)}, "batches"),
    ({"algorithm": st.sgd(), "batches": np.full((10, 1), N)}, "batches"),
    ({"algorithm": st.sgd(), "batches": np.zeros((10, 1))}, "batches"),
    ({"algorithm": st.sgd(), "batches": np.zeros((10, 1), int), "seed": 0}, "batches"),
    ({"phases": []}, "phases"),
    ({"progress": 3}, "progress"),
    ({"start": 3}, "start"),
]


@pytest.mark.parametrize("change, named", BAD, ids=lambda value: str(value)[:40])
def test_bad_arguments_are_named_in_one_line(change, named):
    with pytest.raises(st.InputError, match=named) as caught:
        st.descend(instance(), **{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_bad_combinations():
    data = instance()
    with pytest.raises(st.InputError, match="phases is empty"):
        st.descend(data, alpha=0.1, phases=[])
    with pytest.raises(st.InputError, match=r"phases\[1\]: steps"):
        st.descend(data, alpha=0.1, phases=[(st.gd(), 0.1, 5), (st.gd(), 0.1, 0)])
    with pytest.raises(st.InputError, match="same batch_size"):
        st.descend(
            data,
            alpha=0.1,
            phases=[(st.sgd(1), 0.1, 5), (st.sgd(2), 0.1, 5)],
            batches=np.zeros((10, 1), int),
        )
    first = st.descend(data, **GOOD)
    with pytest.raises(st.InputError, match="alpha differs"):
        st.descend(data, **{**GOOD, "alpha": 0.2}, start=first)
    with pytest.raises(st.InputError, match="other data"):
        st.descend(instance(seed=9), **GOOD, start=first)
    with pytest.raises(st.InputError, match="data"):
        st.descend((data.X, data.y), **GOOD)
    with pytest.raises(st.InputError, match="at must be"):
        first.limit("end")
    with pytest.raises(st.InputError, match="overflows"):
        st.descend(st.Regression(np.ones((1, 1)), np.array([1e200])), **GOOD)
