"""The command ``sam-theory``: its parser, its errors in one line each, its exit status.

What it does is in the subcommands that the rooms bring, see :mod:`sam_theory.commands`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from sam_theory import __version__
from sam_theory.convergence import command as rates
from sam_theory.deep import command as deep
from sam_theory.diagonal import command as diagonal
from sam_theory.errors import InputError, MissingExtra
from sam_theory.explorer import command as explorer
from sam_theory.relu import command as relu
from sam_theory.sweeps import command as sweeps

COMMANDS = (
    *diagonal.COMMANDS,
    *sweeps.COMMANDS,
    *rates.COMMANDS,
    *relu.COMMANDS,
    *deep.COMMANDS,
    *explorer.COMMANDS,
)
_DESCRIPTION = "Theory-first numerical toolkit for Sharpness-Aware Minimization."


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Also -1e-9 and -inf are values: the range is checked, not the spelling.
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = _Parser(prog="sam-theory", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"sam-theory {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for one in COMMANDS:
        command = commands.add_parser(
            one.name,
            help=one.help,
            description=one.help,
            epilog=one.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        one.add_arguments(command)
        command.set_defaults(run=one.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns the exit status: 0, 1 if something that was asked for failed, 2 for an error, 130 when
    interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.run(arguments, _show))
    except (InputError, MissingExtra, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        print(f"sam-theory: error: {shown}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sam-theory: interrupted", file=sys.stderr)
        return 130


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


if __name__ == "__main__":
    sys.exit(main())
