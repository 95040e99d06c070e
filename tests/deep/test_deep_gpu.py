"""The GPU path: all of it on an emulated cupy, each kernel beside its twin; itself with a GPU."""

from __future__ import annotations

import sys
import types

import emulated_gpu
import nets
import numpy as np
import pytest
import runs
from emulated_gpu import device, host

from sam_theory.algorithms import Algorithm
from sam_theory.deep.backend import Backend
from sam_theory.deep.dropout import Masks
from sam_theory.deep.features import error_rates, feature_rank
from sam_theory.deep.hessian import hessian_product, top_eigenvalue
from sam_theory.deep.network import Regularizer
from sam_theory.deep.operations import cuda as gpu_kernels
from sam_theory.deep.operations.arrays import ArrayOperations
from sam_theory.deep.operations.geometry import Convolution
from sam_theory.deep.operations.gpu import GpuOperations
from sam_theory.deep.operations.signals import LINEAR, RELU, Activation, Signal
from sam_theory.deep.rules import Rule
from sam_theory.deep.runs.run import train
from sam_theory.deep.segment import distance, loss_along_segment
from sam_theory.deep.sharpness import gradient_alignment, m_sharpness
from sam_theory.deep.statistics import reestimated_buffers
from sam_theory.deep.training import State, Step
from sam_theory.deep.vectors import Vectors
from sam_theory.errors import InputError, MissingExtra

SOFTPLUS = Activation("softplus", 8.0)
LIMITS = {"float32": 2e-5, "float64": 1e-12}


CACHES = (gpu_kernels._module, gpu_kernels.kernel, gpu_kernels.flat_kernels)


def placed(monkeypatch, module):
    """Put an emulated cupy in place of the module, and make its flat kernels."""
    monkeypatch.setitem(sys.modules, "cupy", module)
    for cache in CACHES:
        cache.cache_clear()
    gpu_kernels.flat_kernels()


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    module = emulated_gpu.Cupy()
    with pytest.MonkeyPatch.context() as patch:
        placed(patch, module)
        module.compile(tmp_path_factory.mktemp("cuda"))
    return module


@pytest.fixture
def cupy(emulated, monkeypatch):
    placed(monkeypatch, emulated)
    yield emulated
    for cache in CACHES:
        cache.cache_clear()


def draw(rng, kind, *shape):
    return device(rng.normal(size=shape).astype(kind))


def worst(pairs):
    return max(nets.relative(host(found), host(wanted)) for found, wanted in pairs)


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("activation", [LINEAR, RELU, SOFTPLUS])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_convolution_kernels(cupy, kind, activation, kernel, stride):
    """columns and spread_columns."""
    rng, plain, gpu = np.random.default_rng(0), ArrayOperations(cupy), GpuOperations(cupy)
    shape = Convolution(5, 4, 3, 2, kernel, stride)
    x, d = draw(rng, kind, 2, 5, 4, 3), draw(rng, kind, 2, shape.out_height, shape.out_width, 2)
    w, pairs = draw(rng, kind, kernel, kernel, 3, 2), []
    scale, shift, bias = draw(rng, kind, 2, 3), draw(rng, kind, 2, 3), draw(rng, kind, 2)
    for signal in (Signal(x, activation=activation), Signal(x, scale, shift, activation)):
        pairs.append((gpu.columns(shape, signal), plain.columns(shape, signal)))
        out, dw, db = [], [], []
        for operations in (gpu, plain):
            out.append(draw(np.random.default_rng(1), kind, *d.shape))
            operations.convolve(None, shape, signal, w, bias, out[-1], out[-1])
            dw.append(cupy.empty(w.shape, kind))
            db.append(cupy.empty(2, kind))
            operations.weight_gradient(None, shape, signal, d, dw[-1], db[-1])
        pairs += [tuple(out), tuple(dw), tuple(db)]
    for add in (False, True):
        dx = [draw(np.random.default_rng(2), kind, *x.shape) for _ in range(2)]
        for operations, found in zip((gpu, plain), dx, strict=True):
            operations.convolve_back(None, shape, d, w, found, add)
        pairs.append(tuple(dx))
    assert worst(pairs) < LIMITS[kind]


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("channels", [4, 34])
@pytest.mark.parametrize("residual", [False, True])
def test_normalisation_kernels(cupy, kind, channels, residual):
    """image_sums, slope_sums, input_gradient and write_signal."""
    x, pairs = draw(np.random.default_rng(0), kind, 3, 3, 5, channels), []
    more = draw(np.random.default_rng(1), kind, *x.shape) if residual else None
    found = []
    for operations in (GpuOperations(cupy), ArrayOperations(cupy)):
        rng, parts = np.random.default_rng(2), []
        gamma, beta = draw(rng, kind, channels), draw(rng, kind, channels)
        kept = operations.group_statistics(None, x, 2, 1e-5, gamma, beta)
        parts += list(kept)
        for activation in (LINEAR, RELU, SOFTPLUS):
            signal = Signal(x, kept.scale, kept.shift, activation)
            d, dg, db = draw(rng, kind, *x.shape), cupy.empty(channels, kind), cupy.empty(channels, kind)  # fmt: skip  # noqa: E501
            operations.group_gradient(None, d, signal, kept, gamma, more, dg, db)
            out = draw(rng, kind, *x.shape)
            operations.write(None, signal, out, add=residual)
            parts += [d, dg, db, out]
        mean = operations.channel_sums(None, x) / 45
        d = draw(rng, kind, *x.shape)
        parts += [mean, operations.channel_sums(None, x, mean)]
        parts += [*operations.gradient_sums(None, d, signal, mean), d.copy()]
        steep, low = draw(rng, "float64", channels), draw(rng, "float64", channels)
        operations.input_gradient(None, d, signal, mean, steep, low, more)
        found.append([*parts, d])
    pairs = list(zip(*found, strict=True))
    assert worst(pairs) < (1e-4 if kind == "float32" else LIMITS[kind])


@pytest.mark.parametrize("kind", LIMITS)
def test_flat_kernels(cupy, kind):
    """dot, combine, momentum_step and blend, in place where they are used in place."""
    gpu, plain = Vectors(Backend("cupy", kind)), Vectors(Backend("arrays", kind))
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(3, 1001)).astype(kind)
    assert gpu.dot(device(x), device(y)) == pytest.approx(plain.dot(x, y), rel=1e-12)
    assert gpu.absolute_sum(device(x)) == pytest.approx(plain.absolute_sum(x), rel=1e-12)
    pairs = []
    for out in (0, 1, 2):
        ours, theirs = ([device(v.copy()) for v in (x, y, z)] for _ in range(2))
        for vectors, (a, b, c) in ((gpu, ours), (plain, theirs)):
            vectors.combine(a, 0.3, b, (a, b, c)[out])
            vectors.momentum_step(a, b, c, 0.1, 0.9)
            vectors.blend(c, 0.99, a)
            # Views that are stretches of a longer array.
            vectors.combine(a[3:700], -2.0, b[5:702], c[1:698])
        pairs += list(zip(ours, theirs, strict=True))
    assert worst(pairs) < {"float32": 1e-6, "float64": 1e-14}[kind]


def test_planted_faults_in_kernels_are_seen(cupy, monkeypatch):
    kernel = gpu_kernels.flat_kernels().blend
    honest = kernel.call

    def short(arguments, outputs):
        honest([a if np.isscalar(a) else a[:-1] for a in arguments], [a[:-1] for a in outputs])

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "call", short)
        with pytest.raises(AssertionError):
            test_flat_kernels(cupy, "float64")
    launch = gpu_kernels.launch

    def late(name, dtype, grid, block, arguments):
        if name == "slope_sums":
            arguments = (*arguments[:7], np.int32(arguments[7] - 1), *arguments[8:])
        launch(name, dtype, grid, block, arguments)

    monkeypatch.setattr(gpu_kernels, "launch", late)
    with pytest.raises(AssertionError):
        test_normalisation_kernels(cupy, "float64", 4, False)


def test_views_with_strides_and_wrong_types_do_not_reach_a_kernel(cupy):
    x, out = device(np.ones((2, 3, 3, 4))), device(np.ones((2, 3, 3, 4)))
    operations = GpuOperations(cupy)
    message = r"kernel write_signal: an array of float\d+ is not as it must be"
    for bad, to in ((x[:, :, :2], out), (x[..., ::2], out), (x, out.astype("float32"))):
        with pytest.raises(RuntimeError, match=message):
            operations.write(None, Signal(bad), to)
    # Affine maps are copied instead: cupy does not promise that results have no strides.
    scale = device(np.ones((4, 2)).T * [[1.0], [2.0]])
    assert not scale.flags.c_contiguous
    operations.write(None, Signal(x, scale, scale), out)
    assert np.array_equal(host(out[:, 0, 0, 0]), [2.0, 4.0])


def stepped(backend, name, precision="float64", masks_rate=0.0, shape=(1, 6, 5)):
    network, w, buffers = nets.make(name, 2, 3, shape, backend, precision)
    images, labels = nets.batch(network, 4)
    state = State.start(w, buffers)
    rule = Rule(Algorithm(0.1, 2, normalized=True, ascent_steps=2), Regularizer(1e-4, 1e-3),
                gradient_noise=1e-3, add_noise=1e-3, dropout=masks_rate)  # fmt: skip
    step = Step(network, rule)
    assert all(step(state, images, labels, 0.05).done for _ in range(2))
    network.vectors.blend(state.velocity, 0.5, state.weights)
    _, logits, _ = network.evaluate(state.weights, images, labels, buffers=state.buffers)
    features = network.features(state.weights, images, buffers=state.buffers)
    found = (state.weights, state.velocity, state.buffers, logits, features)
    return [network.backend.host(part) for part in found if part.size]


CASES = [("resnet_tiny_gn", 0.0), ("resnet_tiny_gn", 0.3), ("resnet_tiny", 0.3), ("wrn28", 0.1),
         ("mlp", 0.0)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), CASES)
def test_steps_on_emulated_cupy_equal_the_cpu(cupy, name, rate):
    found = [stepped(backend, name, masks_rate=rate) for backend in ("numpy", "cupy")]
    assert all(type(part) is np.ndarray for part in found[1])
    assert max(map(nets.relative, *found)) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("vgg16", (1, 32, 32)), ("resnet34", (1, 4, 3))])
def test_gradients_on_emulated_cupy_equal_the_cpu(cupy, name, shape):
    found = []
    for backend in ("numpy", "cupy"):
        network, w, _ = nets.make(name, 2, 3, shape, backend, activation="softplus8")
        images, labels = nets.batch(network, 2)
        g = 0 * w
        run = network.gradient(w, images, labels, g, regularizer=Regularizer(1e-3, 1e-3))
        found.append([np.array([run.loss]), network.backend.host(g)])
    assert max(map(nets.relative, *found)) < 1e-10


def test_planted_mask_that_stays_on_the_host_is_refused(cupy, monkeypatch):
    network, w, _ = nets.make("resnet_tiny_gn", 2, 3, (1, 2, 2), "cupy")
    images, labels = nets.batch(network, 2)
    g = 0 * w
    network.gradient(w, images, labels, g, masks=Masks(0.3))
    monkeypatch.setattr(cupy, "asarray", np.asarray, raising=False)
    with pytest.raises(TypeError, match="a host array beside a device array"):
        network.gradient(w, images, labels, g, masks=Masks(0.3))


@pytest.mark.parametrize("name", ["mlp", "resnet_tiny"])
def test_measures_on_emulated_cupy_equal_the_cpu(cupy, name, monkeypatch):
    # The kernels have their own tests: array code is enough to see what is done with arrays.
    monkeypatch.setattr(Backend, "operations", lambda backend: ArrayOperations(backend.xp))
    found = []
    for backend in ("arrays", "cupy"):
        network, w, buffers = nets.make(name, 2, 3, (1, 9, 8), backend)
        images, labels = nets.batch(network, 6)
        at, host = (network, w, buffers, images, labels), network.backend.host
        network.load_parameters(w, {k: host(v) for k, v in network.named_parameters(w).items()})
        rise = m_sharpness(*at, rho=0.1, m=3, steps=2, random_start=True, last_layer_scale=2.0)
        near = gradient_alignment(*at, rho=0.1)
        new = reestimated_buffers(network, w, [images[:3], images[3:]])
        line = loss_along_segment(
            network, w, 1.1 * w, {"a": (images, labels)}, positions=[0.0, 0.5], buffers=new
        )
        start = network.backend.array(np.random.default_rng(0).standard_normal(network.size))
        top = top_eigenvalue(hessian_product(*at, micro_batch=4), start, max_steps=3)
        logits = network.evaluate(w, images, labels, buffers=buffers)[1]
        found.append(
            [rise.max_loss, [near.norm, near.cosine], host(new), line.loss["a"], [top.value],
             [distance(network, w, 1.1 * w), feature_rank(network, w, buffers, images)],
             error_rates(network, logits, labels)[:2]]
        )  # fmt: skip
    assert max(nets.relative(*pair) for pair in zip(*found, strict=True) if len(pair[0])) < 1e-8


def test_planted_function_of_numpy_is_refused(cupy):
    x = device(np.ones(3))
    assert cupy.repeat(x, 2).shape == (6,) and float(cupy.sum(x)) == 3.0
    with pytest.raises(TypeError, match=r"numpy.repeat of a device array"):
        np.repeat(x, 2)


def test_a_run_on_emulated_cupy_resumes_and_equals_the_cpu(cupy, tmp_path):
    settings = runs.sam(precision="float64", epochs=2, sharpness=True, average=None)
    cpu = train(settings)
    gpu = runs.sam(precision="float64", epochs=2, sharpness=True, average=None, device="gpu")
    run = train(gpu, tmp_path)
    for name in ("weights", "averaged", "rows"):
        found, wanted = host(getattr(run, name)), getattr(cpu, name)
        known = np.isfinite(wanted)
        assert np.array_equal(known, np.isfinite(found))
        assert nets.relative(found[known], wanted[known]) < 1e-8
    assert runs.differences(train(gpu, tmp_path, resume=True), run) == []


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ModuleNotFoundError("No module named 'cupy'"), MissingExtra, r"pip install .*\[gpu\]"),
        (ImportError("\n====\nlibcuda is missing\nmore"), InputError, "be loaded .libcuda is mi"),
        (None, InputError, "backend 'cupy': no usable GPU"),
    ],
)
def test_a_cupy_that_cannot_be_used_is_one_line(monkeypatch, error, kind, message):
    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == "cupy":
                raise error

    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(is_available=lambda: False))
    if error is not None:
        monkeypatch.delitem(sys.modules, "cupy")
        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(kind, match=message) as found:
        Backend("cupy")
    assert "\n" not in str(found.value)


def gpu():
    cupy = pytest.importorskip("cupy", reason="cupy is not installed (extra gpu)")
    if not cupy.is_available():
        pytest.skip("no GPU is visible")


@pytest.mark.parametrize("name", ["resnet_tiny_gn", "resnet_tiny", "resnet34", "vgg16", "mlp"])
def test_gpu_equals_cpu(name):
    gpu()
    found = []
    for backend in ("numpy", "cupy"):
        network, w, buffers = nets.make(name, 4, 3, backend=backend)
        images, labels = nets.batch(network, 6)
        state = State.start(w, buffers)
        rate = 0.2 if network.model.dropouts else 0.0
        rule = Rule(Algorithm(0.1, 3, normalized=True), Regularizer(1e-4, 1e-3), dropout=rate)
        step = Step(network, rule)
        for _ in range(2):
            assert step(state, images, labels, 0.05).done
        _, logits, _ = network.evaluate(state.weights, images, labels, buffers=state.buffers)
        host = network.backend.host
        found.append([host(state.weights), host(state.velocity), host(logits)])
    assert max(map(nets.relative, *found)) < 1e-9


def test_masks_have_the_same_bits_on_every_backend(cupy):
    for backend in ("numpy", "arrays", "cupy"):
        network, *_ = nets.make("resnet_tiny", 2, 3, (1, 4, 4), backend)
        keep = network.backend.host(network.xp.asarray(Masks(0.3, 1, 2).keep(0, (3, 4, 4, 2))))
        assert np.array_equal(keep, Masks(0.3, 1, 2).keep(0, (3, 4, 4, 2)))
