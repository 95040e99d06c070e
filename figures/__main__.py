"""``python -m figures NAME``: draw a picture, those of a study, all, the report, the verdicts."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext

from figures import FIGURES, store
from figures.render import FORMATS, render


def main(argv: list[str] | None = None) -> int:
    """Draw what the command line names.

    Exit status 2 for an unknown name, a missing or unfit table or a file that cannot be written (of
    several pictures, those that can be drawn are); 1 if the report contradicts a theorem.
    """
    studies = sorted({study for _, study in FIGURES.values()})
    known = ", ".join(dict.fromkeys([*FIGURES, *studies, "all", *PAGES]))
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description="From results/, draw a picture, all of a study or all there are, or write the "
        "report page, or the tables of verdicts in README.md and docs/.",
    )
    parser.add_argument("name", metavar="NAME", help=known)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="first run the studies whose tables are missing, in their quick size",
    )
    arguments = parser.parse_args(argv)
    name = arguments.name
    chosen = [f for f, (_, study) in FIGURES.items() if name in ("all", f, study)]
    if not chosen and name not in PAGES:
        print(f"no picture named {name}; known: {known}", file=sys.stderr)
        return 2
    if arguments.quick:
        make_missing(chosen)
    if not draw_all(chosen):
        return 2
    return PAGES[name]() if name in PAGES else 0


def make_missing(chosen: Sequence[str]) -> None:
    """Run, two at a time in processes of their own, the studies whose tables are missing.

    A table without its sidecar cannot be drawn and counts as missing.
    """
    missing = {
        study
        for table, study in (FIGURES[figure] for figure in chosen)
        if not all((store.RESULTS / f"{table}.{e}").is_file() for e in ("csv", "json"))
    }
    if missing:
        names = [study for _, study in FIGURES.values() if study in missing]
        command = [sys.executable, "-m", "analysis", *dict.fromkeys(names), "--jobs", "2"]
        subprocess.run(command, cwd=store.ROOT, check=False)


def draw_all(chosen: Sequence[str]) -> bool:
    """Draw pictures, many of them in two processes; whether all could be drawn."""
    good = True
    # A process starts a Matplotlib of its own, which a few pictures are not worth.
    with ProcessPoolExecutor(2) if len(chosen) > 8 else nullcontext() as pool:
        drawn = (pool.map if pool else map)(draw, chosen)
        for number, (done, line) in enumerate(drawn, 1):
            good = good and done
            progress = f"[{number}/{len(chosen)}] " if done and len(chosen) > 1 else ""
            print(f"{progress}{line}", file=sys.stdout if done else sys.stderr, flush=True)
    return good


def draw(figure: str) -> tuple[bool, str]:
    """Draw a picture in all formats, its table beside it; whether it could be, and what to say."""
    place = store.RESULTS / "figures"
    try:
        for file_format in FORMATS:
            store.write_atomically(place / f"{figure}.{file_format}", render(figure, file_format))
        table = store.RESULTS / f"{FIGURES[figure][0]}.csv"
        store.write_atomically(place / f"{figure}.csv", table.read_bytes())
    except (OSError, ValueError) as error:
        return False, f"figures: {error}"
    return True, f"results/figures/{figure}: {', '.join(FORMATS)}, csv"


def write_report() -> int:
    """Write the report page; 1 if a theorem or finding in it is contradicted.

    2 if it cannot be written, or a table is unfit: then a line stands in place of its pictures.
    """
    from figures import report

    try:
        html, verdicts, failed, unfit = report.page()
        store.write_atomically(store.RESULTS / "report" / "index.html", html.encode())
    except (OSError, ValueError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    for line in unfit:
        print(f"figures: {line}", file=sys.stderr)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    print(f"results/report/index.html: {verdicts.total()} claims: {counts}")
    return 2 if unfit else 1 if failed else 0


def write_verdicts() -> int:
    """Write the verdicts into docs/ and the README; 2 if that cannot be done."""
    from figures import verdicts

    try:
        print(", ".join(verdicts.write()))
    except (OSError, ValueError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    return 0


PAGES = {"report": write_report, "verdicts": write_verdicts}

if __name__ == "__main__":
    sys.exit(main())
