"""Training and flows on a sparse X are those on the same dense X."""

import numpy as np
import pytest
import scipy.sparse

import sam_theory as st
from sam_theory.diagonal.integrator import stages
from sam_theory.diagonal.integrator.tail import _block_form
from sam_theory.diagonal.primitives import row_passes

RULES = [
    st.gd(),
    st.n_sam(0.1),
    st.m_sam(0.1, 3),
    st.one_sam(0.1),
    st.one_sam(0.05, normalized=True),
    st.n_sam(0.05, ascent_steps=2),
    st.sgd(batch_size=1),
    st.sgd(batch_size=4),
    st.Algorithm(rho=0.1, m=2, batch_size=4),
    st.Algorithm(rho=0.1, m=1, batch_size=4),
]


def both(n=12, d=40, density=0.2, seed=0):
    """The same problem with a sparse and a dense X, each row and column hit at least once."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < density) + np.eye(n, d)
    y = X @ (rng.random(d) < 0.2) * 1.0
    test = st.Regression(scipy.sparse.csr_array(X), y)
    return st.Regression(scipy.sparse.csr_array(X), y, test=test), st.Regression(X, y, test=test)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_training(rule, weight_decay):
    runs = [
        st.descend(
            data, alpha=0.2, algorithm=rule, step_size=0.05, steps=300, weight_decay=weight_decay
        )
        for data in both()
    ]
    for name in ("beta", "w_plus", "w_minus", "nu", "smallest_factor"):
        apart = np.max(np.abs(getattr(runs[0], name) - getattr(runs[1], name)))
        assert apart <= 1e-13, name
    assert runs[0].loss == pytest.approx(runs[1].loss, rel=1e-9)
    assert runs[0].test_loss == pytest.approx(runs[1].test_loss, rel=1e-9)
    if rule.ascent_steps == 1:
        assert np.max(np.abs(runs[0].limit("reached").beta - runs[0].beta)) <= 1e-11


@pytest.mark.parametrize("m", [1, 2, 3, 6, 12])
def test_flows(m):
    limits = [st.implicit_bias(data, alpha=0.2, algorithm=st.m_sam(0.1, m)) for data in both()]
    assert limits[0].status == limits[1].status == "converged"
    assert np.max(np.abs(limits[0].beta - limits[1].beta)) <= 1e-13
    assert np.max(np.abs(limits[0].delta - limits[1].delta)) <= 1e-11
    assert limits[0].certificate.error_bound <= 1e-11
    assert limits[0].loss_integral == pytest.approx(limits[1].loss_integral, rel=1e-12)
    paths = [
        st.flow(data, alpha=0.2, algorithm=st.m_sam(0.1, m), times=[0.5, 5.0]) for data in both()
    ]
    assert np.max(np.abs(paths[0].beta - paths[1].beta)) <= 1e-12


def test_a_batch_on_a_sparse_design_runs_one_by_one():
    sparse, dense = both()
    chosen = st.settings_grid(algorithm=RULES[:4], alpha=0.2, step_size=[0.01, 0.05])
    found = st.descend_batch(sparse, chosen, steps=100)
    expected = st.descend_batch(dense, chosen, steps=100)
    for a, b in zip(found, expected, strict=True):
        assert np.max(np.abs(a.beta - b.beta)) <= 1e-13


def test_normalised_flows_ask_for_a_dense_design():
    with pytest.raises(st.InputError, match="needs a dense X"):
        st.implicit_bias(both()[0], alpha=0.2, algorithm=st.n_sam(0.1, normalized=True))


def test_both_kinds_of_pass_are_compiled_callers_only():
    for chosen in (row_passes.block_gradient, stages._image):
        with pytest.raises(NotImplementedError, match="for compiled callers"):
            chosen()


@pytest.mark.parametrize("m", [1, 3, 12])
def test_the_tail_sums_within_blocks(m):
    sparse, dense = both()
    G = np.random.default_rng(0).standard_normal((12, 12))
    mask = np.kron(np.eye(12 // m), np.ones((m, m)))
    expected = np.diag(dense.X.T @ (G * mask) @ dense.X)
    for data in (sparse, dense):
        np.testing.assert_allclose(_block_form(data.X, G, m), expected, rtol=1e-12, atol=1e-12)
    if m < 12:
        assert np.max(np.abs(expected - np.diag(dense.X.T @ G @ dense.X))) > 0.1
