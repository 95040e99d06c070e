"""A subcommand of ``sam-theory`` as data: what one family of models adds to the command line.

A module that offers subcommands has a tuple ``COMMANDS`` of these and is listed in ``cli.py``. It
is imported to build the parser, so its own imports stay light: what computes is imported when it
runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

Show = Callable[[str], None]
"""Prints a text for the user, whatever the encoding of the terminal."""


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes
    ----------
    name : str
        What is typed after ``sam-theory``.
    help : str
        One line.
    epilog : str
        Printed below the flags as it is, with an example.
    add_arguments : callable
        Adds the flags to the parser.
    run : callable
        Takes the parsed flags and a function that prints; returns the exit status. Raises
        InputError, MissingExtra or OSError with one line for the user.
    """

    name: str
    help: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Show], int]
