"""Sweeps that are killed with SIGKILL lose nothing, damage nothing and repeat nothing."""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import bits
import numpy as np
import pandas as pd
import pytest
import toy_studies

from sam_theory import sweeps

HERE = pathlib.Path(__file__).parent
WHO = ("group", "worker", "parent")
PATIENCE = 60.0
AHEAD = 2
"""Calls that may begin and end unseen, so that the sweep is never over before it is killed."""


def starts(log):
    """How often each cell began, and the process that began last."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    begun = [(int(line[1]), int(line[2])) for line in lines if line[0] == "start"]
    return collections.Counter(x for x, _ in begun), begun[-1][1] if begun else None


class Watched:
    """A sweep of toy_studies.logged that can be killed, and what was seen of it meanwhile."""

    def __init__(self, folder, cells):
        self.cache, self.log, self.out = folder / "cache", folder / "log", folder / "out"
        self.cells, self.processes = cells, []
        # Starts of each cell when its record was first seen: it must never begin again.
        self.final = {}

    def begin(self):
        environment = os.environ | {
            "TOY_PAUSE": "0.03",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        }
        command = [sys.executable, str(HERE / "toy_sweep.py"), self.cache, self.log]
        self.processes.append(
            subprocess.Popen(
                [*command, str(self.cells), self.out],
                start_new_session=True,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )

    @property
    def running(self):
        return self.processes[-1]

    def look(self):
        """Note what is recorded, then read the log: all starts of a recorded cell are in it."""
        found = sweeps.status(
            toy_studies.logged,
            {"x": range(self.cells)},
            common={"log": str(self.log)},
            cache=self.cache,
        ).table
        assert set(found["state"]) <= {"done", "missing"}
        count, last = starts(self.log)
        for x in found["x"][found["state"] == "done"]:
            self.final.setdefault(int(x), count[int(x)])
        return sum(count.values()), last

    def allow(self, calls):
        """Let so many calls end; those that begin later wait."""
        new = self.log.with_suffix(".new")
        new.write_text(str(calls))
        new.replace(f"{self.log}.allowed")

    def wait_for(self, begun):
        self.allow(begun + AHEAD)
        until = time.monotonic() + PATIENCE
        while self.look()[0] < begun:
            assert time.monotonic() < until and self.running.poll() is None
            time.sleep(0.005)

    def kill(self, who):
        if who == "worker":
            os.kill(self.look()[1], signal.SIGKILL)
            return
        send = os.killpg if who == "group" else os.kill
        send(self.running.pid, signal.SIGKILL)
        assert self.running.wait(PATIENCE) == -signal.SIGKILL
        self.running.stderr.close()
        self.look()
        self.begin()

    def finish(self):
        self.allow(sys.maxsize)
        _, errors = self.running.communicate(timeout=PATIENCE)
        assert (errors, self.running.returncode) == ("", 0)
        self.look()
        return pd.read_pickle(self.out)

    def end(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def watch(tmp_path):
    made = []

    def make(name, cells):
        (tmp_path / name).mkdir()
        made.append(Watched(tmp_path / name, cells))
        return made[-1]

    yield make
    for watched in made:
        watched.end()


def repeated(final, count):
    """Cells that began again after their record had been seen."""
    return sorted(x for x in final if count[x] != final[x])


def expected(watched, tmp_path):
    """The table of an uninterrupted sweep in this process."""
    return sweeps.run(
        toy_studies.logged,
        {"x": range(watched.cells)},
        common={"log": str(tmp_path / "other log")},
        cache=tmp_path / "other cache",
        workers=1,
        progress=False,
    ).table


def survive(watched, kills, seed):
    """Kill the sweep at random moments; returns the table and how often each cell began."""
    rng = np.random.default_rng(seed)
    watched.allow(0)
    watched.begin()
    for k, who in enumerate(kills):
        begun, _ = watched.look()
        # The two that wait have begun, and as many as are allowed may be done at the kill.
        left = watched.cells - len(watched.final) - 2 * (1 + AHEAD)
        watched.wait_for(begun + int(rng.integers(1, max(2, left // (len(kills) - k)))))
        time.sleep(rng.uniform(0.0, 0.03))
        watched.kill(who)
    return watched.finish(), starts(watched.log)[0]


def check(watched, kills, seed, tmp_path):
    table, count = survive(watched, kills, seed)
    assert bits.differences(table, expected(watched, tmp_path)) == []
    assert repeated(watched.final, count) == []
    assert sorted(watched.final) == sorted(count) == list(range(watched.cells))
    # At most what was being computed by two workers at each kill began twice.
    interrupted = sum(count.values()) - watched.cells
    assert 1 <= interrupted <= 2 * len(kills)
    assert max(count.values()) <= 1 + len(kills)


def test_killed_three_times(watch, tmp_path):
    check(watch("killed", 40), WHO, 0, tmp_path)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(watch, tmp_path):
    check(watch("killed", 200), (WHO * 7)[:20], 1, tmp_path)


def test_two_sweeps_on_one_cache(watch, tmp_path):
    one = watch("shared", 40)
    other = Watched(tmp_path / "shared", 40)
    other.out = tmp_path / "shared" / "other out"
    other.processes = one.processes
    one.begin()
    other.begin()
    first = one.processes[0]
    assert bits.differences(other.finish(), expected(one, tmp_path)) == []
    _, errors = first.communicate(timeout=PATIENCE)
    assert (errors, first.returncode) == ("", 0)
    assert bits.differences(pd.read_pickle(one.out), pd.read_pickle(other.out)) == []
    count, _ = starts(one.log)
    assert count == dict.fromkeys(range(40), 1)


def test_planted_loss_of_a_record(watch):
    watched = watch("planted", 5)
    given = {"common": {"log": str(watched.log)}, "cache": watched.cache, "progress": False}
    sweeps.run(toy_studies.logged, {"x": range(5)}, workers=1, **given)
    watched.look()
    assert repeated(watched.final, starts(watched.log)[0]) == []
    next(iter(watched.cache.rglob("*.cell"))).unlink()
    sweeps.run(toy_studies.logged, {"x": range(5)}, workers=1, **given)
    assert len(repeated(watched.final, starts(watched.log)[0])) == 1


def test_planted_repetition():
    count = collections.Counter({0: 1, 1: 2, 2: 3})
    assert repeated({0: 1, 1: 2, 2: 3}, count) == []
    assert repeated({0: 1, 1: 1, 2: 3}, count) == [1]
