"""Networks: known answers, gradients against differences, bits against threads."""

from __future__ import annotations

import functools

import nets
import numpy as np
import pytest

from sam_theory.deep.backend import Backend
from sam_theory.deep.network import Regularizer, build_model
from sam_theory.deep.registry import MODELS
from sam_theory.errors import InputError, MissingExtra


@functools.cache
def answers(kind):
    return nets.known(f"preact_resnet_{kind}")


def loaded(kind, backend="numpy", precision="float64", **more):
    name = {"gn": "resnet18_gn", "bn": "resnet_tiny"}[kind]
    network, weights, buffers = nets.make(name, backend=backend, precision=precision, **more)
    known = answers(kind)
    arrays = {k.removeprefix("param/"): v for k, v in known.items() if k.startswith("param/")}
    network.load_parameters(weights, arrays)
    images, labels = network.images(known["inputs"][0]), network.labels(known["labels"][0], 6)
    return network, weights, buffers, images, labels


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("backend", nets.BACKENDS)
@pytest.mark.parametrize("kind", ["gn", "bn"])
def test_known_networks(kind, backend, lanes):
    known = answers(kind)
    network, w, buffers, images, labels = loaded(kind, backend, lanes=lanes)
    g = np.full_like(w, np.nan)
    found = network.gradient(w, images, labels, g, buffers=buffers)
    losses, logits, again = network.evaluate(w, images, labels, batch_statistics=True)
    assert nets.relative(logits, known["logits_train_mode"]) < 1e-9
    assert abs(found.loss / known["loss_train_mode"] - 1) < 1e-9
    assert abs(losses.mean() - found.loss) < 1e-13 and again.errors == found.errors
    views = network.named_parameters(g)
    wanted = {k.removeprefix("grad/"): v for k, v in known.items() if k.startswith("grad/")}
    assert set(wanted) == set(views)
    assert max(nets.relative(views[k], wanted[k]) for k in wanted) < 1e-9
    if kind == "bn":
        network.commit(buffers, found.moments)
        running = network.buffer_layout.named(buffers)
        for name, value in running.items():
            assert nets.relative(value, known[f"running_after_one_forward/{name}"]) < 1e-9
        _, logits, _ = network.evaluate(w, images, labels, buffers=buffers)
        assert nets.relative(logits, known["logits_eval_mode_after"]) < 1e-9


@pytest.mark.parametrize("kind", ["gn", "bn"])
def test_single_precision(kind):
    network, w, buffers, images, labels = loaded(kind, precision="float32")
    g = np.empty_like(w)
    network.gradient(w, images, labels, g, buffers=buffers)
    _, logits, _ = network.evaluate(w, images, labels, batch_statistics=True)
    known = answers(kind)
    assert g.dtype == logits.dtype == np.float32
    assert nets.relative(logits, known["logits_train_mode"]) < 1e-4
    views = network.named_parameters(g)
    assert max(nets.relative(views[k], known[f"grad/{k}"]) for k in views) < 1e-4


COUNTS = [
    ("resnet_tiny_gn", 16, 10, 308_378),
    ("resnet_tiny", 64, 10, 4_901_450),
    ("resnet18_gn", 16, 10, 701_018),
    ("resnet18", 16, 2, 699_857),
    ("resnet18_gn", 64, 10, 11_172_170),
    ("resnet18_gn", 64, 100, 11_218_340),
    ("resnet34_gn", 16, 10, 1_334_170),
    ("resnet34preact", 64, 100, 21_326_500),
    ("resnet34", 16, 10, 1_334_618),
    ("resnet34", 64, 100, 21_328_292),
    ("vgg16", 16, 10, 955_098),
    ("vgg16", 64, 100, 15_291_300),
    ("wrn28", 1, 10, 369_498),
    ("wrn28", 10, 100, 36_536_884),
    ("mlp", 20, 10, 3072 * 20 + 20 + 210),
    ("linear", 1, 2, 3073),
]


@pytest.mark.parametrize(("name", "width", "classes", "count"), COUNTS)
def test_parameter_counts(name, width, classes, count):
    from sam_theory.deep.operations.signals import RELU
    from sam_theory.deep.registry import make_model

    assert make_model(name, width, classes, (3, 32, 32), RELU).layout.size == count


# Every kind of layer, odd and even sizes, stride 2 down to one pixel, both norms, one logit.
CASES = [
    ("resnet_tiny_gn", 4, 3, (1, 9, 7), True),
    ("resnet_tiny_gn", 16, 3, (3, 8, 8), True),
    ("resnet_tiny", 4, 2, (2, 7, 8), True),
    ("resnet_tiny", 4, 3, (1, 8, 8), False),
    ("resnet34", 2, 3, (1, 9, 9), True),
    ("resnet34", 2, 2, (1, 5, 4), False),
    ("wrn28", 1, 3, (1, 6, 5), True),
    ("vgg16", 2, 3, (3, 32, 33), True),
    ("mlp", 5, 3, (2, 3, 4), True),
    ("linear", 1, 2, (1, 4, 4), True),
]
SMOOTH = "softplus8"
LIMIT = 2e-5


def checked(name, width, classes, shape, batch_statistics, fault=None):
    network, w, buffers = nets.make(name, width, classes, shape, lanes=2, activation=SMOOTH)
    rng = np.random.default_rng(4)
    w += 0.05 * rng.normal(size=w.size)
    buffers += rng.random(buffers.size)
    images, labels = nets.batch(network, 4)
    rule = Regularizer(l1=1e-3, l2=1e-2)

    def run(at, out):
        found = network.gradient(
            at, images, labels, out, buffers=buffers, batch_statistics=batch_statistics,
            regularizer=rule,
        )  # fmt: skip
        return found.loss + rule.l1 * np.abs(at).sum() + rule.l2 / 2 * at @ at

    g, waste = np.full_like(w, np.nan), np.empty_like(w)
    run(w, g)
    if fault is not None:
        network.named_parameters(g)[fault][...] *= 1.0005
    return nets.gradient_errors(
        lambda at: run(at, waste), g, w, network.named_parameters, rng, h=1e-6
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[3]}-{c[4]}")
def test_gradients_are_slopes(case):
    errors = checked(*case)
    assert max(errors.values()) < LIMIT, errors


@pytest.mark.parametrize("part", ["stages.1.0.conv1.weight", "norm.bias", "linear.weight"])
def test_planted_gradient_fault(part):
    """A gradient wrong by 0.05 % is caught, and only where it is wrong."""
    errors = checked(*CASES[0], fault=part)
    assert [name for name, error in errors.items() if error > LIMIT] == [part]


@pytest.mark.parametrize("name", ["resnet18_gn", "resnet_tiny", "resnet34", "vgg16", "wrn28"])
def test_backends_agree(name):
    found = {}
    for backend in nets.BACKENDS:
        network, w, buffers = nets.make(name, 2, 3, backend=backend)
        images, labels = nets.batch(network, 4)
        g = np.empty_like(w)
        loss = network.gradient(w, images, labels, g, regularizer=Regularizer(1e-3, 1e-3)).loss
        found[backend] = [
            np.array([loss]),
            g,
            network.evaluate(w, images, labels, buffers=buffers)[1],
        ]
    assert max(map(nets.relative, found["numpy"], found["arrays"])) < 1e-10


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny"])
def test_threads_change_no_bit(name, precision):
    found = []
    for threads in (1, 2, 3):
        network, w, buffers = nets.make(name, 16, precision=precision, threads=threads)
        images, labels = nets.batch(network, 13)
        assert network.lanes_for(13) > 3
        g = np.empty_like(w)
        run = network.gradient(w, images, labels, g, regularizer=Regularizer(1e-3, 1e-3))
        losses, logits, _ = network.evaluate(w, images, labels, buffers=buffers)
        square = network.vectors.dot(g, g)
        found.append((run.loss, square, g.tobytes(), losses.tobytes(), logits.tobytes()))
    assert found[0] == found[1] == found[2]


def test_reused_work_space_changes_no_bit():
    network, w, _ = nets.make("resnet_tiny_gn", 16, precision="float32")
    images, labels = nets.batch(network, 8)
    first, second = np.empty_like(w), np.empty_like(w)
    network.gradient(w, images, labels, first)
    for space in network._runner.spaces:
        for stack in space.free.values():
            for array in stack:
                array[...] = np.nan if array.dtype.kind == "f" else 3
        for array in space.flat.values():
            array[...] = np.nan
    network.gradient(w, images, labels, second)
    assert first.tobytes() == second.tobytes()
    before = [id(a) for s in network._runner.spaces for v in s.free.values() for a in v]
    network.gradient(w, images, labels, second)
    after = [id(a) for s in network._runner.spaces for v in s.free.values() for a in v]
    assert sorted(before) == sorted(after)


@pytest.mark.parametrize("step", [1, 4, 5])
def test_micro_batches_sum_to_the_batch(step):
    network, w, _ = nets.make("resnet_tiny_gn", 4, shape=(1, 8, 8))
    images, labels = nets.batch(network, 9)
    whole, parts = np.empty_like(w), np.empty_like(w)
    rule = Regularizer(1e-2, 1e-2)
    one = network.gradient(w, images, labels, whole, regularizer=rule)
    many = network.gradient(w, images, labels, parts, regularizer=rule, micro_batch=step)
    assert nets.relative(parts, whole) < 1e-12 and abs(one.loss - many.loss) < 1e-13
    assert one.errors == many.errors


def test_weights_and_statistics_are_not_written_to():
    network, w, buffers = nets.make("resnet_tiny", 4, shape=(1, 8, 8))
    images, labels = nets.batch(network, 6)
    before = w.tobytes(), buffers.tobytes(), images.tobytes()
    network.gradient(w, images, labels, np.empty_like(w), buffers=buffers)
    network.evaluate(w, images, labels, buffers=buffers)
    network.features(w, images, buffers=buffers)
    assert before == (w.tobytes(), buffers.tobytes(), images.tobytes())


def test_named_views_write_through_and_round_trip():
    network, w, buffers = nets.make("resnet_tiny", 4)
    views = network.named_parameters(w)
    assert views["stem.weight"].shape == (4, 3, 3, 3)
    copies = {k: v.copy() for k, v in {**views, **network.buffer_layout.named(buffers)}.items()}
    views["linear.bias"][...] = 7
    assert (w == 7).sum() == 10
    network.load_parameters(w, copies, buffers)
    assert (w == 7).sum() == 0
    assert all(np.array_equal(network.named_parameters(w)[k], copies[k]) for k in views)


def test_initial_parameters():
    network, w, _ = build_model("resnet18_gn", width=16, seed=3, backend=Backend())
    _, again, _ = build_model("resnet18_gn", width=16, seed=3, backend=Backend(precision="float64"))
    _, other, _ = build_model("resnet18_gn", width=16, seed=4)
    assert np.array_equal(w, again.astype("f4")) and not np.array_equal(w, other)
    views = network.named_parameters(again)
    conv = views["stages.3.1.conv2.weight"]
    assert abs(conv.var() / (2 / (9 * 128)) - 1) < 0.02 and abs(conv.mean()) < 1e-3
    bound = 1 / np.sqrt(128)
    assert 0.95 * bound < np.abs(views["linear.weight"]).max() <= bound
    assert (views["norm.weight"] == 1).all() and not views["norm.bias"].any()


def test_images_of_other_sizes():
    for name in ("resnet_tiny_gn", "resnet34", "wrn28", "mlp"):
        network, w, buffers = nets.make(name, 2, shape=(1, 8, 8), precision="float32")
        images, labels = nets.batch(network, 3)
        _, logits, _ = network.evaluate(w, images, labels, buffers=buffers)
        assert logits.shape == (3, 10) and np.all(np.isfinite(logits))


def test_wrong_statistics_are_an_error_and_not_a_deadlock():
    network, w, _ = nets.make("resnet_tiny", 4, shape=(1, 8, 8))
    images, labels = nets.batch(network, 1)
    with pytest.raises(InputError, match="two numbers per channel"):
        network.gradient(w, images, labels, np.empty_like(w))
    with pytest.raises(InputError, match="pass buffers"):
        network.evaluate(w, images, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "resnet19"}, "unknown model 'resnet19'; known are resnet_tiny"),
        ({"width": 0}, "width must be an integer >= 1"),
        ({"name": "resnet18_gn", "width": 3}, "width must be even"),
        ({"classes": 1}, "classes must be an integer >= 2"),
        ({"input_shape": (32, 32)}, "input_shape must be"),
        ({"name": "vgg16", "input_shape": (3, 8, 8)}, "at least 32x32"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"seed": -1}, "seed must be >= 0, not -1"),
        ({"seed": 1.5}, "seed must be an integer, not 1.5"),
    ],
)
def test_refused_models(change, message):
    arguments = {"name": "resnet18", "width": 4, "classes": 10, "input_shape": (3, 32, 32)}
    with pytest.raises(InputError, match=message):
        build_model(**(arguments | change))


def test_refused_data_and_parameters():
    network, w, _ = nets.make("linear", 1, 3, (1, 4, 4))
    arrays = {k: v.copy() for k, v in network.named_parameters(w).items()}
    with pytest.raises(InputError, match="misses layers.0.bias"):
        network.load_parameters(w, {"layers.0.weight": arrays["layers.0.weight"]})
    with pytest.raises(InputError, match="unknown x"):
        network.load_parameters(w, arrays | {"x": 1})
    before = w.copy()
    with pytest.raises(InputError, match="has shape"):
        network.load_parameters(w, {"layers.0.weight": 0 * w, "layers.0.bias": np.ones(4)})
    assert np.array_equal(w, before)
    with pytest.raises(InputError, match="images have shape"):
        network.images(np.zeros((2, 1, 4, 5)))
    images, labels = nets.batch(network, 2)
    for count, micro_batch in ((0, None), (2, 0)):
        part, named = (images[:count], labels[:count]), {"micro_batch": micro_batch}
        for call in (network.evaluate, lambda *a, **k: network.gradient(*a, 0 * w, **k)):
            with pytest.raises(InputError, match=f"no pass over {count} images, 0 at once"):
                call(w, *part, **named)
    with pytest.raises(InputError, match="labels lie between 0 and 3"):
        network.labels(np.array([0, 3]), 2)
    with pytest.raises(InputError, match="labels must be 2 integers"):
        network.labels(np.array([0.0, 1.0]), 2)


def test_refused_backends():
    for change in ({"name": "torch"}, {"precision": "float16"}, {"lanes": 0}, {"threads": 0}):
        with pytest.raises(InputError):
            Backend(**change)
    with pytest.raises(InputError, match="l2"):
        Regularizer(l2=-1.0)


def test_a_gpu_that_is_not_there_is_one_line():
    try:
        import cupy
    except ImportError:
        with pytest.raises(MissingExtra, match=r"cupy is not installed.*sam-theory\[gpu\]"):
            Backend("cupy")
        return
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        count = 0
    if count == 0:
        with pytest.raises(InputError, match="GPU"):
            Backend("cupy")


def test_every_model_is_counted():
    assert {name for name, *_ in COUNTS} == set(MODELS)
