"""Cells run on one numerical thread, and the caller's limits come back afterwards."""

import os
import subprocess
import sys

PROGRAM = """
import sys, threading
import numba, numpy, scipy.linalg
from threadpoolctl import threadpool_info
from sam_theory.sweeps.threads import hold_one_thread, one_thread

def counts():
    return max(pool["num_threads"] for pool in threadpool_info()), numba.get_num_threads()

before = counts()
with one_thread():
    inside = counts()
    with one_thread():
        nested = counts()
    between = counts()
print(before, inside, nested, between, counts())

hold_one_thread()
gate, seen = threading.Barrier(2), []

def work(k):
    with one_thread():
        gate.wait()
        if k == 0:
            seen.append(counts())
    gate.wait()
    if k == 1:
        with one_thread():
            seen.append(counts())

threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
print(seen)
"""


def shown(**variables):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | {name: "2" for name in names} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_one_thread_inside_and_what_was_outside():
    assert shown() == ["(2, 2) (1, 1) (1, 1) (1, 1) (2, 2)", "[(1, 1), (1, 1)]"]
