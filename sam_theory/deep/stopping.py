"""SIGTERM and SIGINT as a flag that a loop looks at, so that it can write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from sam_theory.errors import InputError


class StopRequested:
    """Context that turns signals into a flag, and puts the old handlers back when it is left.

    A signal that was ignored before stays ignored. A second signal acts as it would have without
    the context, so that a run that hangs can still be ended.

    Parameters
    ----------
    signals : tuple of int
        SIGTERM and SIGINT by default; empty: the flag is never raised by a signal.

    Attributes
    ----------
    requested : bool
        Whether a signal has come.
    signal : int or None
        Its number; a process that ends because of it exits with 128 more.

    Raises
    ------
    InputError
        It is entered in a thread that is not the main one, where Python cannot watch signals.

    Examples
    --------
    >>> from sam_theory.deep.stopping import StopRequested
    >>> with StopRequested() as stop:
    ...     for iteration in range(3):
    ...         if stop.requested:
    ...             break
    """

    def __init__(self, signals: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self.signals = signals
        self.requested = False
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequested:
        if self.signals and threading.current_thread() is not threading.main_thread():
            raise InputError("signals can be watched in the main thread only; pass signals=()")
        for number in self.signals:
            before = signal.getsignal(number)
            # None: a handler that was not installed by Python and cannot be put back.
            if before is not None and before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._restore()
            signal.raise_signal(number)
            return
        self.requested = True
        self.signal = number
