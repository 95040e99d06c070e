"""``sam-theory relu``: does SAM fit a simpler function than ERM to 1-D data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.regression import Regression
    from sam_theory.relu.complexity import Entry

HELP = "train one-hidden-layer ReLU networks with ERM and SAM, and measure what they fit"
EPILOG = """\
Without --data, the published experiment: 12 points, width 100, step 5e-5 for at most 1e6 steps,
constant for ERM and decaying linearly to 0 for SAM. With --data, a CSV file with one feature and
the column --target: both are centred and divided by their standard deviation (unless --raw), the
step decays linearly for both, and its size is the inverse of the largest Hessian eigenvalue at the
initial weights.

Visible kinks: places within 1 % of the range of x are one, and a change of slope of at most 1 % of
the total variation of f' is none. Intervals: 95 %, bootstrap over the seeds; they are
too narrow for few seeds, so the verdict is "not decided" with fewer than 6.

example: sam-theory relu --rho 0.3 --seeds 20 --csv runs.csv
example: sam-theory relu --data sensor.csv --target y --seeds 10 --steps 200000"""
SHOWN = ("kinks", "all_kinks", "effective_kinks", "total_variation", "active_neurons", "path_norm",
         "sharpness", "n_sharpness")  # fmt: skip
JUDGED = ("kinks", "total_variation")
LEAST_SPREAD = 1e-150
"""Squares of smaller differences, and of ones larger than its inverse, leave the normal numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command to its parser."""
    parser.add_argument("--rho", type=float, default=0.3, metavar="R", help="SAM's radius (0.3)")
    parser.add_argument(
        "--seeds", type=int, default=20, metavar="K", help="initialisations (20); a verdict needs 6"
    )
    parser.add_argument("--data", metavar="FILE", help="CSV, NPZ or Parquet with one feature")
    parser.add_argument("--target", metavar="COL", help="column of labels (not for .npz)")
    parser.add_argument("--raw", action="store_true", help="do not rescale the data of FILE")
    parser.add_argument("--width", type=int, default=100, metavar="W", help="neurons (100)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="A", help="of initial weights")
    parser.add_argument("--m", type=int, metavar="M", help="examples per perturbation (all)")
    parser.add_argument("--unnormalized", action="store_true", help="do not normalise the ascent")
    parser.add_argument("--step-size", type=float, metavar="S", help="of both")
    parser.add_argument("--steps", type=int, default=1_000_000, metavar="N", help="at most (1e6)")
    parser.add_argument("--tol", type=float, default=1e-5, metavar="T", help="stop there (1e-5)")
    parser.add_argument("--threads", type=int, metavar="N", help="by default all cores")
    parser.add_argument("--csv", metavar="OUT", help="write one row per run as CSV")
    parser.add_argument("--json", metavar="OUT", help="write everything as JSON")


def relu(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command; returns the exit status.

    Raises
    ------
    InputError
        A flag, the data or an output cannot be used, or a run diverged.
    """
    import numpy as np

    from sam_theory import output
    from sam_theory.progress import Bar
    from sam_theory.relu import complexity

    settings = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k != "run"})
    settings.file = arguments.data or "published 1-D experiment"
    output.check_outputs(settings)
    if arguments.seeds < 2:
        raise InputError(f"--seeds must be at least 2, not {arguments.seeds}")
    if not arguments.rho > 0.0:
        raise InputError(f"--rho must be > 0, not {arguments.rho:g}")
    data = load(arguments)
    # What overflows is refused by its name when it is averaged.
    with np.errstate(all="ignore"):
        chosen, step_size = entries(arguments, data)
        with Bar("training") as bar:
            table, _ = complexity.compare(
                data, chosen, rho=arguments.rho, threads=arguments.threads, progress=bar
            )
    summary = complexity.summarize(table)
    differences = complexity.paired_differences(table, base="ERM")
    content = {
        "data": {"n": data.n, "source": data.source, "step_size": step_size},
        "summary": summary.to_dict("records"),
        "differences": differences.to_dict("records"),
        "verdicts": [complexity.sentence(differences, "SAM", name) for name in JUDGED],
        "runs": table.to_dict("records"),
    }
    text = _text(data, step_size, table, summary, differences)
    rows = [list(row) for row in table.itertuples(index=False, name=None)]
    report = output.Report(text, [str(name) for name in table.columns], rows, content)
    output.write(report, settings)
    show(report.text)
    return 0


def load(arguments: argparse.Namespace) -> Regression:
    """Return the data that the flags name, rescaled unless they are to be left as they are."""
    import numpy as np

    from sam_theory.regression import Regression
    from sam_theory.relu.published import published_data

    if arguments.data is None:
        for flag, given in (("--target", arguments.target is not None), ("--raw", arguments.raw)):
            if given:
                raise InputError(f"{flag} is for a file: give --data FILE")
        return published_data()
    data = Regression.from_file(arguments.data, arguments.target)
    if data.d != 1:
        raise InputError(f"{arguments.data}: {data.d} features, but the command takes one")
    x, y = np.asarray(data.X)[:, 0], data.y
    for name, values in (("the feature", x), ("the target", y)):
        with np.errstate(over="ignore"):
            spread = float(np.ptp(values))
        if spread == 0.0:
            raise InputError(f"{arguments.data}: {name} is constant")
        if not arguments.raw and not LEAST_SPREAD <= spread <= 1.0 / LEAST_SPREAD:
            raise InputError(
                f"{arguments.data}: {name} spans {spread:.3g}, too "
                f"{'little' if spread < 1.0 else 'much'} to be rescaled: give it in other units"
            )
    if arguments.raw:
        return Regression(x[:, None], y, source=data.source)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return Regression(x[:, None], y, source=data.source)


def entries(arguments: argparse.Namespace, data: Regression) -> tuple[list[Entry], float]:
    """Return the runs that the flags describe, and their step size."""
    from sam_theory.algorithms import Algorithm
    from sam_theory.relu import published
    from sam_theory.relu.complexity import Entry
    from sam_theory.relu.curvature import measure_curvature
    from sam_theory.relu.network import random_network
    from sam_theory.relu.plan import Run

    starts = [
        random_network(arguments.width, 1, seed=seed, scale=arguments.scale)
        for seed in range(arguments.seeds)
    ]
    step_size = arguments.step_size
    if step_size is None:
        step_size = published.STEP_SIZE
        if arguments.data is not None:
            step_size = 1.0 / max(measure_curvature(start, data).largest for start in starts)
    sam = Algorithm(arguments.rho, arguments.m, normalized=not arguments.unnormalized)
    constant = arguments.data is None
    return [
        Entry(
            name,
            seed,
            Run(
                start,
                rule,
                step_size,
                arguments.steps,
                schedule="constant" if constant and name == "ERM" else "linear",
                tol=arguments.tol,
                tol_at="perturbed",
            ),
        )
        for name, rule in (("ERM", Algorithm()), ("SAM", sam))
        for seed, start in enumerate(starts)
    ], step_size


def _text(
    data: Regression,
    step_size: float,
    table: pd.DataFrame,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
) -> str:
    from sam_theory.relu.complexity import sentence

    sam = table[table["name"] == "SAM"].iloc[0]
    lines = [
        f"{data.source}: n = {data.n}, {table['seed'].nunique()} seeds, step size {step_size:.3g}",
        f"SAM is {sam['algorithm']}, rho = {sam['rho']:g}",
    ]
    for name, part in table.groupby("name", sort=False):
        counts = part["status"].value_counts()
        ends = ", ".join(f"{count} {status}" for status, count in counts.items())
        lines.append(f"{name}: {ends}; objective at most {part['objective'].max():.3g}")
    cells = [["mean [95 % interval]", "ERM", "SAM", "SAM / ERM"]]
    for measure in SHOWN:
        cells.append([measure.replace("_", " ")])
        for name in ("ERM", "SAM"):
            row = summary[(summary["name"] == name) & (summary["measure"] == measure)].iloc[0]
            cells[-1].append(f"{row['mean']:.4g} [{row['low']:.4g}, {row['high']:.4g}]")
        row = differences[differences["measure"] == measure].iloc[0]
        cells[-1].append(f"{row['ratio']:.3g} [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}]")
    widths = [max(len(row[j]) for row in cells) for j in range(4)]
    lines += ["", *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
                    for row in cells), ""]  # fmt: skip
    return "\n".join([*lines, *(sentence(differences, "SAM", name) for name in JUDGED)])


COMMANDS = (Command("relu", HELP, EPILOG, add_arguments, relu),)
