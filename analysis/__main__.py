"""``python -m analysis NAME ...``: run studies, write their tables, and judge the claims."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module

from analysis import REPORT, STUDIES, store
from sam_theory._threads import worker_count
from sam_theory.errors import InputError

CLAIMS = "claims"
SETS = {"all": tuple(STUDIES), "report": REPORT, CLAIMS: ()}
"""Names that stand for several studies, or none."""


def main(argv: list[str] | None = None) -> int:
    """Run the studies named on the command line, then judge all claims by the tables there are.

    Exit status 2 if there is none of that name, --jobs is below 1, its input is refused, results/
    cannot be written or its process is ended; of several studies, those that can be run are.
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
    parser.add_argument(
        "--jobs", type=int, default=1, help="studies at a time, each in a process with its share "
        "of the cores (default: one study with all cores)",
    )  # fmt: skip
    parser.add_argument("--unjudged", action="store_true", help="leave claims.csv as it is")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in STUDIES and name not in SETS:
            known = ", ".join((*STUDIES, *SETS))
            print(f"no study named {name}; known: {known}", file=sys.stderr)
            return 2
    if arguments.jobs < 1:
        print(f"--jobs must be at least 1, not {arguments.jobs}", file=sys.stderr)
        return 2
    wanted = [study for name in arguments.names for study in SETS.get(name, (name,))]
    names = list(dict.fromkeys(wanted))
    quick, judged = not arguments.full, not arguments.unjudged
    if arguments.jobs > 1:
        failed = run_beside(names, quick, arguments.jobs)
    else:
        failed = [
            name
            for number, name in enumerate(names, 1)
            if not run(name, quick, f"[{number}/{len(names)}] " if names[1:] else "")
        ]
    if names and len(failed) == len(names):
        return 2
    return 2 if (judged and not judge()) or failed else 0


def run_beside(names: Sequence[str], quick: bool, jobs: int) -> list[str]:
    """Run studies in processes of their own, some at a time, and return those that failed."""
    environment = os.environ | {"SAM_THEORY_THREADS": str(max(worker_count() // jobs, 1))}
    size = [] if quick else ["--full"]

    def one(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "analysis", name, "--unjudged", *size]
        return subprocess.run(
            command, env=environment, cwd=store.ROOT, capture_output=True, text=True, check=False
        )

    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(one, name): name for name in names}
        for number, done in enumerate(as_completed(running), 1):
            ended = done.result()
            if ended.returncode:
                failed.append(running[done])
                said = ended.stderr.strip().splitlines()
                # A process that a signal ended may have said nothing, or what it last was at.
                if ended.returncode < 0 or not said:
                    said = [f"{running[done]}: ended with status {ended.returncode}"]
                print(said[-1], file=sys.stderr, flush=True)
            print(f"[{number}/{len(names)}] {ended.stdout.strip() or running[done]}", flush=True)
    return failed


def judge() -> bool:
    """Judge all claims and say how they stand; whether all could be judged by the tables there are.

    A table that cannot be used is one line, and its claims are not run.
    """
    from analysis import claims

    unfit: list[str] = []
    try:
        verdicts = claims.write(complain=unfit.append)["verdict"].value_counts(sort=False)
    except (OSError, ValueError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return False
    for line in unfit:
        print(f"analysis: {line}", file=sys.stderr)
    print("results/claims.csv: " + ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()))
    return not unfit


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
