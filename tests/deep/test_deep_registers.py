"""Tiles in registers: against sums by hand, and the same bits from narrower registers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding
from numba import njit

from sam_theory.deep.operations.registers import PIXELS, ROWS, multiply_tile, outer_tile

multiply, outer = multiply_tile(PIXELS, 1), outer_tile(ROWS, 1)


@njit
def run_multiply(x, pixels, rows, row_stride, width, w, residual, out, places, add):
    multiply(x, pixels, 3, 2, 0, rows, row_stride, width, w, 16, residual, out, places, 1, 20, add)


@njit
def run_outer(x, pixels, count, d, tile, fresh):
    outer(x, pixels, 1, 3, count, d, 2, 17, tile, 4, 18, fresh)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("add", [True, False])
def test_multiply(kind, add):
    rng, lanes = np.random.default_rng(0), 64 // np.dtype(kind).itemsize
    x, w = rng.normal(size=200).astype(kind), rng.normal(size=16 + 6 * lanes).astype(kind)
    pixels, places = rng.permutation(PIXELS), rng.permutation(PIXELS)
    residual, out = rng.normal(size=(2, 1 + 20 * PIXELS)).astype(kind)
    wanted = out.copy()
    for p in range(PIXELS):
        at = 1 + 20 * places[p]
        total = residual[at : at + lanes].astype("f8") if add else np.zeros(lanes)
        for row in range(2):
            for k in range(3):
                value = w[16 + (3 * row + k) * lanes :][:lanes].astype("f8")
                total = total + float(x[3 + 2 * pixels[p] + 11 * row + k]) * value
        wanted[at : at + lanes] = total
    run_multiply(x, pixels, 2, 11, 3, w, residual, out, places, add)
    assert np.allclose(out, wanted, rtol=1e-6 if kind == "f4" else 1e-14, atol=1e-6)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("fresh", [True, False])
def test_outer(kind, fresh):
    rng, lanes = np.random.default_rng(1), 64 // np.dtype(kind).itemsize
    x, d = rng.normal(size=100).astype(kind), rng.normal(size=200).astype(kind)
    tile = rng.normal(size=4 + 18 * ROWS).astype(kind)
    pixels, wanted = rng.permutation(9), tile.copy()
    for r in range(ROWS):
        line = wanted[4 + 18 * r :][:lanes]
        total = np.zeros(lanes) if fresh else line.astype("f8")
        for q in range(9):
            total = total + float(x[1 + 3 * pixels[q] + r]) * d[2 + 17 * q :][:lanes].astype("f8")
        line[:] = total
    run_outer(x, pixels, 9, d, tile, fresh)
    assert np.allclose(tile, wanted, rtol=1e-6 if kind == "f4" else 1e-14, atol=1e-6)


BITS = """
import hashlib, sys
from llvmlite import binding
if sys.argv[1] == "narrow":
    binding.get_host_cpu_features = lambda: {}
import numpy as np
from sam_theory.deep.operations import registers
from sam_theory.deep.network import build_model
network, w, _ = build_model("resnet_tiny_gn", 16)
rng = np.random.default_rng(0)
images = network.images(rng.random((9, 3, 32, 32)))
g = np.empty_like(w)
network.gradient(w, images, network.labels(rng.integers(0, 10, 9), 9), g)
print(registers.PIXELS, hashlib.sha256(g.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_narrower_registers_give_the_same_bits(tmp_path):
    features = binding.get_host_cpu_features()
    if not (features.get("avx512f") and features.get("avx2") and features.get("fma")):
        pytest.skip("the processor has only one width of registers")
    found = []
    for width in ("wide", "narrow"):
        settings = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / width)}
        settings["PYTHONPATH"] = str(Path(__file__).parents[2])
        if width == "narrow":
            settings |= {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
        done = subprocess.run(
            [sys.executable, "-c", BITS, width], env=settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert [pixels for pixels, _ in found] == ["8", "6"]
    assert found[0][1] == found[1][1]
