"""Studies for the tests of sweeps: what they return, where they ran, and a log of each call."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

NAN = float(np.array(0x7FF8_0000_DEAD_BEEF, dtype=np.uint64).view(np.float64))


def kinds(x: float, rho: float) -> dict:
    return {
        "product": x * rho,
        "inexact": (x + 0.1) * rho / 3.0,
        "strange": [NAN, -0.0, float("inf"), -float("inf"), 5e-324][int(x) % 5],
        "count": int(x) * 10**12,
        "even": int(x) % 2 == 0,
        "label": f"x={x} \u03c1={rho}",
        "mixed": None if x == 1 else x,
        "single": np.float32(0.1),
    }


def several(x: int) -> list[dict]:
    return [{"step": k, "loss": 1.0 / (x + k + 1)} for k in range(x)]


def table(x: int):
    import pandas as pd

    return pd.DataFrame(
        {"step": np.arange(3), "loss": x / np.arange(1.0, 4.0), "name": list("abc")}
    )


def failing(x: int, log: str | None = None) -> dict:
    if log is not None:
        note(log, f"start {x}")
    if x == 2:
        raise ValueError("two is\none too many")
    if x == 3:
        return {"array": np.zeros(2)}
    if x == 4:
        raise SystemExit(1)
    return {"y": x}


def logged(x: int, log: str) -> dict:
    """Say in the log when a call begins and ends; the pause does not change the result."""
    note(log, f"start {x} {os.getpid()}")
    time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
    hold(log, f"start {x} {os.getpid()}")
    note(log, f"end {x} {os.getpid()}")
    return {"y": np.sin(x) / 3.0, "strange": -0.0 if x % 2 else NAN, "name": f"cell {x}"}


def hold(log: str, mine: str) -> None:
    """Wait while more calls have begun than ``LOG.allowed`` says, where there is such a file."""
    lines = [line for line in Path(log).read_text().splitlines() if line.startswith("start")]
    place = len(lines) - lines[::-1].index(mine)
    allowed = Path(f"{log}.allowed")
    while allowed.exists() and place > int(allowed.read_text()):
        time.sleep(0.002)


def deadly(x: int, log: str) -> dict:
    note(log, f"start {x} {os.getpid()}")
    time.sleep(0.02)
    if x == 1:
        os._exit(9)
    return {"y": x}


def sleeping(x: int) -> dict:
    time.sleep(0.1)
    return {"y": x}


def where(x: int) -> dict:
    from sam_theory._threads import worker_count

    return {"pid": os.getpid(), "blas": blas_threads(), "own": worker_count()}


def spoil(x: int, data, array) -> dict:
    """Overwrite the inputs after using them."""
    total = float(data.X.sum() + data.y.sum() + array.sum()) + x
    writeable = bool(data.X.flags.writeable and array.flags.writeable)
    plain = type(data.X) is np.ndarray and array.flags.c_contiguous
    data.X[:], data.y[:], array[:] = x, x, x
    return {"total": total, "writeable": writeable, "plain": plain}


def limit(rho: float, data) -> dict:
    import sam_theory as st

    found = st.implicit_bias(data, alpha=0.1, algorithm=st.one_sam(rho))
    return {"l1": found.l1_norm, "sharpness": found.sharpness, "test": found.loss(data.test)}


def blas_threads() -> int:
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def note(log: str, text: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)
