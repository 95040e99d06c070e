"""The same bits with one and with two threads."""

import os
import subprocess
import sys

PROGRAM = """
import numpy as np, sam_theory as st
rng = np.random.default_rng(0)
X = rng.standard_normal((120, 2000)); y = X[:, :5].sum(axis=1)
found = st.minimize_potential(X, y, 1e-3)
print(found.beta.tobytes().hex(), found.certificate)
data = st.sparse_regression()
for algorithm in (st.n_sam(0.1), st.m_sam(0.1, 5), st.one_sam(0.1)):
    limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    run = st.descend(data, alpha=0.1, algorithm=algorithm, step_size=0.1, steps=500)
    print(limit.beta.tobytes().hex(), limit.sharpness.hex(), limit.delta.tobytes().hex())
    print(run.beta.tobytes().hex(), run.limit().beta.tobytes().hex())
"""


def output(threads: int) -> str:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | {name: str(threads) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert len(done.stdout) > 10_000
    return done.stdout


def test_bits_do_not_depend_on_the_number_of_threads():
    assert output(1) == output(2)
