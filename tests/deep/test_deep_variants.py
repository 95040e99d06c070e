"""Variants of the training step: directions, noise, patterns, switches; refusals."""

from __future__ import annotations

import math
import warnings

import nets
import numpy as np
import pytest
from nets import bits, small, stepped

from sam_theory.algorithms import Algorithm
from sam_theory.deep import training
from sam_theory.deep.block_gradients import (
    DIRECTION,
    GRADIENT_NOISE,
    WEIGHT_NOISE,
    BlockGradient,
    stream,
)
from sam_theory.deep.network import Regularizer
from sam_theory.deep.rules import Rule
from sam_theory.deep.sharpness import random_stream
from sam_theory.deep.training import State, Step
from sam_theory.errors import InputError


def test_random_direction_has_the_radius_and_depends_on_seed_block_and_iteration():
    rule = Rule(Algorithm(0.2, 3, normalized=True), direction="random")
    network, state, images, labels = small(precision="float64", threads=1)
    start, step, points = state.weights.copy(), Step(network, rule), []
    gradient = network.gradient

    def spy(at, *arguments, **more):
        points.append(at.copy())
        return gradient(at, *arguments, **more)

    network.gradient = spy
    step(state, images, labels, 0.1)
    lengths = [np.linalg.norm(p - start) for p in points]
    assert lengths == pytest.approx([0.2, 0.2]) and not np.allclose(points[0], points[1])
    assert math.isnan(step(state, images, labels, 0.1).blocks[0].gradient_norm)
    again = State.start(start, state.buffers)
    step(again, images, labels, 0.1)
    assert np.array_equal(points[-1], points[1])
    Step(network, Rule(rule.algorithm, direction="random", seed=1))(
        State.start(start, state.buffers), images, labels, 0.1
    )
    assert not np.allclose(points[-1], points[1])


def test_previous_minibatch_gives_the_direction():
    network, state, images, labels = small(precision="float64")
    other, tags = nets.batch(network, 6, seed=9)
    w, g, d = state.weights.copy(), np.empty_like(state.weights), np.empty_like(state.weights)
    network.gradient(w, other, tags, g)
    network.gradient(w + 0.1 * g / np.linalg.norm(g), images, labels, d)
    rule = Rule(Algorithm(0.1, normalized=True), direction="previous")
    step = Step(network, rule)
    first = State.start(w, state.buffers)
    step(first, images, labels, 0.1)
    network.gradient(w, images, labels, g)
    assert nets.relative(first.velocity, g) < 1e-12
    step(state, images, labels, 0.1, previous=(other, tags))
    assert nets.relative(state.velocity, d) < 1e-9


def test_only_the_step_size_of_sam():
    network, state, images, labels = small(precision="float64")
    w, g, d = state.weights.copy(), np.empty_like(state.weights), np.empty_like(state.weights)
    network.gradient(w, images, labels, g)
    network.gradient(w + 0.1 * g / np.linalg.norm(g), images, labels, d)
    rule = Rule(Algorithm(0.1, normalized=True), only_step_size=True)
    Step(network, rule)(state, images, labels, 0.1)
    wanted = g * np.linalg.norm(d) / np.linalg.norm(g)
    assert nets.relative(state.velocity, wanted) < 1e-9


def test_a_pattern_restricts_perturbation_and_norm():
    network, state, images, labels = small(precision="float64")
    w, g, d = state.weights.copy(), np.empty_like(state.weights), np.empty_like(state.weights)
    network.gradient(w, images, labels, g)
    mask = np.zeros_like(w)
    for name, view in network.named_parameters(mask).items():
        view[...] = "norm" in name
    g *= mask
    network.gradient(w + 0.1 * g / np.linalg.norm(g), images, labels, d)
    report = Step(network, Rule(Algorithm(0.1, normalized=True), pattern="norm"))(
        state, images, labels, 0.1
    )
    assert nets.relative(state.velocity, d) < 1e-9
    assert report.blocks[0].gradient_norm == pytest.approx(np.linalg.norm(g))
    with pytest.raises(InputError, match="no parameter matches 'nothing'"):
        Step(network, Rule(pattern="nothing"))


def test_rho_follows_the_learning_rate():
    network, state, images, labels = small()
    copy = State.start(state.weights, state.buffers)
    step = Step(network, Rule(Algorithm(normalized=True), rho_per_rate=2.0))
    report = step(state, images, labels, 0.05)
    assert report.rho == pytest.approx(0.1)
    Step(network, Rule(Algorithm(0.1, normalized=True)))(copy, images, labels, 0.05)
    assert bits(copy) == bits(state)


def test_sam_can_be_switched_off():
    network, state, images, labels = small()
    copy = State.start(state.weights, state.buffers)
    Step(network, Rule(Algorithm(0.1, 2)))(state, images, labels, 0.1, perturb=False)
    Step(network, Rule(Algorithm()))(copy, images, labels, 0.1)
    assert bits(copy) == bits(state)


@pytest.mark.parametrize("noise", ["gauss", "uniform"])
def test_weight_noise_moves_the_passes_and_not_the_weights(noise):
    network, state, images, labels = small(precision="float64")
    w, points, gradient = state.weights.copy(), [], network.gradient

    def spy(at, *arguments, **more):
        points.append(at.copy())
        return gradient(at, *arguments, **more)

    network.gradient = spy
    rule = Rule(add_noise=0.01, multiply_noise=0.02, noise=noise)
    Step(network, rule)(state, images, labels, 0.1)
    moved = points[0] - w
    spread = {"gauss": 1.0, "uniform": 12**-0.5}[noise]
    wanted = spread * np.sqrt(0.01**2 + (0.02 * w) ** 2)
    assert np.abs(np.mean((moved / wanted) ** 2) - 1) < 0.1
    assert nets.relative(state.weights, w - 0.1 * state.velocity) < 1e-14


def test_gradient_noise_has_its_size():
    network, state, images, labels = small(precision="float64")
    copy = State.start(state.weights, state.buffers)
    Step(network, Rule())(copy, images, labels, 0.1)
    Step(network, Rule(gradient_noise=0.5))(state, images, labels, 0.1)
    assert np.std(state.velocity - copy.velocity) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit_of_a_step(threads):
    rule = Rule(Algorithm(0.1, 6, normalized=True), Regularizer(l2=1e-3))
    one, _ = stepped(rule, threads=1, n=12)
    other, _ = stepped(rule, threads=threads, n=12)
    assert bits(one) == bits(other)


@pytest.mark.parametrize(
    ("name", "m"),
    [("resnet_tiny_gn", 1), ("resnet_tiny_gn", 2), ("resnet_tiny", 2), ("resnet_tiny", 6)],
)
def test_blocks_computed_at_once_change_no_bit(name, m):
    algorithm = Algorithm(0.1, m, normalized=True, ascent_steps=2)
    rule = Rule(algorithm, Regularizer(1e-4, 1e-3), statistics="both", only_step_size=True)
    runs = [stepped(rule, name=name, threads=k, n=12) for k in (1, 2, 3)]
    found, reports = zip(*runs, strict=True)
    assert bits(found[0]) == bits(found[1]) == bits(found[2])
    assert reports[0] == reports[1] == reports[2] and len(reports[0][0].blocks) == 12 // m
    network, *_ = small(name, threads=3)
    assert Step(network, rule)._at_once(m, 12 // m) == min(3, 12 // m)


def backwards(function, items, _threads=None):
    """Compute in the other order, as threads may."""
    return [function(item) for item in reversed(items)][::-1]


def test_blocks_at_once_share_nothing(monkeypatch):
    rule = Rule(Algorithm(0.1, 2, normalized=True, ascent_steps=2))
    honest = bits(stepped(rule, threads=1)[0])
    monkeypatch.setattr(training, "parallel_map", backwards)
    assert bits(stepped(rule, threads=3)[0]) == honest
    shared = {}

    def array(self, name):
        kind = self.network.backend.dtype
        return shared.setdefault(name, np.empty(self.network.size, kind))

    monkeypatch.setattr(BlockGradient, "array", array)
    assert bits(stepped(rule, threads=3)[0]) != honest


def test_micro_batches_keep_to_one_block_at_a_time():
    network, *_ = small(threads=3)
    assert Step(network, Rule(Algorithm(0.1, 2), micro_batch=1))._at_once(2, 3) == 1
    network, *_ = small(threads=3, backend="arrays")
    assert Step(network, Rule(Algorithm(0.1, 2)))._at_once(2, 3) == 1


@pytest.mark.parametrize(("m", "width"), [(None, 16), (6, 4)])
def test_no_thread_warns_of_numbers_that_are_not_finite(m, width):
    network, w, buffers = nets.make(
        "resnet_tiny_gn", width, 3, (1, 8, 8), precision="float32", threads=2
    )
    state, (images, labels) = State.start(w, buffers), nets.batch(network, 12)
    assert (network.lanes_for(m or 12) > 1) == (m is None)
    network.named_parameters(state.weights)["linear.weight"][...] = np.inf
    step = Step(network, Rule(Algorithm(0.1, m, normalized=True)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        assert not step(state, images, labels, 0.1).done
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        step(state, images, labels, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "down"}, "direction must be one of ascent, random, previous"),
        ({"statistics": "none"}, "statistics must be one of"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"ascent_step": 0.0}, "ascent_step must be positive and finite, not 0.0"),
        ({"micro_batch": 0}, "micro_batch must be"),
        ({"gradient_noise": -1.0}, "gradient_noise must be"),
        ({"algorithm": Algorithm(0.1), "rho_per_rate": 1.0}, "exclude each other"),
        ({"only_step_size": True, "direction": "random"}, "only_step_size needs"),
    ],
)
def test_refused_rules(change, message):
    with pytest.raises(InputError, match=message):
        Rule(**change)


def test_refused_steps():
    network, state, images, labels = small()
    with pytest.raises(InputError, match="m = 4 does not divide the batch of 6"):
        Step(network, Rule(Algorithm(0.1, 4)))(state, images, labels, 0.1)
    before = bits(state)
    for rate in (math.nan, math.inf, -0.1):
        with pytest.raises(InputError, match="learning rate must be a finite number >= 0, not"):
            Step(network, Rule())(state, images, labels, rate)
    assert bits(state) == before
    network, *_ = small("resnet_tiny")
    with pytest.raises(InputError, match="micro_batch with batch normalisation"):
        Step(network, Rule(micro_batch=2))


def test_random_streams_are_not_those_of_the_initial_weights():
    # Array k of a network is drawn from SeedSequence([seed, k]).
    rule = Rule(Algorithm())
    used = [np.random.default_rng(np.random.SeedSequence([0, k])) for k in range(3)]
    used += [stream(rule, k, what) for k in range(3)
             for what in (GRADIENT_NOISE, DIRECTION, WEIGHT_NOISE)]  # fmt: skip
    used += [random_stream(0, k, r) for k in range(3) for r in range(3)]
    assert len({generator.random() for generator in used}) == len(used)
