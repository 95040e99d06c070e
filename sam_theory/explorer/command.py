"""``sam-theory explore``: the page with sliders."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

HELP = "open a page with sliders: the selected solutions of GD and SAM beside each other"
EPILOG = """\
Serves the page from this machine, read-only, without network; your data stay here. Needs the extra
explore.

example: sam-theory explore --data data.csv --target y"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("--port", type=int, metavar="N", help="0 for any free one; 2718 or a free")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen at")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--data", metavar="FILE.csv", help="your data, to begin with")
    parser.add_argument("--target", metavar="COL", help="its column of labels")


def explore(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command until it is interrupted; returns the exit status.

    Raises
    ------
    InputError
        A flag does not fit, the data cannot be used, or the port is in use.
    MissingExtra
        marimo is not installed.
    """
    port = arguments.port
    if port is not None and not 0 <= port <= 65535:
        raise InputError(f"--port must lie between 0 and 65535, not {port}")
    if (arguments.data is None) != (arguments.target is None):
        raise InputError("--data and --target go together")
    from sam_theory.explorer.server import serve

    meta = {} if arguments.data is None else _checked(arguments.data, arguments.target)
    try:
        serve(arguments.host, port, meta, browser=not arguments.no_browser, show=show)
    except KeyboardInterrupt:
        pass  # The usual way to end it.
    return 0


def _checked(path: str, target: str) -> dict[str, str]:
    """Read the data once, so that what is wrong with them is said here."""
    if Path(path).suffix.lower() != ".csv":
        raise InputError(f"--data {path}: must be a .csv file")
    from sam_theory.regression import Regression

    Regression.from_csv(path, target)
    return {"data": str(Path(path).resolve()), "target": target}


COMMANDS = (Command("explore", HELP, EPILOG, add_arguments, explore),)
