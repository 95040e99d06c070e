"""Register operations of both types against NumPy, and compiled code that starts warm."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from sam_theory.relu import registers
from sam_theory.relu.registers import (
    add_where_positive,
    fma,
    lane_sum,
    lanes_of,
    load,
    pointer,
    relu,
    splat,
    splats,
    store,
    subtract_sums,
    zero,
    zero4,
)

TYPES = [np.float64, np.float32]


@numba.njit
def elementwise(a, x, out, number):
    source, numbers, target = pointer(a), pointer(x), pointer(out)
    one, two = load(source, 0), load(source, 1)
    store(target, 0, one + two)
    store(target, 1, one * two)
    store(target, 2, fma(one, two, one))
    store(target, 3, relu(one))
    store(target, 4, splat(target, number))
    rows = splats(zero4(numbers), numbers, 1, 2)
    store(target, 5, add_where_positive(rows * one, rows, two))
    return lanes_of(source), lane_sum(one)


@pytest.mark.parametrize("dtype", TYPES)
def test_elementwise(dtype):
    width = registers.lanes(dtype)
    assert width == 64 // np.dtype(dtype).itemsize
    a, out = registers.aligned((2, width), dtype), registers.aligned((6, width), dtype)
    assert a.ctypes.data % 64 == 0 and not a.any()
    rng = np.random.default_rng(0)
    a[:] = rng.standard_normal(a.shape)
    x = rng.standard_normal(8).astype(dtype)
    found = elementwise(a.ravel(), x, out.ravel(), dtype(3.0))
    one, two = a
    tolerance = 4.0 * np.finfo(dtype).eps
    expected = two.copy()
    for value in x[1::2]:
        expected += np.where(value * one > 0.0, value, dtype(0.0))
    wanted = [
        one + two,
        one * two,
        one * two + one,
        np.maximum(one, 0),
        np.full(width, 3.0),
        expected,
    ]
    np.testing.assert_allclose(out, wanted, rtol=tolerance, atol=tolerance)
    assert found[0] == width and found[1] == pytest.approx(one.sum(), rel=1e-5)


@numba.njit
def sums(a, y, out, rows):
    source, labels, target = pointer(a), pointer(y), pointer(out)
    if rows == 4:
        one = splats(zero4(labels), labels, 0, 1)
        return subtract_sums(one * load(source, 0), labels, target, 1)
    one = splats(zero(labels), labels, 0, 1)
    return subtract_sums(one * load(source, 0), labels, target, 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 4])
def test_sums_of_rows(dtype, rows):
    """Row k is y[k] times the lanes; entries that are not meant stay as they are."""
    rng = np.random.default_rng(1)
    width = registers.lanes(dtype)
    a = registers.aligned(width, dtype)
    a[:] = rng.standard_normal(width)
    y, out = rng.standard_normal(6).astype(dtype), np.full(7, 9.0, dtype)
    squares = sums(a, y, out, rows)
    expected = y[:rows] * a.sum() - y[1 : 1 + rows]
    np.testing.assert_allclose(out[1 : 1 + rows], expected, rtol=50 * np.finfo(dtype).eps)
    assert out[0] == 9.0 and np.all(out[1 + rows :] == 9.0)
    assert squares == pytest.approx(np.sum(expected**2), rel=1e-4 if dtype is np.float32 else 1e-13)


def test_nan_passes_in_any_lane():
    for lane in range(8):
        a, out = registers.aligned((2, 8), float), registers.aligned((6, 8), float)
        a[0, lane] = np.nan
        elementwise(a.ravel(), np.ones(8), out.ravel(), 1.0)
        assert np.isnan(out[:4, lane]).all() and np.isnan(out[:4]).sum() == 4


WARM = """
from numba.core import event
class Compilations(event.Listener):
    count = 0
    def on_start(self, _):
        Compilations.count += 1
    def on_end(self, _):
        pass
event.register("numba:compile", Compilations())
import sam_theory as st
from sam_theory import relu
data, start = relu.published_data(), relu.published_start(0)
for rule in (st.gd(), st.n_sam(0.1, normalized=True), st.m_sam(0.1, 4), st.sgd(3)):
    run = relu.train(data, start, algorithm=rule, step_size=1e-5, steps=20, schedule="linear")
relu.measure(run)
print(Compilations.count)
"""
LIGHT = """
import sys
from sam_theory import relu
from sam_theory.relu import command
assert not {"numba", "scipy", "numpy", "pandas", "matplotlib"} & set(sys.modules), sys.modules
for name in relu.__all__:
    assert getattr(relu, name).__doc__, name
    assert name in dir(relu)
try:
    relu.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError("no AttributeError")
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_process_compiles_nothing():
    run(WARM)
    assert int(run(WARM)) == 0


def test_importing_the_room_loads_nothing_heavy():
    run(LIGHT)
