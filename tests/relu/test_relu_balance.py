"""a_j^2 - ||w_j||^2 - b_j^2: gradient flow conserves it, SAM moves it; orders are measured."""

import numpy as np
import pytest
import relu_twins as twins

import sam_theory as st
from sam_theory import relu

DATA, START = twins.instance(12, 1, 30, seed=1)
TIME = 0.4


def drift(rule, step_size):
    """Largest change of the balancedness after a fixed time."""
    steps = round(TIME / step_size)
    run = relu.train(DATA, START, algorithm=rule, step_size=step_size, steps=steps)
    change = run.balancedness[-1] - run.balancedness[0]
    return float(np.max(np.abs(change)))


def test_gradient_flow_conserves_it():
    """The drift of GD is of first order in the step: none is left in the flow."""
    steps = 1e-3 * 0.5 ** np.arange(5)
    drifts = [drift(st.gd(), step) for step in steps]
    assert twins.order(steps, drifts) == pytest.approx(1.0, abs=0.05)
    assert drifts[-1] < 0.02


RULES = [st.n_sam(0.01), st.n_sam(0.05, normalized=True), st.one_sam(0.01)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
def test_sam_moves_it(rule):
    """The drift of SAM stays as the step goes to 0, so the same check fails for it."""
    steps = 1e-3 * 0.5 ** np.arange(5)
    drifts = [drift(rule, step) for step in steps]
    assert abs(twins.order(steps, drifts)) < 0.3
    assert drifts[-1] > 10.0 * drift(st.gd(), steps[-1])


def test_unnormalised_sam_moves_it_by_what_the_perturbation_says():
    """Per unit of time and of rho: 2 (g_w . g_w + g_b g_b - g_a g_a), to first order in both."""
    rho, step = 1e-5, 1e-6
    run = relu.train(DATA, START, algorithm=st.n_sam(rho), step_size=step, steps=1)
    gd = relu.train(DATA, START, algorithm=st.gd(), step_size=step, steps=1)
    found = (run.balancedness[-1] - gd.balancedness[-1]) / (rho * step)
    g = relu.gradient(START, DATA)
    product = relu.hessian(START, DATA) @ g
    a, w, b = np.split(START.parameters * product, 3)
    np.testing.assert_allclose(
        found, -2.0 * (a - w - b), rtol=2e-2, atol=0.02 * np.abs(found).max()
    )
    of_a, of_w, of_b = np.split(g * g, 3)
    np.testing.assert_allclose(a - w - b, of_w + of_b - of_a, atol=1e-9 * np.abs(g @ g))
