"""Dropout: masks as functions of place, gradients against differences, bits, refusals."""

from __future__ import annotations

import functools

import nets
import numpy as np
import pytest
import runs
from nets import bits, small
from test_deep_command import QUICK, refused, settings

from sam_theory.algorithms import Algorithm
from sam_theory.deep.data import streams
from sam_theory.deep.dropout import Dropout, Masks
from sam_theory.deep.network import Network, Regularizer
from sam_theory.deep.operations.arrays import ArrayOperations
from sam_theory.deep.operations.compiled import CompiledOperations
from sam_theory.deep.registry import MODELS
from sam_theory.deep.rules import Rule
from sam_theory.deep.runs.run import train
from sam_theory.deep.stopping import StopRequested
from sam_theory.deep.training import State, Step
from sam_theory.errors import InputError

SHAPE = (7, 3, 2, 5)
PLACES = ("resnet_tiny", "resnet_tiny_gn", "resnet18", "resnet18_gn", "resnet34preact",
          "resnet34_gn", "wrn28")  # fmt: skip


def test_skipping_blocks_of_a_stream_is_leaving_its_first_words_out():
    stream = {"seed": 3, "purpose": "dropout", "keys": (5, 1)}
    whole = streams.words(40, **stream)
    for skip in (0, 1, 2, 7):
        assert np.array_equal(streams.words(12, skip=skip, **stream), whole[4 * skip :][:12])
    with pytest.raises(InputError, match="skip must be >= 0"):
        streams.words(1, skip=-1, **stream)


def grouping_complaints(keep):
    """Images whose mask depends on which images are asked for together."""
    whole = keep(0, 7)
    return [
        (begin, end)
        for begin in range(7)
        for end in range(begin + 1, 8)
        if not np.array_equal(keep(begin, end), whole[begin:end])
    ]


def test_a_mask_is_a_function_of_seed_step_layer_and_place():
    masks = Masks(0.4, seed=2, step=3)

    def keep(begin, end):
        return masks.after(begin).keep(1, (end - begin, *SHAPE[1:]))

    assert grouping_complaints(keep) == []
    whole = keep(0, 7)
    others = [Masks(0.4, 1, 3).keep(1, SHAPE), Masks(0.4, 2, 4).keep(1, SHAPE)]
    others += [masks.keep(0, SHAPE), masks.after(1).keep(1, SHAPE)]
    assert all(not np.array_equal(other, whole) for other in others)
    assert len({image.tobytes() for image in whole}) == 7
    # Two units to a raw word, the low half first.
    raw = streams.words(16, seed=2, purpose="dropout", keys=(3, 1))
    halves = [part for word in raw.tolist() for part in (word % 2**32, word >> 32)]
    assert whole[0].reshape(-1).tolist() == [half >= 0.4 * 2**32 for half in halves[:30]]


def test_planted_mask_that_depends_on_the_group():
    def keep(begin, end):
        rng = np.random.default_rng([2, begin])
        return rng.random((end - begin, *SHAPE[1:])) >= 0.4

    assert grouping_complaints(keep)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_rates(rate):
    keep = Masks(rate).keep(0, (4, 50, 50, 8))
    assert abs(keep.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / keep.size)
    # Neighbours, in space and over the images, know nothing of each other.
    x = (keep - keep.mean()).reshape(4, -1)
    assert abs((x[:, 1:] * x[:, :-1]).mean()) <= 5 * rate * (1 - rate) / np.sqrt(keep.size)
    assert abs((x[1:] * x[:-1]).mean()) <= 5 * rate * (1 - rate) / np.sqrt(keep.size / 2)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_dropping_compiled_and_in_arrays(kind):
    rng, keep = np.random.default_rng(0), Masks(0.3).keep(0, SHAPE)
    x = rng.normal(size=SHAPE).astype(kind)
    x[2, 0, 0], x[3, 0, 1] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        wanted = x * (keep * np.dtype(kind).type(1 / 0.7))
    for operations in (CompiledOperations(), ArrayOperations(np)):
        found = x.copy()
        with np.errstate(invalid="ignore"):
            operations.drop(None, found, keep, Masks(0.3).scale)
        assert found.dtype == x.dtype and np.array_equal(found, wanted, equal_nan=True)
        assert np.isnan(found[2, 0, 0]).all()


CASES = [
    ("resnet_tiny_gn", 4, 3, (1, 9, 7), True),
    ("resnet_tiny", 4, 2, (2, 7, 8), True),
    ("resnet_tiny", 4, 3, (1, 8, 8), False),
    ("wrn28", 1, 3, (1, 6, 5), True),
]
LIMIT = 2e-5


def slopes(case, backend="numpy"):
    """Errors of the gradient of a dropped network, by parameter."""
    name, width, classes, shape, batch_statistics = case
    network, w, buffers = nets.make(
        name, width, classes, shape, backend, lanes=2, activation="softplus8"
    )
    rng = np.random.default_rng(4)
    w += 0.05 * rng.normal(size=w.size)
    buffers += rng.random(buffers.size)
    images, labels = nets.batch(network, 4)
    rule = Regularizer(l1=1e-3, l2=1e-2)

    def run(at, out):
        found = network.gradient(
            at, images, labels, out, buffers=buffers, batch_statistics=batch_statistics,
            regularizer=rule, masks=Masks(0.3, 1, 2),
        )  # fmt: skip
        return found.loss + rule.l1 * np.abs(at).sum() + rule.l2 / 2 * at @ at

    g, waste = np.full_like(w, np.nan), np.empty_like(w)
    run(w, g)
    return nets.gradient_errors(
        lambda at: run(at, waste), g, w, network.named_parameters, rng, h=1e-6
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[4]}")
def test_gradients_are_slopes(case):
    errors = slopes(case)
    assert max(errors.values()) < LIMIT, errors


def test_planted_mask_drawn_anew_in_the_backward_pass(monkeypatch):
    def anew(self, lane, d):
        keep, out = lane.kept.pop(self.name)
        other = Masks(lane.masks.rate, lane.masks.seed, lane.masks.step + 1, lane.masks.first)
        lane.operations.drop(lane, d, other.keep(self.number, keep.shape), lane.masks.scale)
        lane.give(out)

    monkeypatch.setattr(Dropout, "backward", anew)
    errors = slopes(CASES[0])
    # What comes after the last mask has its gradient before the first fault.
    wrong = {name for name, error in errors.items() if error > LIMIT}
    behind = {"norm.weight", "norm.bias", "linear.weight", "linear.bias", "stages.3.0.conv2.weight"}
    right = behind | {"stages.3.0.shortcut.weight"}
    assert wrong == set(errors) - right


@pytest.mark.parametrize("name", ["resnet18_gn", "resnet_tiny", "wrn28"])
def test_backends_agree(name):
    found = []
    for backend in nets.BACKENDS:
        network, w, _ = nets.make(name, 2, 3, shape=(3, 12, 12), backend=backend)
        images, labels = nets.batch(network, 4)
        g = np.empty_like(w)
        run = network.gradient(w, images, labels, g, masks=Masks(0.4, 1, 5))
        found.append([np.array([run.loss]), g])
    assert max(map(nets.relative, *found)) < 1e-10


def gradient(masks, name="resnet_tiny_gn", micro_batch=None, precision="float64", **more):
    network, w, _ = nets.make(name, 16, 3, (1, 8, 8), precision=precision, **more)
    images, labels = nets.batch(network, 13)
    g = np.empty_like(w)
    network.gradient(w, images, labels, g, masks=masks, micro_batch=micro_batch)
    return g


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny"])
def test_threads_change_no_bit_and_lanes_and_micro_batches_only_rounding(name):
    masks = Masks(0.3, 1, 2)
    found = [gradient(masks, name, precision="float32", threads=k).tobytes() for k in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    whole = gradient(masks, name, lanes=1)
    assert nets.relative(gradient(masks, name, lanes=8), whole) < 1e-11
    assert nets.relative(gradient(Masks(0.3, 1, 3), name, lanes=1), whole) > 1e-2
    if name == "resnet_tiny_gn":
        for size in (1, 4):
            assert nets.relative(gradient(masks, micro_batch=size), whole) < 1e-11


@pytest.mark.parametrize("backend", nets.BACKENDS)
def test_rate_zero_is_no_dropout(backend):
    plain, dropped = gradient(None, backend=backend), gradient(Masks(0.0), backend=backend)
    assert nets.relative(dropped, plain) < 1e-13
    sgd, _ = nets.stepped(Rule(Algorithm(0.1, 3, normalized=True)))
    zero, _ = nets.stepped(Rule(Algorithm(0.1, 3, normalized=True), dropout=0.0))
    some, _ = nets.stepped(Rule(Algorithm(0.1, 3, normalized=True), dropout=0.1))
    assert bits(zero) == bits(sgd) != bits(some)


def by_hand(network, w, images, labels, rho, masks_of):
    """One step of m-SAM, m = 3; ``masks_of(first, ascent)`` gives the masks of a pass."""
    total = 0
    for first in (0, 3):
        part, g = slice(first, first + 3), np.empty_like(w)
        run = functools.partial(network.gradient, images=images[part], labels=labels[part], out=g)
        run(w, masks=masks_of(first, True))
        run(w + rho * g / np.linalg.norm(g), masks=masks_of(first, False))
        total = total + g / 2
    return total


def test_all_passes_of_a_step_drop_the_same_units():
    network, state, images, labels = small(precision="float64")
    w, step = state.weights.copy(), Step(
        network, Rule(Algorithm(0.1, 3, normalized=True), dropout=0.3, seed=7)
    )  # fmt: skip
    step(State.start(w, state.buffers), images, labels, 0.1)
    state.iteration = 4
    step(state, images, labels, 0.1)
    wanted = by_hand(network, w, images, labels, 0.1, lambda k, _: Masks(0.3, 7, 4, k))
    assert nets.relative(state.velocity, wanted) < 1e-9
    # Planted: a second draw at w + delta, and blocks that all drop what the first one does.
    fresh = by_hand(network, w, images, labels, 0.1, lambda k, a: Masks(0.3, 7, 4 + a, k))
    alike = by_hand(network, w, images, labels, 0.1, lambda _k, _a: Masks(0.3, 7, 4))
    assert min(nets.relative(state.velocity, other) for other in (fresh, alike)) > 1e-2


@pytest.mark.parametrize("direction", ["ascent", "random", "previous"])
def test_every_pass_gets_the_masks_of_its_block(direction):
    network, state, images, labels = small(precision="float64", threads=1)
    seen, honest = [], network.gradient

    def spy(*arguments, **more):
        seen.append(more["masks"])
        return honest(*arguments, **more)

    network.gradient = spy
    algorithm = Algorithm(0.1, 2, normalized=True, ascent_steps=2)
    step = Step(network, Rule(algorithm, dropout=0.2, direction=direction))
    step(state, images, labels, 0.1, previous=(images[::-1].copy(), labels[::-1].copy()))
    passes = 1 if direction == "random" else 3
    assert seen == [Masks(0.2, 0, 0, first) for first in (0, 2, 4) for _ in range(passes)]


def test_the_mean_over_masks_is_the_network_without_them():
    network, w, _ = nets.make("resnet_tiny_gn", 4, 3, (1, 8, 8))
    images, labels = nets.batch(network, 3)
    block = network.model.blocks[-1]
    g, found = np.empty_like(w), []
    honest = block.dropout.forward

    def watched(lane, signal):
        out = honest(lane, signal)
        found.append(lane.operations.value(out).copy())
        return out

    block.dropout.forward = watched
    network.gradient(w, images, labels, g)
    plain = found.pop()
    for other in network.model.blocks[:-1]:
        other.dropout.forward = lambda _lane, signal: signal
        other.dropout.backward = lambda _lane, _d: None
    for step in range(400):
        network.gradient(w, images, labels, g, masks=Masks(0.5, 0, step))
    active = plain > 0
    change = np.mean(found, axis=0)[active] / plain[active] - 1
    # A kept unit is doubled: the mean of 400 has a relative deviation of 1/20.
    assert active.sum() > 20 and np.abs(change).max() < 5 / 20
    assert np.abs(change.mean()) < 5 / 20 / np.sqrt(active.sum())


def dropped(**changes):
    return runs.sam(**{"model": "resnet_tiny_gn", "width": 2, "dropout": 0.2} | changes)


def test_a_run_with_dropout_is_the_plain_loop_and_evaluates_without():
    run = train(dropped())
    state, _ = runs.plain_loop(run.settings)
    assert run.weights.tobytes() == state.weights.tobytes()
    assert {"weights", "rows"} <= set(runs.differences(run, train(dropped(dropout=0.0))))
    network, test = run.network, run.experiment.splits.test
    images = network.images(test.floats(dtype=np.float32))
    losses, _, _ = network.evaluate(run.weights, images, network.labels(test.labels, test.n))
    assert run.last["test_loss"] == pytest.approx(losses.astype(float).mean(), rel=1e-6)


def test_planted_evaluation_that_drops_is_caught(monkeypatch):
    honest = Network._run

    def dropping(self, *arguments, **more):
        if arguments[4] is None:
            more["masks"] = Masks(0.2)
        return honest(self, *arguments, **more)

    rows = train(dropped(epochs=1)).rows
    monkeypatch.setattr(Network, "_run", dropping)
    assert not np.array_equal(train(dropped(epochs=1)).rows, rows, equal_nan=True)


@pytest.mark.parametrize("changes", [{}, {"model": "resnet_tiny", "direction": "previous"}])
def test_an_interrupted_run_and_other_threads_give_the_same_bits(changes, tmp_path):
    whole = train(dropped(**changes))
    with StopRequested() as stop:
        train(dropped(**changes), tmp_path, progress=runs.signal_at(13), stop=stop)
    rest = train(dropped(**changes | {"threads": 2}), tmp_path, resume=True)
    assert rest.iteration == runs.ITERATIONS and runs.differences(rest, whole) == []
    with pytest.raises(InputError, match=r"train\.dropout is 0\.2 there, 0\.3 here"):
        train(dropped(**changes | {"dropout": 0.3}), tmp_path, resume=True)


def test_planted_mask_that_depends_on_what_was_drawn_before(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(Masks, "keep", lambda self, _n, shape: rng.random(shape) >= self.rate)
    whole = train(dropped())
    with StopRequested() as stop:
        train(dropped(), tmp_path, progress=runs.signal_at(13), stop=stop)
    assert "weights" in runs.differences(train(dropped(), tmp_path, resume=True), whole)


def test_where_there_is_a_place():
    shapes = {"vgg16": (3, 32, 32)}
    for name in MODELS:
        network, *_ = nets.make(name, 2, shape=shapes.get(name, (1, 8, 8)))
        assert (network.model.dropouts > 0) == (name in PLACES)
        if name not in PLACES:
            with pytest.raises(InputError, match=f"dropout: {name} has no place for it"):
                Step(network, Rule(dropout=0.1))
    network, *_ = nets.make("wrn28", 1, shape=(1, 8, 8))
    assert [b.dropout.number for b in network.model.blocks] == list(range(network.model.dropouts))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), float("inf")])
def test_refused_rates(rate):
    for make in (Masks, lambda value: Rule(dropout=value)):
        with pytest.raises(InputError, match="dropout must be at least 0 and below 1, not"):
            make(rate)
    with pytest.raises(InputError, match="dropout must be"):
        runs.small(dropout=rate)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("1", "dropout must be at least 0 and below 1, not 1.0"),
        ("-0.1", "dropout must be at least 0 and below 1, not -0.1"),
        ("nan", "dropout must be finite, not nan"),
        ("half", "invalid float value: 'half'"),
        ("0.1", "dropout: mlp has no place for it; pre-activation ResNets and wrn28 do"),
    ],
)
def test_the_command_refuses_in_one_line(rate, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(["train", *QUICK, "--dropout", rate], capsys, tmp_path)
    assert settings("--droprate", "0.3").dropout == 0.3


def test_a_gradient_with_regularizer_and_dropout_adds_it_once():
    network, w, _ = nets.make("resnet_tiny_gn", 4, 3, (1, 8, 8))
    images, labels = nets.batch(network, 5)
    plain, whole = np.empty_like(w), np.empty_like(w)
    network.gradient(w, images, labels, plain, masks=Masks(0.3))
    network.gradient(
        w, images, labels, whole, masks=Masks(0.3), regularizer=Regularizer(l2=0.1), micro_batch=2
    )
    assert nets.relative(whole, plain + 0.1 * w) < 1e-12
