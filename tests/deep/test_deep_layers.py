"""Layers against known answers, and compiled operations against their plain twins."""

from __future__ import annotations

import nets
import numpy as np
import pytest

from sam_theory.deep.losses import cross_entropy
from sam_theory.deep.operations.arrays import ArrayOperations
from sam_theory.deep.operations.compiled import CompiledOperations
from sam_theory.deep.operations.geometry import Convolution
from sam_theory.deep.operations.signals import LINEAR, RELU, Activation, Signal, Statistics
from sam_theory.errors import InputError

OPERATIONS = {"compiled": CompiledOperations(), "arrays": ArrayOperations(np)}
SOFTPLUS = Activation("softplus", 8.0)


@pytest.fixture(scope="module")
def layers():
    return nets.known("layers")


@pytest.fixture(params=OPERATIONS)
def operations(request):
    return OPERATIONS[request.param]


def last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(x):
    return np.moveaxis(x, -1, 1)


def worst(pairs):
    return max(nets.relative(found, wanted) for found, wanted in pairs)


CONVOLUTIONS = {
    "conv3x3": 1,
    "conv3x3_bias": 1,
    "conv3x3_stride2": 2,
    "conv3x3_stride2_even": 2,
    "conv1x1_stride2": 2,
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(layers, operations, name):
    known = {k.split("/")[1]: v for k, v in layers.items() if k.split("/")[0] == name}
    _, inputs, height, width = known["x"].shape
    outputs, _, kernel, _ = known["weight"].shape
    shape = Convolution(height, width, inputs, outputs, kernel, CONVOLUTIONS[name])
    w = np.ascontiguousarray(known["weight"].transpose(2, 3, 1, 0))
    x, d = last(known["x"]), last(known["grad_output"])
    lane = nets.Space("f8")
    out, dx, dw = np.empty_like(d), np.empty_like(x), np.empty_like(w)
    db = np.empty(outputs) if "bias" in known else None
    operations.convolve(
        lane, shape, Signal(x), operations.pack(shape, w, False), known.get("bias"), None, out
    )
    operations.convolve_back(lane, shape, d, operations.pack(shape, w, True), dx, False)
    operations.weight_gradient(lane, shape, Signal(x), d, dw, db)
    pairs = [(first(out), known["output"]), (first(dx), known["grad_x"])]
    pairs += [(dw.transpose(3, 2, 0, 1), known["grad_weight"])]
    pairs += [(db, known["grad_bias"])] if db is not None else []
    assert worst(pairs) < 1e-11


def test_group_norm(layers, operations):
    known = {k.split("/")[1]: v for k, v in layers.items() if k.startswith("group_norm")}
    x, d, lane = last(known["x"]), last(known["grad_output"]), nets.Space("f8")
    gamma, beta = known["weight"], known["bias"]
    kept = operations.group_statistics(lane, x, 3, 1e-5, gamma, beta)
    signal = Signal(x, kept.scale, kept.shift, LINEAR)
    dgamma, dbeta, out = np.empty(6), np.empty(6), np.empty_like(x)
    operations.write(lane, signal, out)
    operations.group_gradient(lane, d, signal, kept, gamma, None, dgamma, dbeta)
    pairs = [(first(out), known["output"]), (first(d), known["grad_x"])]
    pairs += [(dgamma, known["grad_weight"]), (dbeta, known["grad_bias"])]
    assert worst(pairs) < 1e-11


def test_activations(layers, operations):
    for name, activation in (("relu", RELU), ("softplus_beta8", SOFTPLUS)):
        x, d = last(layers[f"{name}/x"]), last(layers[f"{name}/grad_output"])
        out, lane = np.empty_like(x), nets.Space("f8")
        operations.write(lane, Signal(x, activation=activation), out)
        operations.through_activation(lane, d, Signal(x, activation=activation))
        assert worst([(first(out), layers[f"{name}/output"])]) < 1e-11
        assert worst([(first(d), layers[f"{name}/grad_x"])]) < 1e-11


def test_pooling(layers, operations):
    x, d = last(layers["max_pool2/x"]), last(layers["max_pool2/grad_output"])
    out, where, dx = np.empty_like(d), np.empty(d.shape, "int8"), np.empty_like(x)
    operations.max_pool(None, x, out, where)
    operations.spread_max(None, d, where, dx)
    assert worst([(first(out), layers["max_pool2/output"])]) < 1e-11
    assert worst([(first(dx), layers["max_pool2/grad_x"])]) < 1e-11
    # A 4x4 average pool is the mean over the pixels of each 4x4 image.
    x, d = last(layers["avg_pool4/x"]), last(layers["avg_pool4/grad_output"])
    for k in range(x.shape[1] // 4):
        part = np.ascontiguousarray(x[:, 4 * k : 4 * k + 4])
        out, back = np.empty((3, 4)), np.empty_like(part)
        operations.global_average(nets.Space("f8"), Signal(part), out)
        operations.spread_average(None, np.ascontiguousarray(d[:, k, 0]), back)
        assert worst([(out, layers["avg_pool4/output"][:, :, k, 0])]) < 1e-11
        wanted = last(layers["avg_pool4/grad_x"])[:, 4 * k : 4 * k + 4]
        assert worst([(back, wanted)]) < 1e-11


def test_odd_images_lose_their_last_line_in_max_pool(operations):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    out, where = np.empty((2, 2, 3, 3)), np.empty((2, 2, 3, 3), "int8")
    operations.max_pool(None, x, out, where)
    assert np.array_equal(out[0, 1, 2], x[0, 2:4, 4:6].max(axis=(0, 1)))
    back = np.full_like(x, np.nan)
    operations.spread_max(None, np.ones_like(out), where, back)
    assert back.sum() == out.size and not back[:, 4].any() and not back[:, :, 6].any()


def test_cross_entropy(layers):
    logits, labels = layers["cross_entropy/logits"], layers["cross_entropy/labels"]
    losses, slopes = cross_entropy(np, logits, labels)
    assert abs(losses.mean() / layers["cross_entropy/loss"] - 1) < 1e-11
    assert worst([(slopes / len(labels), layers["cross_entropy/grad_logits"])]) < 1e-11


@pytest.mark.filterwarnings("error")
def test_losses_do_not_overflow():
    logits = np.array([[1e4, 0.0, -1e4]], np.float32)
    losses, slopes = cross_entropy(np, logits, np.array([2]))
    assert losses[0] == 2e4 and np.all(np.isfinite(slopes))
    losses, slopes = cross_entropy(np, np.array([[-900.0], [900.0]]), np.array([1, 1]))
    assert np.allclose(losses, [900, 0]) and np.allclose(slopes[:, 0], [-1, 0])


def test_one_logit_is_two_with_the_first_at_zero():
    z, labels = np.random.default_rng(0).normal(size=(9, 1)), np.arange(9) % 2
    one, slope = cross_entropy(np, z, labels)
    two, slopes = cross_entropy(np, np.hstack([0 * z, z]), labels)
    assert np.allclose(one, two, rtol=1e-13) and np.allclose(slope[:, 0], slopes[:, 1], rtol=1e-12)


SHAPES = [
    (9, 7, 4, 5, 3, 1),
    (9, 7, 4, 5, 3, 2),
    (8, 8, 3, 6, 3, 2),
    (9, 8, 4, 5, 1, 2),
    (8, 8, 16, 16, 3, 1),
    (8, 6, 16, 48, 3, 2),
    (4, 4, 64, 160, 3, 1),
    (5, 5, 32, 64, 1, 1),
    (1, 1, 8, 16, 3, 2),
    (2, 2, 8, 16, 1, 2),
    (6, 6, 2, 20, 5, 1),
]
SIGNALS = {
    "plain": lambda x, s, t: Signal(x),
    "relu": lambda x, s, t: Signal(x, s, t, RELU),
    "bare": lambda x, s, t: Signal(x, None, None, RELU),
    "softplus": lambda x, s, t: Signal(x, s, t, SOFTPLUS),
}


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("sizes", SHAPES)
def test_compiled_convolutions_equal_their_twins(sizes, kind):
    shape, n = Convolution(*sizes), 5
    rng = np.random.default_rng(1)

    def draw(*size):
        return rng.normal(size=size).astype(kind)

    x, w = draw(n, shape.height, shape.width, shape.inputs), draw(sizes[4], sizes[4], *sizes[2:4])
    d = draw(n, shape.out_height, shape.out_width, shape.outputs)
    bias, more, scale, shift = draw(sizes[3]), draw(*d.shape), draw(n, sizes[2]), draw(n, sizes[2])
    found = {}
    for name, operations in OPERATIONS.items():
        lane, mine = nets.Space(kind), []
        for signal in (make(x, scale, shift) for make in SIGNALS.values()):
            out, dw, db = np.empty_like(d), np.empty_like(w), np.empty_like(bias)
            packed = operations.pack(shape, w, False)
            operations.convolve(lane, shape, signal, packed, None, None, out)
            mine.append(out.copy())
            out[...] = more
            operations.convolve(lane, shape, signal, packed, bias, out, out)
            operations.weight_gradient(lane, shape, signal, d, dw, db)
            mine += [out, dw, db]
        for add in (False, True):
            dx = x.copy()
            operations.convolve_back(lane, shape, d, operations.pack(shape, w, True), dx, add)
            mine.append(dx)
        found[name] = mine
    limit = {"f4": 1e-5, "f8": 1e-13}[kind]
    assert worst(zip(found["compiled"], found["arrays"], strict=True)) < limit


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("sizes", [(5, 3, 6, 3), (16, 16, 16, 8), (4, 4, 320, 32), (8, 8, 24, 6)])
@pytest.mark.parametrize("activation", [LINEAR, RELU, SOFTPLUS], ids=lambda a: a.kind)
def test_compiled_normalisation_equals_its_twin(sizes, kind, activation):
    rng, n, channels, groups = np.random.default_rng(2), 3, sizes[2], sizes[3]

    def draw(*size):
        return rng.normal(size=size).astype(kind)

    x, d, more = (draw(n, *sizes[:3]) for _ in range(3))
    x += np.asarray(3, kind)
    gamma, beta = draw(channels), draw(channels)
    found = {}
    for name, operations in OPERATIONS.items():
        lane = nets.Space(kind)
        kept = operations.group_statistics(lane, x, groups, 1e-5, gamma, beta)
        mine = list(kept)
        kept = Statistics(*(np.asarray(v) for v in kept))
        signal = Signal(x, kept.scale, kept.shift, activation)
        for residual in (None, more):
            dx, dg, db = d.copy(), np.empty_like(gamma), np.empty_like(beta)
            operations.group_gradient(lane, dx, signal, kept, gamma, residual, dg, db)
            mine += [dx, dg, db]
            dx, mean = d.copy(), x.mean(axis=(0, 1, 2)).astype("f8")
            sums = operations.gradient_sums(lane, dx, signal, mean)
            mine += [*sums, dx.copy()]
            slope, level = np.linspace(0, 1, channels), np.linspace(1, 2, channels)
            operations.input_gradient(lane, dx, signal, mean, slope, level, residual)
            mine.append(dx)
        mine.append(operations.channel_sums(lane, x))
        mine.append(operations.channel_sums(lane, x, mean))
        pooled, out = np.empty((n, channels), kind), d.copy()
        operations.global_average(lane, signal, pooled)
        operations.write(lane, signal, out, add=True)
        found[name] = [*mine, pooled, out]
    limit = {"f4": 3e-5, "f8": 1e-12}[kind]
    assert worst(zip(found["compiled"], found["arrays"], strict=True)) < limit


def test_sums_do_not_lose_digits_with_many_pixels():
    x = (1000 + np.random.default_rng(3).normal(size=(1, 64, 64, 16))).astype("f4")
    kept = OPERATIONS["compiled"].group_statistics(
        nets.Space("f4"), x, 8, 0.0, np.ones(16, "f4"), np.zeros(16, "f4")
    )
    exact = x.astype("f8").reshape(1, -1, 8, 2)
    wanted = 1 / exact.std(axis=(1, 3))
    assert nets.relative(kept.inverse, wanted) < 1e-5


@pytest.mark.parametrize("operations", OPERATIONS.values(), ids=OPERATIONS)
def test_nan_survives_activation_and_pooling(operations):
    x = np.zeros((1, 2, 2, 16), "f4")
    x[0, 0, 0, 3] = np.nan
    out, where = np.empty((1, 1, 1, 16), "f4"), np.empty((1, 1, 1, 16), "int8")
    operations.max_pool(None, x, out, where)
    written = np.empty_like(x)
    operations.write(nets.Space("f4"), Signal(x, activation=RELU), written)
    assert np.isnan(out[0, 0, 0, 3]) and np.isnan(written[0, 0, 0, 3])


def test_what_is_refused():
    for bad in ((8, 8, 1, 1, 2, 1), (8, 8, 1, 1, 3, 3)):
        with pytest.raises(InputError, match="kernel|stride"):
            Convolution(*bad)
    for text in ("tanh", "softplusx", "softplus0", "softplus-1"):
        with pytest.raises(InputError, match="activation|beta"):
            Activation.parse(text)
    assert Activation.parse("softplus8") == SOFTPLUS
