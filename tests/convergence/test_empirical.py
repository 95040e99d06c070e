"""Empirical rates: known powers are found, wrong ones are not, intervals cover."""

import numpy as np
import pytest

import sam_theory as st
from sam_theory.convergence import empirical_rate

T = np.array([10, 100, 1000, 10_000, 100_000])


@pytest.mark.parametrize("power", [-2.0, -1.0, -0.5, 0.0])
def test_pure_power(power):
    rate = empirical_rate(T, 3.0 * T[None, :] ** power)
    assert rate.slope == pytest.approx(power, abs=1e-12) and abs(rate.curvature) < 1e-12
    assert rate.window == (100, 100_000)


def test_transient_is_left_out_and_shows_as_curvature():
    values = T**-1.0 + 50.0 * T**-2.0
    rate = empirical_rate(T, values[None, :])
    assert abs(rate.slope + 1.0) < 0.06 and rate.curvature > 0.02
    assert abs(empirical_rate(T, values[None, :], points=5).slope + 1.0) > 0.1


def test_interval_covers_the_truth():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        noise = generator.lognormal(0.0, 1.0, size=(60, 5)) / np.exp(0.5)
        rate = empirical_rate(T, noise * T**-1.0, seed=1)
        inside += rate.low <= -1.0 <= rate.high
    assert 170 <= inside <= 200


@pytest.mark.parametrize(
    ("horizons", "samples", "message"),
    [
        ([10], [[1.0]], "two horizons"),
        ([10, 20], [[1.0]], "shape"),
        ([10, 20], [[1.0, 0.0]], "positive"),
        ([10, 20], [[1.0, np.inf]], "positive"),
    ],
)
def test_refused(horizons, samples, message):
    with pytest.raises(st.InputError, match=message):
        empirical_rate(horizons, samples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizons": [10, np.nan, 30]}, "horizons is nan in row 2"),
        ({"horizons": [-10, 20, 30]}, "horizons must be >= 0 and strictly increasing"),
        ({"horizons": [10, 30, 20]}, "strictly increasing"),
        ({"horizons": [10, 10, 20]}, "strictly increasing"),
        ({"horizons": ["a", "b", "c"]}, "horizons must hold real numbers"),
        ({"horizons": 10}, "horizons must have 1 dimension"),
        ({"samples": [["a", "b", "c"]]}, "samples must hold real numbers"),
        ({"samples": [[1.0], [1.0, 2.0]]}, "samples is ragged"),
        ({"samples": np.ones((0, 3))}, "shape"),
        ({"samples": 1.0}, "shape"),
        ({"resamples": 0}, "resamples must be >= 1"),
        ({"resamples": "many"}, "resamples must be an integer"),
        ({"points": 1}, "points must be >= 2"),
        ({"points": None}, "points must be an integer"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)  # fmt: skip
def test_arguments_refused(changes, message):
    setting = {"horizons": [10, 20, 30], "samples": [[1.0, 0.5, 0.25], [1.1, 0.6, 0.2]]} | changes
    with pytest.raises(st.InputError, match=message) as caught:
        empirical_rate(**setting)
    assert "\n" not in str(caught.value)
