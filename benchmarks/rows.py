"""Rows of the table, what is required of them, and the two files they are written to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .timing import MOST, ROUNDS, SPEND, Contender, Timing, error_ratio, interleave

if TYPE_CHECKING:
    import pandas as pd

OURS = "sam_theory"
UNDISTURBED = 0.9
MISSING = "not installed (extra `peers`)"
NAN = float("nan")
Verdict = Literal["", "met", "missed", "not measured"]


@dataclass(frozen=True)
class Check:
    """One required number: ``measured`` must be at least, or at most, ``required``."""

    what: str
    measured: float
    required: float
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether the requirement is kept; nan keeps none."""
        if self.most:
            return self.measured <= self.required
        return self.measured >= self.required

    @property
    def wanted(self) -> str:
        """The requirement in words."""
        return f"{self.what} {'<=' if self.most else '>='} {self.required:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    group, work, contender : str
    seconds : float
        Median time of the work, in the unit that ``work`` names; nan where nothing was timed.
    error : float
        Against ``against``; nan only where nothing was computed.
    against : str
        The yardstick of the error.
    ratio, error_ratio : float
        The contender's time and error over ours; nan for our own rows.
    runs : int
    spread, cores : float
        See :class:`benchmarks.timing.Timing`.
    checks : tuple of Check
        The contract, if the row has one: all must be met, or one if ``any_of``.
    note : str
    """

    group: str
    work: str
    contender: str
    seconds: float = NAN
    error: float = NAN
    against: str = ""
    ratio: float = NAN
    error_ratio: float = NAN
    runs: int = 0
    spread: float = NAN
    cores: float = NAN
    checks: tuple[Check, ...] = ()
    any_of: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the contract is met; empty without one."""
        if not self.checks:
            return ""
        judged = [check.met for check in self.checks]
        if any(judged) if self.any_of else all(judged):
            return "met"
        return "not measured" if any(math.isnan(c.measured) for c in self.checks) else "missed"

    @property
    def disturbed(self) -> bool:
        """Whether something else had the core while the row was measured."""
        return self.cores < UNDISTURBED

    @property
    def required(self) -> str:
        """The contract in words."""
        return (" or " if self.any_of else " and ").join(check.wanted for check in self.checks)

    @property
    def measured(self) -> str:
        """The measured numbers of the contract, in its order."""
        return ", ".join(f"{check.measured:.4g}" for check in self.checks)


def compare(
    group: str,
    work: str,
    contenders: Sequence[Contender],
    against: str,
    required: Mapping[str, tuple[float, float]] | None = None,
    rounds: int = ROUNDS,
    short: bool = True,
    spend: float = SPEND,
) -> list[Row]:
    """Measure contenders in turn, ours first, and return their rows.

    Parameters
    ----------
    group, work, against : str
        As in :class:`Row`.
    contenders : sequence of Contender
        Ours first.
    required : mapping, optional
        Contender's name -> smallest ratio of times and of errors; 0 asks for nothing.
    rounds, short, spend
        As in :func:`benchmarks.timing.interleave`; a full measurement makes more rounds, up to four
        times as many, where they are cheap.
    """
    most = MOST * rounds if rounds >= ROUNDS else rounds
    timings = interleave(contenders, rounds, short, most=most, spend=spend)
    ours, wanted = timings[0], required or {}
    rows = [_row(group, work, ours, against)]
    for timing in timings[1:]:
        ratio = timing.seconds / ours.seconds
        errors = error_ratio(timing.error, ours.error)
        least, finest = wanted.get(timing.name, (0.0, 0.0))
        checks = [Check("ratio", ratio, least)] if least else []
        checks += [Check("error ratio", errors, finest)] if finest else []
        rows.append(_row(group, work, timing, against, ratio, errors, tuple(checks)))
    return rows


def _row(
    group: str,
    work: str,
    timing: Timing,
    against: str,
    ratio: float = NAN,
    errors: float = NAN,
    checks: tuple[Check, ...] = (),
) -> Row:
    return Row(
        group=group,
        work=work,
        contender=timing.name,
        seconds=timing.seconds,
        error=timing.error,
        against=against,
        ratio=ratio,
        error_ratio=errors,
        runs=len(timing.samples),
        spread=timing.spread,
        cores=timing.cores,
        checks=checks,
        note=timing.note,
    )


def missing(
    group: str,
    work: str,
    contender: str,
    required: tuple[float, float] = (0.0, 0.0),
    note: str = MISSING,
) -> Row:
    """Return the row of a peer that is not here; a contract with it is not measured."""
    names = zip(("ratio", "error ratio"), required, strict=True)
    checks = tuple(Check(what, NAN, least) for what, least in names if least)
    return Row(group, work, contender, checks=checks, note=note)


def summary(rows: Iterable[Row]) -> str:
    """Say how many contracts are met."""
    verdicts = [row.verdict for row in rows if row.verdict]
    counts = {name: verdicts.count(name) for name in ("missed", "not measured")}
    rest = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return f"contracts: {verdicts.count('met')} of {len(verdicts)} met{rest}"


def disturbance(rows: Sequence[Row]) -> str:
    """Say how many rows were measured while something else ran; empty if none."""
    count = sum(row.disturbed for row in rows)
    if count == 0:
        return ""
    return (
        f"disturbed: {count} of {len(rows)} rows had less than {UNDISTURBED:g} of a core; "
        "measure again on an idle machine before quoting them"
    )


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one line per row, the numbers in full."""
    import pandas as pd

    names = (
        "group work contender seconds error against ratio error_ratio runs spread cores "
        "required measured verdict note"
    ).split()
    return pd.DataFrame(
        [{name: getattr(row, name) for name in names} for row in rows], columns=names
    )


def markdown(rows: Sequence[Row], made_by: Mapping[str, Any], intros: Mapping[str, str]) -> str:
    """Return the page: where it was made, the contracts, then one table per group."""
    lines = ["# Benchmarks", ""]
    lines += [f"- {name}: {value}" for name, value in made_by.items()]
    lines += ["", _HOW_TO_READ, ""]
    warning = disturbance(rows)
    lines += [f"**{warning.capitalize()}.**", ""] if warning else []
    contracts = [row for row in rows if row.verdict]
    if contracts:
        lines += [f"## Contracts: {summary(rows).removeprefix('contracts: ')}", ""]
        head = ["group", "work", "against", "required", "measured", "verdict"]
        cells = [
            [r.group, r.work, r.contender, r.required, r.measured, r.verdict] for r in contracts
        ]
        lines += [*_table(head, cells), ""]
    for group in dict.fromkeys(row.group for row in rows):
        inside = [row for row in rows if row.group == group]
        lines += [f"## {group}", "", intros.get(group, ""), ""]
        head = ["work", "contender", "time", "+-", "runs", "error", "ratio", "verdict", "note"]
        lines += [*_table(head, [_cells(row) for row in inside]), ""]
        yardsticks = dict.fromkeys(row.against for row in inside if row.against)
        lines += ["Errors: " + "; ".join(yardsticks) + ".", ""] if yardsticks else []
    return "\n".join(lines)


_HOW_TO_READ = (
    "Times are medians of runs taken in turn in one process, one thread each unless the row says "
    "otherwise; +- is half the range of the middle half of the runs. The ratio is the contender's "
    "time over ours. A row without an error is a resource, not a computation."
)


def _cells(row: Row) -> list[str]:
    return [
        row.work,
        row.contender,
        duration(row.seconds),
        _shown(row.spread, lambda x: f"{100 * x:.0f} %"),
        str(row.runs) if row.runs else "",
        _shown(row.error, lambda x: f"{x:.0e}"),
        _shown(row.ratio, lambda x: f"{x:.3g}"),
        row.verdict,
        f"{row.note}; disturbed".removeprefix("; ") if row.disturbed else row.note,
    ]


def _shown(value: float, form: Any) -> str:
    return "" if math.isnan(value) else str(form(value))


def duration(seconds: float) -> str:
    """Seconds with a unit that leaves one to three digits before the point."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return "" if math.isnan(seconds) else f"{seconds / 1e-9:.3g} ns"


def _table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells
    ]
