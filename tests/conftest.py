"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every machine, and no failure because a kernel compiles on its first call.
hypothesis.settings.register_profile(
    "house", deadline=None, derandomize=True, print_blob=True, database=None
)
hypothesis.settings.load_profile("house")


def pytest_configure(config):
    """Drop compiled kernels older than the library's sources.

    A kernel on disk is tied to its own file, not to the files of the functions compiled into it.
    """
    if hasattr(config, "workerinput"):
        return
    package = Path(__file__).parents[1] / "sam_theory"
    newest = max(path.stat().st_mtime for path in package.rglob("*.py"))
    for path in package.rglob("*.nb[ic]"):
        if path.stat().st_mtime < newest:
            path.unlink(missing_ok=True)
