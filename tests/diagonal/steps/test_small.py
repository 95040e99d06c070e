"""The kernels for small problems and those for large ones take the same steps."""

import numpy as np
import pytest

import sam_theory as st
from sam_theory.diagonal.steps import loop as descent_loop


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("n", [1, 12, 21])
@pytest.mark.parametrize(
    "rule",
    [
        st.gd(),
        st.sgd(batch_size=1),
        st.n_sam(0.08),
        st.n_sam(0.02, normalized=True),
        st.one_sam(0.08),
        st.one_sam(0.02, normalized=True),
    ],
    ids=str,
)
def test_both_kernels_of_a_size_agree(rule, n, weight_decay, monkeypatch):
    data = st.sparse_regression(n=n, d=37, noise=0.1, n_test=0)
    rest = {"alpha": 0.2, "algorithm": rule, "step_size": 0.02, "steps": 40}
    small = st.descend(data, **rest, weight_decay=weight_decay)
    monkeypatch.setattr(descent_loop, "_SMALL", 0)
    large = st.descend(data, **rest, weight_decay=weight_decay)
    for name in ("beta", "w_plus", "w_minus", "nu", "smallest_factor"):
        assert np.max(np.abs(getattr(small, name) - getattr(large, name))) <= 1e-14, name
    other = st.descend(data, **(rest | {"step_size": 0.02001}), weight_decay=weight_decay)
    assert np.max(np.abs(small.beta - other.beta)) > 1e-7


def test_norms_beyond_the_range_of_squares(monkeypatch):
    data = st.sparse_regression(n_test=0)
    rule = st.n_sam(1e-141, normalized=True)
    rest = {"alpha": 1e-140, "algorithm": rule, "step_size": 0.05}
    small = st.descend(data, **rest, steps=50)
    batch = st.descend_batch(data, [st.Setting(**rest)], steps=50)[0]
    monkeypatch.setattr(descent_loop, "_SMALL", 0)
    large = st.descend(data, **rest, steps=50)
    plain = st.descend(data, **(rest | {"algorithm": st.gd()}), steps=50)
    assert np.max(np.abs(plain.w_plus / large.w_plus - 1.0)) > 0.01
    for run in (small, batch):
        assert np.max(np.abs(run.w_plus / large.w_plus - 1.0)) <= 1e-13
