"""What one core can do: arithmetic and bandwidth, measured, not looked up.

Arithmetic is the better of a matrix product and of a loop of fused multiply-adds that lives in
registers. Bandwidth, for a working set of a given size, is the better of a triad a = b + s c
(24 bytes per entry) and of a sum of products (16 bytes per entry, reads only) over arrays of that
total size. Both are the largest of several short runs: a ceiling is not an average.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sam_theory.diagonal.primitives.simd import AVX512, splat, store, zero4, zero8

_RUNS = 7
_TURNS = 2_000_000
# As many chains as hide the latency of a multiply-add and leave registers free.
_chains, _CHAINS = (zero8, 8) if AVX512 else (zero4, 4)
CHAINED = 2.0 * 8 * _CHAINS * _TURNS
SIDE = 768
PRODUCT = 2.0 * SIDE**3
_LEFT = np.ones((SIDE, SIDE))


def fastest(call: Callable[[], Any], runs: int = _RUNS) -> float:
    """Shortest time of several calls after one that warms up."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@numba.njit
def _registers(turns, factor, out):  # type: ignore[no-untyped-def]
    """Independent chains of multiply-adds on eight numbers each, for turns rounds."""
    chains, by, plus = _chains(), splat(factor), splat(1.0)
    for _ in range(turns):
        chains = chains * by + plus
    store(out, 0, chains)


@numba.njit(fastmath={"contract"})
def _triad(turns, a, b, c, factor):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        for i in range(a.shape[0]):
            a[i] = b[i] + factor * c[i]


@numba.njit(fastmath={"contract", "reassoc"})
def _read(turns, a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for _ in range(turns):
        for i in range(a.shape[0]):
            total += a[i] * b[i]
    return total


@functools.cache
def flops() -> float:
    """Flops per second of one core, a fused multiply-add counted as two."""
    return max(PRODUCT / fastest(product), CHAINED / fastest(multiply_adds))


def product() -> float:
    """Multiply matrices of ones by BLAS, PRODUCT flops; returns an entry."""
    return float((_LEFT @ _LEFT)[0, 0])


def multiply_adds() -> float:
    """Do multiply-adds of CHAINED flops in registers."""
    out = np.zeros(64)
    _registers(_TURNS, 0.5, out)
    return float(out[0])


@functools.cache
def bandwidth(working_set: int) -> float:
    """Bytes per second of one core on a working set of about that many bytes."""
    size = max(working_set // 24, 64)
    a, b, c = np.zeros(size), np.ones(size), np.ones(size)
    turns = max(1, 4_000_000 // size)
    triad = 24.0 * size * turns / fastest(lambda: _triad(turns, a, b, c, 0.5))
    size = max(working_set // 16, 64)
    b, c = np.ones(size), np.ones(size)
    turns = max(1, 6_000_000 // size)
    read = 16.0 * size * turns / fastest(lambda: _read(turns, b, c))
    return max(triad, read)
