"""Measure, and write ``results/benchmarks.md`` and ``results/benchmarks.csv``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType

from threadpoolctl import threadpool_limits

from analysis.store import RESULTS, check_writable, write_atomically
from sam_theory._threads import VARIABLE

from . import (
    batches,
    convex,
    deep,
    flows,
    large,
    machine,
    rates,
    relu,
    roofline,
    rows,
    scaling,
    spectra,
    steps,
)

GROUPS: dict[str, ModuleType] = {
    module.GROUP: module
    for module in (
        steps,
        flows,
        spectra,
        convex,
        batches,
        rates,
        relu,
        deep,
        scaling,
        roofline,
        large,
    )
}
NAME = "benchmarks"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("names", nargs="*", metavar="NAME", help="groups to measure; all but large")
    found.add_argument("--quick", action="store_true", help="few sizes and runs, no contracts")
    found.add_argument(
        "--large", action="store_true", help="also the large problem and the slow formulations"
    )
    found.add_argument("--list", action="store_true", help="name the groups and stop")
    return found


def chosen(names: Sequence[str], with_large: bool) -> list[str]:
    """Return the groups to measure, in the order of the table.

    Raises
    ------
    SystemExit
        If a name is unknown.
    """
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise SystemExit(f"benchmarks: no group {unknown[0]!r}; there are: {', '.join(GROUPS)}")
    default = [name for name in GROUPS if name != large.GROUP]
    wanted = set(names or default) | ({large.GROUP} if with_large else set())
    return [name for name in GROUPS if name in wanted]


def measure(name: str, quick: bool, with_large: bool) -> Iterator[rows.Row]:
    """Yield the rows of a group; a quick run has no contracts, because it has too few runs."""
    make: Callable[[bool], Iterator[rows.Row]] = GROUPS[name].rows
    if name == convex.GROUP:
        make = partial(convex.rows, large=with_large)
    for row in make(quick):
        yield replace(row, checks=()) if quick else row


def shown(row: rows.Row) -> str:
    """Return one line of progress."""
    parts = [row.group, row.work, row.contender, rows.duration(row.seconds)]
    parts += [f"{row.measured}, wanted {row.required}: {row.verdict}"] if row.verdict else []
    return " | ".join(parts + ([row.note] if row.note else []))


def write(found: Sequence[rows.Row]) -> None:
    """Write both files."""
    intros = {name: module.INTRO for name, module in GROUPS.items()}
    page = rows.markdown(found, machine.made_by(), intros)
    write_atomically(RESULTS / f"{NAME}.md", page)
    write_atomically(RESULTS / f"{NAME}.csv", rows.frame(found).to_csv(index=False))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and the library to one thread where a row does not ask for more."""
    former = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        with threadpool_limits(1):
            yield
    finally:
        if former is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = former


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; nonzero only if something could not be measured."""
    given = parser().parse_args(arguments)
    if given.list:
        for name, module in GROUPS.items():
            print(f"{name:10}{(module.__doc__ or '').splitlines()[0]}")
        return 0
    names = chosen(given.names, given.large)
    check_writable()
    found: list[rows.Row] = []
    with one_thread():
        for name in names:
            for row in measure(name, given.quick, given.large):
                found.append(row)
                print(shown(row), file=sys.stderr, flush=True)
            write(found)
    print(f"written: {RESULTS / NAME}.md and .csv")
    if warning := rows.disturbance(found):
        print(warning)
    print(rows.summary(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
