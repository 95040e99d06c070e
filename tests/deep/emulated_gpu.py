"""cupy in miniature: NumPy arrays that refuse host arrays, and CUDA kernels as C++ threads."""

from __future__ import annotations

import ctypes
import re
import shutil
import string
import subprocess
import sys
import types

import numpy as np
import pytest

from sam_theory.deep.operations import cuda as gpu_kernels

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
extern "C" void run_NAME_KIND(TYPES int gx, int gy, int bx, int by) {
    gridDim = {gx, gy}; blockDim = {bx, by};
    for (int q = 0; q < gx * gy; ++q) {
        std::barrier<> here(bx * by);
        barrier = &here;
        std::vector<std::thread> team;
        for (int r = 0; r < bx * by; ++r)
            team.emplace_back([=] {
                blockIdx = {q % gx, q / gx}; threadIdx = {r % bx, r / bx};
                NAME<KIND>(VALUES);
            });
        for (auto& one : team) one.join();
    }
}
"""
# A kernel per element: DECLARE has a reference to each argument's element i.
ELEMENTWISE = """
extern "C" void flat_NAME_KIND(long long n, void** at, const long long* step) {
    typedef KIND T; (void)sizeof(T);
    for (long long i = 0; i < n; ++i) { DECLARE BODY; }
}
"""
REDUCTION = """
extern "C" void flat_NAME_KIND(long long n, void** at, const long long* step) {
    typedef KIND T;
    TOTAL a = TOTAL(START);
    for (long long i = 0; i < n; ++i) { DECLARE TOTAL b = MAP; a = REDUCE; }
    const long long i = 0; OUT POST;
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
WIDE = {"image_sums": {5}, "slope_sums": {9, 10}}
"""Arguments that are of double precision in either kernel."""
NUMBERS = {"i": (np.int32, ctypes.c_int), "l": (np.int64, ctypes.c_longlong)}
FLOATS = {"float": (np.float32, ctypes.c_float), "double": (np.float64, ctypes.c_double)}


class Device(np.ndarray):
    """An array "on the device": it mixes neither with host arrays nor with numpy's functions."""

    through_cupy = False

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **more):
        check((*inputs, *out))
        plain = [host(value) for value in inputs]
        if out:
            more["out"] = tuple(host(value) for value in out)
        found = getattr(ufunc, method)(*plain, **more)
        return out[0] if out else device(found)

    def __array_function__(self, function, _types, arguments, more):
        if not Device.through_cupy:
            raise TypeError(f"numpy.{function.__name__} of a device array")
        check(flat(arguments) + flat(more.values()))
        found = function(*map(nested_host, arguments), **{k: host(v) for k, v in more.items()})
        return device(found)

    def __setitem__(self, where, value):
        check((value,))
        super().__setitem__(where, value)


def flat(values):
    found = []
    for value in values:
        found += flat(value) if isinstance(value, list | tuple) else [value]
    return found


def check(values):
    for value in values:
        if isinstance(value, np.ndarray) and not isinstance(value, Device):
            raise TypeError("a host array beside a device array")


def host(value):
    return value.view(np.ndarray) if isinstance(value, Device) else value


def nested_host(value):
    return [host(part) for part in value] if isinstance(value, list | tuple) else host(value)


def device(value):
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).view(Device)
    return value


class Kernel:
    """Kernel of a raw module."""

    def __init__(self, library, expression):
        self.name, self.kind = re.fullmatch(r"(\w+)<(\w+)>", expression).groups()
        self.run = getattr(library, f"run_{self.name}_{self.kind}")

    def __call__(self, grid, block, arguments):
        if len(block) == 1:
            # A few threads stride over all numbers, as many threads would.
            grid, block = (2,), (4,)
        signature, values = SIGNATURES[self.name], []
        assert len(signature) == len(arguments)
        for k, (kind, value) in enumerate(zip(signature, arguments, strict=True)):
            if kind == "p":
                wide = k in WIDE.get(self.name, ())
                assert isinstance(value, Device) and value.flags.c_contiguous
                assert value.dtype == FLOATS["double" if wide else self.kind][0]
                values.append(ctypes.c_void_p(value.ctypes.data))
            else:
                of_numpy, of_c = FLOATS[self.kind] if kind == "d" else NUMBERS[kind]
                assert type(value) is of_numpy
                values.append(of_c(value.item()))
        sizes = [*(*grid, 1)[:2], *(*block, 1)[:2]]
        self.run(*values, *map(ctypes.c_int, sizes))


def parameters(text):
    return [tuple(part.split()) for part in text.split(",")]


def declared(inputs, outputs):
    """C++ references to element i; what is read cannot be written."""
    lines = []
    for k, (kind, name) in enumerate([*inputs, *outputs]):
        kind = {"T": "T", "float64": "double"}[kind]
        const = "const " if k < len(inputs) else ""
        lines.append(f"{const}{kind}& {name} = (({kind}*)at[{k}])[i * step[{k}]];")
    return " ".join(lines)


class Flat:
    """An elementwise or reduction kernel; its C++ text, and calls once it is compiled."""

    def __init__(self, inputs, outputs, name, text):
        self.inputs, self.outputs = parameters(inputs), parameters(outputs)
        self.name, self.module = name, sys.modules["cupy"]
        self.module.flat[name] = text.replace("NAME", name)

    def call(self, arguments, outputs):
        kind = next(a.dtype for a in arguments if isinstance(a, Device))
        arrays, steps = [], []
        for value in (*arguments, *outputs):
            if not isinstance(value, Device):
                assert type(value) is kind.type
                value = device(value)
            arrays.append(value)
            steps.append(value.strides[0] // value.itemsize if value.ndim else 0)
        for (letter, _), value in zip([*self.inputs, *self.outputs], arrays, strict=True):
            assert value.dtype == (kind if letter == "T" else np.float64)
        n = max(value.size for value in arrays[: len(arguments)])
        name = {np.dtype(of): word for word, (of, _) in FLOATS.items()}[kind]
        at = (ctypes.c_void_p * len(arrays))(*(value.ctypes.data for value in arrays))
        step = (ctypes.c_longlong * len(arrays))(*steps)
        getattr(self.module.library, f"flat_{self.name}_{name}")(ctypes.c_longlong(n), at, step)


class ElementwiseKernel(Flat):
    def __init__(self, inputs, outputs, operation, name):
        lines = declared(parameters(inputs), parameters(outputs))
        text = ELEMENTWISE.replace("DECLARE", lines).replace("BODY", operation)
        super().__init__(inputs, outputs, name, text)

    def __call__(self, *arguments):
        self.call(arguments[: len(self.inputs)], arguments[len(self.inputs) :])


class ReductionKernel(Flat):
    def __init__(self, inputs, outputs, mapped, reduced, after, start, name, *, reduce_type):
        lines = declared(parameters(inputs), [])
        place = len(parameters(inputs))
        (kind, out), *_ = parameters(outputs)
        assert kind == "float64"
        text = REDUCTION.replace("DECLARE", lines).replace("TOTAL", reduce_type)
        text = text.replace("OUT", f"double& {out} = ((double*)at[{place}])[i];")
        for mark, part in (("MAP", mapped), ("REDUCE", reduced), ("POST", after), ("START", start)):
            text = text.replace(mark, part)
        super().__init__(inputs, outputs, name, text)

    def __call__(self, *arguments):
        found = device(np.empty(()))
        self.call(arguments, (found,))
        return found


class Cupy(types.ModuleType):
    """The module."""

    ElementwiseKernel, ReductionKernel = ElementwiseKernel, ReductionKernel

    def __init__(self):
        super().__init__("cupy")
        self.library, self.flat = None, {}

    def __getattr__(self, name):
        function = getattr(np, name)
        made = ("empty", "zeros", "asarray", "arange", "ascontiguousarray")
        if not callable(function) or isinstance(function, type | np.ufunc):
            return function

        def call(*given, **more):
            before, Device.through_cupy = Device.through_cupy, True
            try:
                found = function(*given, **more)
            finally:
                Device.through_cupy = before
            return device(found) if name in made else found

        return call

    def is_available(self):
        return True

    def asnumpy(self, values):
        return np.array(host(values))

    def RawModule(self, *, code, options, name_expressions):
        assert code == gpu_kernels.SOURCE and options == ("--std=c++14",)

        def get_function(name):
            assert name in name_expressions
            return Kernel(self.library, name)

        return types.SimpleNamespace(get_function=get_function)

    def compile(self, folder):
        """Compile the raw kernels and the flat ones made so far; skips without a compiler."""
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("no C++ compiler")
        flat = [text.replace("KIND", kind) for text in self.flat.values() for kind in FLOATS]
        (folder / "kernels.cpp").write_text(SHIM + gpu_kernels.SOURCE + launches() + "".join(flat))
        command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "kernels.cpp"]
        done = subprocess.run([*command, "-o", "kernels.so"], cwd=folder, capture_output=True)
        if b"barrier: No such file" in done.stderr or b"std::barrier" in done.stderr:
            pytest.skip("the C++ compiler has no std::barrier")
        assert done.returncode == 0, done.stderr.decode()
        self.library = ctypes.CDLL(str(folder / "kernels.so"))


def launches():
    """C++ functions that run the raw kernels for both precisions."""
    code = ""
    for name, signature in SIGNATURES.items():
        names = [f"a{letter}" for letter in string.ascii_lowercase[: len(signature)]]
        for kind in FLOATS:
            types_ = []
            for k, letter in enumerate(signature):
                wide = k in WIDE.get(name, ())
                of_c = {"p": f"{'double' if wide else kind}*", "i": "int", "l": "long long"}
                types_.append(f"{of_c.get(letter, kind)} {names[k]}, ")
            own = LAUNCH.replace("NAME", name).replace("TYPES", "".join(types_))
            code += own.replace("VALUES", ", ".join(names)).replace("KIND", kind)
    return code
