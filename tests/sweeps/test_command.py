"""``sam-theory sweep``: the table of a file, and one clear line for what cannot be used."""

import csv
import importlib
import json
import sys

import pandas as pd
import pytest

import sam_theory as st
from sam_theory import sweeps
from sam_theory.cli import main

STUDY = """
def limit(rho, algorithm, alpha, data=None):
    import sam_theory as st
    rule = {"n-sam": st.n_sam, "1-sam": st.one_sam}[algorithm]
    if rho > 5:
        raise ValueError("rho is\\ntoo large")
    data = st.sparse_regression() if data is None else data
    found = st.implicit_bias(data, alpha=alpha, algorithm=rule(rho))
    return {"l1": found.l1_norm, "n": data.n, "nan": float("nan"), "none": None}
"""
SWEEP = """
study = "study.py:limit"
cache = "cells"
output = "limits.csv"
workers = 1
[grid]
rho = [0.1, 0.2]
algorithm = ["n-sam", "1-sam"]
[common]
alpha = 0.5
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "study.py").write_text(STUDY)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("_study_")]:
        del sys.modules[name]


def sweep(folder, *flags):
    return main(["sweep", str(folder / "sweep.toml"), *flags])


def edit(folder, old, new):
    assert old in SWEEP
    (folder / "sweep.toml").write_text(SWEEP.replace(old, new))


def test_the_table_is_that_of_the_call(folder, capsys):
    assert sweep(folder) == 0
    shown = capsys.readouterr()
    assert shown.out == "4 cells: 4 done, 0 failed; 4 computed now\nlimits.csv: 4 rows\n"
    assert shown.err == ""
    grid = {"rho": [0.1, 0.2], "algorithm": ["n-sam", "1-sam"]}
    expected = sweeps.run(
        f"{folder / 'study.py'}:limit",
        grid,
        common={"alpha": 0.5},
        cache=folder / "cells",
        progress=False,
    )
    assert expected.computed == 0
    with (folder / "limits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["l1"]).hex() for row in rows] == [v.hex() for v in expected.table["l1"]]
    assert list(rows[0]) == ["rho", "algorithm", "l1", "n", "nan", "none"]
    assert {(row["n"], row["nan"], row["none"]) for row in rows} == {("20", "nan", "")}
    sidecar = json.loads((folder / "limits.json").read_text())
    assert sidecar["sweep"]["grid"] == grid and sidecar["sweep"]["common"] == {"alpha": 0.5}
    assert (sidecar["cells"], sidecar["rows"], sidecar["failures"]) == (4, 4, [])
    assert sidecar["versions"]["sam_theory"] == st.__version__
    assert not [path for path in folder.glob(".*")]
    assert sweep(folder, "--workers", "2", "--output", "again.csv") == 0
    assert "0 computed now\nagain.csv: 4 rows" in capsys.readouterr().out
    assert (folder / "elsewhere/again.csv").read_bytes() == (folder / "limits.csv").read_bytes()


def test_status_computes_nothing(folder, capsys):
    before = {path for path in folder.rglob("*") if "__pycache__" not in str(path)}
    assert sweep(folder, "--status") == 0
    assert capsys.readouterr().out == "4 cells: 0 done, 0 failed, 4 missing, 0 damaged\n"
    assert {path for path in folder.rglob("*") if "__pycache__" not in str(path)} == before
    assert sweep(folder) == 0
    (path, *_) = sorted((folder / "cells").rglob("*.cell"))
    path.write_bytes(path.read_bytes()[:-1])
    capsys.readouterr()
    assert sweep(folder, "--status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 cells: 3 done, 0 failed, 0 missing, 1 damaged"
    assert lines[1].startswith("damaged at rho=0.") and lines[1].endswith("written with it")
    assert sweep(folder) == 0
    assert "1 computed now, 1 of them for a damaged record" in capsys.readouterr().out


def test_failed_cells_are_listed_and_tried_again_on_request(folder, capsys):
    edit(folder, "rho = [0.1, 0.2]", "rho = [0.1, 9.0]")
    for flags, computed in (([], 4), ([], 0), (["--retry-failed"], 2)):
        assert sweep(folder, *flags) == 1
        shown = capsys.readouterr().out.splitlines()
        assert shown[0] == f"4 cells: 2 done, 2 failed; {computed} computed now"
        assert shown[2] == "failed at rho=9.0, algorithm='n-sam': ValueError: rho is too large"
    assert len(pd.read_csv(folder / "limits.csv")) == 2
    failures = json.loads((folder / "limits.json").read_text())["failures"]
    assert [failure["algorithm"] for failure in failures] == ["n-sam", "1-sam"]
    assert failures[0]["error"] == "rho is\ntoo large" and "in limit" in failures[0]["traceback"]
    assert sweep(folder, "--status") == 0
    assert "2 done, 2 failed, 0 missing" in capsys.readouterr().out


def test_tables_data_files_and_modules(folder, capsys):
    (folder / "own.csv").write_text("a,b,y\n1,2,3\n2,1,4\n")
    (folder / "helpers.py").write_text("")
    text = SWEEP.replace("[grid]", "[[table]]").replace("[0.1, 0.2]", "0.1")
    text = text.replace('["n-sam", "1-sam"]', '"n-sam"').replace("study.py:", "study_module:")
    text = text.replace("workers = 1", 'workers = 1\ndepends = ["helpers.py"]')
    text += '[data.data]\nfile = "own.csv"\ntarget = "y"\n'
    (folder / "sweep.toml").write_text(text)
    (folder / "study_module.py").write_text(STUDY)
    assert sweep(folder) == 0
    assert "1 computed now" in capsys.readouterr().out
    assert pd.read_csv(folder / "limits.csv")["n"].tolist() == [2]
    for path, change in (("own.csv", "a,b,y\n1,2,3\n2,1,5\n"), ("helpers.py", "# changed\n")):
        (folder / path).write_text(change)
        assert sweep(folder) == 0
        assert "1 computed now" in capsys.readouterr().out
    for path in ("own.csv", "helpers.py", "study_module.py", "sweep.toml", "cells"):
        (folder / path).rename(folder / "elsewhere" / path)
    del sys.modules["study_module"]
    importlib.invalidate_caches()
    assert sweep(folder / "elsewhere") == 0
    assert "0 computed now" in capsys.readouterr().out
    del sys.modules["study_module"]


ODD = """
import os

def limit(rho, name):
    if name == "bad":
        raise ValueError(os.fsdecode(b"bad\\xe9"))
    return {"file": os.fsdecode(b"caf\\xe9.csv"), "whole": "\u00e9"}
"""


def test_what_is_no_text_or_no_number_is_written_all_the_same(folder, capsys):
    (folder / "study.py").write_text(ODD, encoding="utf-8")
    text = SWEEP.replace("[0.1, 0.2]", "[inf, -inf, nan]").replace("algorithm", "name")
    text = text.replace('["n-sam", "1-sam"]', '["good", "bad"]').replace("alpha = 0.5", "")
    (folder / "sweep.toml").write_text(text)
    assert sweep(folder) == 1
    assert "6 cells: 3 done, 3 failed" in capsys.readouterr().out
    rows = (folder / "limits.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == "inf,good,caf\\udce9.csv,\u00e9"
    sidecar = json.loads((folder / "limits.json").read_text(encoding="utf-8"))
    assert sidecar["sweep"]["grid"] == {"rho": ["inf", "-inf", "nan"], "name": ["good", "bad"]}
    assert sidecar["failures"][0]["error"] == "bad\udce9"


BAD = {
    "no study": ('study = "study.py:limit"\n', "", "study is missing"),
    "no cache": ('cache = "cells"\n', "", "cache is missing"),
    "no output": ('output = "limits.csv"\n', "", "output is missing (or give --output OUT.csv)"),
    "unknown key": ("workers = 1", "worker = 1", "unknown key 'worker'; known are study, cache"),
    "both": ("[common]", "[[table]]\nx = 1\n[common]", "give either [grid] or [[table]]"),
    "neither": ("[grid]\n", "[common.grid]\n", "give either [grid] or [[table]]"),
    "a string": ("workers = 1", 'workers = "1"', "workers must be an integer, not '1'"),
    "a boolean": ("workers = 1", "workers = true", "workers must be an integer, not True"),
    "zero": ("workers = 1", "workers = 0", "workers must be >= 1, not 0"),
    "backend": ("workers = 1", 'backend = "mpi"', "backend must be one of loky, dask, not 'mpi'"),
    "scheduler": ("workers = 1", 'scheduler = "a"', "scheduler is given, but backend is not"),
    "depends": ("workers = 1", "depends = [1]", "depends must be a list of module names"),
    "no TOML": ("[grid]", "[grid", "not a TOML file: "),
    "digits": ("0.5", "1" * 5000, "not a TOML file: "),
    "deep": ("0.5", "[" * 1200 + "]" * 1200, "lists or tables are nested too deep"),
    "zero in study": ('"study.py:limit"', '"a\\u0000.py:f"', "study holds a zero character"),
    "zero in cache": ('"cells"', '"a\\u0000"', "cache holds a zero character"),
    "zero in output": ('"limits.csv"', '"a\\u0000.csv"', "output holds a zero character"),
    "zero in depends": ("workers = 1", 'depends = ["a\\u0000.py"]', "depends holds a zero"),
    "zero in data": (
        "[common]",
        '[data.x]\nfile="\\u0000"\n[common]',
        "[data.x]: file holds a zero",
    ),
    "no list": ("[0.1, 0.2]", "0.1", "grid: rho must be a list of values, not a float"),
    "a date": ("0.1, 0.2", "2020-01-01", "rho: a date cannot be an input of a sweep"),
    "a name": ("rho", "roh", "study study.py:limit: missing a required argument: 'rho'"),
    "twice": ("alpha = 0.5", "alpha = 0.5\nrho = 1", "'rho' is in the grid and in common"),
    "no file": ("study.py:limit", "none.py:limit", "study none.py:limit: no file "),
    "no function": ("study.py:limit", "study.py:none", "has no function 'none'"),
    "no colon": ("study.py:limit", "study.py", "must read 'package.module:function'"),
    "ending": ("limits.csv", "limits.txt", "must end with .csv"),
    "input": ("limits.csv", "taken.csv", "would overwrite taken.csv, which is an input"),
    "folder": ("limits.csv", "no/limits.csv", "does not exist"),
    "cache": ('"cells"', '"study.py"', "cannot be written"),
    "data": ("[common]", "[data.x]\nfiles = 1\n[common]", '[data.x] must say file = "..."'),
    "data key": ("[common]", '[data.x]\nfile="a"\nb="c"\n[common]', "[data.x]: unknown key 'b'"),
    "data twice": ("[common]", '[data.alpha]\nfile="a"\n[common]', "is in [common] and in [data]"),
    "data file": ("[common]", '[data.data]\nfile="a.csv"\n[common]', "a.csv: no such file"),
}


def assert_refused(folder, capsys, message, *flags):
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    }
    assert sweep(folder, *flags) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1, shown
    assert shown.err.startswith("sam-theory: error: ") and message in shown.err, shown.err
    after = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    }
    assert after == before


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, folder, capsys):
    old, new, message = BAD[case]
    (folder / "taken.csv").write_text("a,y\n1,2\n")
    edit(folder, old, new)
    if case == "input":
        with (folder / "sweep.toml").open("a") as stream:
            stream.write('[data.data]\nfile = "taken.csv"\ntarget = "y"\n')
    assert_refused(folder, capsys, message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "."], "--output .: must end with .csv"),
        (["--output", "no/out.csv"], "--output no/out.csv: the folder "),
        (["--workers", "x"], "--workers"),
        (["--workers", "-1"], "workers must be >= 1, not -1"),
        (["--backend", "x"], "backend must be one of loky, dask, not 'x'"),
        (["--colour"], "--colour"),
    ],
)
def test_bad_flags(flags, message, folder, capsys):
    assert_refused(folder, capsys, message, *flags)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not a text file in UTF-8"),
        (lambda path: path.write_bytes(b""), "study is missing"),
    ],
)
def test_bad_paths(make, message, folder, capsys):
    make(folder / "sweep.toml")
    assert_refused(folder, capsys, message)


def test_the_helper_notices_what_it_is_for(folder, capsys):
    with pytest.raises(AssertionError):
        assert_refused(folder, capsys, "")
    edit(folder, "workers = 1", "workers = 0")
    with pytest.raises(AssertionError):
        assert_refused(folder, capsys, "another message")
    assert_refused(folder, capsys, "workers must be >= 1")


def test_interrupting_keeps_what_is_done(folder, capsys, monkeypatch):
    from sam_theory.sweeps import workers

    honest, left = workers._outcome, [2]

    def interrupt(*given):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(workers, "_outcome", interrupt)
    assert sweep(folder) == 130
    assert capsys.readouterr() == ("", "sam-theory: interrupted\n")
    assert not (folder / "limits.csv").exists()
    monkeypatch.undo()
    assert len(list((folder / "cells").rglob("*.cell"))) == 2
    assert not list((folder / "cells").rglob("*.lock"))
    assert main(["sweep", str(folder / "sweep.toml")]) == 0
    assert "2 computed now" in capsys.readouterr().out


def test_a_bar_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert sweep(folder) == 0
    assert "study.py:limit: 100%" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "example: sam-theory sweep sweep.toml --workers 4" in shown
    assert "exit status: 0, 1 if cells have failed, 2 for an error" in shown


def test_the_example_of_the_help_is_a_file_that_is_read(folder, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    shown = capsys.readouterr().out
    (folder / "sweep.toml").write_text(
        shown[shown.index("  study =") : shown.index("optional too")]
    )
    from sam_theory.sweeps.command import read

    found = read(str(folder / "sweep.toml"))
    assert found.study == f"{folder}/study.py:limit" and found.workers == 2
    assert found.grid == {"rho": [0.01, 0.03, 0.1], "algorithm": ["n-sam", "1-sam"]}
    assert found.data == {"spectra": {"file": f"{folder}/spectra.csv", "target": "glucose"}}
