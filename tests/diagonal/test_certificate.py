"""No true error exceeds its bound; wrong candidates are seen; the checker itself can fail."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from diagonal.truth import exact_minimum, max_error, random_instance
from scipy import sparse

from sam_theory import InputError, certify, minimize_potential
from sam_theory.diagonal import certificate as module
from sam_theory.row_space import find_row_space


def assert_bounds_hold(certificate, beta, exact):
    error = max_error(beta, exact)
    assert error <= certificate.error_bound, f"error {error:.3e} > {certificate.error_bound:.3e}"
    for j, (b, e) in enumerate(zip(beta, exact, strict=True)):
        own = max_error([b], [e])
        assert own <= certificate.coordinate_bounds[j], f"coordinate {j}: {own:.3e}"
    return error


def survey(count, seed, ways=(None,), choose=lambda way: None):
    """Bound over error, and over the largest coordinate, by way and instance; ``choose`` a way."""
    rng = np.random.default_rng(seed)
    ratios, relative = np.zeros((2, len(ways), count))
    for k in range(count):
        X, y, alpha = random_instance(rng)
        exact = None
        for number, way in enumerate(ways):
            choose(way)
            found = minimize_potential(X, y, alpha)
            assert found.status == "converged"
            exact = exact_minimum(X, y, alpha, found.dual) if exact is None else exact
            error = assert_bounds_hold(found.certificate, found.beta, exact)
            bound = found.certificate.error_bound
            ratios[number, k] = bound / max(error, 1e-300)
            relative[number, k] = bound / max(np.max(np.abs(found.beta)), 1e-300)
    return ratios, relative


def test_no_error_exceeds_its_bound(monkeypatch):
    small = module.is_small

    def choose(general):
        monkeypatch.setattr(module, "is_small", (lambda X: False) if general else small)

    ratios, relative = survey(120, 1, [False, True], choose)
    assert np.all(np.median(ratios, axis=1) < 1e5)
    assert np.all(np.median(relative, axis=1) < 1e-12)


@pytest.mark.slow
def test_no_error_exceeds_its_bound_on_2000_instances(capsys):
    ratios, relative = survey(2000, seed=2)
    with capsys.disabled():
        print(
            f"\nbound/error: median {np.median(ratios):.3g}; bound/max|beta|: "
            f"median {np.median(relative):.2e}, 99% {np.quantile(relative, 0.99):.2e}, "
            f"infinite {np.count_nonzero(~np.isfinite(relative))}"
        )
    assert np.median(ratios) < 1e5


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("along", ["null space", "anywhere"])
def test_a_wrong_candidate_is_seen(size, along):
    rng = np.random.default_rng(3)
    for _ in range(5):
        X, y = rng.standard_normal((6, 12)), rng.standard_normal(6)
        found = minimize_potential(X, y, 0.1)
        move = rng.standard_normal(12)
        if along == "null space":
            move -= np.linalg.pinv(X) @ (X @ move)
        wrong = found.beta + size * move / np.max(np.abs(move))
        given = certify(X, y, 0.1, wrong)
        exact = exact_minimum(X, y, 0.1, found.dual)
        error = assert_bounds_hold(given, wrong, exact)
        assert error > 0.5 * size
        assert size > 0.1 or given.error_bound < 1e3 * np.sqrt(size)


def test_a_wrong_candidate_is_seen_whatever_dual_point_is_offered():
    rng = np.random.default_rng(3)
    finite = 0
    for size in (1e-13, 1e-9, 1e-3):
        X, y = rng.standard_normal((6, 12)), rng.standard_normal(6)
        found = minimize_potential(X, y, 0.1)
        exact = exact_minimum(X, y, 0.1, found.dual)
        space, log_alpha = find_row_space(X, y), np.full(12, np.log(0.1))
        mu, move = 2.0 * found.dual, rng.standard_normal(12)
        move /= np.max(np.abs(move))
        for off, wrong in ((0.0, size), (size, 0.0), (size, size)):
            dual = mu + off * rng.standard_normal(6), np.zeros(6)
            beta = found.beta + wrong * move
            given = module.certify_rows(X, space, log_alpha, beta, np.zeros(12), dual)
            assert_bounds_hold(given, beta, exact)
            finite += given.error_bound < 0.1
    assert finite == 9


@pytest.mark.parametrize("alpha", [1.0, 1e-2, 1e-8])
def test_small_problems_have_the_bounds_of_all_others(alpha, monkeypatch):
    X, y = np.random.default_rng(5).standard_normal((2, 8, 20))
    y = y[:, 0]
    small = minimize_potential(X, y, alpha).certificate
    monkeypatch.setattr(module, "is_small", lambda X: False)
    general = minimize_potential(X, y, alpha).certificate
    for name in ("residual", "stationarity", "gap", "coordinate_bounds"):
        np.testing.assert_allclose(getattr(small, name), getattr(general, name), rtol=1e-3)


def test_the_checker_catches_a_bound_that_is_too_small():
    X, y = np.random.default_rng(4).standard_normal((2, 3, 5))[:, :, :5]
    y = y[:, 0]
    found = minimize_potential(X, y, 0.3)
    exact = exact_minimum(X, y, 0.3, found.dual)
    wrong = found.beta + 1e-3
    with pytest.raises(AssertionError):
        assert_bounds_hold(found.certificate, wrong, exact)
    shrunk = replace(certify(X, y, 0.3, wrong), coordinate_bounds=np.zeros(5), error_bound=np.inf)
    with pytest.raises(AssertionError):
        assert_bounds_hold(shrunk, wrong, exact)


def test_the_gap_bounds_the_suboptimality_of_a_feasible_point():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((4, 9)), rng.standard_normal(4)
    found = minimize_potential(X, y, 0.2)
    move = rng.standard_normal(9)
    move -= np.linalg.pinv(X) @ (X @ move)
    from sam_theory.diagonal.potential import potential

    for size in (1e-3, 1e-1, 1.0):
        point = found.beta + size * move
        excess = potential(point, 0.2) - potential(found.beta, 0.2)
        assert 0.0 < excess <= certify(X, y, 0.2, point).gap


def test_stationarity_bounds_the_distance_from_the_row_space():
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((3, 7)), rng.standard_normal(3)
    point = rng.standard_normal(7)
    xi = 0.5 * np.arcsinh(2.0 * point / 0.2**2)
    best = xi - X.T @ np.linalg.lstsq(X.T, xi)[0]
    assert certify(X, y, 0.2, point).stationarity >= np.max(np.abs(best)) / np.sqrt(7)


def test_verification_failure_gives_an_infinite_bound(monkeypatch):
    X, y = np.random.default_rng(7).standard_normal((2, 3, 6))
    y = y[:, 0]
    found = minimize_potential(X, y, 0.1)
    original = module._Verified.__init__

    def spoiled(self, rows, weight):
        original(self, rows, weight)
        self.defect = 1.5

    monkeypatch.setattr(module._Verified, "__init__", spoiled)
    given = certify(X, y, 0.1, found.beta)
    assert given.error_bound == np.inf and not given.valid


def test_every_number_says_its_side():
    X, y = np.eye(2, 3), np.ones(2)
    lines = minimize_potential(X, y, 0.1).certificate.lines()
    assert len(lines) == 4 and all("upper bound" in line for line in lines)


def test_bad_candidates_are_named():
    X, y = np.eye(2, 3), np.ones(2)
    with pytest.raises(InputError, match="beta must be 3 finite numbers"):
        certify(X, y, 0.1, np.ones(2))
    with pytest.raises(InputError, match="beta"):
        certify(X, y, 0.1, [0.0, np.nan, 0.0])
    with pytest.raises(InputError, match="alpha"):
        certify(X, y, 0.0, np.ones(3))


def test_a_sparse_design_is_certified_against_45_digits():
    rng = np.random.default_rng(8)
    for alpha in (1.0, 1e-2, 1e-5):
        X = rng.standard_normal((6, 15)) * (rng.random((6, 15)) < 0.3)
        X[:, :6] += np.eye(6)
        matrix, y = sparse.csc_matrix(X), rng.standard_normal(6)
        found = minimize_potential(matrix, y, alpha)
        exact = exact_minimum(X, y, alpha, found.dual)
        assert_bounds_hold(found.certificate, found.beta, exact)
        assert found.certificate.error_bound < 1e-12 * np.max(np.abs(found.beta))
        wrong = found.beta + 1e-6 * rng.standard_normal(15)
        given = certify(matrix, y, alpha, wrong)
        assert_bounds_hold(given, wrong, exact)
        assert given.error_bound > 1e-7


def test_both_factors_prove_the_same(monkeypatch):
    rng = np.random.default_rng(9)
    X, y = rng.standard_normal((5, 12)), rng.standard_normal(5)
    found = minimize_potential(X, y, 0.1)
    exact = exact_minimum(X, y, 0.1, found.dual)
    monkeypatch.setattr("sam_theory.diagonal.dual.verified._COMFORTABLE", 0.0)
    given = certify(X, y, 0.1, found.beta)
    assert_bounds_hold(given, found.beta, exact)
    assert 0.1 < given.error_bound / found.certificate.error_bound < 10.0


def test_the_heaviest_columns_alone_prove_a_bound(monkeypatch):
    rng = np.random.default_rng(10)
    monkeypatch.setattr(module, "_LARGE", 0)
    monkeypatch.setattr(module, "is_small", lambda X: False)
    used = []
    original = module._Verified.__init__

    def watched(self, rows, weight):
        used.append(np.count_nonzero(weight))
        original(self, rows, weight)

    monkeypatch.setattr(module._Verified, "__init__", watched)
    for kind in range(12):
        n = int(rng.integers(1, 5))
        d = int(rng.integers(8 * n, 60))
        X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3.0, 3.0, d if kind % 2 else 1)
        y = X @ (rng.standard_normal(d) * (rng.random(d) < 0.3))
        alpha = 10.0 ** rng.uniform(-6.0, 1.0)
        found = minimize_potential(X, y, alpha)
        assert used == [4 * n]
        exact = exact_minimum(X, y, alpha, found.dual)
        assert_bounds_hold(found.certificate, found.beta, exact)
        assert found.certificate.error_bound <= 1e-10 * max(np.max(np.abs(found.beta)), 1e-300)
        wrong = found.beta + 1e-3 * np.max(np.abs(found.beta)) * rng.standard_normal(d)
        assert_bounds_hold(certify(X, y, alpha, wrong), wrong, exact)
        assert len(used) == 6 and used[2] == d
        used.clear()


def test_a_large_sparse_design_that_defies_its_gram_matrix_is_not_certified(monkeypatch):
    monkeypatch.setattr("sam_theory.design.DENSE_LIMIT", 10)
    X = np.vstack([np.ones(8), np.ones(8)])
    X[1, 0] += 1e-9
    y = X @ np.arange(8.0)
    assert certify(X, y, 0.1, np.arange(8.0)).valid
    assert not certify(sparse.csr_array(X), y, 0.1, np.arange(8.0)).valid


@pytest.mark.parametrize("alpha", [1e-150, 1e-148, 1e-146, 1e-140])
def test_scales_at_the_end_of_the_range(alpha):
    """beta_1 = beta_2 = A sinh((0.5 + 0.3)/2) is the minimiser; the candidate is beside it."""
    A = mpmath.mpf(alpha) ** 2 / 2
    best = A * mpmath.sinh(mpmath.mpf(0.4))
    candidate = np.full(2, float(A * mpmath.exp(0.4) / 2))
    found = certify([[1.0, -1.0]], [0.0], alpha, candidate, shift=[0.5, 0.3])
    error = abs(mpmath.mpf(candidate[0]) - best)
    assert error <= found.error_bound <= 1e3 * error
    distance = (mpmath.asinh(candidate[0] / A) - mpmath.mpf(0.4)) / 2
    assert abs(distance) <= found.stationarity <= 2.0 * abs(distance)


def test_stationarity_where_beta_is_of_the_size_of_the_scale():
    alpha, angle = 1e-150, 0.7
    A = mpmath.mpf(alpha) ** 2 / 2
    beta = np.array([1e-100, float(A * mpmath.exp(angle) / 2)])
    found = certify([[1.0, 1e-3]], [1e-100], alpha, beta)
    image = [mpmath.asinh(b / A) / 2 for b in beta]
    # The distance from the line (1, 1e-3) in the max norm.
    distance = abs(image[0] * mpmath.mpf(1e-3) - image[1]) / (1 + mpmath.mpf(1e-3))
    assert distance <= found.stationarity


@pytest.mark.parametrize(("alpha", "y"), [(1e6, 1.0), (1e6, 1e-3), (1e3, 1e-10)])
def test_labels_far_below_the_scale(alpha, y):
    found = minimize_potential([[1.0, 2.0, 0.5]], [y], alpha)
    assert found.certificate.error_bound <= 1e-12 * np.max(np.abs(found.beta))
    wrong = found.beta * (1.0 + 1e-9)
    assert certify([[1.0, 2.0, 0.5]], [y], alpha, wrong).error_bound >= 1e-9 * wrong[1]


@pytest.mark.parametrize(
    ("alpha", "shift"), [([1.0, 2.0], 0.0), ("a", 0.0), (0.0, 0.0), (0.1, np.nan), (0.1, "b")]
)
def test_bad_scales_and_shifts(alpha, shift):
    with pytest.raises(InputError, match="alpha|shift"):
        certify([[1.0, 1.0, 1.0]], [1.0], alpha, np.ones(3) / 3, shift)
