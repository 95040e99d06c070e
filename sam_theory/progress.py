"""The progress bar of a command that computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Bar:
    """Progress bar on stderr, if that is a terminal, that appears after two seconds."""

    def __init__(self, name: str) -> None:
        from tqdm import tqdm

        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
        # disable=None: silent unless stderr is a terminal.
        self.bar = tqdm(total=1.0, desc=name, delay=2.0, bar_format=form, leave=False, disable=None)

    def __call__(self, share: float) -> None:
        """Show the share done, 0 to 1; the bar never goes back."""
        self.bar.update(max(0.0, share - self.bar.n))

    def __enter__(self) -> Callable[[float], None]:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()
