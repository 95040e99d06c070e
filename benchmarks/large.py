"""A problem that fills memory: time and memory of one limit, in a process of its own.

The memory is the growth of the largest resident set over what the process held, kernels compiled,
just before the data were made.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sam_theory as st

from .machine import cores
from .rows import OURS, Check, Row

GROUP = "large"
INTRO = (
    "`implicit_bias` of 1-SAM at n = 500, d = 20000 (80 MB of data), on all cores, in its own "
    "process; memory is the growth of its largest resident set."
)
SECONDS, MEMORY = 60.0, 3.0
_SIZE = (500, 20_000)
_PATIENCE = 1_200.0


def _held(name: str) -> int | None:
    """Return bytes by name from what Linux says about this process; None elsewhere."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def resident() -> int:
    """Bytes that the process holds in memory now (where the system does not say: at most)."""
    held = _held("VmRSS")
    return largest() if held is None else held


def largest() -> int:
    """Bytes of the largest resident set so far.

    Linux keeps in ``ru_maxrss`` what the parent held when it started this process; VmHWM does not.
    """
    held = _held("VmHWM")
    if held is not None:
        return held
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(n: int, d: int) -> dict[str, float | str]:
    """Compute the limit once; return seconds, memory growth over the data, and what is proved."""
    rule = st.one_sam(0.05)
    st.implicit_bias(st.sparse_regression(30, 60, n_test=0), alpha=0.1, algorithm=rule)
    before = resident()
    data = st.sparse_regression(n, d, nonzeros=10, n_test=0)
    start = time.perf_counter()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=rule)
    seconds = time.perf_counter() - start
    bound = float("nan") if limit.certificate is None else limit.certificate.error_bound
    return {
        "seconds": seconds,
        "growth": (largest() - before) / data.X.nbytes,
        "error": bound,
        "scale_error": limit.alpha_effective_error,
        "status": limit.status,
    }


def rows(quick: bool) -> Iterator[Row]:
    """Run :func:`measure` in a fresh process."""
    n, d = (60, 400) if quick else _SIZE
    work = f"implicit_bias, 1-SAM, {n} x {d}"
    environment = {k: v for k, v in os.environ.items() if k != "SAM_THEORY_THREADS"}
    command = [sys.executable, "-m", __name__, str(n), str(d)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, env=environment, check=True
        )
    except subprocess.TimeoutExpired:
        checks = (Check("seconds", _PATIENCE, SECONDS, most=True),)
        yield Row(GROUP, work, OURS, checks=checks, note=f"stopped after {_PATIENCE:g} s")
        return
    found = json.loads(done.stdout)
    proved = found["status"] == "converged" and np.isfinite(found["error"])
    wanted = (
        Check("seconds", found["seconds"], SECONDS, most=True),
        Check("memory over data", found["growth"], MEMORY, most=True),
        Check("certificate valid", float(proved), 1.0),
    )
    yield Row(
        GROUP,
        work,
        OURS,
        found["seconds"],
        found["error"],
        "the certificate's bound, given the effective scale",
        runs=1,
        checks=wanted,
        note=f"{found['growth']:.2f} times the data, {cores()} cores; effective scale known to "
        f"{found['scale_error']:.0e} (estimate)",
    )


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
