"""``python -m analysis NAME | all``: run one study or all, and write their tables."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from analysis import STUDIES, store
from sam_theory.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the studies named on the command line.

    Exit status 2 if there is none of that name, its input is refused or results/ cannot be written;
    of all studies, those that can be run are.
    """
    known = "\n".join(f"  {name}  {question}" for name, question in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description=f"Run a study and write its tables to results/.\n\nstudies:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the study, or all")
    parser.add_argument("--full", action="store_true", help="more settings, takes longer")
    arguments = parser.parse_args(argv)
    if arguments.name not in (*STUDIES, "all"):
        print(f"no study named {arguments.name}; known: {', '.join(STUDIES)}", file=sys.stderr)
        return 2
    names = list(STUDIES) if arguments.name == "all" else [arguments.name]
    failed = [
        name
        for number, name in enumerate(names, 1)
        if not run(name, not arguments.full, f"[{number}/{len(names)}] " if names[1:] else "")
    ]
    return 2 if failed else 0


def run(name: str, quick: bool, progress: str) -> bool:
    """Run one study and say what it wrote; whether it could be run."""
    if progress:
        print(f"{progress}{name}: {STUDIES[name]}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        store.check_writable()
        table = import_module(f"analysis.{name}").run(quick=quick)
    except (InputError, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return False
    seconds = time.perf_counter() - start
    print(f"results/{name}.csv: {len(table)} rows, {seconds:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
