"""A network as a function of a flat array of parameters: loss, gradient, logits, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sam_theory._threads import parallel_map, single_threaded
from sam_theory._validate import checked_integer
from sam_theory.errors import InputError

from .backend import Backend
from .dropout import Masks
from .lanes import Lane, Program, Runner, cut
from .losses import cross_entropy, predictions
from .operations.signals import Activation
from .registry import make_model
from .vectors import Vectors

EVALUATION_BATCH = 256
# A lane of less work than this costs more to hand out than it saves.
LANE_FLOPS = 2e7


@dataclass(frozen=True)
class Regularizer:
    """Penalty l1 ||w||_1 + (l2/2) ||w||^2 on all parameters, normalisation and biases included.

    Parameters
    ----------
    l1, l2 : float
        >= 0 (dimensionless).
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        """Check both."""
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be a finite number >= 0, not {value!r}")


class Pass(NamedTuple):
    """What a pass over a batch found.

    Attributes
    ----------
    loss : float
        Mean loss, without the regulariser.
    errors : int
        Wrongly classified examples.
    moments : dict
        Batch statistics of each batch normalisation, one entry per micro-batch.
    """

    loss: float
    errors: int
    moments: dict[str, list[tuple[Any, Any]]]


@dataclass
class Scratch:
    """Memory that passes reuse: packed weights by layer, gradients of the lanes.

    Passes that run at the same time need one each.
    """

    packs: dict[tuple[str, bool], Any] = field(default_factory=dict)
    parts: Any = None


class Network:
    """A model on a backend, without parameters of its own: every method is handed a flat array.

    Made by :func:`build_model`.

    Parameters
    ----------
    name, width, classes, input_shape, backend, activation
        As of :func:`build_model`.

    Attributes
    ----------
    name, width, classes, input_shape, backend
        As given.
    layout, buffer_layout : Layout
        Names and places of parameters and of running statistics.
    has_batch_norm : bool
        Whether there are running statistics.
    """

    def __init__(
        self, name: str, width: int | None, classes: int, input_shape: Any, backend: Backend,
        activation: Activation,
    ) -> None:  # fmt: skip
        self.model = make_model(name, width, classes, input_shape, activation)
        self.name, self.width, self.classes = name, width, classes
        self.input_shape = (self.model.channels, self.model.height, self.model.width)
        self.backend, self.vectors = backend, Vectors(backend)
        self.operations, self.xp = backend.operations(), backend.xp
        self.layout, self.buffer_layout = self.model.layout, self.model.buffers
        self.has_batch_norm = self.buffer_layout.size > 0
        self._runner = Runner(self.xp, backend.dtype, backend.threads)
        self._scratch = Scratch()

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.layout.size

    def initial(self, seed: int) -> Any:
        """Return initial parameters, (size,), on the device, drawn from ``seed``."""
        return self.backend.array(self.layout.draw(seed, self.backend.dtype))

    def initial_buffers(self) -> Any:
        """Return running statistics before any update, (buffer size,): means 0, variances 1."""
        return self.backend.array(self.buffer_layout.draw(0, self.backend.dtype))

    def load_parameters(self, weights: Any, arrays: Mapping[str, Any], buffers: Any = None) -> None:
        """Copy named ``arrays`` of customary shape (OIHW convolutions) into the flat ``weights``.

        Running statistics go into ``buffers``, if they are given.

        Raises
        ------
        InputError
            A name is missing or unknown, or a shape differs.
        """
        arrays = dict(arrays)
        running = {k: arrays.pop(k) for k in list(arrays) if k in self.buffer_layout.slots}
        self.layout.fill(weights, {k: self.backend.array(v) for k, v in arrays.items()})
        if buffers is not None:
            self.buffer_layout.fill(
                buffers, {k: self.backend.array(v) for k, v in running.items()}, "statistics"
            )

    def named_parameters(self, weights: Any) -> dict[str, Any]:
        """Return views of the flat ``weights`` by name, in customary shapes."""
        return self.layout.named(weights)

    def images(self, images: Any) -> Any:
        """Return images (n, channels, height, width) as layers want them: channels last."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.input_shape:
            raise InputError(
                f"images have shape {tuple(images.shape)}, the network takes (n, "
                f"{', '.join(map(str, self.input_shape))})"
            )
        found = self.backend.array(images).transpose(0, 2, 3, 1)
        return self.xp.ascontiguousarray(found)

    def labels(self, labels: Any, count: int) -> Any:
        """Return checked ``labels``, which must be ``count`` classes, on the device."""
        values = self.backend.host(labels)
        if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"labels must be {count} integers, not {values.dtype}{values.shape}")
        if count and (values.min() < 0 or values.max() >= self.classes):
            raise InputError(
                f"labels lie between {values.min()} and {values.max()}, the network has "
                f"{self.classes} classes"
            )
        return self.backend.array(values, "int64")

    @single_threaded
    def gradient(
        self, weights: Any, images: Any, labels: Any, out: Any, *, buffers: Any = None,
        batch_statistics: bool = True, regularizer: Regularizer | None = None,
        micro_batch: int | None = None, masks: Masks | None = None,
        scratch: Scratch | None = None,
    ) -> Pass:  # fmt: skip
        """Write the gradient of the objective to ``out``.

        The objective is the mean loss over the images plus the regulariser.

        Parameters
        ----------
        weights : array of shape (size,)
            Not written to.
        images : array of shape (n, height, width, channels)
            As :meth:`images` returns them.
        labels : array of int, shape (n,)
            As :meth:`labels` returns them.
        out : array of shape (size,)
            Written to.
        buffers : array, optional
            Running statistics; needed unless ``batch_statistics``.
        batch_statistics : bool
            Whether batch normalisation uses the statistics of the (micro-)batch.
        regularizer : Regularizer, optional
            None adds nothing.
        micro_batch : int, optional
            Images at once; None is all. Batch normalisation then sees micro-batches.
        masks : Masks, optional
            What dropout layers drop; None drops nothing, which is also what evaluation does.
        scratch : Scratch, optional
            Of the caller, who runs several passes at once.

        Returns
        -------
        Pass
            Of the same forward pass.
        """
        n = len(images)
        rule = regularizer or Regularizer()
        scratch = self._scratch if scratch is None else scratch
        packed = self._pack(weights, True, scratch)
        parts = self._gradient_parts(n, scratch)
        step = _at_once(n, micro_batch)
        loss, errors, moments = 0.0, 0, {}  # type: ignore[var-annotated]
        for begin in range(0, n, step):
            end = min(n, begin + step)
            found, lanes = self._run(
                weights, packed, images[begin:end], labels[begin:end], parts, n, buffers,
                batch_statistics, masks=None if masks is None else masks.after(begin),
            )  # fmt: skip
            self.vectors.finish_gradient(
                parts, len(lanes), weights, rule.l1, rule.l2, begin > 0, end == n, out
            )
            loss += sum(float(value) for value, _, _ in found)
            errors += sum(int(wrong) for _, wrong, _ in found)
            for name, value in lanes[0].moments.items():
                moments.setdefault(name, []).append(value)
        return Pass(loss / n, errors, moments)

    @single_threaded
    def evaluate(
        self, weights: Any, images: Any, labels: Any, *, buffers: Any = None,
        batch_statistics: bool = False, micro_batch: int | None = EVALUATION_BATCH,
    ) -> tuple[Any, Any, Pass]:  # fmt: skip
        """Evaluate every image; parameters and statistics stay as they are.

        Parameters
        ----------
        weights, images, labels, buffers, batch_statistics, micro_batch
            As in :meth:`gradient`.

        Returns
        -------
        losses, logits : arrays of shapes (n,), (n, outputs)
            Of every image, without the regulariser.
        found : Pass
            Mean loss and errors.
        """
        n = len(images)
        step = _at_once(n, micro_batch)
        packed = self._pack(weights, False, self._scratch)
        losses: list[Any] = []
        logits: list[Any] = []
        loss, errors, moments = 0.0, 0, {}  # type: ignore[var-annotated]
        for begin in range(0, n, step):
            end = min(n, begin + step)
            found, lanes = self._run(
                weights, packed, images[begin:end], labels[begin:end], None, n, buffers,
                batch_statistics,
            )  # fmt: skip
            loss += sum(float(value) for value, _, _ in found)
            errors += sum(int(wrong) for _, wrong, _ in found)
            losses += [kept[0] for _, _, kept in found]
            logits += [kept[1] for _, _, kept in found]
            for name, value in lanes[0].moments.items():
                moments.setdefault(name, []).append(value)
        xp = self.xp
        return xp.concatenate(losses), xp.concatenate(logits), Pass(loss / n, errors, moments)

    @single_threaded
    def features(self, weights: Any, images: Any, *, buffers: Any = None) -> Any:
        """Return the last layer's input, (n, features), at ``weights``, ``images``, ``buffers``."""
        packed = self._pack(weights, False, self._scratch)
        labels = self.xp.zeros(len(images), dtype="int64")
        found = []
        for begin in range(0, len(images), EVALUATION_BATCH):
            part = slice(begin, min(len(images), begin + EVALUATION_BATCH))
            results, _ = self._run(
                weights, packed, images[part], labels[part], None, len(images), buffers, False, True
            )
            found += [kept[2] for _, _, kept in results]
        return self.xp.concatenate(found)

    def commit(self, buffers: Any, moments: Mapping[str, Sequence[tuple[Any, Any]]]) -> None:
        """Move the ``buffers`` towards the ``moments`` of passes, in place, in their order."""
        views = self.buffer_layout.stored(buffers)
        norms = {norm.name: norm for norm in self.model.norms}
        for name, values in moments.items():
            for value in values:
                norms[name].commit(views, value)

    def lanes_for(self, n: int) -> int:
        """Return the number of lanes of n images: a function of the network and n alone."""
        if self.backend.name == "cupy":
            return 1
        work = 3.0 * sum(conv.shape.flops for conv in self.model.convolutions) * n
        return max(1, min(self.backend.lanes, n, int(work / LANE_FLOPS)))

    def _run(
        self, weights: Any, packed: Any, images: Any, labels: Any, parts: Any, total: int,
        buffers: Any, batch_statistics: bool, keep_features: bool = False,
        masks: Masks | None = None,
    ) -> tuple[list[Any], list[Lane]]:  # fmt: skip
        views = self.layout.stored(weights)
        if self.has_batch_norm and buffers is None and not batch_statistics:
            raise InputError("running statistics are needed: pass buffers")
        running = None if buffers is None else self.buffer_layout.stored(buffers)
        bounds = cut(len(images), self.lanes_for(len(images)))
        lanes = [
            Lane(
                k, self.operations, views, packed, running,
                None if parts is None else self.layout.stored(parts[k]),
                len(images), batch_statistics, None if masks is None else masks.after(begin),
            )
            for k, (begin, _) in enumerate(bounds)
        ]  # fmt: skip

        def program(lane: Lane) -> Program:
            begin, end = bounds[lane.index]
            logits = yield from self.model.forward(lane, images[begin:end])
            losses, slopes = cross_entropy(self.xp, logits, labels[begin:end])
            wrong = (predictions(self.xp, logits) != labels[begin:end]).sum()
            if lane.gradients is not None:
                yield from self.model.backward(lane, slopes / slopes.dtype.type(total))
            kept = losses, logits.copy(), lane.features.copy() if keep_features else None
            return losses.sum(dtype="float64"), wrong, kept

        return self._runner.run(lanes, program), lanes

    def _pack(self, weights: Any, gradient: bool, scratch: Scratch) -> Any:
        """Convolution weights in the order the kernels read them, in memory that is reused."""
        views = self.layout.stored(weights)
        jobs = [
            (conv, back)
            for conv in self.model.convolutions
            for back in ((False, True) if gradient else (False,))
        ]

        def pack(job: tuple[Any, bool]) -> Any:
            conv, back = job
            memory = scratch.packs.get((conv.name, back)) if self.operations.compiled else None
            return self.operations.pack(conv.shape, views[conv.weight], back, memory)

        found = parallel_map(pack, jobs, self.backend.threads)
        scratch.packs |= {(c.name, b): p for (c, b), p in zip(jobs, found, strict=True)}
        return scratch.packs

    def _gradient_parts(self, n: int, scratch: Scratch) -> Any:
        count = self.lanes_for(n)
        if scratch.parts is None or len(scratch.parts) < count:
            scratch.parts = self.xp.empty((count, self.size), self.backend.dtype)
        return scratch.parts


def _at_once(n: int, micro_batch: int | None) -> int:
    if n < 1 or (micro_batch is not None and micro_batch < 1):
        raise InputError(f"no pass over {n} images, {micro_batch or 0} at once: both must be >= 1")
    return n if micro_batch is None else micro_batch


def build_model(
    name: str, width: int | None = None, classes: int = 10,
    input_shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, *,
    backend: Backend | None = None, activation: str | Activation = "relu",
) -> tuple[Network, Any, Any]:  # fmt: skip
    """Network by name, its initial parameters and its running statistics.

    Parameters
    ----------
    name : str
        For instance "resnet18_gn"; an unknown one is refused with the list of those known.
    width : int, optional
        Channels of the first stage (ResNets, VGG), widening factor (wrn28), hidden units (mlp).
    classes : int
        >= 2; two classes have one logit.
    input_shape : tuple of int
        Channels, height, width.
    seed : int
        Of the initial parameters.
    backend : Backend, optional
        Compiled kernels in float32 by default.
    activation : str or Activation
        "relu" or "softplusBETA".

    Returns
    -------
    network : Network
        Holds no parameters.
    weights, buffers : arrays of shapes (network.size,), (network.buffer_layout.size,)
        Parameters and running statistics, empty without batch normalisation.

    Raises
    ------
    InputError, MissingExtra
        As in :class:`Backend` and :func:`sam_theory.deep.registry.make_model`; or the seed is none.
    """
    checked_integer("seed", seed, 0)
    chosen = Activation.parse(activation) if isinstance(activation, str) else activation
    network = Network(name, width, classes, input_shape, backend or Backend(), chosen)
    return network, network.initial(seed), network.initial_buffers()
