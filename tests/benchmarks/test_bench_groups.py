"""Groups, counts, fits and the command."""

import functools
import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sam_theory as st
from benchmarks import batches, convex, counts, flows, large, peaks, peers_cones, rows, scaling
from benchmarks.side_by_side import TwoProcesses

main = importlib.import_module("benchmarks.__main__")


def test_exponent_of_a_power_law():
    sizes = np.array([1.0, 2.0, 4.0, 8.0])
    slope, error = scaling.exponent(sizes, 3.0 * sizes**2)
    assert slope == pytest.approx(2.0) and error < 1e-12


def test_exponent_sees_a_fixed_cost_and_noise():
    sizes = np.array([1.0, 2.0, 4.0, 8.0])
    assert scaling.exponent(sizes, 3.0 * sizes**2 + 5.0)[0] < 1.6
    noisy = sizes**2 * np.array([1.0, 1.2, 0.9, 1.1])
    slope, error = scaling.exponent(sizes, noisy)
    assert abs(slope - 2.0) < 3.0 * error and error > 0.01


def test_counts(monkeypatch):
    monkeypatch.setattr(peaks, "flops", lambda: 1e9)
    monkeypatch.setattr(peaks, "bandwidth", lambda size: 1e9)
    one = counts.single("1-sam", 20, 30)
    assert one.flops == 10 * 600 + 20 * 30
    assert (one.data.bytes, one.state.bytes) == (4800.0, 2400.0)
    assert one.floor() == (pytest.approx(6.6e-6), "arithmetic")
    assert counts.single("n-sam", 20, 30).data.bytes == 16.0 * (600 - 190)
    assert counts.single("gd", 40, 30).flops == 4 * 30 * 31 / 2 + 20 * 30
    assert counts.single("sgd", 20, 30).flops == 4 * 30 + 20 * 30
    assert counts.batch("gd", 20, 30).flops == counts.single("gd", 20, 30).flops
    assert counts.batch("1-sam", 8, 10).state.bytes == 48 * 10 + 64 * 10
    large = counts.batch("1-sam", 200, 5_000).state.bytes
    assert large == 16 * 200 * 5_000 / 128 + 64 * 5_000
    assert one.attained(13.2e-6) == "50 % of the roofline, which arithmetic sets"
    assert one.attained(13.2e-6, 2e9) == "36 % of the roofline, which reading X sets"
    assert one.floor(0.5e9)[0] == pytest.approx(13.2e-6)
    monkeypatch.setattr(peaks, "bandwidth", lambda size: 1e8)
    assert one.floor() == (pytest.approx(4.8e-5), "reading X")


def test_working_sets_choose_their_bandwidth(monkeypatch):
    asked = []
    monkeypatch.setattr(peaks, "bandwidth", lambda size: asked.append(size) or 1.0)
    counts.Stream(1.0, 100).seconds()
    counts.Stream(1.0, 1_680_000).seconds()
    assert asked == [4096, 1 << 20]


def test_two_processes_do_the_work_side_by_side():
    with TwoProcesses(functools.partial, os.getpid) as pair:
        first, alone, second = pair(), pair.alone(), pair()
    assert first == second and len({*first, os.getpid()}) == 3 and alone in first
    with pytest.raises(EOFError), TwoProcesses(functools.partial, os.abort) as pair:
        pair()


def test_peaks_are_plausible():
    assert peaks.multiply_adds() == 2.0
    assert 1e8 < peaks.bandwidth(1 << 14) < 1e13
    assert 1e8 < peaks.flops() < 1e13


def test_scan_and_choice():
    errors = {1e-6: 1e-4, 1e-8: 4e-12, 1e-10: 2e-12, 1e-12: 1e-12}

    def solve(rtol, atol):
        if rtol == 1e-9:
            raise RuntimeError("stuck")
        return np.array([errors[rtol]])

    grid = [(rtol, 0.0) for rtol in (1e-6, 1e-8, 1e-9, 1e-10, 1e-12)]
    trials = flows.scan(solve, grid, np.zeros(1))
    assert [trial.rtol for trial in trials] == [1e-6, 1e-8, 1e-10, 1e-12]
    timed = [
        flows.Trial(t.rtol, t.atol, s, t.error) for t, s in zip(trials, (1, 2, 3, 4), strict=True)
    ]
    found = flows.chosen(timed)
    assert found["best"].rtol == 1e-12
    assert found["sufficient"].rtol == 1e-10
    assert found["1e-11"].rtol == 1e-8
    assert flows.chosen([]) == {}
    assert list(flows.chosen(timed[:1])) == ["best"]


def test_batch_settings_differ_and_are_checked():
    job = batches.Task("1-sam", 8, 12, 30, 0.1)
    made = batches.settings(job, 16)
    assert len({(s.algorithm.rho, s.alpha, s.step_size) for _, _, s in made}) == 16
    data = job.data
    best = batches.truth(job, data, [made[0], made[9]])
    found = st.descend_batch(data, [s for _, _, s in made], steps=30, threads=1)
    assert np.max(np.abs(np.array([found[0].beta, found[9].beta]) - best)) < 1e-14
    assert np.max(np.abs(np.array([found[1].beta, found[9].beta]) - best)) > 1e-6


def test_a_missing_peer_is_a_row(monkeypatch):
    monkeypatch.setattr(peers_cones, "installed", lambda solver: False)
    found = list(convex.rows(True))
    absent = [row for row in found if row.contender.startswith("Clarabel")]
    assert absent and all("not installed" in row.note for row in absent)
    assert all(math.isnan(row.seconds) for row in absent)
    assert any(row.contender == rows.OURS and row.error < 1e-12 for row in found)


def loosened(monkeypatch):
    monkeypatch.setattr(flows.peers_diffrax, "installed", lambda: False)
    monkeypatch.setattr(flows, "DECAY", 15.0)
    monkeypatch.setattr(flows, "RTOLS", (1e-8,))
    monkeypatch.setattr(flows, "ATOLS", (1e-10,))
    monkeypatch.setattr(flows, "PAIRS", ((1e-8, 1e-10),))


def test_missing_diffrax_is_a_row(monkeypatch):
    loosened(monkeypatch)
    found = list(flows.rows(True))
    absent = [row for row in found if row.contender.startswith("diffrax")]
    assert len(absent) == 3 and all("not installed" in row.note for row in absent)
    ours, peers = found[0], found[1:-3]
    assert ours.error < 1e-12 and {row.contender.partition(",")[0] for row in peers} == {
        "scipy LSODA + Jacobian",
        "scipy LSODA",
        "scipy DOP853",
        "scipy Radau + Jacobian",
    }
    assert all(1e-13 < row.error < 1e-5 for row in peers)


def test_a_solver_that_always_fails_leaves_its_contract(monkeypatch):
    loosened(monkeypatch)
    right = flows.peers_ode.solve

    def solve(flow, alpha, time, method, rtol, atol, exact):
        if method == "LSODA" and exact and rtol < 1e-4:
            raise RuntimeError("stuck")
        return right(flow, alpha, time, method, rtol, atol, exact)

    monkeypatch.setattr(flows.peers_ode, "solve", solve)
    (row,) = [row for row in flows.rows(True) if row.contender == flows.CONTRACT]
    assert row.verdict == "not measured" and row.note == "fails at every tolerance"


def test_large_measures_itself():
    (row,) = large.rows(True)
    assert row.contender == rows.OURS and row.seconds > 0.0 and row.error < 1e-8
    assert [check.what for check in row.checks] == [
        "seconds",
        "memory over data",
        "certificate valid",
    ]
    assert row.checks[2].met


def test_memory_is_that_of_the_process_alone():
    held = np.ones(1 << 25)
    code = "from benchmarks import large; print(large.largest(), large.resident())"
    command = [sys.executable, "-c", code]
    root = Path(large.__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    most, now = map(int, done.stdout.split())
    if sys.platform == "linux":
        assert most < large.largest() - held.nbytes // 2
    assert 0 < now <= 1.1 * most
    before = large.resident()
    more = np.ones(1 << 24)
    assert large.largest() >= before + more.nbytes // 2


def test_choice_of_groups():
    assert large.GROUP not in main.chosen([], False)
    assert main.chosen([], True)[-1] == large.GROUP
    assert main.chosen(["convex", "steps"], False) == ["steps", "convex"]
    with pytest.raises(SystemExit, match="no group 'moat'"):
        main.chosen(["moat"], False)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(main, "RESULTS", tmp_path)
    monkeypatch.setattr(main, "check_writable", lambda: None)
    assert main.main(["--list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(main.GROUPS)
    assert main.main(["steps", "--quick"]) == 0
    assert capsys.readouterr().out.endswith("contracts: 0 of 0 met\n")
    table = pd.read_csv(tmp_path / "benchmarks.csv")
    assert len(table) == 12 and table.error.max() < 1e-13 and table.seconds.min() > 0.0
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "- processor:" in page and "- commit:" in page and "- cvxpy:" in page
