"""The same bits with one and with two threads; BLAS is held and let go."""

import os
import subprocess
import sys
import threading
import time

import pytest
from threadpoolctl import threadpool_info

from sam_theory import InputError
from sam_theory._threads import parallel_map, parallel_pieces, single_threaded, worker_count

PROGRAM = """
import numpy as np, sam_theory as st
from scipy import sparse
from sam_theory import design
from sam_theory.diagonal.dual import compensated
from sam_theory.diagonal.sharpness import largest_and_trace
rng = np.random.default_rng(0)
def solve(X):
    data = st.Regression(X, X[:, :5].sum(axis=1))  # not a BLAS product of this program
    for alpha in (1e-2, 1e-3):
        found = st.minimize_potential(data.X, data.y, alpha)
        print(found.beta.tobytes().hex(), found.dual.tobytes().hex(), found.certificate)
    print(largest_and_trace(data.X, found.beta, np.full(data.d, -2.0)), data.loss(found.beta).hex())
solve(rng.standard_normal((220, 20_000)))
# Many parts of a small problem.
design._PART, design._GRAM_PART, compensated._PART = 30_000, 500_000, 20_000
X = rng.standard_normal((120, 2000))
solve(X)
solve(sparse.csr_array(X * (np.abs(X) > 1.2)))
data = st.sparse_regression()
for algorithm in (st.n_sam(0.1), st.m_sam(0.1, 5), st.one_sam(0.1)):
    limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    run = st.descend(data, alpha=0.1, algorithm=algorithm, step_size=0.1, steps=500)
    print(limit.beta.tobytes().hex(), limit.sharpness.hex(), limit.delta.tobytes().hex())
    print(run.beta.tobytes().hex(), run.limit().beta.tobytes().hex())
"""


def output(threads: int) -> str:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    names += ("SAM_THEORY_THREADS",)
    environment = os.environ | {name: str(threads) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert len(done.stdout) > 500_000
    return done.stdout


def test_bits_do_not_depend_on_the_number_of_threads():
    assert output(1) == output(2)


def blas_threads() -> list[int]:
    return [entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_until_the_last_caller_leaves():
    before = blas_threads()
    inner = single_threaded(blas_threads)
    inside, leave = threading.Event(), threading.Event()

    @single_threaded
    def stay():
        inside.set()
        leave.wait(10.0)

    @single_threaded
    def fail():
        assert set(inner()) <= {1}
        raise KeyError

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(10.0)
    with pytest.raises(KeyError):
        fail()
    assert set(blas_threads()) <= {1}
    leave.set()
    thread.join()
    assert blas_threads() == before


def test_any_thread_can_hold_blas_to_one_thread():
    script = """
import threading
import numpy
from sam_theory._threads import single_threaded
from threadpoolctl import threadpool_info
def counts():
    return [entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"]
held = single_threaded(counts)
numpy.eye(600) @ numpy.eye(600)
before, shown = counts(), []
shown.append(held())
import scipy.linalg  # brings a BLAS of its own
shown.append(held())
thread = threading.Thread(target=lambda: shown.append(held()))
thread.start()
thread.join()
assert all(set(found) == {1} for found in shown), shown
assert set(counts()) == set(before), (counts(), before)
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_map_inside_a_map_starts_no_threads():
    def names(_):
        return set(parallel_map(lambda _: threading.current_thread().name, range(3), threads=3))

    alone = parallel_map(names, range(4), threads=1)
    assert alone == [{threading.current_thread().name}] * 4
    found = parallel_map(names, range(4), threads=2)
    assert all(len(one) == 1 for one in found)
    assert parallel_map(lambda k: k * k, range(5), threads=2) == [0, 1, 4, 9, 16]
    assert parallel_map(abs, []) == []


FORK = """
import os, warnings
from sam_theory._threads import parallel_map
warnings.simplefilter("ignore")
print(parallel_map(abs, [-1, -2, -3], threads=2), flush=True)
child = os.fork()
found = parallel_map(abs, [-4, -5, -6], threads=2)
ended = os.waitpid(child, 0)[1] if child else 0
print(found, flush=True)
if child == 0:
    os._exit(0)
print(ended)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_a_forked_process_has_threads_of_its_own():
    done = subprocess.run([sys.executable, "-c", FORK], timeout=60, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[1, 2, 3]", "[4, 5, 6]", "[4, 5, 6]", "0"]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_bad_number_of_threads_is_named(text, monkeypatch):
    monkeypatch.setenv("SAM_THEORY_THREADS", text)
    with pytest.raises(InputError, match="SAM_THEORY_THREADS must be an integer >= 1"):
        worker_count()
    with pytest.raises(InputError, match="threads must be"):
        worker_count(0)


def in_pieces(name, pieces, seen, failing=None):
    """Yield between pieces that say their names; the piece ``failing`` fails."""
    for k in range(pieces):
        if k == failing:
            raise ValueError(name)
        seen.append((name, k))
        yield


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pieces_of_every_job_are_done_in_order(threads):
    seen = []
    counts = [1, 4, 0, 2, 7, 3, 1]
    parallel_pieces([in_pieces(j, count, seen) for j, count in enumerate(counts)], threads)
    for j, count in enumerate(counts):
        assert [k for name, k in seen if name == j] == list(range(count))


def test_two_threads_share_three_jobs():
    where = {name: set() for name in range(3)}

    def job(name):
        for _ in range(50):
            time.sleep(1e-3)
            where[name].add(threading.current_thread().name)
            yield

    parallel_pieces([job(name) for name in where], 2)
    assert len(set().union(*where.values())) == 2
    assert max(len(names) for names in where.values()) == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_job_that_fails_is_raised(threads):
    seen = []
    jobs = [in_pieces(j, 3, seen, failing=2 if j in (1, 2) else None) for j in range(30)]
    with pytest.raises(ValueError, match="^1$"):
        parallel_pieces(jobs, threads)
    assert {name for name, _ in seen} < set(range(30))
    parallel_pieces([], threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_item_that_fails_is_raised_and_ends_the_map(threads):
    seen = []

    def fail(k):
        seen.append(k)
        time.sleep(1e-3)
        if k in (5, 6):
            raise ValueError(k)

    with pytest.raises(ValueError, match="^5$"):
        parallel_map(fail, range(200), threads)
    assert set(range(6)) <= set(seen) and len(seen) <= 6 + threads
    assert parallel_map(abs, [-1, -2, -3], threads) == [1, 2, 3]


def test_an_interrupt_ends_the_map_in_all_threads():
    seen = []

    def interrupt(k):
        seen.append(k)
        time.sleep(1e-3)
        if k == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel_map(interrupt, range(500), 2)
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) <= count + 1 < 500


def test_the_caller_is_one_of_the_threads():
    together = threading.Barrier(2, timeout=10.0)

    def name(_):
        together.wait()
        return threading.current_thread().name

    for _ in range(20):
        found = parallel_map(name, range(2), 2)
        assert len(set(found)) == 2 and threading.current_thread().name in found
