"""Measures of runs, bootstrap intervals and verdicts; each judge is shown something to refuse."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import sam_theory as st
from sam_theory import InputError, relu
from sam_theory.relu import bootstrap, complexity


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        found = bootstrap.mean_interval(rng.standard_normal(30) + 5.0, resamples=500, seed=trial)
        assert found.low < found.mean < found.high
        hits += found.low <= 5.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99
    narrow = bootstrap.mean_interval(rng.standard_normal(30), confidence=0.5)
    wide = bootstrap.mean_interval(rng.standard_normal(30), confidence=0.99)
    assert wide.high - wide.low > 2.0 * (narrow.high - narrow.low)
    assert bootstrap.mean_interval([3.0, 3.0]) == bootstrap.Interval(3.0, 3.0, 3.0)
    assert bootstrap.mean_interval(range(9)) == bootstrap.mean_interval(range(9))
    values = rng.standard_normal(30)
    assert bootstrap.mean_interval(values) != bootstrap.mean_interval(values, seed=1)


def test_paired_differences_and_verdicts():
    rng = np.random.default_rng(1)
    base = 100.0 * rng.standard_normal(20) ** 2
    lower = base - 1.0 + 0.1 * rng.standard_normal(20)
    found = bootstrap.paired_difference(base, lower)
    # Pairing sees a difference that is far smaller than the spread over the seeds.
    assert found.verdict == "smaller" and found.smaller_share == 1.0 and found.seeds == 20
    assert -1.1 < found.difference.low < found.difference.mean < found.difference.high < -0.9
    assert bootstrap.paired_difference(lower, base).verdict == "larger"
    shuffled = rng.permutation(lower)
    assert bootstrap.paired_difference(base, shuffled).verdict == "not decided"
    noise = base + rng.standard_normal(20)
    assert bootstrap.paired_difference(base, noise).verdict == "not decided"
    assert bootstrap.paired_difference(base, base).verdict == "not decided"
    half = bootstrap.paired_difference(base, 0.5 * base).ratio
    assert half.low == half.mean == half.high == 0.5
    for message, arguments in (
        ("base has 20 seeds, other has 2", (base, [1.0, 2.0])),
        ("at least two seeds", ([1.0], [1.0])),
        ("other holds a value that is not finite", ([1.0, 2.0], [1.0, np.nan])),
    ):
        with pytest.raises(InputError, match=message):
            bootstrap.paired_difference(*arguments)
    with pytest.raises(InputError, match="confidence must be between 0 and 1"):
        bootstrap.mean_interval([1.0, 2.0], confidence=1.0)
    with pytest.raises(InputError, match="resamples must be >= 100"):
        bootstrap.mean_interval([1.0, 2.0], resamples=5)


def test_fewer_than_six_seeds_decide_nothing():
    for seeds, verdict in ((2, "not decided"), (5, "not decided"), (6, "smaller"), (7, "smaller")):
        found = bootstrap.paired_difference(np.arange(seeds) + 10.0, np.arange(seeds))
        assert found.verdict == verdict and found.smaller_share == 1.0
        assert found.difference.high < 0.0


def test_measures_are_those_of_the_parts():
    data = relu.published_data()
    run = relu.train_run(data, relu.published_run(1, steps=3000))
    found = relu.measure(run)
    X = data.X
    low, high = float(X.min()), float(X.max())
    every = relu.kinks(run.network, low, high)
    merged = relu.kinks(run.network, low, high, tolerance=0.01 * (high - low))
    assert (found.all_kinks, found.kinks) == (every.count, merged.larger_than(0.01))
    assert found.kinks < found.all_kinks and found.total_variation == every.variation
    assert found.active_neurons + found.dead_neurons == 100
    assert found.sharpness == relu.measure_curvature(run.network, data).largest
    moved = np.abs(run.balancedness[-1] - run.balancedness[0])
    assert found.balance_moved == moved.max() > 0.0
    plane = st.Regression(np.random.default_rng(0).standard_normal((6, 2)), np.ones(6))
    start = relu.random_network(8, 2, seed=0)
    flat = relu.measure(relu.train(plane, start, algorithm=st.gd(), step_size=1e-4, steps=5))
    assert np.isnan(flat.kinks) and np.isnan(flat.total_variation) and flat.path_norm > 0.0
    for message, changes in (("merge must be", {"merge": 1.0}), ("share must be", {"share": -0.1})):
        with pytest.raises(InputError, match=message):
            relu.measure(run, **changes)


OPENINGS = {
    "smaller": "smaller under SAM than under ERM",
    "larger": "larger under SAM than under ERM",
    "not decided": "no difference shown between SAM and ERM",
}


@pytest.fixture(scope="module")
def small():
    entries = [
        relu.Entry(name, seed, relu.published_run(seed, rho=rho, steps=2000))
        for name, rho in (("ERM", 0.0), ("SAM", 0.3))
        for seed in range(6)
    ]
    return relu.compare(relu.published_data(), entries)


def test_tables_of_a_comparison(small):
    table, results = small
    assert list(table["seed"]) == [0, 1, 2, 3, 4, 5] * 2 and len(results) == 12
    assert list(table.columns[-len(complexity.MEASURES) :]) == list(complexity.MEASURES)
    summary = relu.summarize(table)
    assert len(summary) == 2 * (1 + len(complexity.MEASURES))
    row = summary[(summary["name"] == "SAM") & (summary["measure"] == "path_norm")].iloc[0]
    values = table.loc[table["name"] == "SAM", "path_norm"]
    assert row["mean"] == pytest.approx(values.mean()) and row["low"] < row["mean"] < row["high"]
    differences = relu.paired_differences(table, base="ERM")
    row = differences[differences["measure"] == "path_norm"].iloc[0]
    base = table.loc[table["name"] == "ERM", "path_norm"].to_numpy()
    assert row["difference"] == pytest.approx((values.to_numpy() - base).mean())
    words = complexity.sentence(differences, "SAM", "path_norm")
    assert words.startswith(f"path norm: {OPENINGS[row['verdict']]}: {row['difference']:+.4g} [")


def test_the_verdict_follows_the_table(small):
    table = small[0].copy()
    sam = table["name"] == "SAM"
    for factor, expected in ((0.5, "smaller"), (2.0, "larger"), (1.0, "not decided")):
        table.loc[sam, "kinks"] = factor * table.loc[~sam, "kinks"].to_numpy()
        differences = relu.paired_differences(table, base="ERM", measures=["kinks"])
        found = differences.iloc[0]
        assert found["verdict"] == expected and found["ratio"] == pytest.approx(factor)
        words = complexity.sentence(differences, "SAM", "kinks")
        share = f"smaller on {100 * (factor < 1)} % of 6 seeds"
        assert words.startswith(f"kinks: {OPENINGS[expected]}: ") and words.endswith(share)
    table.loc[sam, "seed"] += 1
    with pytest.raises(InputError, match="do not have the same seeds"):
        relu.paired_differences(table, base="ERM")
    with pytest.raises(InputError, match="no runs named 'GD'"):
        relu.paired_differences(table, base="GD")
    table["kinks"] = np.nan
    assert "kinks" not in set(relu.summarize(table)["measure"])


def test_a_diverged_run_is_named():
    good = relu.published_run(0, rho=0.0, steps=100)
    bad = dataclasses.replace(good, step_size=10.0)
    with pytest.raises(InputError, match=r"1 of 2 runs diverged, the first \(b\) at step \d+ with"):
        relu.compare(relu.published_data(), [relu.Entry("a", 0, good), relu.Entry("b", 0, bad)])


def test_tables_survive_a_file(small, tmp_path):
    summary = relu.summarize(small[0])
    summary.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), summary, check_exact=True)
