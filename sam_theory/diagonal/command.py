"""``sam-theory bias | simulate | check``: diagonal linear networks on a user's own data."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

if TYPE_CHECKING:
    from sam_theory.algorithms import Algorithm
    from sam_theory.diagonal.descent import Descent
    from sam_theory.diagonal.limit import ImplicitBias
    from sam_theory.output import Report
    from sam_theory.regression import Regression

KINDS = ("gd", "sgd", "n-sam", "m-sam", "1-sam")
_EXAMPLES = {
    "bias": "sam-theory bias data.csv --target y --alpha 0.1 --algorithm 1-sam --rho 0.1",
    "simulate": "sam-theory simulate data.csv --target y --alpha 0.1 --algorithm n-sam --rho 0.2 "
    "--step-size 0.05 --steps 20000",
    "check": "sam-theory check data.csv --target y --alpha 0.1 --algorithm m-sam --m 5 --rho 0.1 "
    "--step-size 0.01 --steps 100000 --csv comparison.csv",
}
_HELP = {
    "bias": "compute the solution that training selects, from theory alone, with a certificate",
    "simulate": "train with finite steps and print the losses",
    "check": "theory beside simulation beside the finite-step identity, coordinate by coordinate",
}
_MAGNITUDES = (1e-100, 1e100)
_RESCALE = "rescale the columns, the target or alpha"


def add_arguments(command: argparse.ArgumentParser, *, finite_steps: bool) -> None:
    """Add the arguments of a command to its parser."""
    command.add_argument("file", metavar="FILE", help="data: .csv, .npz or .parquet")
    command.add_argument("--target", metavar="COL", help="column of labels (not for .npz)")
    command.add_argument(
        "--alpha", type=float, required=True, metavar="A", help="initial scale: u(0) = A, v(0) = 0"
    )
    command.add_argument("--algorithm", required=True, choices=KINDS, metavar="|".join(KINDS))
    command.add_argument("--rho", type=float, metavar="R", help="perturbation radius (SAM)")
    command.add_argument("--m", type=int, metavar="M", help="examples per perturbation (m-sam)")
    command.add_argument("--batch-size", type=int, metavar="B", help="examples per step")
    command.add_argument("--normalized", action="store_true", help="normalise the perturbation")
    command.add_argument("--center", action="store_true", help="centre the columns and the target")
    command.add_argument(
        "--standardize", action="store_true", help="centre, and scale the columns to unit variance"
    )
    command.add_argument(
        "--test-fraction", type=float, default=0.0, metavar="F", help="share of rows held out"
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="K", help="of split and minibatches"
    )
    if finite_steps:
        command.add_argument("--step-size", type=float, required=True, metavar="S")
        command.add_argument("--steps", type=int, required=True, metavar="N")
    command.add_argument("--json", metavar="OUT", help="write everything as JSON")
    command.add_argument("--csv", metavar="OUT", help="write the table as CSV")


def run(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command; returns the exit status.

    Raises
    ------
    InputError
        A flag, the data or an output file cannot be used, or the run diverged.
    """
    import numpy as np

    from sam_theory import output

    output.check_outputs(arguments)
    try:
        with np.errstate(all="ignore"):
            report = _report(arguments)
    except np.linalg.LinAlgError as error:
        raise InputError(f"out of the range of double precision ({error}): {_RESCALE}") from None
    output.write(report, arguments)
    show(report.text)
    return 0


def _report(arguments: argparse.Namespace) -> Report:
    from sam_theory.diagonal import reports
    from sam_theory.diagonal.coordinates import initial_scale
    from sam_theory.diagonal.steps.plan import MOST_STEPS

    algorithm = chosen_algorithm(arguments)
    if arguments.command != "bias" and arguments.steps > MOST_STEPS:
        raise InputError(f"--steps must be at most {MOST_STEPS}, not {arguments.steps}")
    data = load(arguments)
    initial_scale(arguments.alpha, data.d)
    algorithm.resolve(data.n)
    limit = run = None
    if arguments.command != "simulate":
        limit = _theory(data, arguments.alpha, algorithm)
    if arguments.command != "bias":
        run = _simulation(data, arguments, algorithm)
    if limit is not None and run is not None:
        return reports.comparison(data, limit, run)
    if limit is not None:
        return reports.limit_report(data, limit)
    assert run is not None
    return reports.run_report(run)


def chosen_algorithm(arguments: argparse.Namespace) -> Algorithm:
    """Return the Algorithm that the flags describe; InputError names a flag that does not fit."""
    from sam_theory.algorithms import Algorithm

    kind, rho = arguments.algorithm, arguments.rho
    sam = kind in ("n-sam", "m-sam", "1-sam")
    if sam and rho is None:
        raise InputError(f"--rho is required for --algorithm {kind}")
    if not sam:
        for flag, value in (("--rho", rho), ("--m", arguments.m)):
            if value is not None:
                raise InputError(f"{flag} does not apply to --algorithm {kind}")
        if arguments.normalized:
            raise InputError(f"--normalized does not apply to --algorithm {kind}")
    if kind == "gd" and arguments.batch_size is not None:
        raise InputError("--batch-size does not apply to --algorithm gd (use sgd)")
    if kind == "m-sam" and arguments.m is None:
        raise InputError("--m is required for --algorithm m-sam")
    if kind in ("n-sam", "1-sam") and arguments.m is not None:
        raise InputError(f"--m does not apply to --algorithm {kind}")
    batch = arguments.batch_size
    if kind == "sgd" and batch is None:
        batch = 1
    m = 1 if kind == "1-sam" else arguments.m
    return Algorithm(
        rho=0.0 if rho is None else rho, m=m, batch_size=batch, normalized=arguments.normalized
    )


def load(arguments: argparse.Namespace) -> Regression:
    """Read, split and preprocess the data that the flags name."""
    from sam_theory.regression import Regression

    data = Regression.from_file(arguments.file, arguments.target)
    if arguments.test_fraction != 0.0:
        data = data.split(arguments.test_fraction, seed=arguments.seed)
    if arguments.center or arguments.standardize:
        data = data.standardize(center=True, scale=arguments.standardize, center_target=True)
    _check_magnitude(data)
    return data


def _check_magnitude(data: Regression) -> None:
    import numpy as np

    low, high = _MAGNITUDES
    for name, values in (("X", data.X), ("y", data.y)):
        largest = float(np.max(np.abs(values)))
        if largest and not low <= largest <= high:
            raise InputError(
                f"{data.source}: the largest entry of {name} is {largest:.3g}, "
                f"outside {low:g} .. {high:g}: {_RESCALE}"
            )


def _theory(data: Regression, alpha: float, algorithm: Algorithm) -> ImplicitBias:
    from sam_theory.diagonal.flow import implicit_bias
    from sam_theory.progress import Bar

    with Bar("theory") as bar:
        return implicit_bias(data, alpha=alpha, algorithm=algorithm, progress=bar)


def _simulation(data: Regression, arguments: argparse.Namespace, algorithm: Algorithm) -> Descent:
    from sam_theory.diagonal.descent import descend
    from sam_theory.progress import Bar

    with Bar("simulation") as bar:
        run = descend(
            data,
            alpha=arguments.alpha,
            algorithm=algorithm,
            step_size=arguments.step_size,
            steps=arguments.steps,
            record=max(1, arguments.steps // 10),
            seed=arguments.seed,
            progress=bar,
        )
    if run.status == "diverged":
        raise InputError(
            f"the run diverged at step {run.diverged_at} with --step-size {arguments.step_size:g}"
        )
    return run


COMMANDS = tuple(
    Command(
        name,
        text,
        f"example: {_EXAMPLES[name]}",
        partial(add_arguments, finite_steps=name != "bias"),
        run,
    )
    for name, text in _HELP.items()
)
