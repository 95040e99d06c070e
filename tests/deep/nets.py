"""What the tests of deep networks share: known answers, work space, a gradient checker."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_theory.deep.backend import Backend
from sam_theory.deep.lanes import Workspace
from sam_theory.deep.network import build_model
from sam_theory.deep.training import State, Step

DATA = Path(__file__).parents[1] / "data" / "deep"
BACKENDS = ("numpy", "arrays")


def known(name):
    with np.load(DATA / f"{name}.npz") as found:
        return {key: found[key] for key in found.files}


def relative(found, wanted):
    """Largest deviation over the largest number; infinite if one is not finite."""
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    assert found.shape == wanted.shape
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(wanted))):
        return np.inf
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300)


class Space:
    """Work space of a lane, filled with nan so that nothing unwritten is read unseen."""

    def __init__(self, dtype):
        self.space = Workspace(np, np.dtype(dtype))

    def scratch(self, name, size):
        self.space.flat[name] = np.full(size, np.nan, self.space.dtype)
        return self.space.flat[name]


def make(
    name, width=4, classes=10, shape=(3, 32, 32), backend="numpy", precision="float64", **more
):
    activation = more.pop("activation", "relu")
    chosen = Backend(backend, precision, **more)
    return build_model(name, width, classes, shape, 0, backend=chosen, activation=activation)


def batch(network, n, seed=0):
    """Random images and labels, as the network wants them."""
    rng = np.random.default_rng(seed)
    images = rng.random((n, *network.input_shape))
    return network.images(images), network.labels(rng.integers(0, network.classes, n), n)


def gradient_errors(objective, gradient, weights, views, rng, h=1e-5):
    """Per parameter: |slope by central differences - g.d| / |g| |d| along a random direction.

    ``views`` turns a flat array into named views; ``objective`` maps a flat array to a number.
    """
    errors = {}
    for name in views(weights):
        direction = np.zeros_like(weights)
        view = views(direction)[name]
        view[...] = rng.normal(size=view.shape)
        # Half along the gradient, so that the slope is not small beside what it is compared with.
        part = views(gradient)[name]
        size = np.linalg.norm(part)
        if size == 0:
            errors[name] = abs(objective(weights + h * direction) - objective(weights)) / h
            continue
        view[...] = part / size + view / np.linalg.norm(view)
        slope = (objective(weights + h * direction) - objective(weights - h * direction)) / (2 * h)
        errors[name] = abs(slope - np.vdot(part, view)) / size
    return errors


def small(name="resnet_tiny_gn", precision="float32", n=6, **more):
    network, w, buffers = make(name, 4, 3, (1, 8, 8), precision=precision, **more)
    return network, State.start(w, buffers), *batch(network, n)


def stepped(rule, *, count=2, **more):
    network, state, images, labels = small(**more)
    step = Step(network, rule)
    reports = [step(state, images, labels, 0.1) for _ in range(count)]
    return state, reports


def bits(state):
    return state.weights.tobytes(), state.velocity.tobytes(), state.buffers.tobytes()
