"""``sam-theory rates``: theorems verified on runs, and a user's claimed constants tested."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.convergence.problems import Problem

HELP = "verify convergence theorems: both sides of each bound on runs, with confidence and verdict"
EPILOG = """\
Without --theorem every theorem that applies is verified, without --problem and --file on every
built-in problem. FILE.py defines `problem`, by your own objective, gradient and claimed constants:

  from sam_theory import convergence as rates
  problem = rates.claim(objective, gradient, start=w0, beta=2.0, mu=0.1, minimum=0.0)

Its constants are tested by a search first; what is not refuted is not thereby proved.

exit status: 0, 1 if a theorem is violated or a constant refuted, 2 for an error.
examples: sam-theory rates --theorem T2 --problem logistic --batch-size 4
          sam-theory rates --file my_problem.py --csv rates.csv --plot rates.pdf"""
_PLOTS = (".pdf", ".png", ".svg")
_SHOWN = ("theorem", "problem", "batch_size", "m", "T", "measured", "confidence_bound", "predicted",
          "slack", "verdict")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    what = parser.add_argument_group("what")
    what.add_argument("--theorem", metavar="NAME", help="T1, T2, ...; --list names them")
    what.add_argument("--problem", metavar="NAME", help="a built-in problem; --list names them")
    what.add_argument("--file", metavar="FILE.py", help="your own problem")
    what.add_argument("--list", action="store_true", help="name the theorems and the problems")
    how = parser.add_argument_group("how")
    how.add_argument("--horizons", metavar="T,T,...", help="numbers of steps")
    how.add_argument("--seeds", type=int, default=1000, metavar="K", help="runs per expectation")
    how.add_argument(
        "--batch-size", type=int, metavar="B", help="examples per step, all by default"
    )
    how.add_argument("--m", type=int, metavar="M", help="examples per perturbation")
    how.add_argument("--step-size", type=float, metavar="S")
    how.add_argument("--rho", type=float, metavar="R")
    how.add_argument("--normalization", type=float, metavar="L", help="of Unified SAM, 0 to 1")
    how.add_argument("--confidence", type=float, default=0.99, metavar="C", help="one-sided")
    how.add_argument("--seed", type=int, default=0, metavar="K", help="of the minibatches")
    out = parser.add_argument_group("output")
    out.add_argument("--csv", metavar="OUT", help="write the table as CSV")
    out.add_argument("--json", metavar="OUT", help="write everything as JSON")
    out.add_argument("--plot", metavar="OUT.pdf", help="draw measured against bound")


def rates(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command; returns the exit status.

    Raises
    ------
    InputError
        A name is unknown, a flag does not fit, or a theorem does not apply to the problem asked
        for.
    """
    if arguments.list:
        show(_names())
        return 0
    if arguments.problem is not None and arguments.file is not None:
        raise InputError("--problem and --file exclude each other")
    if arguments.theorem is None and (arguments.step_size, arguments.rho) != (None, None):
        raise InputError("--step-size and --rho need --theorem")
    horizons = _horizons(arguments.horizons)
    _check_outputs(arguments)
    problems = _problems(arguments)
    refuted = _refute(problems[0], arguments, show) if arguments.file is not None else False
    table, refused = _verify(arguments, problems, horizons)
    show(_text(table, refused))
    _write(arguments, table, refused)
    return 1 if refuted or (table["verdict"] == "violated").any() else 0


def _names() -> str:
    from sam_theory.convergence.catalogue import PROBLEMS, THEOREMS, problem

    lines = ["theorems:"]
    lines += [f"  {name:<17} {one.title} ({one.kind})" for name, one in THEOREMS.items()]
    lines += ["problems:", *(f"  {name:<17} {problem(name).about}" for name in PROBLEMS)]
    return "\n".join(lines)


def _horizons(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--horizons must be integers with commas between, not {text!r}") from None


def _check_outputs(arguments: argparse.Namespace) -> None:
    from sam_theory.output import check_writable

    taken = {} if arguments.file is None else {os.path.realpath(arguments.file): "the problem"}
    for flag in ("csv", "json", "plot"):
        path = getattr(arguments, flag)
        if path is None:
            continue
        where = f"--{flag} {path}"
        target = os.path.realpath(path)
        if target in taken:
            raise InputError(f"{where}: would overwrite {taken[target]}")
        taken[target] = f"the file of --{flag}"
        check_writable(where, Path(target))
    if arguments.plot is not None:
        if Path(arguments.plot).suffix not in _PLOTS:
            raise InputError(f"--plot {arguments.plot}: must end with {', '.join(_PLOTS)}")
        from sam_theory.convergence.plotting import new_axes

        new_axes()


def _problems(arguments: argparse.Namespace) -> list[Problem]:
    from sam_theory.convergence.catalogue import PROBLEMS, problem, theorem
    from sam_theory.convergence.user import load

    if arguments.theorem is not None:
        theorem(arguments.theorem)
    if arguments.file is not None:
        return [load(arguments.file)]
    names = PROBLEMS if arguments.problem is None else [arguments.problem]
    return [problem(name) for name in names]


def _refute(problem: Problem, arguments: argparse.Namespace, show: Show) -> bool:
    from sam_theory.convergence.refutation import refute

    found = refute(problem, seed=arguments.seed)
    lines = ["claimed constants, tested by search:"]
    for row in found.to_dict("records"):
        line = (
            f"  {row['constant']:<10} claimed {row['claimed']:.6g}, worst found {row['found']:.6g}"
        )
        with_minimum = row["constant"] == "mu" and row["verdict"] == "refuted"
        note = ", with the claimed minimum" if with_minimum else ""
        lines.append(f"{line}: {row['verdict']}{note}")
        for key in ("point", "other"):
            if row[key]:
                lines.append(f"    at w = {row[key]}")
    show("\n".join(lines))
    return bool((found["verdict"] == "refuted").any())


def _verify(
    arguments: argparse.Namespace, problems: list[Problem], horizons: list[int] | None
) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd
    from tqdm import tqdm

    from sam_theory.convergence.catalogue import THEOREMS
    from sam_theory.convergence.verification import verify

    names = list(THEOREMS) if arguments.theorem is None else [arguments.theorem]
    pairs = [(name, problem) for name in names for problem in problems]
    tables, refused = [], []
    for name, problem in tqdm(pairs, desc="rates", delay=2.0, leave=False, disable=None):
        batch, m = arguments.batch_size, arguments.m
        try:
            tables.append(
                verify(
                    name,
                    problem,
                    horizons=horizons,
                    seeds=arguments.seeds,
                    batch_size=batch,
                    m=m,
                    step_size=arguments.step_size,
                    rho=arguments.rho,
                    normalization=arguments.normalization,
                    confidence=arguments.confidence,
                    seed=arguments.seed,
                )  # fmt: skip
            )
        except InputError as error:
            if len(pairs) == 1:
                raise
            refused.append(str(error))
    if not tables:
        raise InputError(f"no theorem applies: {refused[0]} (and {len(refused) - 1} more)")
    return pd.concat(tables, ignore_index=True), refused


def _text(table: pd.DataFrame, refused: list[str]) -> str:
    shown = table.loc[:, list(_SHOWN)].to_string(index=False, float_format=lambda x: f"{x:.4g}")
    lines = [shown]
    for _, part in table[table["predicted_rate"].notna()].groupby(
        ["theorem", "problem", "batch_size", "m"], sort=False
    ):
        row = part.iloc[0]
        lines.append(
            f"rate of {row['theorem']} on {row['problem']}: T^{row['rate']:.3f} "
            f"({row['rate_low']:.3f} .. {row['rate_high']:.3f}), predicted "
            f"T^{row['predicted_rate']:g}"
        )
    for why in dict.fromkeys(table.loc[table["why"] != "", "why"]):
        lines.append(f"note: {why}")
    if refused:
        lines.append(f"{len(refused)} pairs refused, their assumptions fail:")
        lines += [f"  {line}" for line in refused]
    counts = table["verdict"].value_counts()
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return "\n".join(lines)


def _write(arguments: argparse.Namespace, table: pd.DataFrame, refused: list[str]) -> None:
    from sam_theory import output

    content = {"rows": table.to_dict("records"), "refused": refused}
    settings = {k: v for k, v in vars(arguments).items() if k not in ("run", "list")}
    header = [str(name) for name in table.columns]
    rows = [list(row) for row in table.itertuples(index=False, name=None)]
    if arguments.csv is not None or arguments.json is not None:
        output.write(output.Report("", header, rows, content), argparse.Namespace(**settings))
    if arguments.plot is not None:
        from sam_theory.convergence.plotting import save

        save(table, arguments.plot)


COMMANDS = (Command("rates", HELP, EPILOG, add_arguments, rates),)
