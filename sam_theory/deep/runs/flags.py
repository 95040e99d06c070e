"""The flags of ``sam-theory train`` as data: names, published spellings, help; read from TOML too.

The first name is the one that help shows. Every name is also accepted with underscores, and in a
TOML file without the hyphens in front.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sam_theory.errors import InputError

SPELLINGS = {"noise_type": {"sym": "symmetric", "asym": "asymmetric"}}


class Flag(NamedTuple):
    """One flag.

    Attributes
    ----------
    field : str
        Of `TrainSettings`; "acc_steps" is turned into m.
    names : tuple of str
        The first is shown in the help.
    kind : type or constant
        int, float, str, or the value that the flag stands for.
    help : str
    metavar : str
    """

    field: str
    names: tuple[str, ...]
    kind: Any
    help: str
    metavar: str | None = None


GROUPS: dict[str, tuple[Flag, ...]] = {
    "data": (
        Flag("dataset", ("--dataset",), str, "digits (default), cifar10, cifar100, svhn, mnist, "
             "fashion_mnist, mnist_subset, idx, npz", "NAME"),
        Flag("data_dir", ("--data-dir",), str, "folder of its files", "FOLDER"),
        Flag("classes", ("--classes",), "pair", "keep two classes", "A,B"),
        Flag("grey", ("--grey",), True, "in one channel"),
        Flag("fraction", ("--fraction", "--frac-train"), float, "of the training set (1)", "F"),
        Flag("validation", ("--validation",), float, "share held out (0.1)", "F"),
        Flag("label_noise", ("--label-noise", "--p-label-noise"), float,
             "share of training labels made wrong (0)", "P"),
        Flag("noise_type", ("--noise-type",), str, "sym (default) or asym", "TYPE"),
        Flag("augment", ("--no-augmentation", "--no-data-augm"), False, "images as they are"),
        Flag("padding", ("--padding",), int, "of the random crop (an eighth of the image)", "K"),
        Flag("flip", ("--no-flip",), False, "do not mirror images"),
    ),
    "model": (
        Flag("model", ("--model",), str, "resnet_tiny_gn (default), resnet18_gn, resnet34_gn, "
             "resnet18, resnet34, wrn28, vgg16, mlp, ...", "NAME"),
        Flag("width", ("--model-width", "--width"), int, "channels of the first stage (64)", "W"),
        Flag("activation", ("--activation",), str, "relu (default) or softplusBETA", "NAME"),
        Flag("start_from", ("--start-from", "--model-path"), str,
             "fine-tune the weights of a checkpoint", "CHECKPOINT"),
    ),
    "optimisation": (
        Flag("epochs", ("--epochs",), int, "passes over the training set (100)", "E"),
        Flag("batch_size", ("--batch-size",), int, "examples per step (128)", "B"),
        Flag("learning_rate", ("--lr-max", "--learning-rate"), float, "largest rate (0.1)", "LR"),
        Flag("schedule", ("--lr-schedule", "--schedule"), str, "constant, piecewise (default), "
             "piecewise_02epochs, ..03.., ..04.., cyclic, cosine", "NAME"),
        Flag("momentum", ("--momentum",), float, "0.9 by default", "M"),
        Flag("l1", ("--l1-reg", "--l1"), float, "l1 ||w||_1 in the objective (0)", "L"),
        Flag("l2", ("--l2-reg", "--l2"), float, "(l2/2) ||w||^2 in the objective (0)", "L"),
        Flag("dropout", ("--dropout", "--droprate"), float,
             "rate, between the convolutions of pre-activation blocks (0)", "P"),
        Flag("average", ("--average", "--swa-tau"), float,
             "of averaged weights (rises to 0.999)", "TAU"),
        Flag("seed", ("--seed",), int, "of everything random (0)", "K"),
    ),
    "SAM": (
        Flag("rho", ("--sam-rho", "--rho"), float, "radius; 0 (default) is ERM", "R"),
        Flag("m", ("--m",), int, "examples per perturbation (the whole batch)", "M"),
        Flag("acc_steps", ("--acc-steps",), int, "the same by the number of blocks: B/m", "K"),
        Flag("ascent_steps", ("--sam-iters", "--ascent-steps"), int, "ascent steps (1)", "K"),
        Flag("sam_start", ("--sam-start", "--sam-epoch-frac-start"), float,
             "fraction of training after which SAM is on (0)", "F"),
        Flag("sam_end", ("--sam-end", "--sam-epoch-frac-end"), float, "and off again (1)", "F"),
        Flag("normalized", ("--unnormalized", "--sam-no-grad-norm"), False,
             "do not divide ascent steps by the gradient's norm"),
        Flag("project", ("--project",), True, "and yet keep them to the ball of radius rho"),
        Flag("ascent_step", ("--ascent-step", "--sam-step-size-mult"), float,
             "ascent step as a multiple of rho (1)", "S"),
    ),
    "variants": (
        Flag("direction", ("--direction",), str, "ascent (default), random, previous", "NAME"),
        Flag("direction", ("--sam-use-prev-batch",), ("previous",), ""),
        Flag("rho_per_rate", ("--rho-per-rate", "--sam-lr-mult"), float,
             "rho is this multiple of the learning rate", "C"),
        Flag("only_step_size", ("--only-step-size", "--only-sam-step-size"), True,
             "direction of SGD, length of SAM"),
        Flag("pattern", ("--pattern",), str, "perturb only parameters with such names", "NAME"),
        Flag("statistics", ("--statistics",), str, "batch norm: at_weights, both, frozen", "HOW"),
        Flag("statistics", ("--freeze-bn-stats",), ("frozen",), ""),
        Flag("add_noise", ("--add-noise", "--add-weight-perturb-scale"), float,
             "noise on the weights", "S"),
        Flag("multiply_noise", ("--multiply-noise", "--mul-weight-perturb-scale"), float,
             "the same, relative", "S"),
        Flag("noise", ("--noise", "--weight-perturb-distr"), str, "gauss or uniform", "NAME"),
        Flag("gradient_noise", ("--gradient-noise", "--grad-gauss-std"), float,
             "noise on the step's gradient", "S"),
    ),
    "machine": (
        Flag("device", ("--device",), str, "cpu (default) or gpu", "NAME"),
        Flag("precision", ("--precision",), str, "float32 (default) or float64", "NAME"),
        Flag("threads", ("--threads",), int, "all cores by default; changes no bit", "N"),
        Flag("micro_batch", ("--micro-batch",), int, "examples in memory at once", "N"),
    ),
    "evaluation": (
        Flag("evaluate_every", ("--evaluate-every",), int, "epochs between evaluations (5)", "K"),
        Flag("train_examples", ("--train-examples",), int, "of the training set (5000)", "N"),
        Flag("sharpness", ("--sharpness",), True, "measure it at 0.01 and rho as well"),
        Flag("sharpness_examples", ("--sharpness-examples",), int, "for it (512)", "N"),
        Flag("checkpoint_every", ("--checkpoint-every",), int, "iterations (an epoch)", "K"),
    ),
}  # fmt: skip


def plain(name: str) -> str:
    """Return a flag or setting as one word with underscores."""
    return name.removeprefix("--").replace("-", "_")


def fields_of(values: Mapping[str, Any], fields: Iterable[str], where: str) -> dict[str, Any]:
    """Turn names of flags into those of fields; "acc_steps" stays.

    Raises
    ------
    InputError
        An unknown name, or a field named twice.
    """
    valued = [f for group in GROUPS.values() for f in group if isinstance(f.kind, type)]
    names = {plain(name): flag.field for flag in valued for name in flag.names}
    names |= {field: field for field in fields}
    found: dict[str, Any] = {}
    for given, value in values.items():
        field = names.get(plain(given))
        if field is None:
            close = difflib.get_close_matches(plain(given), names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"{where}: unknown setting {given!r}{hint}")
        if field in found:
            raise InputError(f"{where}: {field} is given twice")
        spelled = SPELLINGS.get(field, {})
        found[field] = spelled.get(value, value) if isinstance(value, str) else value
    return found


def with_m(found: Mapping[str, Any], where: str, batch_size: int) -> dict[str, Any]:
    """Turn acc_steps into m; batch_size is the default.

    Raises
    ------
    InputError
        Both are given, or the blocks do not divide the batch.
    """
    values = dict(found)
    if "acc_steps" not in values:
        return values
    blocks, size = values.pop("acc_steps"), values.get("batch_size", batch_size)
    if values.get("m") is not None:
        raise InputError(f"{where}: m and acc_steps exclude each other")
    if not isinstance(blocks, int) or blocks < 1 or not isinstance(size, int) or size % blocks:
        raise InputError(f"{where}: acc_steps = {blocks!r} does not divide the batch of {size}")
    return values | {"m": size // blocks}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file of settings; InputError if it cannot be read."""
    import tomllib

    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({' '.join(str(error).split())})") from None
