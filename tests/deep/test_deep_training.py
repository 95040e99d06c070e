"""Training steps: known trajectories, identities between algorithms, variants, refusals."""

from __future__ import annotations

import functools

import nets
import numpy as np
import pytest
from nets import bits, small, stepped

from sam_theory.algorithms import Algorithm
from sam_theory.deep.network import Regularizer
from sam_theory.deep.perturbation import Ball, Subset
from sam_theory.deep.rules import Rule
from sam_theory.deep.training import State, Step

ALGORITHMS = {
    "sgd": Algorithm(),
    "n_sam": Algorithm(0.1, normalized=True),
    "m_sam_half": Algorithm(0.1, 3, normalized=True),
    "m_sam_2": Algorithm(0.1, 2, normalized=True),
    "one_sam": Algorithm(0.1, 1, normalized=True),
    "unnormalized": Algorithm(0.01, 3),
    "two_ascent_steps": Algorithm(0.1, normalized=True, ascent_steps=2),
}


@functools.cache
def answers():
    return nets.known("preact_resnet_gn")


@functools.cache
def network_and_weights(backend, precision):
    network, weights, buffers = nets.make("resnet18_gn", backend=backend, precision=precision)
    known = {k: v for k, v in answers().items() if k.startswith("param/")}
    network.load_parameters(weights, {k.removeprefix("param/"): v for k, v in known.items()})
    return network, weights, buffers


def trajectory(algorithm, backend="numpy", precision="float64", **more):
    """Objectives at the perturbed points, and every fifth of how far the parameters moved."""
    network, weights, buffers = network_and_weights(backend, precision)
    state = State.start(weights, buffers)
    step = Step(network, Rule(algorithm, Regularizer(l2=5e-4), **more))
    objectives = []
    for t in range(3):
        images = network.images(answers()["inputs"][t])
        report = step(state, images, network.labels(answers()["labels"][t], 6), 0.1)
        objectives += [block.objective_perturbed for block in report.blocks]
    views = network.named_parameters(state.weights)
    order = [k.removeprefix("param/") for k in answers() if k.startswith("param/")]
    return objectives, np.concatenate([views[name].ravel() for name in order])[::5]


def deviation(case, found):
    """Relative deviation from a known trajectory, of objectives and of the movement."""
    known = answers()
    start = np.concatenate([v.ravel() for k, v in known.items() if k.startswith("param/")])[::5]
    objectives, final = found
    wanted = known[f"train/{case}/final_params_every_fifth"]
    return max(
        nets.relative(objectives, known[f"train/{case}/objective_at_perturbed"]),
        nets.relative(final - start, wanted - start),
    )


@pytest.mark.parametrize("backend", nets.BACKENDS)
@pytest.mark.parametrize("case", ALGORITHMS)
def test_known_trajectories(case, backend):
    assert deviation(case, trajectory(ALGORITHMS[case], backend)) < 1e-9


@pytest.mark.parametrize("case", ["sgd", "n_sam", "m_sam_half", "unnormalized"])
def test_trajectories_in_single_precision(case):
    objectives, final = trajectory(ALGORITHMS[case], precision="float32")
    known = answers()
    assert nets.relative(objectives, known[f"train/{case}/objective_at_perturbed"]) < 1e-4
    assert nets.relative(final, known[f"train/{case}/final_params_every_fifth"]) < 1e-4


@pytest.mark.parametrize("case", [name for name in ALGORITHMS if name != "sgd"])
def test_plain_sgd_is_caught(case):
    assert deviation(case, trajectory(ALGORITHMS[case], momentum=0.9)) < 1e-9
    sgd = trajectory(Algorithm())
    padded = np.resize(sgd[0], len(answers()[f"train/{case}/objective_at_perturbed"]))
    assert deviation(case, (padded, sgd[1])) > 1e-4


@pytest.mark.parametrize("case", ["n_sam", "m_sam_2", "unnormalized"])
def test_a_flipped_ascent_sign_is_caught(case, monkeypatch):
    first = Ball.first

    def flipped(self, base, g, norm, out):
        return first(self, base, -g, norm, out)

    monkeypatch.setattr(Ball, "first", flipped)
    assert deviation(case, trajectory(ALGORITHMS[case])) > 1e-4


def test_m_ignored_is_caught():
    wrong = trajectory(Algorithm(0.1, normalized=True))
    assert deviation("m_sam_half", (np.repeat(wrong[0], 2), wrong[1])) > 1e-4


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny"])
def test_rho_zero_is_sgd_bit_for_bit(name):
    sgd, _ = stepped(Rule(Algorithm()), name=name)
    for other in (Algorithm(0.0, 2, normalized=True), Algorithm(0.0, 1, ascent_steps=3)):
        assert bits(stepped(Rule(other), name=name)[0]) == bits(sgd)


@pytest.mark.parametrize("normalized", [True, False])
def test_m_equal_to_the_batch_is_n_sam_bit_for_bit(normalized):
    n_sam, _ = stepped(Rule(Algorithm(0.1, normalized=normalized)))
    m_sam, _ = stepped(Rule(Algorithm(0.1, 6, normalized=normalized)))
    assert bits(n_sam) == bits(m_sam)


def test_the_order_of_blocks_is_irrelevant_to_rounding():
    network, state, images, labels = small(precision="float64")
    other = State.start(state.weights, state.buffers)
    step = Step(network, Rule(Algorithm(0.1, 2, normalized=True)))
    step(state, images, labels, 0.1)
    order = np.array([4, 5, 0, 1, 2, 3])
    step(other, np.ascontiguousarray(images[order]), labels[order], 0.1)
    assert nets.relative(other.velocity, state.velocity) < 1e-13
    # Across blocks the examples matter: this is another algorithm.
    third = State.start(state.weights, state.buffers)
    mixed = np.array([0, 3, 1, 4, 2, 5])
    fourth = State.start(state.weights, state.buffers)
    step(third, images, labels, 0.1)
    step(fourth, np.ascontiguousarray(images[mixed]), labels[mixed], 0.1)
    assert nets.relative(fourth.velocity, third.velocity) > 1e-6


@pytest.mark.parametrize("ascent_steps", [1, 3])
def test_micro_batches_inside_ascent_and_descent(ascent_steps):
    algorithm = Algorithm(0.1, 6, normalized=True, ascent_steps=ascent_steps)
    found = [
        stepped(Rule(algorithm, Regularizer(1e-3, 1e-3), micro_batch=size), precision="float64")[0]
        for size in (None, 1, 4)
    ]
    for other in found[1:]:
        assert nets.relative(other.velocity, found[0].velocity) < 1e-11


def test_block_gradients_by_hand():
    """One step of m-SAM with two ascent steps, spelled out with plain gradients."""
    network, state, images, labels = small(precision="float64")
    rule = Rule(Algorithm(0.3, 3, normalized=True, ascent_steps=2), Regularizer(l2=1e-2))
    w = state.weights.copy()
    total = 0
    for j in range(2):
        part = slice(3 * j, 3 * j + 3)
        delta = np.zeros_like(w)
        g = np.empty_like(w)
        for _ in range(2):
            network.gradient(w + delta, images[part], labels[part], g, regularizer=rule.regularizer)
            delta = delta + 0.3 * g / np.linalg.norm(g)
            if np.linalg.norm(delta) > 0.3:
                delta *= 0.3 / np.linalg.norm(delta)
        network.gradient(w + delta, images[part], labels[part], g, regularizer=rule.regularizer)
        total = total + g / 2
    report = Step(network, rule)(state, images, labels, 0.1)
    assert nets.relative(state.velocity, total) < 1e-9
    assert nets.relative(state.weights - w, -0.1 * total) < 1e-9
    assert all(abs(block.length - 0.3) < 1e-12 for block in report.blocks)
    assert abs(report.step_norm - np.linalg.norm(total)) < 1e-9


def test_the_ball_is_kept_to_when_asked():
    network, state, images, labels = small(precision="float64")
    free = Algorithm(5.0)
    for project, far in ((None, True), (True, False)):
        copy = State.start(state.weights, state.buffers)
        report = Step(network, Rule(free, project=project))(copy, images, labels, 0.1)
        block = report.blocks[0]
        assert block.length == pytest.approx(
            5.0 * block.gradient_norm if far else min(5.0, 5.0 * block.gradient_norm)
        )
    subset = Subset(network.vectors, network.layout)
    g = state.weights + 1
    out, norm = np.empty_like(g), np.linalg.norm(g)
    assert Ball(subset, 0.1, 0.5, False, True).first(0 * g, g, norm, out) == pytest.approx(0.1)
    assert np.linalg.norm(out) == pytest.approx(0.1)


@pytest.mark.parametrize("policy", ["at_weights", "both", "frozen"])
def test_policies_of_batch_normalisation(policy):
    network, state, images, labels = small("resnet_tiny", precision="float64")
    network.commit(state.buffers, _moments(network, state.weights, images, labels))
    start, w = state.buffers.copy(), state.weights.copy()
    point, g = np.empty_like(w), np.empty_like(w)
    frozen = policy == "frozen"
    run = functools.partial(
        network.gradient, images=images, labels=labels, buffers=start, batch_statistics=not frozen
    )
    at_w = run(w, out=g)
    point = w + 0.1 * g / np.linalg.norm(g)
    there = run(point, out=g)
    expected = start.copy()
    for found in {"at_weights": [at_w], "both": [at_w, there], "frozen": []}[policy]:
        network.commit(expected, found.moments)
    rule = Rule(Algorithm(0.1, normalized=True), statistics=policy)
    Step(network, rule)(state, images, labels, 0.1)
    assert nets.relative(state.velocity, g) < 1e-9
    assert nets.relative(state.buffers, expected) < 1e-12
    assert np.array_equal(state.buffers, start) == frozen


def _moments(network, w, images, labels):
    return network.evaluate(w, images, labels, batch_statistics=True)[2].moments


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    network, state, images, labels = small("resnet_tiny")
    before = bits(state)
    step = Step(network, Rule(Algorithm(0.1, 3, normalized=True)))
    bad = images.copy()
    bad[5, 0, 0, 0] = np.nan
    report = step(state, bad, labels, 0.1)
    assert not report.done and bits(state) == before
    assert (state.iteration, state.skipped) == (1, 1)
    assert step(state, images, labels, 0.1).done and bits(state) != before
    # Only the perturbed pass overflows: the whole step is skipped as well.
    before = bits(state)
    wild = Step(network, Rule(Algorithm(1e30, normalized=True)))
    with np.errstate(all="ignore"):
        assert not wild(state, images, labels, 0.1).done
    assert bits(state) == before and state.skipped == 2


def test_a_saved_state_continues_bit_for_bit():
    rule = Rule(Algorithm(0.1, 2, normalized=True), add_noise=1e-3, gradient_noise=1e-3)
    whole, _ = stepped(rule, count=4, name="resnet_tiny")
    half, _ = stepped(rule, count=2, name="resnet_tiny")
    network, _, images, labels = small("resnet_tiny")
    again = State(
        half.weights.copy(), half.velocity.copy(), half.buffers.copy(), half.iteration, half.skipped
    )
    step = Step(network, rule)
    for _ in range(2):
        step(again, images, labels, 0.1)
    assert bits(again) == bits(whole)
