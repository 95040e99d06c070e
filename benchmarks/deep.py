"""Training steps of deep networks beside torch, convolutions beside their floor, memory."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import sam_theory as st

from . import peers_torch
from .large import largest
from .peaks import fastest
from .rows import OURS, Check, Row, compare, missing
from .timing import Answer, Contender

GROUP = "deep"
INTRO = (
    "One training step on a batch of 128 images of 3x32x32, float32, two threads on both sides, "
    "learning rate 0 so that every call does the same work; errors are those of the gradient "
    "against float64. Here activations, gradients and packed weights live in buffers that are "
    "reused from step to step; torch allocates them anew at every step. Convolutions are timed on "
    "one thread with 16 images in cache, beside the floor of their flops at the rate of the BLAS "
    "product measured here. Memory is the largest resident set of a process of its own after two "
    "SAM steps, kernels compiled or loaded, everything imported."
)
TORCH = "torch, channels last"
BATCH, THREADS, L2, RHO = 128, 2, 5e-4, 0.1
SLOWEST, SAM_OVER_SGD, MEMORY = 1.15, 2.05, 1.3
NETWORKS = (("resnet_tiny_gn", 16), ("resnet18_gn", 16), ("resnet18_gn", 64))
DEPTHS = {"resnet_tiny_gn": (1, 1, 1, 1), "resnet18_gn": (2, 2, 2, 2)}
# Height, inputs, outputs, kernel, stride.
SHAPES = (
    (32, 3, 16, 3, 1), (32, 16, 16, 3, 1), (16, 32, 32, 3, 1), (4, 128, 128, 3, 1),
    (32, 16, 32, 3, 2), (32, 16, 32, 1, 2),
    (32, 64, 64, 3, 1), (16, 128, 128, 3, 1), (8, 256, 256, 3, 1), (4, 512, 512, 3, 1),
    (32, 64, 128, 3, 2), (8, 256, 512, 3, 2),
)  # fmt: skip
IMAGES = 16


def data(n: int) -> tuple[Any, Any]:
    """Random images (n, 3, 32, 32) and labels."""
    rng = np.random.default_rng(0)
    return rng.random((n, 3, 32, 32), dtype=np.float32), rng.integers(0, 10, n)


class Task:
    """One network on one batch, as this project trains it.

    Parameters
    ----------
    name : str
    width, n : int
        Images of the batch.
    precision, backend : str
    """

    def __init__(
        self, name: str, width: int, n: int, precision: Any = "float32", backend: Any = "numpy"
    ) -> None:
        from sam_theory.deep.backend import Backend
        from sam_theory.deep.network import Regularizer, build_model
        from sam_theory.deep.rules import Rule
        from sam_theory.deep.training import State, Step

        where = Backend(backend, precision, THREADS)
        self.network, weights, buffers = build_model(name, width, backend=where)
        images, labels = data(n)
        self.batch = self.network.images(images), self.network.labels(labels, n)
        self.state = State.start(weights, buffers)
        rule = functools.partial(Rule, regularizer=Regularizer(l2=L2))
        self.steps = {
            "SGD": Step(self.network, rule(st.Algorithm())),
            "SAM": Step(self.network, rule(st.Algorithm(RHO, normalized=True))),
        }

    def step(self, kind: str) -> Any:
        """One step; return the gradient that it used, (size,)."""
        step = self.steps[kind]
        step(self.state, *self.batch, 0.0)
        return step._array("total")

    def flat(self, named: dict[str, Any]) -> Any:
        """Arrays by name as one flat array."""
        out = np.empty(self.network.size)
        for name, view in self.network.named_parameters(out).items():
            view[...] = named[name]
        return out


def _relative(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _steps(name: str, width: int, n: int, rounds: int) -> Iterator[Row]:
    """SGD steps beside torch's, and SAM steps beside SGD steps."""
    work = f"{name} width {width}, step on {n} images"
    against = "gradient in float64 by plain array code"
    task, exact_task = Task(name, width, n), Task(name, width, n, "float64", "arrays")
    exact_task.state.weights[:] = w = task.state.weights.astype("f8")
    exact = {kind: exact_task.step(kind).copy() for kind in ("SGD", "SAM")}
    points = {"SGD": w, "SAM": w + RHO * exact["SGD"] / np.linalg.norm(exact["SGD"])}

    def ours(kind: str) -> Contender:
        return Contender(
            OURS, lambda: Answer(task.step(kind)), lambda found: _relative(found, exact[kind])
        )

    def theirs(kind: str) -> Contender:
        parameters = task.network.named_parameters(task.state.weights)
        trainer = peers_torch.Trainer(width, DEPTHS[name], parameters, *data(n), L2, THREADS)
        run = trainer.sgd if kind == "SGD" else functools.partial(trainer.sam, RHO)

        def error(found: Any) -> float:
            # torch keeps the weight decay apart from the gradient.
            return _relative(task.flat(found) + L2 * points[kind], exact[kind])

        return Contender(TORCH, lambda: Answer(run()), error)

    for kind in ("SGD", "SAM"):
        wanted = (1 / SLOWEST, 0.0) if kind == "SGD" else (0.0, 0.0)
        contenders = [ours(kind)] + ([theirs(kind)] if peers_torch.installed() else [])
        yield from compare(GROUP, f"{work}, {kind}", contenders, against, {TORCH: wanted}, rounds)
        if len(contenders) == 1:
            yield missing(GROUP, f"{work}, {kind}", TORCH, wanted)
    one, two = (replace(ours(kind), name=kind) for kind in ("SGD", "SAM"))
    pair = compare(GROUP, f"{work}, SAM beside SGD", [one, two], against, rounds=rounds)
    check = Check("SAM / SGD", pair[1].ratio, SAM_OVER_SGD, most=True)
    yield pair[0]
    yield replace(pair[1], checks=(check,))


@functools.cache
def product_rate() -> float:
    """Flops per second of a float32 product of 1024 x 1024 matrices on one thread."""
    a, b, out = (np.ones((1024, 1024), np.float32) for _ in range(3))
    return 2 * 1024**3 / fastest(lambda: np.matmul(a, b, out=out))


def _convolution(sizes: tuple[int, int, int, int, int]) -> Iterator[Row]:
    """Forward and both gradients of one shape, beside the floor."""
    from sam_theory.deep.lanes import Workspace
    from sam_theory.deep.operations.arrays import ArrayOperations
    from sam_theory.deep.operations.compiled import CompiledOperations
    from sam_theory.deep.operations.geometry import Convolution
    from sam_theory.deep.operations.signals import Signal

    height, inputs, outputs, kernel, stride = sizes
    shape, space = Convolution(height, height, *sizes[1:]), Workspace(np, np.dtype("f4"))
    rng, fast, plain = np.random.default_rng(0), CompiledOperations(), ArrayOperations(np)
    x = rng.normal(size=(IMAGES, height, height, inputs)).astype("f4")
    d = rng.normal(size=(IMAGES, shape.out_height, shape.out_width, outputs)).astype("f4")
    w = rng.normal(size=(kernel, kernel, inputs, outputs)).astype("f4")
    ahead, back = fast.pack(shape, w, False), fast.pack(shape, w, True)

    def run(operations: Any, pass_name: str, kind: str, packed: Any) -> Any:
        signal, slope = Signal(x.astype(kind, copy=False)), d.astype(kind, copy=False)
        like = {"forward": d, "input gradient": x, "weight gradient": w}[pass_name]
        out = space.scratch(pass_name, like.size) if kind == "f4" else np.empty(like.size)
        out = out.reshape(like.shape)
        if pass_name == "forward":
            operations.convolve(space, shape, signal, packed, None, None, out)
        elif pass_name == "input gradient":
            operations.convolve_back(space, shape, slope, packed, out, False)
        else:
            operations.weight_gradient(space, shape, signal, slope, out, None)
        return out

    for name, packed in (("forward", ahead), ("input gradient", back), ("weight gradient", None)):
        exact = run(plain, name, "f8", w.astype("f8"))
        contender = Contender(
            OURS,
            lambda name=name, packed=packed: Answer(run(fast, name, "f4", packed)),  # type: ignore[misc]
            lambda found, exact=exact: _relative(found, exact),  # type: ignore[misc]
            IMAGES,
        )
        work = f"{kernel}x{kernel} {inputs} -> {outputs}, {height}x{height} / {stride}, {name}"
        row = compare(GROUP, f"{work}, one image", [contender], "the same in float64")[0]
        rate, traffic = shape.flops / row.seconds, 4 * (x.size + d.size) / IMAGES
        note = (
            f"{rate / 1e9:.0f} Gflop/s, {100 * rate / product_rate():.0f} % of the product's "
            f"{product_rate() / 1e9:.0f}; {shape.flops / traffic:.0f} flops per byte of images"
        )
        yield replace(row, note=note)


def peak_memory(who: str, name: str, width: int, n: int) -> int:
    """Largest resident set of this process after two SAM steps, in bytes."""
    if who == OURS:
        task = Task(name, width, n)
        for _ in range(2):
            task.step("SAM")
    else:
        from sam_theory.deep.network import build_model

        network, weights, _ = build_model(name, width)
        parameters = network.named_parameters(weights)
        trainer = peers_torch.Trainer(width, DEPTHS[name], parameters, *data(n), L2, THREADS)
        for _ in range(2):
            trainer.sam(RHO)
    return largest()


def _memory(name: str, width: int, n: int) -> Iterator[Row]:
    found = {}
    for who in (OURS, TORCH) if peers_torch.installed() else (OURS,):
        command = [sys.executable, "-m", __name__, who, name, str(width), str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        found[who] = int(done.stdout)
    work = f"{name} width {width}, memory of SAM steps on {n} images"
    ratio = found[OURS] / found[TORCH] if TORCH in found else float("nan")
    check = Check("memory over torch's", ratio, MEMORY, most=True)
    for who, size in found.items():
        checks = (check,) if who == OURS else ()
        yield Row(GROUP, work, who, checks=checks, note=f"{size / 2**20:.0f} MiB")
    if TORCH not in found:
        yield missing(GROUP, work, TORCH)


def rows(quick: bool) -> Iterator[Row]:
    """Measure steps of all networks, convolutions of all shapes, memory."""
    networks = NETWORKS[:1] if quick else NETWORKS
    n = 16 if quick else BATCH
    for name, width in networks:
        yield from _steps(name, width, n, 3 if quick else 11)
    for sizes in SHAPES[1:2] if quick else SHAPES:
        yield from _convolution(sizes)
    for name, width in networks:
        yield from _memory(name, width, n)


if __name__ == "__main__":
    print(peak_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
