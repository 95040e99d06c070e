"""Settings shared by all tests."""

from __future__ import annotations

import os

import hypothesis

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every machine, and no failure because a kernel compiles on its first call.
hypothesis.settings.register_profile(
    "house", deadline=None, derandomize=True, print_blob=True, database=None
)
hypothesis.settings.load_profile("house")
