"""Certificates where y is outside the range of X, against projections in 60 digits."""

import mpmath as mp
import numpy as np
import pytest
from scipy import linalg

import sam_theory as st
from sam_theory.diagonal import certificate
from sam_theory.diagonal.dual import projection
from sam_theory.diagonal.dual.projection import label_errors
from sam_theory.row_space import row_space


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(60):
        yield


def matrix(values):
    return mp.matrix(np.asarray(values).tolist())


def exact_labels(X, y, rank):
    """Projection of y on the span of the columns of X, which has this rank exactly."""
    columns = linalg.qr(X, mode="r", pivoting=True)[1][:rank]
    C = matrix(X[:, columns])
    return C * mp.lu_solve(C.T * C, C.T * matrix(y))


def exact_minimiser(X, space, labels, alpha, mu):
    """Newton's method in 60 digits from the computed dual mu (n,)."""
    R, target = matrix(X[space.rows]), mp.matrix([labels[int(i)] for i in space.rows])
    mu, scale = matrix(mu[space.rows]), mp.mpf(alpha) ** 2 / 2
    for _ in range(12):
        angles = R.T * mu
        beta = mp.matrix([scale * mp.sinh(angle) for angle in angles])
        slope = mp.diag([scale * mp.cosh(angle) for angle in angles])
        mu = mu - mp.lu_solve(R * slope * R.T, R * beta - target)
    return beta


def polynomials(count):
    x = np.linspace(0.0, 1.0, 30)
    y = np.sin(5.0 * x) + 0.1 * np.random.default_rng(0).standard_normal(30)
    return np.vander(x, count, increasing=True), y


@pytest.mark.parametrize("count", [3, 6, 8, 10])
def test_the_bound_covers_the_rounding_of_the_projection(count, monkeypatch):
    """The columns are nearly dependent: the last bits of the labels move beta by 1e-7."""
    X, y = polynomials(count)
    found = st.minimize_potential(X, y, 0.1)
    M = matrix(X)
    best = mp.lu_solve(M.T * M, M.T * matrix(y))
    error = max(abs(found.beta[j] - best[j]) for j in range(count))
    assert found.status == "least_squares"
    assert error <= found.certificate.error_bound <= 1e5 * float(error)
    monkeypatch.setattr(certificate, "label_errors", lambda X, space: np.zeros(space.rank))
    if count == 10:
        assert st.certify(X, y, 0.1, found.beta).error_bound < error


def test_labels_and_bounds_for_every_rank():
    rng = np.random.default_rng(1)
    for _ in range(40):
        n, d = int(rng.integers(4, 9)), int(rng.integers(2, 8))
        r = int(rng.integers(1, min(n - 1, d) + 1))
        X = (rng.integers(-3, 4, (n, r)) @ rng.integers(-3, 4, (r, d))).astype(np.float64)
        y = rng.standard_normal(n)
        space = row_space(X, y)
        if space.rank == 0 or space.consistent:
            continue
        labels = exact_labels(X, y, space.rank)
        apart = [abs(space.y_range[i] - labels[int(i)]) for i in space.rows]
        bounds = label_errors(X, space)
        assert all(a <= b for a, b in zip(apart, bounds, strict=True))
        assert np.max(bounds) <= 1e-13 * np.linalg.norm(y)
        found = st.minimize_potential(X, y, 1.0)
        best = exact_minimiser(X, space, labels, 1.0, 2.0 * found.dual)
        error = max(abs(found.beta[j] - best[j]) for j in range(d))
        assert error <= found.certificate.error_bound < np.inf


def test_labels_in_the_range_are_exact():
    X = np.random.default_rng(0).standard_normal((3, 5))
    assert not np.any(label_errors(X, row_space(X, np.ones(3))))


class Unproved(projection.VerifiedFactor):
    """A factor that fails its verification."""

    def __init__(self, X, weight):
        super().__init__(X, weight)
        self.defect = 1.0


def test_without_a_proof_the_bound_is_infinite(monkeypatch):
    X, y = polynomials(6)
    monkeypatch.setattr(projection, "VerifiedFactor", Unproved)
    assert np.all(np.isinf(label_errors(X, row_space(X, y))))
    found = st.minimize_potential(X, y, 0.1).certificate
    assert not found.valid and found.residual == np.inf
