"""The command ``sam-theory``: limits by theory, runs by simulation, both side by side, sweeps."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from sam_theory import __version__
from sam_theory.convergence import command as rates
from sam_theory.errors import InputError, MissingExtra
from sam_theory.relu import command as relu
from sam_theory.sweeps import command as sweeps

if TYPE_CHECKING:
    from sam_theory.algorithms import Algorithm
    from sam_theory.diagonal.descent import Descent
    from sam_theory.diagonal.limit import ImplicitBias
    from sam_theory.output import Report
    from sam_theory.regression import Regression

COMMANDS = (*sweeps.COMMANDS, *rates.COMMANDS, *relu.COMMANDS)
"""The subcommands that other rooms bring."""
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


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Also -1e-9 and -inf are values: the range is checked, not the spelling.
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = _Parser(prog="sam-theory", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"sam-theory {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _HELP.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: {_EXAMPLES[name]}",
            allow_abbrev=False,
        )
        _add_arguments(command, finite_steps=name != "bias")
    for extra in COMMANDS:
        command = commands.add_parser(
            extra.name,
            help=extra.help,
            description=extra.help,
            epilog=extra.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        extra.add_arguments(command)
        command.set_defaults(run=extra.run)
    return parser


def _add_arguments(command: argparse.ArgumentParser, finite_steps: bool) -> None:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns the exit status: 0, 1 if cells of a sweep failed, 2 for an error, 130 when interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        if hasattr(arguments, "run"):
            return int(arguments.run(arguments, _show))
        from sam_theory.output import check_outputs

        check_outputs(arguments)
        return _run(arguments)
    except (InputError, MissingExtra, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        print(f"sam-theory: error: {shown}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sam-theory: interrupted", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from sam_theory import output

    try:
        with np.errstate(all="ignore"):
            report = _report(arguments)
    except np.linalg.LinAlgError as error:
        raise InputError(f"out of the range of double precision ({error}): {_RESCALE}") from None
    output.write(report, arguments)
    _show(report.text)
    return 0


def _report(arguments: argparse.Namespace) -> Report:
    from sam_theory import output
    from sam_theory.diagonal.descent_plan import MOST_STEPS
    from sam_theory.diagonal.limit import initial_scale

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
        return output.comparison(data, limit, run)
    if limit is not None:
        return output.limit_report(data, limit)
    assert run is not None
    return output.run_report(run)


def _show(text: str) -> None:
    # A column's name may hold letters that the terminal's encoding lacks.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        # What stays in the buffer would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


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

    with _Bar("theory") as bar:
        return implicit_bias(data, alpha=alpha, algorithm=algorithm, progress=bar)


def _simulation(data: Regression, arguments: argparse.Namespace, algorithm: Algorithm) -> Descent:
    from sam_theory.diagonal.descent import descend

    with _Bar("simulation") as bar:
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


class _Bar:
    """Progress bar on stderr, if that is a terminal, that appears after two seconds."""

    def __init__(self, name: str) -> None:
        from tqdm import tqdm

        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
        # disable=None: silent unless stderr is a terminal.
        self.bar = tqdm(total=1.0, desc=name, delay=2.0, bar_format=form, leave=False, disable=None)

    def __call__(self, share: float) -> None:
        self.bar.update(max(0.0, share - self.bar.n))

    def __enter__(self) -> Callable[[float], None]:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()


if __name__ == "__main__":
    sys.exit(main())
