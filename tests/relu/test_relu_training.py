"""Whole runs against the NumPy loop, degenerate identities, pauses, batches, divergence."""

import dataclasses
import itertools

import numpy as np
import pytest
import relu_twins as twins

import sam_theory as st
from sam_theory import InputError, relu
from sam_theory.diagonal.steps.kernels import draw_rows

RULES = [
    st.gd(),
    st.n_sam(0.01),
    st.n_sam(0.05, normalized=True),
    st.m_sam(0.05, 4, normalized=True, ascent_steps=3),
    st.m_sam(0.02, 3, ascent_steps=2),
    st.one_sam(0.03, normalized=True),
]
DATA, START = twins.instance(12, 1, 30, seed=1)
FEW, FEW_START = twins.instance(4, 1, 30, seed=1)
COMMON = {"step_size": 5e-3, "steps": 60}


def bits(result):
    return result.network.parameters.tobytes()


def same(one, other):
    return (
        bits(one) == bits(other)
        and one.status == other.status
        and one.objective == other.objective
        and one.table.equals(other.table)
        and np.array_equal(one.balancedness, other.balancedness)
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("objective", ["half_sum", "half_mean"])
def test_trajectories_follow_the_obvious_loop(rule, linear, objective):
    data, start = twins.instance(12, 2, 21, seed=5)
    mean = objective == "half_mean"
    run = relu.train(
        data,
        start,
        algorithm=rule,
        step_size=0.05 if mean else 5e-3,
        steps=60,
        schedule="linear" if linear else "constant",
        objective=objective,
        record=1,
    )
    theta, objectives = twins.descend(
        data, start, rule, run.run.step_size, 60, linear=linear, mean=mean
    )
    assert twins.distance(theta, run.network) < 1e-11
    np.testing.assert_allclose(run.table["objective"][:-1], objectives, rtol=1e-10)


def test_the_comparison_with_the_loop_can_fail():
    for wrong in (st.n_sam(0.051), st.n_sam(0.05, ascent_steps=2), st.m_sam(0.05, 6)):
        run = relu.train(DATA, START, algorithm=wrong, **COMMON)
        theta, _ = twins.descend(DATA, START, st.n_sam(0.05), 5e-3, 60)
        assert twins.distance(theta, run.network) > 1e-6


def test_minibatches_follow_the_loop():
    rule = st.m_sam(0.05, 2, batch_size=6, normalized=True)
    run = relu.train(DATA, START, algorithm=rule, seed=3, record=20, **COMMON)
    rows = draw_rows(np.random.default_rng(3).random((60, 6)), 12)
    theta, _ = twins.descend(DATA, START, rule, 5e-3, 60, rows=rows)
    assert twins.distance(theta, run.network) < 1e-11
    other = relu.train(DATA, START, algorithm=rule, seed=4, **COMMON)
    assert bits(other) != bits(run)
    # Recorded is the objective on all examples.
    assert run.objective == pytest.approx(relu.objective(run.network, DATA), rel=1e-12)
    assert np.isnan(run.perturbed_objective)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_rho_zero_is_gradient_descent_bit_for_bit(precision):
    for m, batch, normalized, ascents in itertools.product(
        (None, 1, 3), (None, 6), (False, True), (1, 2)
    ):
        plain = relu.train(
            DATA, START, algorithm=st.Algorithm(batch_size=batch), precision=precision, **COMMON
        )
        rule = st.Algorithm(0.0, m, batch, normalized, ascents)
        assert same(relu.train(DATA, START, algorithm=rule, precision=precision, **COMMON), plain)
    tiny = relu.train(DATA, START, algorithm=st.n_sam(1e-6), precision=precision, **COMMON)
    assert bits(tiny) != bits(relu.train(
        DATA, START, algorithm=st.gd(), precision=precision, **COMMON
    ))  # fmt: skip


@pytest.mark.parametrize("normalized", [False, True])
def test_m_equal_to_n_is_n_sam(normalized):
    whole = relu.train(DATA, START, algorithm=st.n_sam(0.1, normalized=normalized), **COMMON)
    blocks = relu.train(DATA, START, algorithm=st.m_sam(0.1, 12, normalized=normalized), **COMMON)
    half = relu.train(DATA, START, algorithm=st.m_sam(0.1, 6, normalized=normalized), **COMMON)
    assert same(whole, blocks)
    assert bits(half) != bits(whole)


def test_mean_with_n_times_the_step_is_the_sum():
    rule = st.n_sam(0.1, normalized=True)
    mean = relu.train(
        DATA, START, algorithm=rule, step_size=12 * 5e-3, steps=60, objective="half_mean"
    )
    total = relu.train(DATA, START, algorithm=rule, **COMMON)
    np.testing.assert_allclose(mean.network.parameters, total.network.parameters, rtol=1e-9)
    assert 12.0 * mean.objective == pytest.approx(total.objective, rel=1e-9)


@pytest.mark.parametrize(
    "rule", [st.n_sam(0.1, normalized=True), st.sgd(3), st.m_sam(0.05, 2, batch_size=4)],
    ids=lambda rule: rule.label,
)  # fmt: skip
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_pause_changes_no_bit(rule, schedule, precision):
    settings = {
        "algorithm": rule, "step_size": 5e-3, "steps": 100, "schedule": schedule,
        "record": [0, 30, 37, 99], "precision": precision, "seed": 7,
    }  # fmt: skip
    straight = relu.train(DATA, START, **settings)
    parts = relu.train(DATA, START, pause_after=30, **settings)
    assert (parts.status, parts.steps) == ("paused", 30)
    parts = relu.continue_training(parts, pause_after=1)
    assert parts.steps == 31 and "paused, steps=31 of 100" in repr(parts)
    parts = relu.continue_training(parts)
    assert parts.status == "max_steps" and same(parts, straight)
    assert list(straight.table["step"]) == [0, 30, 37, 99, 100]


def test_more_steps_and_time():
    rule = st.n_sam(0.1, normalized=True)
    straight = relu.train(DATA, START, algorithm=rule, step_size=5e-3, steps=100)
    first = relu.train(DATA, START, algorithm=rule, step_size=5e-3, steps=40)
    longer = relu.continue_training(first, steps=100)
    assert bits(longer) == bits(straight) and longer.run.steps == 100
    settings = {"algorithm": rule, "step_size": 5e-3, "steps": 10**9}
    brief = relu.train(DATA, START, max_seconds=0.05, **settings)
    assert brief.status == "paused" and 0 < brief.steps < 10**9
    again = relu.train(DATA, START, pause_after=brief.steps, **settings)
    assert bits(again) == bits(brief)


@pytest.mark.parametrize("rule", [st.n_sam(0.1, normalized=True), st.sgd(3)])
def test_more_steps_leave_no_row_of_the_old_end(rule):
    settings = {"algorithm": rule, "step_size": 5e-3, "seed": 7}
    for record, steps in ((10, [0, 10, 20, 30, 40, 45]), ([25], [0, 25, 45]), (None, [0, 45])):
        straight = relu.train(DATA, START, steps=45, record=record, **settings)
        first = relu.train(DATA, START, steps=25, record=record, **settings)
        longer = relu.continue_training(first, steps=45)
        twice = relu.continue_training(relu.continue_training(first, steps=33), steps=45)
        for found in (longer, twice):
            assert list(found.table["step"]) == list(straight.table["step"]) == steps
            assert same(found, straight) and found.table.equals(straight.table)
        # The run that goes on keeps its own end.
        assert first.table["step"].iloc[-1] == 25 and first.status == "max_steps"


def test_converged_stops_where_the_objective_says():
    settings = {"step_size": 5e-3, "steps": 100_000, "record": 1}
    erm = relu.train(FEW, FEW_START, algorithm=st.gd(), tol=1e-3, **settings)
    assert erm.status == "converged" and erm.objective <= 1e-3
    assert list(erm.table["objective"] <= 1e-3) == [False] * erm.steps + [True]
    rule = st.n_sam(1e-3, normalized=True)
    at = {name: relu.train(FEW, FEW_START, algorithm=rule, tol=1e-2, tol_at=name, **settings)
          for name in ("weights", "perturbed")}  # fmt: skip
    weights, perturbed = at["weights"], at["perturbed"]
    assert weights.status == perturbed.status == "converged"
    assert weights.objective <= 1e-2 < weights.perturbed_objective
    assert perturbed.perturbed_objective <= 1e-2 and perturbed.steps > weights.steps
    assert list(perturbed.table["perturbed_objective"] <= 1e-2).count(True) == 1
    assert relu.continue_training(erm) is erm
    done = relu.train(FEW, FEW_START, algorithm=st.gd(), tol=1e9, **settings)
    assert (done.status, done.steps) == ("converged", 0)
    assert bits(done) == FEW_START.parameters.tobytes()
    drawn = relu.train(
        FEW, FEW_START, algorithm=st.sgd(2), step_size=5e-3, steps=50_000, tol=1e-3, record=100
    )
    assert drawn.status == "converged" and drawn.steps % 100 == 0


@pytest.mark.parametrize(
    "rule", [st.gd(), st.n_sam(0.1, normalized=True), st.m_sam(0.1, 3, normalized=True), st.sgd(2)],
    ids=lambda rule: rule.label,
)  # fmt: skip
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_divergence_keeps_the_last_good_state(rule, precision):
    data, start = twins.instance(12, 1, 30, seed=1)
    settings = {"algorithm": rule, "step_size": 5.0, "seed": 2, "precision": precision}
    run = relu.train(data, start, steps=1000, **settings)
    assert run.status == "diverged" and run.diverged_at == run.steps + 1 < 1000
    assert np.all(np.isfinite(run.network.parameters)) and np.isfinite(run.objective)
    assert f"diverged at {run.diverged_at}" in repr(run)
    if run.steps:
        before = relu.train(data, start, steps=run.steps, **settings)
        assert before.status == "max_steps" and bits(before) == bits(run)
    assert relu.train(data, start, steps=run.diverged_at, **settings).status == "diverged"
    with pytest.raises(InputError, match="diverged at step"):
        relu.continue_training(run)


def test_a_batch_is_its_single_runs_on_any_number_of_threads():
    runs = [
        relu.Run(relu.random_network(20, 1, seed=seed), rule, 1e-3, 300, schedule=schedule)
        for seed in range(3)
        for rule in (st.gd(), st.n_sam(0.1, normalized=True), st.sgd(3))
        for schedule in ("constant", "linear")
    ]
    seen = []
    one = relu.train_batch(DATA, runs, threads=1, progress=seen.append)
    two = relu.train_batch(DATA, runs, threads=2)
    assert seen[-1] == pytest.approx(1.0) and sorted(seen) == seen
    for run, a, b in zip(runs, one, two, strict=True):
        single = relu.train_run(DATA, run)
        assert same(a, single) and same(b, single)
    assert len({bits(result) for result in one}) == len(runs)


def test_progress_and_records():
    seen = []
    run = relu.train(DATA, START, algorithm=st.gd(), record=25, progress=seen.append, **COMMON)
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert list(run.table["step"]) == [0, 25, 50, 60]
    assert run.balancedness.shape == (4, 30)
    assert np.array_equal(run.balancedness[0], START.balancedness)
    assert np.array_equal(run.balancedness[-1], run.network.balancedness)
    assert run.summary()["steps"] == 60
    assert repr(run).startswith("Training(GD, max_steps, steps=60 of 60, objective=")


def test_a_flat_block_is_not_perturbed():
    """All neurons dead: no direction to go, and no division by zero."""
    start = relu.Network([[1.0], [2.0]], [-100.0, -100.0], [1.0, 2.0])
    run = relu.train(DATA, start, algorithm=st.n_sam(0.3, normalized=True), **COMMON)
    assert run.status == "max_steps" and bits(run) == start.parameters.tobytes()


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_tiny_and_huge_gradients_have_a_norm(scale):
    data = st.Regression(DATA.X, DATA.y * scale)
    start = relu.Network(START.hidden_weights, START.hidden_bias, START.output_weights * scale)
    rule = st.n_sam(1.0, normalized=True)
    gradient, _ = twins.block_gradient(
        (start.output_weights, start.hidden_weights, start.hidden_bias), data.X, data.y
    )
    expected = np.linalg.norm(np.concatenate([g.ravel() / scale for g in gradient])) * scale
    point = twins.moved(
        (start.output_weights, start.hidden_weights, start.hidden_bias), gradient, 1.0 / expected
    )
    there, _ = twins.block_gradient(point, data.X, data.y)
    found = twins.compiled_gradient(start, data, rule)
    np.testing.assert_allclose(
        found, np.concatenate([there[0], there[1].ravel(), there[2]]), rtol=1e-9
    )


def refused(message, **changes):
    settings = {"algorithm": st.gd(), "step_size": 1e-3, "steps": 5} | changes
    data, start = settings.pop("data", DATA), settings.pop("start", START)
    with pytest.raises(InputError, match=message) as caught:
        relu.train(data, start, **settings)
    assert "\n" not in str(caught.value)


def test_bad_input_is_one_line():
    nan = np.array([1.0, np.nan])
    with pytest.raises(InputError, match="X is nan in row 2"):
        st.Regression(nan[:, None], np.ones(2))
    with pytest.raises(InputError, match="y is nan in row 2"):
        st.Regression(np.ones((2, 1)), nan)
    refused(r"takes d = 1 inputs but X has 2 columns", data=st.Regression(np.eye(2), np.ones(2)))
    refused("data must be a Regression", data=DATA.X)
    refused("start must be a Network", start=START.parameters)
    refused("algorithm must be an Algorithm", algorithm="sam")
    refused("m = 5 does not divide n = 12", algorithm=st.m_sam(0.1, 5))
    refused("m = 24 exceeds n = 12", algorithm=st.m_sam(0.1, 24))
    refused("batch_size = 13 exceeds", algorithm=st.sgd(13))
    for step in (0.0, -1e-3):
        refused("step_size must be > 0", step_size=step)
    refused("step_size must be finite", step_size=np.inf)
    refused("steps must be between 1", steps=0)
    refused("steps must be an integer", steps=1e6)
    refused("schedule must be one of constant, linear", schedule="cosine")
    refused("objective must be one of half_sum, half_mean", objective="sum")
    refused("precision must be one of", precision="float16")
    refused("tol must be >= 0", tol=-1.0)
    refused("tol_at must be one of weights, perturbed", tol_at="end")
    refused("not available with a batch_size", tol_at="perturbed", algorithm=st.sgd(2))
    refused("record must be >= 1", record=0)
    refused("record asks for step 6, outside 0 to 5", record=[1, 6])
    refused("record must be an integer or a list", record=[[1]])
    refused("seed must be >= 0", seed=-1)
    refused("pause_after must be >= 1", pause_after=0)
    refused("max_seconds must be > 0", max_seconds=0.0)
    refused("progress must be a function", progress=3)
    refused("checkpoint_every is given without checkpoint", checkpoint_every=3)
    with pytest.raises(InputError, match="rho must be a finite number >= 0"):
        st.n_sam(-0.1)
    huge = relu.Network([[1e200]], [0.0], [1e200])
    refused("so large that the initial objective overflows", start=huge)
    large = st.Regression(DATA.X * 1e100, DATA.y)
    refused("so large that the initial objective overflows", data=large, precision="float32")
    wide = relu.Network([[1e100]], [0.0], [1.0])
    refused("so large that the initial objective overflows", start=wide, precision="float32")
    with pytest.raises(InputError, match=r"runs\[1\]: m = 5 does not divide"):
        good = relu.Run(START, st.gd(), 1e-3, 5)
        relu.train_batch(DATA, [good, dataclasses.replace(good, algorithm=st.m_sam(0.1, 5))])
    with pytest.raises(InputError, match=r"runs\[0\]: must be a Run"):
        relu.train_batch(DATA, [START])
    with pytest.raises(InputError, match="run must be a Run"):
        relu.train_run(DATA, START)


def test_networks_that_do_not_fit_are_refused():
    for message, arguments in (
        ("width must be >= 1, not 0", (np.zeros((0, 1)), [], [])),
        ("d must be >= 1, not 0", (np.zeros((2, 0)), [0, 0], [0, 0])),
        ("hidden_bias has length 1 but hidden_weights has 2 rows", ([[1], [2]], [0], [0, 0])),
        ("output_weights has an entry that is nan", ([[1]], [0], [np.nan])),
        (r"hidden_weights has 1 dimensions, expected \(width, d\)", ([1, 2], [0, 0], [0, 0])),
        ("hidden_bias must hold real numbers", ([[1]], ["a"], [0])),
    ):
        with pytest.raises(InputError, match=message):
            relu.Network(*arguments)
    for message, changes in (
        ("width must be >= 1, not 0", {"width": 0}),
        ("scale must be > 0, not 0", {"scale": 0.0}),
        ("bias must be >= 0, not -1", {"bias": -1.0}),
    ):
        with pytest.raises(InputError, match=message):
            relu.random_network(**{"width": 3, "d": 1, "seed": 0} | changes)
    with pytest.raises(InputError, match=r"X has shape \(3, 2\), expected \(n, 1\)"):
        START(np.zeros((3, 2)))
    with pytest.raises(InputError, match="parameters has length 4, expected 6"):
        relu.Network.from_parameters(np.zeros(4), 2, 1)
    sparse = __import__("scipy.sparse").sparse.csr_array(np.eye(2))
    with pytest.raises(InputError, match="dense X"):
        relu.objective(relu.random_network(2, 2, seed=0), st.Regression(sparse, np.ones(2)))


def test_continuing_what_cannot_go_on_is_refused():
    done = relu.train(DATA, START, algorithm=st.gd(), **COMMON)
    with pytest.raises(InputError, match="all 60 steps have been done"):
        relu.continue_training(done)
    with pytest.raises(InputError, match="steps = 59, but 60 have been done"):
        relu.continue_training(done, steps=59)
    with pytest.raises(InputError, match="result must be a Training"):
        relu.continue_training(START)
    decayed = relu.train(DATA, START, algorithm=st.gd(), schedule="linear", **COMMON)
    with pytest.raises(InputError, match="the linear schedule was planned for 60 steps"):
        relu.continue_training(decayed, steps=100)
