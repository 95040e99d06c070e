"""Compiled kernels are kept on disk: a second process compiles nothing."""

import os
import subprocess
import sys

COUNT = """
from numba.core import event

class Compilations(event.Listener):
    count = 0
    def on_start(self, _):
        Compilations.count += 1
    def on_end(self, _):
        pass

event.register("numba:compile", Compilations())
"""
EVERYTHING = (
    COUNT
    + """
import numpy as np, scipy.sparse, sam_theory as st
data = st.sparse_regression(n_test=10)
rules = [st.gd(), st.n_sam(0.05), st.one_sam(0.05), st.m_sam(0.05, 5)]
rules.append(st.n_sam(0.05, ascent_steps=2))
for rule in [*rules, st.sgd(batch_size=1), st.sgd(batch_size=3)]:
    st.descend(data, alpha=0.1, algorithm=rule, step_size=0.05, steps=20).limit("reached")
chosen = st.settings_grid(algorithm=rules, alpha=0.1, step_size=[0.01, 0.02])
st.descend_batch(data, chosen, steps=20)
for rule in [*rules[:4], st.n_sam(0.01, normalized=True)]:
    st.implicit_bias(data, alpha=0.3, algorithm=rule)
st.flow(data, alpha=0.1, algorithm=st.one_sam(0.05), times=[0.1, 1.0])
found = st.minimize_potential(data.X, data.y, 1e-3)
st.certify(data.X, data.y, 1e-3, found.beta)
sparse = st.Regression(scipy.sparse.csr_array(data.X * (np.abs(data.X) > 0.5)), data.y)
st.descend(sparse, alpha=0.1, algorithm=st.one_sam(0.05), step_size=0.05, steps=20)
st.implicit_bias(sparse, alpha=0.3, algorithm=st.one_sam(0.05))
print(Compilations.count)
"""
)
ONE = (
    COUNT
    + """
import numpy as np
from sam_theory.diagonal.primitives.row_passes import mean_loss
mean_loss(np.eye(2), np.ones(2), np.ones(2))
print(Compilations.count)
"""
)


def compilations(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_a_second_process_compiles_nothing():
    compilations(EVERYTHING)
    assert compilations(EVERYTHING) == 0


def test_an_empty_cache_is_noticed(tmp_path):
    assert compilations(ONE, NUMBA_CACHE_DIR=str(tmp_path)) > 0
    assert compilations(ONE, NUMBA_CACHE_DIR=str(tmp_path)) == 0
