"""The GPU path: its kernels as C++ threads on the CPU, and itself where there is a GPU."""

from __future__ import annotations

import ctypes
import shutil
import string
import subprocess

import nets
import numpy as np
import pytest

from sam_theory.algorithms import Algorithm
from sam_theory.deep import gpu_kernels
from sam_theory.deep.array_operations import ArrayOperations
from sam_theory.deep.gpu_operations import GpuOperations
from sam_theory.deep.network import Regularizer
from sam_theory.deep.rules import Rule
from sam_theory.deep.training import State, Step

# What CUDA provides, for one block at a time with a C++ thread per CUDA thread.
SHIM = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::exp; using std::fabs; using std::log1p; using std::tanh;
struct Index { int x, y; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim, gridDim;
static std::barrier<>* barrier;
#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() barrier->arrive_and_wait()
"""
LAUNCH = """
extern "C" void run_NAME(TYPES int gx, int gy, int bx, int by) {
    gridDim = {gx, gy}; blockDim = {bx, by};
    for (int q = 0; q < gx * gy; ++q) {
        std::barrier<> here(bx * by);
        barrier = &here;
        std::vector<std::thread> team;
        for (int r = 0; r < bx * by; ++r)
            team.emplace_back([=] {
                blockIdx = {q % gx, q / gx}; threadIdx = {r % bx, r / bx};
                NAME<double>(VALUES);
            });
        for (auto& one : team) one.join();
    }
}
"""
# Arguments: p array, i int, l long long, d number.
SIGNATURES = {
    "columns": "pppiidl" + "i" * 8 + "p",
    "spread_columns": "pl" + "i" * 9 + "p",
    "image_sums": "ppiiip",
    "slope_sums": "pppppidiipp",
    "input_gradient": "pppppppilii",
    "write_signal": "pppiidiliip",
}
TYPES = {"p": "double*", "i": "int", "l": "long long", "d": "double"}
KINDS = {"i": (np.int32, ctypes.c_int), "l": (np.int64, ctypes.c_longlong)}
KINDS["d"] = (np.float64, ctypes.c_double)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder, code = tmp_path_factory.mktemp("cuda"), SHIM + gpu_kernels.SOURCE
    for name, signature in SIGNATURES.items():
        names = [f"a{letter}" for letter in string.ascii_lowercase[: len(signature)]]
        types = [f"{TYPES[kind]} {n}, " for kind, n in zip(signature, names, strict=True)]
        own = LAUNCH.replace("NAME", name).replace("TYPES", "".join(types))
        code += own.replace("VALUES", ", ".join(names))
    (folder / "kernels.cpp").write_text(code)
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "kernels.cpp"]
    done = subprocess.run([*command, "-o", "kernels.so"], cwd=folder, capture_output=True)
    if b"barrier" in done.stderr:
        pytest.skip("the C++ compiler has no std::barrier")
    assert done.returncode == 0, done.stderr.decode()
    return ctypes.CDLL(str(folder / "kernels.so"))


def launch(library, name, grid, block, arguments):
    signature, values = SIGNATURES[name], []
    assert len(signature) == len(arguments)
    for kind, value in zip(signature, arguments, strict=True):
        if kind == "p":
            assert value.flags.c_contiguous and value.dtype == np.float64
            values.append(ctypes.c_void_p(value.ctypes.data))
        else:
            assert type(value) is KINDS[kind][0]
            values.append(KINDS[kind][1](value.item()))
    sizes = [*(*grid, 1)[:2], *(*block, 1)[:2]]
    getattr(library, f"run_{name}")(*values, *map(ctypes.c_int, sizes))


CASES = [
    ("resnet_tiny_gn", (1, 5, 4), "softplus8"),
    ("resnet_tiny", (2, 5, 4), "relu"),
    ("resnet34", (1, 4, 3), "softplus8"),
    ("vgg16", (1, 32, 32), "relu"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape", "activation"), CASES)
def test_kernels_equal_their_twins(emulated, monkeypatch, name, shape, activation):
    def kernel(which, _dtype):
        def run(grid, block, arguments):
            # A few threads stride over all numbers, as many threads would.
            one = len(block) == 1
            launch(emulated, which, (2,) if one else grid, (4,) if one else block, arguments)

        return run

    monkeypatch.setattr(gpu_kernels, "kernel", kernel)
    found = []
    for operations in (ArrayOperations(np), GpuOperations(np)):
        network, w, buffers = nets.make(
            name, 2, 3, shape, backend="arrays", activation=activation, lanes=1
        )
        network.operations = operations
        images, labels = nets.batch(network, 3)
        g = np.empty_like(w)
        run = network.gradient(w, images, labels, g, regularizer=Regularizer(1e-3, 1e-3))
        _, logits, _ = network.evaluate(w, images, labels, buffers=buffers)
        moments = [np.concatenate(values[0]) for values in run.moments.values()]
        found.append([np.array([run.loss]), g, logits, *moments])
    assert max(map(nets.relative, *found)) < 1e-10


def gpu():
    cupy = pytest.importorskip("cupy", reason="cupy is not installed (extra gpu)")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no GPU: {error}")
    if count == 0:
        pytest.skip("no GPU is visible")


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny", "resnet34", "vgg16", "mlp"])
def test_gpu_equals_cpu(name):
    gpu()
    found = []
    for backend in ("numpy", "cupy"):
        network, w, buffers = nets.make(name, 4, 3, backend=backend)
        images, labels = nets.batch(network, 6)
        state = State.start(w, buffers)
        rule = Rule(Algorithm(0.1, 3, normalized=True), Regularizer(1e-4, 1e-3))
        step = Step(network, rule)
        for _ in range(2):
            assert step(state, images, labels, 0.05).done
        _, logits, _ = network.evaluate(state.weights, images, labels, buffers=state.buffers)
        host = network.backend.host
        found.append([host(state.weights), host(state.velocity), host(logits)])
    assert max(map(nets.relative, *found)) < 1e-9
