"""Times of several ways to do the same work, taken in turn so that all see the same machine.

Every round calls each contender once (short calls several times, and divides). The first call of
each warms up and is dropped, unless it lasts so long that nothing in it is warming up. Noise that
comes and goes falls on all of them alike, and the median of the rounds ignores what hits one; there
are the more rounds the less they cost.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SHORTEST = 2e-2
WARM = 1.0
LONG = 10.0
ENOUGH = 4.0
ROUNDS = 7
MOST = 4
SPEND = 10.0
FEWEST = 3


class Answer(NamedTuple):
    """What a contender returns: the number or array it computed, and what to say about it."""

    value: Any
    note: str = ""


class PeerError(Exception):
    """A peer could not do the work; the message becomes its row's note."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes
    ----------
    name : str
        What the table calls it.
    call : callable
        Does the work once, from arrays to :class:`Answer`.
    error : callable
        Error of ``Answer.value``; it is evaluated outside the clock.
    pieces : int
        Times the work is done by one call; reported times are for one of them.
    here : bool
        Whether this process does the work; another's processor seconds are not seen.
    """

    name: str
    call: Callable[[], Answer]
    error: Callable[[Any], float]
    pieces: int = 1
    here: bool = True


@dataclass(frozen=True)
class Timing:
    """What was measured of one contender.

    Attributes
    ----------
    name : str
    samples : tuple of float
        Seconds of each round, for one piece of work.
    error : float
        Largest error of all rounds; nan if there was no answer.
    cores : float
        Processor seconds per second while it ran; nan where they are not seen.
    note : str
    """

    name: str
    samples: tuple[float, ...]
    error: float
    cores: float
    note: str = ""

    @property
    def seconds(self) -> float:
        """Median of the samples, nan without any."""
        return statistics.median(self.samples) if self.samples else float("nan")

    @property
    def spread(self) -> float:
        """Half the range of the middle half of the samples, relative to the median."""
        if len(self.samples) < 3:
            return float("nan")
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return 0.5 * (high - low) / self.seconds


@dataclass
class _Run:
    """A contender while it is being measured."""

    contender: Contender
    samples: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0
    number: int = 1
    note: str = ""
    over: bool = False

    def sample(self, clock: Callable[[], float], cpu_clock: Callable[[], float]) -> float:
        """Call ``number`` times and return the seconds of one call."""
        wall, cpu = clock(), cpu_clock()
        for _ in range(self.number):
            answer = self.contender.call()
        wall, cpu = clock() - wall, cpu_clock() - cpu
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        self.errors.append(self.contender.error(answer.value))
        self.note = answer.note
        return wall / self.number

    def has_enough(self, rounds: int) -> bool:
        """Whether a contender that may be cut short needs no further samples."""
        if self.samples[0] > LONG:
            self.note = f"{self.note}; single run".removeprefix("; ")
            return True
        full = sum(self.samples) * self.number > ENOUGH and len(self.samples) >= FEWEST
        return full or len(self.samples) >= rounds

    def end(self) -> Timing:
        """Return what was measured."""
        error = max(self.errors) if self.errors else float("nan")
        samples = tuple(sample / self.contender.pieces for sample in self.samples)
        seen = self.contender.here and self.wall > 0.0
        cores = self.cpu / self.wall if seen else float("nan")
        return Timing(self.contender.name, samples, error, cores, self.note)


def interleave(
    contenders: Sequence[Contender],
    rounds: int = ROUNDS,
    short: bool = True,
    *,
    most: int = 0,
    spend: float = SPEND,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> list[Timing]:
    """Measure the contenders in turn.

    Parameters
    ----------
    contenders : sequence of Contender
        The first is the one that the others are compared with; it is never cut short.
    rounds : int
        Samples of each. A contender other than the first stops after three once they add up to
        four seconds, and after one that took more than ten, which its note says.
    short : bool
        Whether contenders may be cut short so; otherwise each is in every round.
    most, spend : int, float
        Up to so many rounds are made as long as all together take less than so many seconds.
    clock, cpu_clock : callable
        Seconds, of the wall and of the processor.

    Returns
    -------
    list of Timing
        In the order of the contenders. One that raised :class:`PeerError` has no samples.
    """
    runs = [_Run(contender) for contender in contenders]
    for turn in range(max(rounds, most) + 1):
        if turn > rounds and not _worth_more(runs, spend):
            break
        for run in runs:
            if run.over:
                continue
            try:
                seconds = run.sample(clock, cpu_clock)
                if turn == 0 and (seconds < WARM or run is runs[0]):
                    seconds = run.sample(clock, cpu_clock) if seconds < WARM else seconds
                    run.number = max(1, round(SHORTEST / max(seconds, 1e-9)))
                    run.wall = run.cpu = 0.0
                    continue
            except PeerError as failure:
                run.samples, run.errors, run.over = [], [], True
                run.note = str(failure)
                continue
            run.samples.append(seconds)
            if short and run is not runs[0]:
                run.over = run.has_enough(max(rounds, most))
    return [run.end() for run in runs]


def _worth_more(runs: Sequence[_Run], spend: float) -> bool:
    """Whether another round costs little and compares something."""
    cheap = sum(run.wall for run in runs) < spend
    return cheap and not all(run.over for run in runs[1:])


def error_ratio(theirs: float, ours: float) -> float:
    """Peer's error over ours, 1 where both are zero."""
    if theirs == ours:
        return 1.0
    return theirs / ours if ours > 0.0 else float("inf")
