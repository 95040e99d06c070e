"""The two errors that the library raises on purpose, each with a one-line message."""

from __future__ import annotations


class InputError(ValueError):
    """An argument or a file that cannot be used; the message names it in one line."""


class MissingExtra(ImportError):
    """An optional package is not installed; the message names the extra that brings it.

    Parameters
    ----------
    package : str
        What could not be imported.
    extra : str
        Which extra of this project brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install 'sam-theory[{extra}]'",
            name=package,
        )
