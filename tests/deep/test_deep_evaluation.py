"""Sharpness, segments, Hessian, features and schedules."""

from __future__ import annotations

import math

import nets
import numpy as np
import pytest

from sam_theory.deep import hessian
from sam_theory.deep.features import error_rates, feature_rank, rank_of_features
from sam_theory.deep.network import Regularizer
from sam_theory.deep.schedules import SCHEDULES, learning_rate, sam_is_on
from sam_theory.deep.segment import distance, loss_along_segment
from sam_theory.deep.sharpness import gradient_alignment, m_sharpness
from sam_theory.deep.statistics import reestimated_buffers
from sam_theory.errors import InputError


def small(name="resnet_tiny_gn", n=8, **more):
    network, w, buffers = nets.make(name, 4, 3, (1, 8, 8), **more)
    return network, w, buffers, *nets.batch(network, n)


def test_sharpness_by_hand():
    """Projected ascent spelled out; every batch's largest loss over the path."""
    network, w, buffers, images, labels = small()
    found = m_sharpness(network, w, buffers, images, labels, rho=0.5, m=4, steps=3, step_size=0.6)
    for k in range(2):
        part, g, delta = slice(4 * k, 4 * k + 4), np.empty_like(w), np.zeros_like(w)
        losses, errors = [], []
        for _ in range(4):
            run = network.gradient(w + delta, images[part], labels[part], g, batch_statistics=False)
            losses.append(run.loss)
            errors.append(run.errors / 4)
            delta = delta + 0.3 * g / np.linalg.norm(g)
            delta *= min(1.0, 0.5 / np.linalg.norm(delta))
        assert found.loss[k] == pytest.approx(losses[0], rel=1e-12)
        assert found.max_loss[k] == pytest.approx(max(losses), rel=1e-9)
        assert found.error_there[k] == errors[int(np.argmax(losses))]
        assert found.max_error[k] == max(errors)
    assert found.value == pytest.approx(np.mean(found.max_loss - found.loss))
    assert found.largest_error_rise >= found.error_rise


def test_sharpness_is_not_minus_the_loss_on_fitted_data():
    """The published code returned minus the loss where the perturbed error stays 0."""
    network, w, buffers, images, labels = small()
    labels = np.argmax(network.evaluate(w, images, labels)[1], axis=1)
    found = m_sharpness(network, w, buffers, images, labels, rho=1e-4, m=8, steps=2)
    assert found.max_error[0] == 0 and 0 < found.value < 0.01 < found.loss[0]


def test_sharpness_of_a_convex_loss_is_at_least_linear_and_grows():
    network, w, buffers = nets.make("linear", 1, 3, (1, 4, 4))
    images, labels = nets.batch(network, 6)
    g = np.empty_like(w)
    network.gradient(w, images, labels, g)
    values = []
    for rho in (0.05, 0.1, 0.2):
        one = m_sharpness(network, w, buffers, images, labels, rho=rho, m=6, steps=1, step_size=1.0)
        more = m_sharpness(network, w, buffers, images, labels, rho=rho, m=6, steps=8)
        assert one.value >= rho * np.linalg.norm(g) * (1 - 1e-9)
        values.append(more.value)
    assert values == sorted(values)


def test_restarts_patterns_and_scaling():
    network, w, buffers, images, labels = small()
    before = w.tobytes()

    def value(**more):
        return m_sharpness(network, w, buffers, images, labels, rho=0.3, m=8, steps=4, **more).value

    random = [value(random_start=True, restarts=k) for k in (1, 2, 4)]
    assert random == sorted(random) and value(random_start=True) == random[0]
    assert value(random_start=True, seed=1) != random[0]
    assert value(pattern="norm") < value()
    assert value(normalized=False, step_size=1e-3) < value()
    scaled = w.copy()
    for name, view in network.named_parameters(scaled).items():
        view[...] *= 2.0 if name.startswith("linear") else 1.0
    wanted = m_sharpness(network, scaled, buffers, images, labels, rho=0.3, m=8, steps=4).value
    assert value(last_layer_scale=2.0) == pytest.approx(wanted, rel=1e-12)
    assert w.tobytes() == before
    for change in ({"rho": 0.0}, {"m": 3}, {"steps": 0}, {"restarts": 0}, {"step_size": -1.0}):
        arguments = {"rho": 0.3, "m": 8, "steps": 4} | change
        with pytest.raises(InputError, match=next(iter(change))):
            m_sharpness(network, w, buffers, images, labels, **arguments)


def test_alignment():
    network, w, buffers, images, labels = small()
    g, there = np.empty_like(w), np.empty_like(w)
    rule = Regularizer(l2=1e-2)
    network.gradient(w, images, labels, g, regularizer=rule)
    point = w + 0.2 * g / np.linalg.norm(g)
    network.gradient(point, images, labels, there, regularizer=rule)
    found = gradient_alignment(network, w, buffers, images, labels, rho=0.2, regularizer=rule)
    assert found.norm == pytest.approx(np.linalg.norm(g))
    assert found.norm_perturbed == pytest.approx(np.linalg.norm(there))
    cosine = g @ there / np.linalg.norm(g) / np.linalg.norm(there)
    assert found.cosine == pytest.approx(cosine) and found.cosine < 1
    for rho, message in ((np.nan, "finite, not nan"), (-0.1, ">= 0, not -0.1")):
        with pytest.raises(InputError, match=f"rho must be {message}"):
            gradient_alignment(network, w, buffers, images, labels, rho=rho)


def test_reestimated_statistics():
    network, w, _, images, labels = small("resnet_tiny")
    batches = [images[:4], images[4:]]
    buffers = reestimated_buffers(network, w, batches)
    views = network.buffer_layout.named(buffers)
    # The first norm sees the stem's output, whatever the other statistics are.
    stem = network.model.stem
    out = np.empty((8, 8, 8, 4))
    weight = network.layout.stored(w)["stem.weight"]
    plain = nets.make("resnet_tiny", 4, 3, (1, 8, 8), backend="arrays")[0].operations
    from sam_theory.deep.operations.signals import Signal

    plain.convolve(None, stem.shape, Signal(images), weight, None, None, out)
    halves = [out[:4].reshape(-1, 4), out[4:].reshape(-1, 4)]
    name = "stages.0.0.norm1"
    mean, variance = (np.mean([f(h) for h in halves], axis=0) for f in (_mean, _variance))
    assert nets.relative(views[f"{name}.running_mean"], mean) < 1e-11
    assert nets.relative(views[f"{name}.running_var"], variance) < 1e-11
    with pytest.raises(InputError, match="no batch"):
        reestimated_buffers(network, w, [])


def _mean(values):
    return values.mean(axis=0)


def _variance(values):
    return values.var(axis=0, ddof=1)


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny"])
def test_segment(name):
    network, first, _, images, labels = small(name)
    second = network.initial(5)
    data = {"train": (images, labels), "test": (images[:3], labels[:3])}
    batches = (lambda: [images]) if network.has_batch_norm else None
    found = loss_along_segment(
        network, first, second, data, positions=[-0.5, 0.0, 0.25, 1.0], batches=batches
    )
    for k, s in enumerate(found.positions):
        w = (1 - s) * first + s * second
        buffers = reestimated_buffers(network, w, [images])
        for key, (x, y) in data.items():
            _, _, run = network.evaluate(w, x, y, buffers=buffers)
            assert found.loss[key][k] == pytest.approx(run.loss, rel=1e-12)
            assert found.error[key][k] == run.errors / len(x)
    table = found.to_frame()
    assert list(table.columns) == ["s", "data", "loss", "error"] and len(table) == 8
    assert distance(network, first, second) == pytest.approx(np.linalg.norm(first - second))
    grid = loss_along_segment(
        network, first, second, {"a": (images[:1], labels[:1])}, batches=batches
    )
    assert len(grid.positions) == 61 and {0.0, 1.0} <= set(grid.positions)
    with pytest.raises(InputError, match="no data"):
        loss_along_segment(network, first, second, {}, batches=batches)


def test_segment_without_batches_is_refused():
    network, w, _, images, labels = small("resnet_tiny")
    with pytest.raises(InputError, match="batches are needed"):
        loss_along_segment(network, w, w, {"a": (images, labels)})


def exact_hessian(network, w, images, labels, rule):
    """Of softmax regression: mean (diag p - p p^T) kron (x, 1)(x, 1)^T + l2."""
    x = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    _, logits, _ = network.evaluate(w, images, labels)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    total = rule.l2 * np.eye(len(w))
    classes, d = p.shape[1], x.shape[1]
    for row, q in zip(x, p, strict=True):
        jacobian = np.zeros((classes, len(w)))
        for c in range(classes):
            jacobian[c, c * d : (c + 1) * d] = row
            jacobian[c, classes * d + c] = 1
        total += jacobian.T @ (np.diag(q) - np.outer(q, q)) @ jacobian / len(x)
    return total


@pytest.mark.parametrize(("precision", "limit"), [("float64", 1e-8), ("float32", 3e-3)])
def test_top_eigenvalue_of_softmax_regression(precision, limit):
    network, w, buffers = nets.make("linear", 1, 3, (1, 4, 4), precision=precision)
    images, labels = nets.batch(network, 12)
    rule = Regularizer(l2=1e-2)
    exact = exact_hessian(network, w.astype("f8"), images.astype("f8"), labels, rule)
    product = hessian.hessian_product(network, w, buffers, images, labels, regularizer=rule)
    start = np.random.default_rng(0).normal(size=w.size).astype(w.dtype)
    assert nets.relative(product(3 * start), exact @ (3 * start)) < limit
    found = hessian.top_eigenvalue(product, start, max_steps=40, tol=1e-6)
    value = np.linalg.eigvalsh(exact)[-1]
    assert abs(found.value / value - 1) < limit
    vector = found.vector.astype("f8")
    residual = np.linalg.norm(exact @ vector - found.value * vector)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert residual <= found.residual + limit * value


def test_lanczos_by_itself():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    values = np.concatenate([[-9.0, 5.0], np.linspace(-1, 1, 58)])
    matrix = basis * values @ basis.T
    found = hessian.top_eigenvalue(lambda v: matrix @ v, rng.normal(size=60), tol=1e-9)
    assert found.converged and found.value == pytest.approx(5.0, rel=1e-12)
    assert found.products < 40
    short = hessian.top_eigenvalue(lambda v: matrix @ v, rng.normal(size=60), max_steps=2)
    assert not short.converged and short.residual > 0.1
    one = hessian.top_eigenvalue(lambda v: 2 * v, np.ones(3))
    assert one.value == pytest.approx(2) and one.products == 1
    for start, steps in ((np.zeros(3), 5), (np.ones(3), 0)):
        with pytest.raises(InputError):
            hessian.top_eigenvalue(lambda v: v, start, max_steps=steps)
    for step, message in ((0.0, "must be positive, not 0.0"), (np.nan, "must be finite, not nan")):
        with pytest.raises(InputError, match=f"step {message}"):
            hessian.hessian_product(*small(), step=step)
    with pytest.raises(InputError, match="product 1 with the Hessian is not finite"):
        hessian.top_eigenvalue(lambda v: np.nan * v, np.ones(3))


def test_hessian_product_of_a_smooth_network_is_symmetric():
    network, w, buffers, images, labels = small(activation="softplus4")
    product = hessian.hessian_product(network, w, buffers, images, labels)
    u, v = np.random.default_rng(2).normal(size=(2, w.size))
    left, right = u @ product(v), v @ product(u)
    assert abs(left - right) < 1e-6 * np.linalg.norm(product(v)) * np.linalg.norm(u)


def test_rank_of_features():
    rng = np.random.default_rng(3)
    left = np.linalg.qr(rng.normal(size=(50, 4)) - 0)[0]
    left -= left.mean(axis=0)
    left = np.linalg.qr(left)[0]
    right = np.linalg.qr(rng.normal(size=(9, 4)))[0]
    matrix = left * np.sqrt([90.0, 8.9, 1.0, 0.1]) @ right.T + 5.0
    assert [rank_of_features(matrix, s) for s in (0.9, 0.98, 0.989, 0.99, 1.0)] == [1, 2, 2, 3, 4]
    assert rank_of_features(np.ones((5, 3))) == 0
    for bad in (np.ones(3), np.full((2, 2), np.nan)):
        with pytest.raises(InputError, match="finite matrix"):
            rank_of_features(bad)
    with pytest.raises(InputError, match="share"):
        rank_of_features(matrix, 0.0)


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "vgg16", "mlp"])
def test_features_are_what_the_last_layer_sees(name):
    shape = (1, 32, 32) if name == "vgg16" else (1, 8, 8)
    network, w, buffers = nets.make(name, 2, 3, shape)
    images, labels = nets.batch(network, 5)
    features = network.features(w, images, buffers=buffers)
    weight, bias = list(network.named_parameters(w).values())[-2:]
    _, logits, _ = network.evaluate(w, images, labels, buffers=buffers)
    assert nets.relative(features @ weight.T + bias, logits) < 1e-12
    assert 0 <= feature_rank(network, w, buffers, images) <= 4


def test_error_rates():
    network, *_ = small()
    logits = np.eye(3)[[0, 1, 2, 0]]
    noisy = np.array([False, False, True, True])
    assert error_rates(network, logits, np.array([0, 0, 2, 1]), noisy) == (0.5, 0.5, 0.5)
    assert error_rates(network, logits, np.array([0, 1, 2, 1]))[:2] == (0.25, 0.25)
    assert math.isnan(error_rates(network, logits, np.array([0, 1, 2, 1]))[2])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constant", [1, 1, 1, 1, 1, 1, 1]),
        ("piecewise", [1, 1, 1, 1, 0.1, 0.01, 0.01]),
        ("piecewise_02epochs", [1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("piecewise_03epochs", [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("piecewise_04epochs", [1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("cyclic", [0, 0.5, 0.75, 1, 0.5 / 0.6, 0.25 / 0.6, 0]),
        ("cosine", [1, *(0.5 * (1 + np.cos(np.pi * np.array([0.2, 0.3, 0.4, 0.5, 0.75])))), 0]),
    ],
)
def test_schedules(name, wanted):
    done = np.array([0, 0.2, 0.3, 0.4, 0.5, 0.75, 1]) * 40
    found = [learning_rate(name, 0.3, t, 40) for t in done]
    assert found == pytest.approx(0.3 * np.array(wanted), abs=1e-15)
    assert name in SCHEDULES


def test_no_drop_comes_early():
    """The last step of the first half still has the full rate; the published code drops there."""
    assert learning_rate("piecewise", 1.0, 10 - 1 / 7, 20) == 1.0
    assert learning_rate("piecewise", 1.0, 10, 20) == 0.1


def test_when_sam_is_on():
    on = [sam_is_on(t, 4, 0.25, 0.75) for t in (0, 0.99, 1, 2.99, 3, 4)]
    assert on == [False, False, True, True, False, False]
    assert sam_is_on(4, 4) and sam_is_on(0, 4) and not sam_is_on(0, 4, 0.5)
    for start, end in ((-0.1, 1), (0.6, 0.5), (0, 1.1)):
        with pytest.raises(InputError, match="SAM cannot be on"):
            sam_is_on(0, 4, start, end)


def test_refused_schedules():
    with pytest.raises(InputError, match="unknown schedule 'step'; known are constant"):
        learning_rate("step", 0.1, 0, 1)
    for rate, done, epochs in ((0.0, 0, 1), (0.1, -1, 1), (0.1, 2, 1), (0.1, 0, 0)):
        with pytest.raises(InputError):
            learning_rate("constant", rate, done, epochs)
