"""``python -m analysis all``: every study in turn, what failed said and left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import sam_theory as st
from analysis import REPORT, STUDIES, store
from analysis import __main__ as command


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Stand-ins for all studies, which note that they ran; one refuses its input."""
    names = []

    def load(module):
        name = module.removeprefix("analysis.")

        def run(*, quick):
            names.append((name, quick))
            if name == "depth":
                raise st.InputError("no data")
            return [1, 2]

        return SimpleNamespace(run=run)

    monkeypatch.setattr(command, "import_module", load)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    return names


def test_all_runs_every_study_with_progress(ran, capsys):
    assert command.main(["all"]) == 2
    assert ran == [(name, True) for name in STUDIES]
    shown = capsys.readouterr()
    assert shown.out.count("2 rows") == len(STUDIES) - 1
    assert f"[{len(STUDIES)}/{len(STUDIES)}] " in shown.err and "analysis: no data\n" in shown.err


def test_one_study_in_full(ran, capsys):
    assert command.main(["lasso_path", "--full"]) == 0
    assert ran == [("lasso_path", False)]
    assert capsys.readouterr().out.startswith("results/lasso_path.csv: 2 rows, 0 s")


def test_every_study_can_be_imported():
    for name in STUDIES:
        assert callable(__import__(f"analysis.{name}", fromlist=["run"]).run)


def test_studies_beside_each_other(monkeypatch, tmp_path, capsys):
    started = []

    def finish(command, *, env, **_):
        started.append((command[3:], env["SAM_THEORY_THREADS"]))
        lost = "depth" in command
        said = "" if lost else f"results/{command[3]}.csv: 2 rows, 0 s\n"
        return SimpleNamespace(returncode=2 * lost, stdout=said, stderr="bar\nanalysis: no data\n")

    monkeypatch.setattr(command.subprocess, "run", finish)
    monkeypatch.setattr(store, "provenance", dict)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setenv("SAM_THEORY_THREADS", "4")
    assert command.main(["report", "--jobs", "2"]) == 2
    assert sorted(words for words, _ in started) == sorted([[n, "--unjudged"] for n in REPORT])
    assert {threads for _, threads in started} == {"2"}
    shown = capsys.readouterr()
    assert shown.err == "analysis: no data\n" and shown.out.count("2 rows") == len(REPORT) - 1
    assert f"[{len(REPORT)}/{len(REPORT)}] " in shown.out and "claims.csv" in shown.out


@pytest.mark.parametrize("said", ["", "training:  12 %"])
def test_a_study_that_is_killed_is_a_failed_one(said, monkeypatch, tmp_path, capsys):
    def finish(command, **_):
        lost = "depth" in command
        shown = "" if lost else f"results/{command[3]}.csv: 2 rows, 0 s\n"
        return SimpleNamespace(returncode=-9 * lost, stdout=shown, stderr=said)

    monkeypatch.setattr(command.subprocess, "run", finish)
    monkeypatch.setattr(store, "provenance", dict)
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    assert command.main(["depth", "lasso_path", "--jobs", "2"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "depth: ended with status -9\n"
    assert "results/lasso_path.csv: 2 rows" in shown.out and "claims.csv" in shown.out


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_no_jobs_are_one_line(jobs, ran, tmp_path, capsys):
    assert command.main(["lasso_path", "--jobs", jobs]) == 2
    assert capsys.readouterr().err == f"--jobs must be at least 1, not {jobs}\n"
    assert ran == [] and list(tmp_path.iterdir()) == []


def test_unjudged_leaves_the_claims(ran, tmp_path):
    assert command.main(["lasso_path", "--unjudged"]) == 0
    assert not (tmp_path / "claims.csv").exists()
    assert command.main(["lasso_path"]) == 0
    assert (tmp_path / "claims.csv").exists()
