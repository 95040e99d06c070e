"""Training runs computed elsewhere by automatic differentiation, to 1e-8 relative."""

import json
from pathlib import Path

import numpy as np
import pytest

import sam_theory as st
from sam_theory import relu
from sam_theory.relu import published

CASES = json.loads(
    (Path(__file__).parents[1] / "data" / "relu_training.json").read_text(encoding="utf-8")
)["cases"]
TOLERANCE = 1e-8
WEIGHTS = ("hidden_weights", "hidden_bias", "output_weights")


def trained(case, **changes):
    algorithm = st.Algorithm(rho=case["rho"], m=case["m"], normalized=case["normalized"])
    settings = {
        "algorithm": algorithm,
        "step_size": case["step_size"],
        "steps": case["steps"],
        "schedule": "linear" if case["linear_decay_to_zero"] else "constant",
        "record": [step for step, _ in case["sum_of_squares_half_before_step"]],
    }
    data = st.Regression(np.array(case["X"]), np.array(case["y"]))
    start = relu.Network(*(case[name] for name in WEIGHTS))
    return relu.train(data, start, **settings | changes)


def errors(case, run):
    """Relative errors of everything that the case records."""
    objective = run.table.set_index("step")["objective"]
    found = [
        abs(objective[step] / value - 1.0)
        for step, value in case["sum_of_squares_half_before_step"]
    ]
    found.append(abs(run.objective / case["final_loss"] - 1.0))
    for name in WEIGHTS:
        expected = np.array(case[f"final_{name}"])
        gap = np.max(np.abs(getattr(run.network, name) - expected))
        found.append(gap / np.max(np.abs(expected)))
    return np.array(found)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_recorded_objective_and_the_final_weights(case):
    run = trained(case)
    assert run.status == "max_steps" and run.steps == case["steps"]
    found = errors(case, run)
    assert found.size == len(case["sum_of_squares_half_before_step"]) + 4
    assert found.max() < TOLERANCE


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("paper-n-sam", {"schedule": "constant"}),
        ("paper-n-sam", {"algorithm": st.n_sam(-0.0, normalized=True)}),
        ("paper-n-sam", {"algorithm": st.n_sam(0.3001, normalized=True)}),
        ("general-m-sam", {"algorithm": st.m_sam(0.05, 12, normalized=True)}),
        ("general-m-sam", {"objective": "half_mean"}),
        ("paper-erm", {"step_size": 5.0001e-5}),
    ],
)
def test_planted_faults_are_noticed(name, changes):
    case = next(case for case in CASES if case["name"] == name)
    assert errors(case, trained(case, **changes)).max() > 100.0 * TOLERANCE


def test_float32_follows():
    for case in CASES:
        found = errors(case, trained(case, precision="float32"))
        assert 1e-8 < found.max() < 5e-3


def test_the_published_points_and_start_are_those_of_the_cases():
    case, data = CASES[0], relu.published_data()
    np.testing.assert_allclose(data.X, case["X"], rtol=1e-15)
    np.testing.assert_allclose(data.y, case["y"], rtol=1e-15)
    start = relu.published_start(11)
    for name in WEIGHTS:
        assert np.array_equal(getattr(start, name), case[name])
    run = relu.published_run(11)
    assert (run.algorithm, run.schedule, run.tol_at) == (
        st.n_sam(CASES[1]["rho"], normalized=True),
        "linear",
        "perturbed",
    )
    assert (run.step_size, run.steps, run.tol) == (5e-5, 1_000_000, 1e-5)
    assert relu.published_run(0, rho=0.0).schedule == "constant"
    assert published.SEEDS == (0, 1, 2, 3, 4)
