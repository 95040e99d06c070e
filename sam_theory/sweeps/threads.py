"""One numerical thread per cell: the workers are the parallelism."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

from sam_theory._threads import VARIABLE as OWN

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS, OpenMP, Numba and this library to one thread, and put back what was.

    Loky's workers need no more than the environment that they are born with.
    """
    if all(os.environ.get(name) == "1" for name in (*VARIABLES, OWN)):
        yield
        return
    import numba
    import scipy.linalg  # noqa: F401  (a library is limited only if it is loaded)

    threads, own = numba.get_num_threads(), os.environ.get(OWN)
    with ThreadpoolController().limit(limits=1):
        numba.set_num_threads(1)
        os.environ[OWN] = "1"
        try:
            yield
        finally:
            numba.set_num_threads(threads)
            if own is None:
                del os.environ[OWN]
            else:
                os.environ[OWN] = own


@functools.cache
def hold_one_thread() -> None:
    """Hold BLAS and this library to one thread in this process from now on.

    For a worker that may compute cells in several threads: these two limits are the process's, so
    that the first cell to finish would lift them under the others.
    """
    os.environ[OWN] = "1"
    if any(os.environ.get(name) != "1" for name in VARIABLES):
        import scipy.linalg  # noqa: F401

        ThreadpoolController().limit(limits=1, user_api="blas")
