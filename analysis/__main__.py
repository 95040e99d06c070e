"""``python -m analysis NAME ...``: run studies, write their tables, and judge the claims."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from analysis import REPORT, STUDIES, store
from sam_theory.errors import InputError

CLAIMS = "claims"
SETS = {"all": tuple(STUDIES), "report": REPORT, CLAIMS: ()}
"""Names that stand for several studies, or none."""


def main(argv: list[str] | None = None) -> int:
    """Run the studies named on the command line, then judge all claims by the tables there are.

    Exit status 2 if there is none of that name, its input is refused or results/ cannot be written;
    of several studies, those that can be run are.
    """
    known = "\n".join(f"  {name}  {question}" for name, question in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Run studies, write their tables to results/, and judge the claims that they "
        f"decide.\n\nstudies:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="studies; all; report, those of make report; or claims, to judge anew alone",
    )
    parser.add_argument("--full", action="store_true", help="more settings, takes longer")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in STUDIES and name not in SETS:
            known = ", ".join((*STUDIES, *SETS))
            print(f"no study named {name}; known: {known}", file=sys.stderr)
            return 2
    wanted = [study for name in arguments.names for study in SETS.get(name, (name,))]
    names = list(dict.fromkeys(wanted))
    failed = [
        name
        for number, name in enumerate(names, 1)
        if not run(name, not arguments.full, f"[{number}/{len(names)}] " if names[1:] else "")
    ]
    if names and len(failed) == len(names):
        return 2
    return 2 if not judge() or failed else 0


def judge() -> bool:
    """Judge all claims and say how they stand; whether that could be done."""
    from analysis import claims

    try:
        verdicts = claims.write()["verdict"].value_counts(sort=False)
    except (OSError, ValueError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return False
    print("results/claims.csv: " + ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()))
    return True


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
