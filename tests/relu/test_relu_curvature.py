"""Eigenvalues, edges of stability and sharpness against independent computations."""

import numpy as np
import pytest
import relu_twins as twins

import sam_theory as st
from sam_theory import InputError, relu


@pytest.mark.parametrize(("n", "d", "width"), [(12, 1, 40), (7, 3, 10), (30, 5, 12)])
@pytest.mark.parametrize("objective", ["half_sum", "half_mean"])
def test_dense_and_lanczos_agree_with_all_eigenvalues(n, d, width, objective):
    data, network = twins.instance(n, d, width, seed=n)
    values = np.linalg.eigvalsh(relu.hessian(network, data, objective=objective))
    for below in (0, 10**6):
        found = relu.measure_curvature(network, data, objective=objective, dense_below=below)
        assert found.method == ("dense" if below else "Lanczos")
        assert found.largest == pytest.approx(values[-1], rel=1e-10)
        assert found.residual < 1e-9 * found.largest
        assert np.linalg.norm(found.direction) == pytest.approx(1.0, rel=1e-12)
        assert found.gradient_norm == pytest.approx(
            np.linalg.norm(relu.gradient(network, data, objective=objective)), rel=1e-12
        )
    assert "Curvature(largest=" in repr(found)


def test_a_dead_network_has_no_curvature():
    """No neuron is active, so the objective is constant around the weights."""
    data = relu.published_data()
    dead = relu.Network(np.ones((200, 1)), np.full(200, -100.0), np.ones(200))
    for below, method in ((0, "Lanczos"), (10**6, "dense")):
        found = relu.measure_curvature(dead, data, dense_below=below)
        assert found.method == method
        assert found.largest == found.residual == found.gradient_norm == 0.0
        assert np.linalg.norm(found.direction) == pytest.approx(1.0, rel=1e-12)
    assert relu.m_sharpness(dead, data, rho=0.3) == 0.0
    run = relu.Run(dead, st.gd(), step_size=1e-3, steps=5)
    measured = relu.measure(relu.train_run(data, run))
    assert measured.sharpness == measured.n_sharpness == 0.0 and measured.dead_neurons == 200


def test_the_smooth_radius_is_the_distance_to_the_nearest_kink():
    data, network = twins.instance(5, 2, 6, seed=4)
    found = relu.measure_curvature(network, data).smooth_radius
    z = network.preactivations(data.X)
    i, j = np.unravel_index(
        np.argmin(np.abs(z) / np.sqrt(1.0 + np.sum(data.X**2, axis=1))[:, None]), z.shape
    )
    normal = np.append(data.X[i], 1.0)
    for share, kept in ((0.999, True), (1.001, False)):
        step = -share * found * np.sign(z[i, j]) * normal / np.linalg.norm(normal)
        hidden, bias = network.hidden_weights.copy(), network.hidden_bias.copy()
        hidden[j] += step[:-1]
        bias[j] += step[-1]
        moved = relu.Network(hidden, bias, network.output_weights)
        same = np.array_equal(moved.preactivations(data.X) > 0.0, z > 0.0)
        assert same is kept


def test_the_edges_are_where_a_quadratic_stops_shrinking():
    """Simulated: SAM on (1/2) lambda w^2, one coordinate, just inside and just outside the edge."""

    def factor(lam, rho, gamma, normalized):
        w = 1.0
        g = lam * w
        there = w + (rho / g if normalized else rho) * g
        return (w - gamma * lam * there) / w

    for rho, gamma in ((0.3, 0.05), (1e-3, 2.0), (5.0, 1e-3)):
        plain = relu.edge_of_stability(st.gd(), gamma, 1.0)
        assert factor(plain, 0.0, gamma, False) == pytest.approx(-1.0)
        loose = relu.edge_of_stability(st.n_sam(rho), gamma, 1.0)
        assert factor(loose, rho, gamma, False) == pytest.approx(-1.0) and loose < plain
        # Normalised: the gradient norm of w = 1 at curvature lambda is lambda itself.
        size, edge = 1.0, 0.0
        for _ in range(2000):
            edge = relu.edge_of_stability(st.n_sam(rho, normalized=True), gamma, size)
            size = edge + 0.5 * (size - edge)
        if edge > 1e-6:
            assert factor(edge, rho, gamma, True) == pytest.approx(-1.0, rel=1e-6)


def test_edges_keep_their_digits_and_limits():
    rule = st.n_sam(0.3, normalized=True)
    for size in (1e-12, 1e-3, 1.0, 1e6):
        found = relu.edge_of_stability(rule, 5e-5, size)
        assert 5e-5 * (found + 0.3 * found**2 / size) == pytest.approx(2.0, rel=1e-12)
    assert relu.edge_of_stability(rule, 5e-5, 1e30) == pytest.approx(4e4, rel=1e-12)
    assert relu.edge_of_stability(rule, 5e-5, 0.0) == 0.0
    naive = (1.0 / 0.6) * (np.sqrt(1.0 + 8 * 0.3 / 5e-5) - 1.0)
    assert relu.edge_of_stability(rule, 5e-5, 1.0) == pytest.approx(naive, rel=1e-12)
    tiny = st.n_sam(1e-300)
    assert relu.edge_of_stability(tiny, 0.1, 1.0) == pytest.approx(20.0, rel=1e-15)


def test_gd_oscillates_above_the_edge_and_settles_below():
    """The measured eigenvalue decides whether a run stays at a minimum."""
    data, start = twins.instance(4, 1, 30, seed=0)
    done = relu.train(data, start, algorithm=st.gd(), step_size=5e-3, steps=400_000, tol=1e-16)
    assert done.status == "converged"
    largest = relu.measure_curvature(done.network, data).largest
    nudged = relu.Network.from_parameters(
        done.network.parameters + 1e-6 * relu.measure_curvature(done.network, data).direction,
        30,
        1,
    )
    ends = [
        relu.train(data, nudged, algorithm=st.gd(), step_size=factor * 2.0 / largest, steps=60)
        for factor in (0.98, 1.02)
    ]
    before = relu.objective(nudged, data)
    assert ends[0].objective < 0.5 * before and ends[1].objective > 2.0 * before


def test_sharpness_against_a_fine_search_over_the_sphere():
    data = st.Regression(np.array([[0.7], [1.3]]), np.array([0.4, -0.2]))
    network = relu.Network([[0.8]], [0.3], [0.5])
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((200_000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    for rho in (0.05, 0.5):
        for m in (1, 2):
            best = 0.0
            for low in range(0, 2, m):
                x, y = data.X[low : low + m, 0], data.y[low : low + m]
                a, w, b = (network.parameters + rho * directions).T
                z = np.maximum(w[:, None] * x + b[:, None], 0.0)
                values = 0.5 * np.sum((a[:, None] * z - y) ** 2, axis=1)
                r = 0.5 * (np.maximum(0.8 * x + 0.3, 0.0)) - y
                best += values.max() - 0.5 * r @ r
            found = relu.m_sharpness(network, data, rho=rho, m=m)
            # Both approach the maximum from below; ascent must be at least as good.
            assert best * (1.0 - 1e-6) <= found <= best * 1.001
            mean = relu.m_sharpness(network, data, rho=rho, m=m, objective="half_mean")
            assert mean == pytest.approx(found / 2.0, rel=1e-9)


def test_sharpness_at_a_minimum_is_half_of_the_eigenvalue_times_rho_squared():
    data, start = twins.instance(4, 1, 30, seed=0)
    done = relu.train(data, start, algorithm=st.gd(), step_size=5e-3, steps=400_000, tol=1e-16)
    largest = relu.measure_curvature(done.network, data).largest
    for rho in (1e-3, 2e-3):
        found = relu.m_sharpness(done.network, data, rho=rho)
        assert found == pytest.approx(0.5 * largest * rho**2, rel=1e-3)
    # Any seed gives a bound from below, and 1-sharpness exceeds n-sharpness.
    assert relu.m_sharpness(done.network, data, rho=0.1, m=1) > relu.m_sharpness(
        done.network, data, rho=0.1
    )


def test_bad_input_is_one_line():
    data, network = twins.instance(6, 1, 5, seed=1)
    for message, call in (
        ("rho must be > 0", lambda: relu.m_sharpness(network, data, rho=0.0)),
        ("m = 4 does not divide", lambda: relu.m_sharpness(network, data, rho=0.1, m=4)),
        (
            "ascent_steps must be >= 1",
            lambda: relu.m_sharpness(network, data, rho=0.1, ascent_steps=0),
        ),
        (
            "objective must be one of",
            lambda: relu.measure_curvature(network, data, objective="mean"),
        ),
        ("dense_below must be >= 0", lambda: relu.measure_curvature(network, data, dense_below=-1)),
        ("step_size must be > 0", lambda: relu.edge_of_stability(st.gd(), 0.0, 1.0)),
        ("only that of GD and n-SAM", lambda: relu.edge_of_stability(st.one_sam(0.1), 0.1, 1.0)),
        ("only that of GD and n-SAM", lambda: relu.edge_of_stability(st.sgd(2), 0.1, 1.0)),
        (
            "several ascent steps",
            lambda: relu.edge_of_stability(st.n_sam(0.1, ascent_steps=2), 0.1, 1.0),
        ),
        ("takes d = 2 inputs", lambda: relu.gradient(relu.random_network(2, 2, seed=0), data)),
    ):
        with pytest.raises(InputError, match=message):
            call()
