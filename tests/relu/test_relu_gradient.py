"""Gradients, compiled and in closed form, against central differences and each other."""

import numpy as np
import pytest
import relu_twins as twins

import sam_theory as st
from sam_theory import relu
from sam_theory.relu.closed_forms import Expansion

SHAPES = [(2, 1, 2), (7, 1, 3), (12, 1, 100), (5, 2, 8), (13, 3, 17), (9, 10, 33)]


def value(data, network):
    return lambda p: relu.objective(relu.Network.from_parameters(p, network.width, network.d), data)


@pytest.mark.parametrize(("n", "d", "width"), SHAPES)
def test_gradient_against_central_differences(n, d, width):
    data, network = twins.instance(n, d, width, seed=n + d)
    compiled, closed = twins.compiled_gradient(network, data), relu.gradient(network, data)
    point = network.parameters
    assert twins.gradient_error(compiled, value(data, network), point) < 1e-8
    assert twins.gradient_error(closed, value(data, network), point) < 1e-8
    assert np.max(np.abs(compiled - closed)) < 1e-13 * np.max(np.abs(closed)) * n


@pytest.mark.parametrize("entry", [0, 4, -1])
def test_the_checker_catches_a_fault_of_a_twentieth_of_a_percent(entry):
    data, network = twins.instance(7, 1, 3, seed=3)
    gradient = relu.gradient(network, data)
    assert np.all(gradient != 0.0)
    faulty = gradient.copy()
    faulty[entry] *= 1.0005
    scale = np.abs(gradient[entry]) / np.max(np.abs(gradient))
    found = twins.gradient_error(faulty, value(data, network), network.parameters)
    assert found == pytest.approx(5e-4 * scale, rel=1e-3) and found > 1e-6
    right = twins.gradient_error(gradient, value(data, network), network.parameters)
    assert right < 1e-8


@pytest.mark.parametrize("m", [1, 2, 3, 5, 6, 15, 30])
@pytest.mark.parametrize("normalized", [False, True])
def test_blocks_against_the_twin(m, normalized):
    """One step of every block size: the weights move by minus the step times the gradient."""
    data, network = twins.instance(30, 2, 19, seed=m)
    rule = st.m_sam(0.02, m, normalized=normalized)
    theta = (network.output_weights, network.hidden_weights, network.hidden_bias)
    for objective in ("half_sum", "half_mean"):
        expected, before, after = twins.step_gradient(
            theta, data.X, data.y, rule, m, mean=objective == "half_mean"
        )
        run = relu.train(
            data, network, algorithm=rule, step_size=1e-3, steps=1, objective=objective
        )
        assert twins.distance(twins.moved(theta, expected, -1e-3), run.network) < 1e-14
        first = run.table.iloc[0]
        assert first["objective"] == pytest.approx(before, rel=1e-13)
        assert first["perturbed_objective"] == pytest.approx(after, rel=1e-13)


def test_the_gradient_at_a_kink_is_that_of_the_inactive_side():
    """relu'(0) = 0."""
    data = st.Regression(np.array([[1.0]]), np.array([3.0]))
    network = relu.Network([[2.0]], [-2.0], [1.5])
    assert np.array_equal(twins.compiled_gradient(network, data), np.zeros(3))
    assert np.array_equal(relu.gradient(network, data), np.zeros(3))


@pytest.mark.parametrize("m", [12, 4, 1])
def test_unnormalised_sam_is_to_first_order_the_gradient_of_a_penalised_objective(m):
    """Mean of L_B + (rho/2)||grad L_B||^2; the error is of second order in rho."""
    data, network = twins.instance(12, 2, 20, seed=3, margin=0.05)
    expansions = [
        Expansion.of(network, data.X[k : k + m], data.y[k : k + m], "half_sum")
        for k in range(0, 12, m)
    ]

    def error(rho, factor=1.0):
        step = 1e-3
        run = relu.train(data, network, algorithm=st.m_sam(rho, m), step_size=step, steps=1)
        found = (network.parameters - run.network.parameters) / step
        penalised = sum(
            at.gradient() + factor * rho * at.hessian_product(at.gradient()) for at in expansions
        )
        return np.max(np.abs(found - penalised))

    radii = 1e-4 * 2.0 ** -np.arange(4)
    slope = twins.order(radii, [error(rho) for rho in radii])
    assert slope == pytest.approx(2.0, abs=0.05)
    # A dropped or a doubled penalty leaves an error of first order.
    for factor in (0.0, 2.0, -1.0):
        assert twins.order(radii, [error(rho, factor) for rho in radii]) < 1.3


@pytest.mark.parametrize(("n", "d", "width"), SHAPES)
def test_hessian_against_differences_of_the_gradient(n, d, width):
    data, network = twins.instance(n, d, width, seed=n + d)
    point, h = network.parameters, 1e-6
    hessian = relu.hessian(network, data)
    assert np.array_equal(hessian, hessian.T)
    rng = np.random.default_rng(0)
    at = Expansion.of(network, data.X, data.y, "half_sum")
    for _ in range(3):
        v = rng.standard_normal(point.size)
        v /= np.linalg.norm(v)

        def gradient(step, v=v):
            moved = relu.Network.from_parameters(point + step * v, width, d)
            return relu.gradient(moved, data)

        differences = (gradient(h) - gradient(-h)) / (2.0 * h)
        scale = np.max(np.abs(hessian))
        assert np.max(np.abs(hessian @ v - differences)) < 1e-7 * scale
        assert np.max(np.abs(at.hessian_product(v) - hessian @ v)) < 1e-12 * scale
        assert at.push(v) @ at.residuals == pytest.approx(v @ at.pull(at.residuals), rel=1e-9)
    mean = relu.hessian(network, data, objective="half_mean")
    np.testing.assert_allclose(mean * n, hessian, rtol=1e-13, atol=1e-13)
