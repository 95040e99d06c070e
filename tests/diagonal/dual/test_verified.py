"""Defects of verified factors against 60-digit arithmetic; a factor of too little is seen."""

import mpmath as mp
import numpy as np
import pytest
from scipy import sparse

from sam_theory import design
from sam_theory.diagonal.dual import verified
from sam_theory.diagonal.dual.verified import VerifiedFactor, small_correction

KINDS = ("plain", "graded", "collinear", "rows")


def instance(kind, seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 6)), int(rng.integers(6, 25))
    X, weight = rng.standard_normal((n, d)), rng.random(d)
    if kind == "graded":
        weight = 10.0 ** rng.uniform(-20.0, 0.0, d)
    elif kind == "collinear":
        X = X[:1] + 10.0 ** rng.uniform(-7.0, 0.0) * X
    elif kind == "rows":
        X *= 10.0 ** rng.uniform(-30.0, 30.0, (n, 1))
    return X, weight


def reduce(lower, matrix):
    """Return L^-1 M for lists of rows of mpf, by forward substitution."""
    out = []
    for i, row in enumerate(matrix):
        left = [lower[i][k] * out[k][j] for k in range(i) for j in range(len(row))]
        width = len(row)
        total = [mp.fsum(left[j::width]) for j in range(width)]
        out.append([(v - t) / lower[i][i] for v, t in zip(row, total, strict=True)])
    return out


def assert_verified(factor, X):
    """The checker: no exact number exceeds its bound, |L^-1 K L^-T - I| and sqrt(m^T K^-1 m)."""
    order = np.arange(X.shape[0])[factor.pivot]
    rng = np.random.default_rng(0)
    misfit = rng.standard_normal(X.shape[0]) * np.linalg.norm(X * factor.root, axis=1)
    error = 1e-3 * np.abs(misfit)
    worst = misfit + error * rng.choice([-1.0, 1.0], X.shape[0])
    with mp.workdps(60):
        root = [mp.mpf(float(r)) for r in factor.root]
        rows = [[mp.mpf(float(x)) * r for x, r in zip(X[i], root, strict=True)] for i in order]
        lower = [[mp.mpf(float(v)) for v in row] for row in factor.lower]
        basis = reduce(lower, rows)
        half = mp.matrix(reduce(lower, [[mp.mpf(float(worst[i]))] for i in order]))
        gram = mp.matrix([[mp.fsum(map(mp.fmul, a, b)) for b in basis] for a in basis])
        eigenvalues = mp.eigsy(gram, eigvals_only=True)
        defect = max(abs(e - 1) for e in eigenvalues)
        assert defect <= factor.defect, f"defect {float(defect):.2e} > {factor.defect:.2e}"
        kappa = mp.sqrt((half.T * mp.lu_solve(gram, half))[0])
        assert kappa <= factor.correction_norm(misfit, error)
        assert kappa <= small_correction(X, factor.root, misfit, error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["cholesky", "orthogonal", "sparse"])
def test_no_defect_exceeds_its_bound(kind, path, monkeypatch):
    if path == "orthogonal":
        monkeypatch.setattr(verified, "_COMFORTABLE", 0.0)
    proved = 0
    for seed in range(25):
        X, weight = instance(kind, seed)
        factor = VerifiedFactor(sparse.csr_array(X) if path == "sparse" else X, weight)
        assert (factor.basis is not None) >= (path == "orthogonal" and factor.defect < 1.0)
        if factor.defect < 1.0:
            proved += 1
            assert_verified(factor, X)
    assert proved == 25 or (kind, path) == ("collinear", "orthogonal") and proved > 20


def test_the_cheap_factor_serves_ordinary_problems():
    X, weight = instance("plain", 0)
    assert VerifiedFactor(X, weight).basis is None
    graded = np.where(np.arange(X.shape[1]) < X.shape[0] - 1, 1.0, 1e-20)
    factor = VerifiedFactor(X, graded)
    assert X.shape[0] > 1 and factor.basis is not None and factor.defect < 1e-3


def test_a_small_problem_has_the_cheap_factor():
    X, weight = instance("plain", 3)
    factor = VerifiedFactor(X, weight)
    misfit, error = np.random.default_rng(0).random((2, X.shape[0]))
    found = small_correction(X, factor.root, misfit, error)
    assert found == pytest.approx(factor.correction_norm(misfit, error), rel=1e-9)
    assert small_correction(X, np.zeros(X.shape[1]), misfit, error) == np.inf
    assert small_correction(np.ones((2, 3)), np.ones(3), np.ones(2), np.ones(2)) == np.inf
    assert small_correction(np.ones((3, 2)), np.ones(2), np.ones(3), np.ones(3)) == np.inf


def test_a_factor_of_only_some_columns_is_seen(monkeypatch):
    X = np.random.default_rng(1).standard_normal((4, 20))
    honest = verified.scaled_gram
    assert_verified(VerifiedFactor(X, np.ones(20)), X)
    monkeypatch.setattr(
        verified, "scaled_gram", lambda X, root: honest(X[:, :15].copy(), root[:15])
    )
    with pytest.raises(AssertionError, match="defect"):
        assert_verified(VerifiedFactor(X, np.ones(20)), X)


def test_a_defect_without_one_chunk_is_seen(monkeypatch):
    X = np.random.default_rng(2).standard_normal((4, 20))
    monkeypatch.setattr(verified, "_COMFORTABLE", 0.0)
    monkeypatch.setattr(design, "CHUNK", 20)
    assert_verified(VerifiedFactor(X, np.ones(20)), X)
    # The factor is right; what is measured lacks a chunk, and must not look proved.
    monkeypatch.setattr(verified, "column_chunks", lambda X: design.column_chunks(X)[:-1])
    monkeypatch.setattr(np, "empty", np.zeros)
    assert VerifiedFactor(X, np.ones(20)).defect > 0.01


def test_no_more_columns_than_rows_and_no_rows():
    assert VerifiedFactor(np.ones((3, 2)), np.ones(2)).defect == np.inf
    assert (
        VerifiedFactor(np.ones((0, 2)), np.ones(2)).correction_norm(np.ones(0), np.ones(0)) == 0.0
    )
    assert (
        VerifiedFactor(np.ones((2, 3)), np.ones(3)).correction_norm(np.ones(2), np.ones(2))
        == np.inf
    )
