"""What the studies compute with: each formula against an independent route, and planted faults."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import sam_theory as st
from analysis import fine_tuning, instances, lasso_path, statistics
from analysis import sensitivity as formulas
from analysis.depth import minimum_l1
from analysis.depth_potential import follow_depth, minimize_depth
from analysis.lasso import lasso_at
from analysis.lasso import lasso_path as exact_path
from sam_theory.diagonal.potential import depth_mirror_map


def small(design="isotropic", seed=3, **given):
    return instances.make(design, seed, n=4, d=9, nonzeros=2, n_test=50, **given)


def numerical_gradient(data, alpha, loss, step=1e-5):
    """Central differences of a loss of the selected solution in every log alpha_j."""
    found = np.zeros(data.d)
    for j in range(data.d):
        ends = []
        for sign in (1.0, -1.0):
            scale = np.full(data.d, alpha)
            scale[j] *= np.exp(sign * step)
            ends.append(loss(st.minimize_potential(data.X, data.y, scale).beta))
        found[j] = (ends[0] - ends[1]) / (2.0 * step)
    return found


@pytest.mark.parametrize("design", instances.DESIGNS)
def test_scale_gradient_is_the_derivative(design):
    data = small(design)
    beta = st.minimize_potential(data.X, data.y, 0.3).beta
    wanted = numerical_gradient(data, 0.3, data.test.loss)
    h = formulas.loss_gradient(data.test, beta)
    found = formulas.scale_gradient(data.X, beta, np.full(data.d, 0.3), h)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)
    # Planted: without the projection, and without the factor 2, it is another vector.
    assert np.abs(2.0 * beta * h - wanted).max() > 1e-2 * np.abs(wanted).max()
    assert np.abs(0.5 * found - wanted).max() > 1e-2 * np.abs(wanted).max()


def test_scale_gradient_with_dependent_rows():
    full = small()
    data = st.Regression(
        np.vstack([full.X, full.X[:1] + full.X[1:2]]), np.append(full.y, full.y[0] + full.y[1])
    )
    beta = st.minimize_potential(full.X, full.y, 0.3).beta
    h, scale = formulas.loss_gradient(full.test, beta), np.full(full.d, 0.3)
    np.testing.assert_allclose(
        formulas.scale_gradient(data.X, beta, scale, h),
        formulas.scale_gradient(full.X, beta, scale, h),
        rtol=1e-9,
    )


@pytest.mark.parametrize(("m", "rule"), [(4, st.n_sam), (1, st.one_sam)])
def test_slope_in_rho(m, rule):
    """The slope against differences of exact limits, and the wrong exponent as planted fault."""
    data = small()
    erm = st.implicit_bias(data, alpha=0.3, algorithm=st.gd())
    h = formulas.loss_gradient(data.test, erm.beta)
    gradient = formulas.scale_gradient(data.X, erm.beta, np.full(data.d, 0.3), h)
    rho = 1e-5
    near = st.implicit_bias(data, alpha=0.3, algorithm=rule(rho)).loss(data.test)
    measured = (near - erm.loss(data.test)) / rho
    assert -gradient @ formulas.exponents(data, 0.3, m) == pytest.approx(measured, rel=1e-3)
    assert -gradient @ formulas.exponents(data, 0.3, 5 - m) != pytest.approx(measured, rel=0.1)


def test_leave_one_out_gradient_is_the_derivative():
    data = small(noise=0.3)

    def leave_one_out(scale):
        rest = [np.arange(data.n) != i for i in range(data.n)]
        betas = [st.minimize_potential(data.X[k], data.y[k], scale).beta for k in rest]
        return np.mean([(data.X[i] @ b - data.y[i]) ** 2 / 2 for i, b in enumerate(betas)])

    direction = np.linspace(0.5, 1.5, data.d)
    ends = [leave_one_out(0.3 * np.exp(step * direction)) for step in (1e-5, -1e-5)]
    found = formulas.leave_one_out_gradient(data, 0.3) @ direction
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_random_blocks_are_the_mean_over_all_blocks(m):
    stream = np.random.default_rng(1)
    X, r = stream.standard_normal((4, 6)), stream.standard_normal(4)
    blocks = [list(block) for block in itertools.combinations(range(4), m)]
    wanted = np.mean([(X[b].T @ r[b] / m) ** 2 for b in blocks], axis=0)
    of_n, of_one = (X.T @ r / 4) ** 2, np.mean((X * r[:, None]) ** 2, axis=0)
    found = formulas.random_block_exponents(of_n, of_one, 4, m)
    np.testing.assert_allclose(found, wanted, rtol=1e-13)
    other = formulas.random_block_exponents(of_n, of_one, 4, 5 - m)
    assert np.abs(other - wanted).max() > 1e-2


def test_stability_edge_of_one_sam():
    """Just below the edge a run near a minimum calms down, just above it leaves."""
    data = st.sparse_regression(n=4, d=8, nonzeros=1)
    start = st.descend(data, alpha=0.3, algorithm=st.gd(), step_size=0.1, steps=100_000, tol=1e-14)
    edge = fine_tuning.radius_at_edge(data, start, 0.1)
    assert fine_tuning.edge_ratio(data, start, edge, 0.1) == pytest.approx(1.0, rel=1e-9)
    calm, wild = (
        st.descend(
            data, start=start, algorithm=st.one_sam(f * edge), step_size=0.1, steps=2000
        ).loss
        for f in (0.9, 1.1)
    )  # fmt: skip
    assert calm < start.loss < wild
    assert wild > 1e3 * start.loss


def test_lasso_path_satisfies_its_conditions():
    data = small(noise=0.2)
    knots, points = exact_path(data.X, data.y, 1e-3)
    assert np.all(np.diff(knots) < 0.0) and knots[-1] == 1e-3 and len(knots) > 4
    weights = np.geomspace(knots[0], knots[-1], 40)
    for lam, beta in zip(weights, lasso_at(knots, points, weights), strict=True):
        assert lasso_defect(data, lam, beta) < 1e-12
        assert lasso_defect(data, 0.99 * lam, beta) > 1e-6


def lasso_defect(data, lam, beta):
    """Largest violation of the lasso's optimality conditions."""
    pull = -data.X.T @ (data.X @ beta - data.y) / data.n
    active = np.abs(beta) > 1e-12
    off = np.abs(pull[active] - lam * np.sign(beta[active])).max(initial=0.0)
    return max(off, float(np.abs(pull).max()) - lam)


def test_lasso_path_refuses():
    data = small()
    with pytest.raises(st.InputError, match="smallest must be positive"):
        exact_path(data.X, data.y, 0.0)
    knots, points = exact_path(data.X, data.y, 1e3)
    assert knots.tolist() == [1e3] and not points.any()


def test_running_average_of_a_known_flow():
    """One example, one coordinate: the average from the exact residual identity."""
    data = st.Regression([[2.0]], [1.0])
    times = np.geomspace(0.01, 20.0, 800)
    path = st.flow(data, alpha=0.1, algorithm=st.gd(), times=times)
    average = lasso_path.running_average(data, path.beta, 0.1, times)
    # Mirror image = -t grad L(average): arcsinh(2 beta/alpha^2)/2 = -t (4 average - 2).
    exact = (2.0 - np.arcsinh(2.0 * path.beta[:, 0] / 0.01) / (2.0 * times)) / 4.0
    np.testing.assert_allclose(average[:, 0], exact, atol=2e-8)


@pytest.mark.parametrize("depth", [3, 4, 8])
@pytest.mark.parametrize("mu", [3.0, 1e-2, 1e-5])
def test_depth_solution_is_stationary(depth, mu):
    data = small()
    beta = minimize_depth(data.X, data.y, mu, depth)
    np.testing.assert_allclose(data.X @ beta, data.y, atol=1e-10)
    assert off_row_space(data.X, depth_mirror_map(beta, mu ** (1 / depth), depth)) < 1e-9
    assert off_row_space(data.X, depth_mirror_map(beta, mu ** (1 / depth), depth + 1)) > 1e-6


def off_row_space(X, z):
    return float(np.abs(z - np.linalg.pinv(X) @ (X @ z)).max())


def test_depth_solution_is_the_end_of_the_flow():
    data = small()
    wanted = follow_depth(data.X, data.y, 0.05, 3)
    found = minimize_depth(data.X, data.y, 0.05, 3)
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert np.abs(minimize_depth(data.X, data.y, 0.05, 4) - wanted).max() > 1e-3


def test_depth_refuses_labels_out_of_range():
    with pytest.raises((st.InputError, np.linalg.LinAlgError)):
        minimize_depth(np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([1.0, 2.0]), 0.1, 3)


def test_minimum_l1_and_its_certificate():
    X = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    beta, c = minimum_l1(X, np.array([1.0, 0.0]))
    np.testing.assert_allclose(beta, [1.0, 0.0, 0.0], atol=1e-12)
    # nu = (1, t): max(|0.5 + 0.5 t|, |t|) is smallest at t = -1/3.
    assert c == pytest.approx(1 / 3)


def test_designs_are_what_they_say():
    made = {name: instances.make(name, 0, d=6, n_test=200_000) for name in instances.DESIGNS}
    covariance = {name: np.cov(data.test.X.T) for name, data in made.items()}
    np.testing.assert_allclose(covariance["isotropic"], np.eye(6), atol=0.03)
    np.testing.assert_allclose(np.diag(covariance["correlated 0.9"], 2), 0.81, atol=0.03)
    off = covariance["common factor"][np.triu_indices(6, 1)]
    np.testing.assert_allclose(off, 0.5, atol=0.03)
    np.testing.assert_allclose(np.mean(made["sparse entries"].test.X != 0.0), 0.3, atol=0.01)
    np.testing.assert_allclose(np.diag(covariance["sparse entries"]), 1.0, atol=0.05)
    support = made["large support"].beta_star != 0.0
    for name, scale in (("large support", 2.0), ("small support", 0.5)):
        wanted = np.where(support, scale, 1.0)
        np.testing.assert_allclose(made[name].test.X.std(axis=0), wanted, rtol=0.02)
    for data in made.values():
        np.testing.assert_allclose(np.linalg.norm(data.beta_star), 1.0)
        assert np.count_nonzero(data.beta_star) == 3
    with pytest.raises(st.InputError, match="no design named 'round'; known: isotropic"):
        instances.make("round", 0)


def test_statistics_of_known_samples():
    values = np.arange(101.0)
    mean, low, high = statistics.mean_interval(values)
    assert mean == 50.0 and low == pytest.approx(50 - 1.96 * 2.92, abs=0.6) and low < mean < high
    assert np.isnan(statistics.mean_interval([1.0])[1])
    assert statistics.geometric_interval([1.0, 100.0])[0] == pytest.approx(10.0)
    share, low, high = statistics.share_interval([True] * 10)
    assert share == high == 1.0 and low == pytest.approx(1 / (1 + 1.96**2 / 10), rel=1e-3)
    assert statistics.rank_correlation([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert np.isnan(statistics.rank_correlation([1, 1, 1], [1, 2, 3]))
