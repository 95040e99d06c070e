"""A batch against its single runs; settings must not touch each other."""

import numpy as np
import pytest

import sam_theory as st
from sam_theory.diagonal.steps import lane_loop, lanes, tiles

RULES = [
    st.gd(),
    st.n_sam(0.08),
    st.one_sam(0.08),
    st.m_sam(0.08, 3),
    st.m_sam(0.08, 7),
    st.Algorithm(rho=0.05, m=1, normalized=True),
    st.Algorithm(rho=0.05, m=7, normalized=True),
    st.Algorithm(rho=0.04, m=1, ascent_steps=2),
    st.Algorithm(rho=0.04, m=21, ascent_steps=3, normalized=True),
]
STATE = ("beta", "w_plus", "w_minus", "nu", "smallest_factor")


def largest_difference(batch, **rest):
    """Largest difference between the results of a batch and those of single runs."""
    worst = 0.0
    for setting, found in zip(batch.settings, batch, strict=True):
        alone = st.descend(
            found.data,
            alpha=setting.alpha,
            algorithm=setting.algorithm,
            step_size=setting.step_size,
            seed=setting.seed,
            **rest,
        )
        assert found.status == alone.status
        assert found.steps == alone.steps
        assert found.diverged_at == alone.diverged_at
        assert found.table.drop(columns=["loss", "test_loss"]).equals(
            alone.table.drop(columns=["loss", "test_loss"])
        )
        for name in STATE:
            apart = np.max(np.abs(getattr(found, name) - getattr(alone, name)))
            worst = max(worst, float(apart))
        np.testing.assert_allclose(found.table["loss"], alone.table["loss"], rtol=1e-9)
        np.testing.assert_allclose(found.table["test_loss"], alone.table["test_loss"], rtol=1e-9)
    return worst


def many(data, rules, count=11):
    """Settings of several rules with different alpha and step size, more than one register."""
    rng = np.random.default_rng(1)
    return [
        st.Setting(algorithm=rule, alpha=rng.uniform(0.05, 0.3), step_size=rng.uniform(0.005, 0.05))
        for rule in rules
        for _ in range(count)
    ]


def stream(monkeypatch):
    """Keep small problems from the kernels of tiles."""
    monkeypatch.setattr(lane_loop, "IN_TILES", 0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("n", "d"), [(21, 30), (21, 5), (21, 37)])
def test_every_rule_agrees_with_single_runs(n, d, streamed, monkeypatch):
    if streamed:
        stream(monkeypatch)
    data = st.sparse_regression(n=n, d=d, noise=0.1, n_test=20)
    batch = st.descend_batch(data, many(data, RULES), steps=60, record=25)
    assert largest_difference(batch, steps=60, record=25) <= 1e-14


def test_long_runs_agree():
    data = st.sparse_regression(n_test=50)
    chosen = many(data, [st.gd(), st.n_sam(0.05), st.one_sam(0.05)], 3)
    batch = st.descend_batch(data, chosen, steps=5000)
    assert largest_difference(batch, steps=5000) <= 1e-12


def test_tolerance_and_divergence_stop_single_settings():
    data = st.sparse_regression(n_test=50)
    chosen = st.settings_grid(
        algorithm=[st.gd(), st.n_sam(0.1), st.one_sam(0.05)],
        alpha=[0.1, 0.2],
        step_size=[0.05, 0.1, 0.9, 5.0],
    )
    rest = {"steps": 15_000, "record": 1000, "tol": 1e-6}
    batch = st.descend_batch(data, chosen, **rest)
    assert {run.status for run in batch} == {"converged", "diverged"}
    assert largest_difference(batch, **rest) <= 1e-10
    assert "diverged" in repr(batch)


@pytest.mark.parametrize("rule", [st.gd(), st.one_sam(0.05), st.m_sam(0.05, 10)])
def test_what_is_taken_out_leaves_the_others_alone(rule, monkeypatch):
    stream(monkeypatch)
    monkeypatch.setattr(lane_loop, "_LEAST_WORK", 1)
    data = st.sparse_regression(n_test=0)
    chosen = st.settings_grid(algorithm=[rule], alpha=[0.1, 0.2], step_size=[0.05, 9.0, 0.1, 0.4])
    batch = st.descend_batch(data, chosen, steps=300)
    assert {run.status for run in batch} == {"max_steps", "diverged"}
    assert largest_difference(batch, steps=300) <= 1e-12


def test_what_overflows_and_is_taken_out_stops_the_others_once(monkeypatch):
    stream(monkeypatch)
    calls, run = [], lane_loop.LaneTrainer._run_kernel

    def counted(trainer, size):
        calls.append(size)
        return run(trainer, size)

    monkeypatch.setattr(lane_loop.LaneTrainer, "_run_kernel", counted)
    data = st.sparse_regression(n_test=0)
    chosen = st.settings_grid(algorithm=st.one_sam(0.05), alpha=0.1, step_size=[0.05, 1e200])
    batch = st.descend_batch(data, chosen, steps=50)
    assert [run.status for run in batch] == ["max_steps", "diverged"]
    assert len(calls) == 2 and largest_difference(batch, steps=50) <= 1e-12


def test_a_tolerance_met_at_the_start_is_one_row():
    data = st.sparse_regression(n_test=10)
    chosen = many(data, [st.gd(), st.one_sam(0.05)], 2)
    rest = {"steps": 50, "record": 10, "tol": 1e3}
    batch = st.descend_batch(data, chosen, **rest)
    assert [len(run.table) for run in batch] == [1] * 4
    assert largest_difference(batch, **rest) == 0.0


def test_large_problems_stream_the_rows(monkeypatch):
    data = st.sparse_regression(n=30, d=50, n_test=10)
    chosen = many(data, [st.one_sam(0.05)], 20)
    small = st.descend_batch(data, chosen, steps=50)
    stream(monkeypatch)
    together = st.descend_batch(data, chosen, steps=50, threads=1)
    monkeypatch.setattr("sam_theory.diagonal.descent_batch._TOGETHER", 1)
    apart = st.descend_batch(data, chosen, steps=50, threads=1)
    for other in (together, apart):
        assert all(np.array_equal(a.beta, b.beta) for a, b in zip(small, other, strict=True))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_run_that_stops_and_goes_on_keeps_its_bits(rule, streamed, monkeypatch):
    data = st.sparse_regression(n=21, d=34, nonzeros=3, n_test=5)
    if streamed:
        stream(monkeypatch)
    chosen = many(data, [rule], 9)
    at_once = st.descend_batch(data, chosen, steps=60)
    in_pieces = st.descend_batch(data, chosen, steps=60, record=1)
    for a, b in zip(at_once, in_pieces, strict=True):
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in STATE)


def test_result_depends_on_its_setting_alone():
    data = st.sparse_regression(n_test=0)
    other = st.Regression(data.X, data.y[::-1].copy())
    chosen = [
        *many(data, RULES[:3], 5),
        st.Setting(algorithm=st.sgd(batch_size=2), alpha=0.1, step_size=0.05, seed=3),
        st.Setting(algorithm=st.one_sam(0.08), alpha=0.1, step_size=0.05, data=other),
        st.Setting(algorithm=st.gd(), alpha=0.1, step_size=np.linspace(0.1, 0.01, 200)),
    ]
    whole = st.descend_batch(data, chosen, steps=200, threads=2)
    order = np.random.default_rng(0).permutation(len(chosen))
    mixed = st.descend_batch(data, [chosen[k] for k in order], steps=200, threads=1)
    alone = [st.descend_batch(data, [setting], steps=200)[0] for setting in chosen]
    for place, k in enumerate(order):
        for name in STATE:
            assert np.array_equal(getattr(whole[k], name), getattr(mixed[place], name))
            assert np.array_equal(getattr(whole[k], name), getattr(alone[k], name))
    assert largest_difference(whole, steps=200) <= 1e-13


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("rest", [{}, {"record": 100, "tol": 1e-2}])
def test_no_bit_depends_on_the_pieces_of_a_run(rest, streamed, monkeypatch):
    if streamed:
        stream(monkeypatch)
    data = st.sparse_regression(n_test=10)
    chosen = many(data, RULES[:3], 9)
    chosen.append(st.Setting(algorithm=st.gd(), alpha=0.1, step_size=9.0))
    chosen.append(st.Setting(algorithm=st.gd(), alpha=0.1, step_size=np.linspace(0.1, 0.01, 300)))
    whole, sizes, piece = {}, set(), lane_loop.LaneTrainer._piece

    def seen(trainer, left):
        sizes.add(piece(trainer, left))
        return piece(trainer, left)

    monkeypatch.setattr(lane_loop.LaneTrainer, "_piece", seen)
    for least in (1 << 40, 1 << 18, 1):
        monkeypatch.setattr(lane_loop, "_LEAST_WORK", least)
        batch = st.descend_batch(data, chosen, steps=300, threads=2, **rest)
        for k, run in enumerate(batch):
            assert run.table.equals(whole.setdefault(k, run).table)
            assert all(np.array_equal(getattr(run, x), getattr(whole[k], x)) for x in STATE)
    assert min(sizes) == 1
    assert max(sizes) == rest.get("record", 300)


@pytest.mark.parametrize("position", [0, 2])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"alpha": 1e9}, "alpha must lie between 1e-150 and 1e\\+06, got 1e\\+09"),
        ({"alpha": np.nan}, "alpha must be positive and finite, got nan"),
        ({"algorithm": 3}, "algorithm must be an Algorithm, not int"),
        ({"algorithm": st.m_sam(0.1, 7)}, "m = 7 does not divide n = 20"),
        ({"step_size": None}, "step_size is required"),
        ({"step_size": np.ones(3)}, r"step_size has shape \(3,\), expected \(5,\) for steps"),
        ({"seed": -1}, "seed must be >= 0, not -1"),
        ({"data": 5}, "data must be a Regression, not int"),
        ({"alpha": 10**400}, "alpha must hold real numbers"),
        ({"step_size": 10**400}, "step_size must hold real numbers"),
        ({"seed": np.random.default_rng(0)}, "seed must be an integer: a Generator would serve"),
        ({"data": st.Regression(np.ones((20, 2)), 1e200 * np.ones(20))}, "alpha, X and y are so"),
    ],
)
def test_every_setting_is_checked(position, bad, message):
    usual = {"algorithm": st.gd(), "alpha": 0.1, "step_size": 0.1}
    chosen = [st.Setting(**usual)] * 3
    chosen[position] = st.Setting(**(usual | bad))
    with pytest.raises(st.InputError, match=rf"^settings\[{position}\]: {message}"):
        st.descend_batch(st.sparse_regression(), chosen, steps=5)


@pytest.mark.parametrize("kernels", [tiles, lanes])
def test_mixed_settings_are_caught(kernels, monkeypatch):
    if kernels is lanes:
        stream(monkeypatch)
    data = st.sparse_regression(n_test=0)
    chosen = [
        st.Setting(algorithm=st.one_sam(rho), alpha=0.1, step_size=0.05)
        for rho in np.linspace(0.05, 0.1, 8)
    ]
    kernel = kernels.run_examples

    def mixing(*arguments):
        *others, rho, normalized = arguments
        return kernel(*others, np.roll(rho, 1), normalized)

    assert largest_difference(st.descend_batch(data, chosen, steps=100), steps=100) <= 1e-13
    monkeypatch.setattr(kernels, "run_examples", mixing)
    batch = st.descend_batch(data, chosen, steps=100)
    with pytest.raises(AssertionError):
        assert largest_difference(batch, steps=100) <= 1e-13


def test_forgotten_rotations_are_caught(monkeypatch):
    data, rotate = st.sparse_regression(n_test=0), tiles.rotate
    chosen = many(data, [st.gd()], 3)
    for kept in (True, False):

        def half(design, forward, items, kept=kept):
            if forward == kept:
                rotate(design, forward, items)

        monkeypatch.setattr(tiles, "rotate", half)
        batch = st.descend_batch(data, chosen, steps=100)
        with pytest.raises(AssertionError):
            assert largest_difference(batch, steps=100) <= 1e-13


@pytest.mark.parametrize("rule", [st.gd(), st.n_sam(0.1), st.Algorithm(rho=0.05, normalized=True)])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 2), (9, 40), (50, 7)])
def test_rotated_problems_of_any_shape(n, d, rule, monkeypatch):
    rng = np.random.default_rng(n)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    X[:, -1], X[-1] = X[:, 0], X[0]  # a rank below both
    data = st.Regression(X, y)
    seen, rotate = [], tiles.rotate

    def seeing(design, forward, items):
        seen.append(design.Q.shape)
        rotate(design, forward, items)

    monkeypatch.setattr(tiles, "rotate", seeing)
    batch = st.descend_batch(data, many(data, [rule], 3), steps=60, weight_decay=0.03)
    assert seen == [(n, n)] * 2
    assert largest_difference(batch, steps=60, weight_decay=0.03) <= 1e-14


def test_limit_and_identity_of_a_batched_run():
    data = st.sparse_regression(n_test=0)
    batch = st.descend_batch(data, many(data, [st.one_sam(0.05), st.n_sam(0.05)], 2), steps=400)
    for run in batch:
        reached = run.limit(at="reached")
        assert np.max(np.abs(reached.beta - run.beta)) <= 1e-11


def test_limits_of_a_grid_are_the_single_limits():
    data = st.sparse_regression(n_test=0)
    chosen = st.settings_grid(algorithm=[st.gd(), st.one_sam(0.1)], alpha=[0.1, 0.3])
    for threads in (1, 2):
        batch = st.implicit_bias_batch(data, chosen, threads=threads)
        assert list(batch.table["status"]) == ["converged"] * 4
        for setting, found in zip(chosen, batch, strict=True):
            alone = st.implicit_bias(data, alpha=setting.alpha, algorithm=setting.algorithm)
            assert np.array_equal(found.beta, alone.beta)
            assert found.certificate.error_bound <= 1e-12


def test_table_and_progress():
    data = st.sparse_regression(n_test=10)
    seen = []
    chosen = st.settings_grid(
        algorithm=[st.gd(), st.sgd(batch_size=1)], alpha=0.1, step_size=[0.01, 0.02], seed=[0, 1]
    )
    batch = st.descend_batch(data, chosen, steps=30, progress=seen.append, threads=2)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    assert len(batch.table) == len(batch) == len(batch[2:]) + 2 == 8
    assert list(batch.table["step_size"]) == [0.01, 0.01, 0.02, 0.02] * 2
    assert np.array_equal(batch.table["test_loss"], [run.test_loss for run in batch])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "settings is empty"),
        (3, "settings must be a sequence of Setting"),
        ([st.gd()], r"settings\[0\] must be a Setting, not Algorithm"),
        ([st.Setting(algorithm=st.gd(), alpha=0.1)], r"settings\[0\]: step_size is required"),
        (
            [st.Setting(algorithm=st.gd(), alpha=-1.0, step_size=0.1)],
            r"settings\[0\]: alpha must be positive",
        ),
    ],
)
def test_bad_settings(chosen, message):
    with pytest.raises(st.InputError, match=message):
        st.descend_batch(st.sparse_regression(), chosen, steps=5)


def test_bad_grid_and_threads():
    with pytest.raises(st.InputError, match="alpha is empty"):
        st.settings_grid(algorithm=st.gd(), alpha=[])
    with pytest.raises(st.InputError, match="algorithm must be one value or several, not object"):
        st.settings_grid(algorithm=object(), alpha=0.1)
    assert st.settings_grid(algorithm=st.gd(), alpha=np.array(0.1))[0].alpha == 0.1
    one = st.Setting(algorithm=st.gd(), alpha=0.1, step_size=0.1)
    with pytest.raises(st.InputError, match="threads must be an integer >= 1, not 0"):
        st.descend_batch(st.sparse_regression(), [one], steps=5, threads=0)
