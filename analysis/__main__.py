"""``python -m analysis NAME``: run one study and write its tables."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from analysis import STUDIES, store
from sam_theory.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the study named on the command line.

    Exit status 2 if there is none of that name, its input is refused or results/ cannot be written.
    """
    known = "\n".join(f"  {name}  {question}" for name, question in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description=f"Run a study and write its tables to results/.\n\nstudies:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the study")
    parser.add_argument("--full", action="store_true", help="more settings, takes longer")
    arguments = parser.parse_args(argv)
    if arguments.name not in STUDIES:
        print(f"no study named {arguments.name}; known: {', '.join(STUDIES)}", file=sys.stderr)
        return 2
    try:
        store.check_writable()
        table = import_module(f"analysis.{arguments.name}").run(quick=not arguments.full)
    except (InputError, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    print(f"results/{arguments.name}.csv: {len(table)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
