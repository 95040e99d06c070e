"""``sam-theory sharpness`` and ``sam-theory segment``: what is asked of trained networks."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

if TYPE_CHECKING:
    from sam_theory.deep.checkpoints import Checkpoint
    from sam_theory.deep.data import ImageSet
    from sam_theory.deep.runs.experiment import Experiment

SHARPNESS = "measure m-sharpness, curvature and feature rank of a trained network"
SHARPNESS_EPILOG = """\
CHECKPOINT is a file of a run's folder: last, best, averaged_last or averaged_best. Model, data and
splits are those of its run. The loss is that of the labels as trained on, without augmentation and
regulariser, in evaluation mode; the largest loss on the way counts, so no value is negative.

example: sam-theory sharpness run/checkpoints/last.npz --rho 0.1 --m 8"""
SEGMENT = "loss and error along the line through two networks, and their distance"
SEGMENT_EPILOG = """\
w(s) = (1 - s) w_A + s w_B. Data and splits are those of A's run; statistics of batch normalisation
are estimated anew at every point, unless both runs froze them.

example: sam-theory segment erm/checkpoints/last.npz sam/checkpoints/last.npz --csv line.csv"""
_SEGMENT_STATISTICS = 5000
_FARTHEST = 1e6


def add_sharpness(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``sharpness``."""
    parser.add_argument("file", metavar="CHECKPOINT")
    what = parser.add_argument_group("sharpness")
    what.add_argument("--rho", type=float, default=0.1, metavar="R", help="radius (0.1)")
    what.add_argument("--m", type=int, default=128, metavar="M", help="examples per batch (128)")
    what.add_argument("--steps", type=int, default=20, metavar="K", help="ascent steps (20)")
    what.add_argument(
        "--step-size", type=float, default=0.1, metavar="S", help="as a multiple of rho (0.1)"
    )
    what.add_argument("--restarts", type=int, default=1, metavar="K", help="random starts (1)")
    what.add_argument("--random-start", action="store_true", help="start on the sphere")
    what.add_argument("--unnormalized", action="store_true", help="steps rho S grad L")
    what.add_argument("--pattern", metavar="NAME", help="perturb parameters with such names")
    what.add_argument(
        "--last-layer-scale", type=float, default=1.0, metavar="C", help="multiply it first (1)"
    )
    what.add_argument("--seed", type=int, default=0, metavar="K", help="of random starts")
    also = parser.add_argument_group("also")
    also.add_argument("--hessian", type=int, metavar="K", help="largest eigenvalue, K products")
    also.add_argument("--rank", action="store_true", help="rank of the features, 99 %% variance")
    _add_data(parser, 256)


def add_segment(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``segment``."""
    parser.add_argument("file", metavar="A")
    parser.add_argument("other", metavar="B")
    line = parser.add_argument_group("line")
    line.add_argument("--points", type=int, default=61, metavar="K", help="how many (61)")
    line.add_argument("--first", type=float, default=-1.0, metavar="S", help="from s = S (-1)")
    line.add_argument("--last", type=float, default=2.0, metavar="S", help="to s = S (2)")
    line.add_argument("--distance-only", action="store_true", help="no losses")
    _add_data(parser, 1024)


def _add_data(parser: argparse.ArgumentParser, examples: int) -> None:
    data = parser.add_argument_group("data and output")
    data.add_argument(
        "--examples", type=int, default=examples, metavar="N",
        help=f"of the set, evenly spaced ({examples})",
    )  # fmt: skip
    if examples == 256:
        data.add_argument("--test", action="store_true", help="on the test set")
    data.add_argument("--data-dir", metavar="FOLDER", help="where the data are now")
    data.add_argument(
        "--device", choices=("cpu", "gpu"), help="where to compute (where it was trained)"
    )
    data.add_argument("--csv", metavar="OUT", help="write the table as CSV")
    data.add_argument("--json", metavar="OUT", help="write everything as JSON")


def sharpness(arguments: argparse.Namespace, show: Show) -> int:
    """Measure; returns the exit status."""
    from sam_theory.deep.runs.experiment import evenly_spaced
    from sam_theory.deep.sharpness import m_sharpness

    _check(arguments)
    experiment, checkpoint = _restored(arguments)
    network = experiment.network
    data = experiment.splits.test if arguments.test else experiment.splits.train
    m = arguments.m
    count = min(arguments.examples, data.n)
    if m < 1 or count < m:
        raise InputError(f"--m must be between 1 and the {count} examples, not {m}")
    chosen = evenly_spaced(data, count - count % m)
    images, labels = _inputs(experiment, chosen)
    found = m_sharpness(
        network, experiment.weights, experiment.buffers, images, labels, rho=arguments.rho, m=m,
        steps=arguments.steps, step_size=arguments.step_size, restarts=arguments.restarts,
        normalized=not arguments.unnormalized, random_start=arguments.random_start,
        pattern=arguments.pattern, last_layer_scale=arguments.last_layer_scale,
        seed=arguments.seed,
    )  # fmt: skip
    values: dict[str, Any] = {
        "examples": chosen.n, "m": m, "rho": arguments.rho, "loss": float(found.loss.mean()),
        "error": float(found.error.mean()), "sharpness": found.value,
        "error_rise": found.error_rise, "largest_error_rise": found.largest_error_rise,
        "gradient_norm_there": float(found.gradient_norm_there.mean()),
    }  # fmt: skip
    lines = [
        f"{arguments.file}: {network.name}, {network.size} parameters, iteration "
        f"{checkpoint.position['iteration']}",
        f"m-sharpness {found.value:.6g}   (m = {m}, radius {arguments.rho:g}, {chosen.n} "
        f"{'test' if arguments.test else 'training'} examples, loss {values['loss']:.4g})",
        f"error there {100 * found.error_rise:+.2f} %, largest on the way "
        f"{100 * found.largest_error_rise:+.2f} %; gradient norm there "
        f"{values['gradient_norm_there']:.4g}",
    ]
    lines += _more(arguments, experiment, images, labels, values)
    header = ["batch", "loss", "error", "max_loss", "error_there", "gradient_norm_there",
              "max_error"]  # fmt: skip
    rows = [
        [k, *(float(getattr(found, name)[k]) for name in header[1:])]
        for k in range(len(found.loss))
    ]
    _finish(arguments, show, "\n".join(lines), header, rows, values)
    return 0


def _more(
    arguments: argparse.Namespace, experiment: Experiment, images: Any, labels: Any,
    values: dict[str, Any],
) -> list[str]:  # fmt: skip
    """Measure curvature and rank, if asked for."""
    import numpy as np

    from sam_theory.deep.features import feature_rank
    from sam_theory.deep.hessian import hessian_product, top_eigenvalue
    from sam_theory.deep.sharpness import scaled_last_layer

    network, lines = experiment.network, []
    weights = scaled_last_layer(network, experiment.weights, arguments.last_layer_scale)
    at = network, weights, experiment.buffers, images
    if arguments.hessian is not None:
        rng = np.random.default_rng(arguments.seed)
        start = network.backend.array(rng.standard_normal(network.size))
        product = hessian_product(*at, labels, micro_batch=256)
        found = top_eigenvalue(product, start, max_steps=arguments.hessian)
        values |= {"hessian_top": found.value, "hessian_residual": found.residual}
        state = "converged" if found.converged else "not converged"
        lines.append(
            f"largest Hessian eigenvalue {found.value:.6g}   (residual {found.residual:.2g}, "
            f"{found.products} products, {state})"
        )
    if arguments.rank:
        values["feature_rank"] = feature_rank(*at)
        lines.append(f"rank of the features {values['feature_rank']}   (99 % of the variance)")
    return lines


def segment(arguments: argparse.Namespace, show: Show) -> int:
    """Evaluate the line; returns the exit status."""
    import numpy as np

    from sam_theory.deep import checkpoints
    from sam_theory.deep.runs.experiment import evenly_spaced, restore_network
    from sam_theory.deep.segment import loss_along_segment

    _check(arguments)
    if arguments.points < 2 or not arguments.first < arguments.last:
        raise InputError("--points must be at least 2, and --first below --last")
    if not max(abs(arguments.first), abs(arguments.last)) <= _FARTHEST:
        raise InputError(f"--first and --last must be within +-{_FARTHEST:g}")
    experiment, own = _restored(arguments)
    network, splits = experiment.network, experiment.splits
    there = checkpoints.read(Path(arguments.other))
    other, statistics = restore_network(network, there, arguments.other)
    _check_alike(experiment, there, statistics, f"checkpoint {arguments.other}")
    values, line = _distances(experiment, own, other)
    lines = [line]
    header, rows = ["s", "data", "loss", "error"], []
    if not arguments.distance_only:
        places = np.linspace(arguments.first, arguments.last, arguments.points)
        sets = {
            name: _inputs(experiment, evenly_spaced(data, arguments.examples))
            for name, data in (("train", splits.train), ("test", splits.test))
        }
        count = max(1, _SEGMENT_STATISTICS // experiment.settings.batch_size)

        def batches() -> Any:
            for k, images in enumerate(experiment.training_inputs(0)):
                if k == count:
                    return
                yield images

        found = loss_along_segment(
            network, experiment.weights, other, sets,
            positions=[float(round(s, 12)) for s in places], batches=batches,
            buffers=experiment.buffers if experiment.settings.statistics == "frozen" else None,
        )  # fmt: skip
        for name in sets:
            columns = zip(found.positions, found.loss[name], found.error[name], strict=True)
            rows += [[float(s), name, float(a), float(b)] for s, a, b in columns]
            least = int(np.argmin(found.error[name]))
            lines.append(
                f"{name:<5} least error {100 * found.error[name][least]:.2f} % at s = "
                f"{found.positions[least]:g}; largest loss on the way "
                f"{found.loss[name].max():.4g} at s = "
                f"{found.positions[int(np.argmax(found.loss[name]))]:g}"
            )
    _finish(arguments, show, "\n".join(lines), header, rows, values)
    return 0


def _distances(experiment: Experiment, own: Checkpoint, other: Any) -> tuple[dict[str, float], str]:
    """Distances by name and in words; a fine-tuned A did not begin at the weights of its seed."""
    from sam_theory.deep.segment import distance

    network, weights = experiment.network, experiment.weights
    values = {"distance": distance(network, weights, other)}
    line = f"||w_B - w_A|| = {values['distance']:.6g}"
    if own.settings["train"].get("start_from") is not None:
        return values, line
    initial = network.initial(experiment.settings.seed)
    values["from_initialisation"] = distance(network, weights, initial)
    values["other_from_initialisation"] = distance(network, other, initial)
    return values, (
        f"{line}; from A's initialisation: A {values['from_initialisation']:.6g}, B "
        f"{values['other_from_initialisation']:.6g}"
    )


def _check_alike(experiment: Experiment, other: Checkpoint, statistics: Any, where: str) -> None:
    """Refuse a network that is another function of its weights than that of the experiment."""
    import numpy as np

    settings, network = experiment.settings, experiment.network
    theirs = other.settings.get("train")
    if not isinstance(theirs, dict):
        raise InputError(f"{where}: not of a training run")
    activation = theirs.get("activation")
    if activation != settings.activation:
        raise InputError(
            f"{where}: its activation is {activation}, that of A {settings.activation}"
        )
    if not network.has_batch_norm:
        return
    frozen = settings.statistics == "frozen"
    if (theirs.get("statistics") == "frozen") != frozen:
        raise InputError(f"{where}: only one of the two runs froze the statistics")
    host = network.backend.host
    if frozen and not np.array_equal(host(statistics), host(experiment.buffers)):
        raise InputError(f"{where}: its frozen statistics are not those of A")


def _restored(arguments: argparse.Namespace) -> tuple[Experiment, Any]:
    from sam_theory.deep.runs.experiment import from_checkpoint

    return from_checkpoint(arguments.file, data_dir=arguments.data_dir, device=arguments.device)


def _inputs(experiment: Experiment, data: ImageSet) -> tuple[Any, Any]:
    network = experiment.network
    images = network.images(data.floats(dtype=network.backend.dtype))
    return images, network.labels(data.labels, data.n)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse outputs that cannot or must not be written, before anything is computed."""
    from sam_theory.output import check_outputs, check_writable

    if arguments.examples < 1:
        raise InputError(f"--examples must be at least 1, not {arguments.examples}")
    check_outputs(arguments)
    other = getattr(arguments, "other", None)
    for flag in ("csv", "json"):
        path = getattr(arguments, flag)
        if path is not None and other is not None:
            if os.path.realpath(path) == os.path.realpath(other):
                raise InputError(f"--{flag} {path}: would overwrite the checkpoint")
            check_writable(f"--{flag} {path}", Path(os.path.realpath(path)))


def _finish(
    arguments: argparse.Namespace, show: Show, text: str, header: list[str], rows: list[Any],
    values: dict[str, Any],
) -> None:  # fmt: skip
    from sam_theory import output

    plain = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k != "run"})
    table = [dict(zip(header, row, strict=True)) for row in rows]
    report = output.Report(text, header, rows, {"values": values, "table": table})
    output.write(report, plain)
    show(report.text)


COMMANDS = (
    Command("sharpness", SHARPNESS, SHARPNESS_EPILOG, add_sharpness, sharpness),
    Command("segment", SEGMENT, SEGMENT_EPILOG, add_segment, segment),
)
