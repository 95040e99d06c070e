"""The clockwork, with a clock that only the contenders move."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import rows, timing
from benchmarks.timing import Answer, Contender, PeerError


class Clock:
    """Time that passes only where a contender says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name, durations, value=0.0, pieces=1, note=""):
        queue = list(durations)

        def call() -> Answer:
            self.calls.append(name)
            self.now += queue.pop(0) if len(queue) > 1 else queue[0]
            return Answer(value, note)

        return Contender(name, call, lambda found: abs(found - 1.0), pieces)

    def run(self, *contenders, rounds=5):
        return timing.interleave(contenders, rounds, clock=self, cpu_clock=lambda: 2.0 * self.now)


def test_median_ratio_and_order():
    clock = Clock()
    ours = clock.contender("ours", [0.5, 0.1, 0.1, 9.0, 0.1, 0.1, 0.1], value=1.0)
    peer = clock.contender("peer", [0.9, 0.4], value=1.5)
    first, second = clock.run(ours, peer)
    assert first.seconds == pytest.approx(0.1)
    assert second.seconds == pytest.approx(0.4)
    assert (first.error, second.error) == (0.0, 0.5)
    assert len(first.samples) == len(second.samples) == 5
    assert clock.calls[:4] == ["ours", "ours", "peer", "peer"]
    assert clock.calls[4:] == ["ours", "peer"] * 5
    assert first.cores == pytest.approx(2.0)


def test_a_wrong_peer_shows_in_its_error():
    clock = Clock()
    right, wrong = clock.contender("ours", [0.1], 1.0), clock.contender("peer", [0.1], 1.0 + 1e-3)
    right_row, wrong_row = clock.run(right, wrong)
    assert right_row.error == 0.0
    assert wrong_row.error == pytest.approx(1e-3)
    assert math.isinf(timing.error_ratio(wrong_row.error, right_row.error))
    assert timing.error_ratio(0.0, 0.0) == 1.0
    assert timing.error_ratio(2.0, 4.0) == 0.5


def test_short_calls_are_repeated_and_pieces_divide():
    clock = Clock()
    short = clock.contender("ours", [0.001], pieces=4)
    (found,) = clock.run(short, rounds=3)
    assert len(clock.calls) == 2 + 3 * 20
    assert found.samples == pytest.approx([0.00025] * 3)


def test_long_peers_are_cut_short_and_ours_are_not():
    clock = Clock()
    ours = clock.contender("ours", [12.0])
    single = clock.contender("single", [11.0], note="optimal")
    three = clock.contender("three", [2.0])
    first, second, third = clock.run(ours, single, three)
    assert len(first.samples) == 5 and first.note == ""
    assert second.samples == (11.0,) and second.note == "optimal; single run"
    assert third.samples == (2.0,) * 3 and third.note == ""
    assert math.isnan(second.spread) and third.spread == 0.0


def test_nobody_is_cut_short_where_rounds_are_compared():
    clock = Clock()
    ours, peer = clock.contender("ours", [2.0]), clock.contender("peer", [3.0], pieces=2)
    found = timing.interleave([ours, peer], 5, False, clock=clock, cpu_clock=clock)
    assert found[0].samples == (2.0,) * 5 and found[1].samples == (1.5,) * 6


@pytest.mark.parametrize(
    ("durations", "samples"), [((0.1, 0.1), 25), ((0.5, 0.3), 13), ((0.1, 1.0), 5), ((3.0, 0.1), 5)]
)
def test_rounds_that_are_cheap_are_more(durations, samples):
    clock = Clock()
    ours, peer = (clock.contender(name, [t]) for name, t in zip("ab", durations, strict=True))
    first, _ = timing.interleave([ours, peer], 5, most=25, spend=10.0, clock=clock, cpu_clock=clock)
    assert len(first.samples) == samples


def test_another_process_is_not_called_disturbed():
    clock = Clock()
    there = replace(clock.contender("there", [0.5]), here=False)
    (found,) = timing.interleave([there], 3, clock=clock, cpu_clock=lambda: 0.0)
    assert math.isnan(found.cores)
    assert not rows.Row("g", "w", "there", found.seconds, 0.0, cores=found.cores).disturbed


def test_a_failing_peer_has_no_time():
    def fail() -> Answer:
        raise PeerError("fails: no luck")

    clock = Clock()
    found = clock.run(clock.contender("ours", [0.1], 1.0), Contender("peer", fail, abs))
    assert found[1].samples == () and math.isnan(found[1].seconds) and math.isnan(found[1].error)
    assert found[1].note == "fails: no luck"


def test_cores_leave_out_the_warm_up():
    clock = Clock()
    ours = clock.contender("ours", [50.0, 0.5])
    cpu = iter([0.0, 0.0, *range(100)])
    (found,) = timing.interleave([ours], 4, clock=clock, cpu_clock=lambda: float(next(cpu)))
    assert found.cores == pytest.approx(1.0 / 0.5)


def test_our_own_failure_is_an_error():
    def fail() -> Answer:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        timing.interleave([Contender("ours", fail, abs)], 2)


def compared(durations, required, values=(1.0, 1.1), monkeypatch=None):
    clock = Clock()
    ours = clock.contender(rows.OURS, [durations[0]], values[0] + 1e-9)
    peer = clock.contender("peer", [durations[1]], values[1])
    monkeypatch.setattr(
        rows,
        "interleave",
        lambda c, r, s, most, spend: timing.interleave(c, r, s, clock=clock, cpu_clock=clock),
    )
    return rows.compare("g", "w", [ours, peer], "one", {"peer": required}, 3)


def test_contract_verdicts(monkeypatch):
    ours, peer = compared((0.1, 0.4), (4.0 - 1e-9, 1e5), monkeypatch=monkeypatch)
    assert (ours.verdict, peer.verdict) == ("", "met")
    assert peer.ratio == pytest.approx(4.0) and peer.error_ratio == pytest.approx(1e8)
    assert peer.required == "ratio >= 4 and error ratio >= 100000"
    assert compared((0.1, 0.4), (4.1, 1e5), monkeypatch=monkeypatch)[1].verdict == "missed"
    assert compared((0.1, 0.4), (4.0, 1e9), monkeypatch=monkeypatch)[1].verdict == "missed"
    assert compared((0.4, 0.1), (1.0, 0.0), monkeypatch=monkeypatch)[1].verdict == "missed"
    assert compared((0.4, 0.1), (0.0, 0.0), monkeypatch=monkeypatch)[1].verdict == ""


def test_checks():
    most = rows.Check("error", 1e-12, 1e-11, most=True)
    assert most.met and not rows.Check("error", 1e-10, 1e-11, most=True).met
    least = rows.Check("ratio", 2.0, 3.0)
    row = rows.Row("g", "w", "c", checks=(least, most))
    assert row.verdict == "missed"
    assert rows.Row("g", "w", "c", checks=(least, most), any_of=True).verdict == "met"
    absent = rows.missing("g", "w", "c", (20.0, 1.0))
    assert absent.verdict == "not measured" and "not installed" in absent.note
    assert not rows.Check("ratio", float("nan"), 0.0).met
    assert rows.summary([row, absent, rows.Row("g", "w", "c")]) == (
        "contracts: 0 of 2 met, 1 missed, 1 not measured"
    )


def test_files():
    row = rows.Row("g", "a | b", "c", 1.5e-4, 1e-12, "exact", 3.0, checks=(least(4.0),), note="n")
    page = rows.markdown([row, rows.missing("g", "w", "x")], {"cores": 2}, {"g": "Intro."})
    assert "## Contracts: 0 of 1 met, 1 missed" in page
    assert "| g | a \\| b | c | ratio >= 4 | 3 | missed |" in page
    assert "| a \\| b | c | 150 us |  |  | 1e-12 | 3 | missed | n |" in page
    assert "- cores: 2" in page and "Intro." in page and "Errors: exact." in page
    frame = rows.frame([row])
    assert list(frame.columns[:5]) == ["group", "work", "contender", "seconds", "error"]
    assert frame.verdict[0] == "missed" and frame.seconds[0] == 1.5e-4


def test_a_disturbed_row_says_so():
    fine = rows.Row("g", "w", "c", 1.0, 0.0, cores=0.99)
    starved = rows.Row("g", "w", "c", 1.0, 0.0, cores=0.5)
    assert rows.disturbance([fine, rows.missing("g", "w", "x")]) == ""
    assert rows.disturbance([fine, starved]).startswith("disturbed: 1 of 2 rows")
    page = rows.markdown([fine, starved], {}, {})
    assert "**Disturbed: 1 of 2" in page and page.count("| disturbed |") == 1


def least(required: float) -> rows.Check:
    return rows.Check("ratio", 3.0, required)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.0, "2 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 us"), (3e-8, "30 ns"), (np.nan, "")],
)
def test_durations(seconds, text):
    assert rows.duration(seconds) == text
