"""The group of ReLU networks: every row with its error, contracts where they belong."""

import math

import numpy as np

from benchmarks import relu, rows


def test_rows_and_contracts():
    found = list(relu.rows(True))
    assert [row.contender for row in found[:6]] == [rows.OURS, relu.LOOP, relu.ELSEWHERE] * 2
    measured = [row for row in found if row.contender != relu.ELSEWHERE]
    assert all(row.error < 1e-13 and row.seconds > 0.0 for row in measured)
    elsewhere = [row for row in found if row.contender == relu.ELSEWHERE]
    assert [row.seconds for row in elsewhere] == [184e-6, 437e-6]
    assert all(row.verdict == "" and row.note == "not measured here" for row in elsewhere)
    assert all(math.isnan(row.error) and row.runs == 0 for row in elsewhere)
    assert [check.required for row in found for check in row.checks] == [
        0.7e-6, 30.0, 1.3e-6, 30.0, 60.0,
    ]  # fmt: skip
    assert found[-1].error == 0.0 and "40 runs of 1000 steps" in found[-1].work


def test_the_error_sees_another_radius():
    task = relu.Task("SAM", 200)
    data, start, rho, gamma, steps = task.arguments
    right = relu.loop(data, start, rho, gamma, steps)
    wrong = relu.loop(data, start, rho * (1.0 + 1e-6), gamma, steps)
    assert task.error(right) < 1e-14 < 1e-9 < task.error(wrong)
    assert np.array_equal(right, relu.loop(*task.arguments))
