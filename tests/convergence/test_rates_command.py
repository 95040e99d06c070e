"""``sam-theory rates``: output, files, exit status, one line for what cannot be done."""

import json

import pandas as pd
import pytest

from sam_theory.cli import main

MINE = """
import numpy as np
from sam_theory import convergence as rates

problem = rates.claim(
    lambda w: float(w @ w) / 2, lambda w: w, start=np.ones(2), beta={beta}, mu=1.0, minimum=0.0
)
"""


def run(capsys, *arguments):
    status = main(["rates", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and err.startswith("sam-theory: error: ")
    assert err.count("\n") == 1
    return err


def test_one_pair_with_files(capsys, tmp_path):
    files = [str(tmp_path / name) for name in ("a.csv", "a.json", "a.pdf")]
    status, out, _ = run(
        capsys, "--theorem", "T1", "--problem", "noisy_quadratic", "--batch-size", "4", "--m", "2",
        "--seeds", "50", "--horizons", "20,80,320", "--csv", files[0], "--json", files[1],
        "--plot", files[2],
    )  # fmt: skip
    assert status == 0 and "3 holds" in out and "predicted T^-0.5" in out
    table = pd.read_csv(files[0])
    assert list(table["T"]) == [20, 80, 320] and list(table["verdict"].unique()) == ["holds"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert len(content["rows"]) == 3 and content["settings"]["theorem"] == "T1"
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_all_theorems_on_one_problem(capsys):
    status, out, _ = run(capsys, "--problem", "isotropic", "--seeds", "5")
    assert status == 0 and "holds" in out and "does not apply to isotropic" in out


def test_list(capsys):
    status, out, _ = run(capsys, "--list")
    assert status == 0 and "spurious-point" in out and "factorization" in out


def test_own_problem(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(beta=1.0))
    status, out, _ = run(capsys, "--file", str(file), "--theorem", "T3-PL")
    assert status == 0 and "not refuted" in out and "5 holds" in out
    file.write_text(MINE.format(beta=1.0).replace("beta=1.0, mu=1.0", "beta=0.9, mu=0.9"))
    status, out, _ = run(capsys, "--file", str(file), "--theorem", "T3-PL")
    assert status == 1 and ": refuted" in out and "at w = (" in out


def test_violated_is_status_one(capsys, tmp_path):
    file = tmp_path / "mine.py"
    text = MINE.format(beta=1.0).replace("minimum=0.0", "minimum=-1.0")
    file.write_text(text)
    status, out, _ = run(capsys, "--file", str(file), "--theorem", "T3-PL", "--rho", "0")
    assert status == 1 and "violated" in out


def test_one_seed_is_not_a_violation(capsys, tmp_path):
    files = [str(tmp_path / name) for name in ("a.json", "a.pdf")]
    status, out, _ = run(
        capsys, "--theorem", "T5", "--problem", "ridge", "--batch-size", "1", "--seeds", "1",
        "--step-size", "0.02", "--rho", "0.01", "--json", files[0], "--plot", files[1],
    )  # fmt: skip
    assert status == 0 and "inconclusive" in out and "more seeds are needed" in out
    row = json.loads((tmp_path / "a.json").read_text())["rows"][0]
    assert row["confidence_bound"] is None and row["standard_error"] is None
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--theorem", "T9"], "no theorem named 'T9'; known: T1"),
        (["--problem", "x"], "no problem named 'x'; known: least_squares"),
        (["--problem", "ridge", "--file", "x.py"], "exclude each other"),
        (["--file", "absent.py"], "absent.py: no such file"),
        (["--rho", "0.1"], "need --theorem"),
        (["--theorem", "T3", "--problem", "ridge", "--horizons", "a,b"], "--horizons must be"),
        (["--theorem", "T3", "--problem", "ridge", "--horizons", "5,3"], "increasing"),
        (["--theorem", "T2", "--problem", "saturating"], "no PL constant"),
        (["--theorem", "T3", "--problem", "ridge", "--step-size", "99"], "step size <= 1/beta"),
        (["--theorem", "T1", "--problem", "ridge", "--batch-size", "6", "--m", "4"], "not divide"),
        (["--problem", "ridge", "--plot", "a.txt"], "must end with"),
        (["--problem", "ridge", "--csv", "/no/such/folder/a.csv"], "does not exist"),
        (["--problem", "ridge", "--csv", "a.csv", "--json", "a.csv"], "would overwrite"),
    ],
)
def test_refused(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines no problem"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("problem = \n", "SyntaxError"),
        ("import sys; sys.exit(3)\n", "SystemExit"),
        (MINE.format(beta=-1.0), "beta must be positive"),
        (MINE.format(beta=0.5), "mu = 1 exceeds"),
    ],
)
def test_bad_files(capsys, tmp_path, text, message):
    file = tmp_path / "bad.py"
    file.write_text(text)
    err = refused(capsys, "--file", str(file))
    assert message in err and "bad.py" in err


def test_own_file_is_not_overwritten(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(beta=1.0))
    assert "would overwrite" in refused(capsys, "--file", str(file), "--csv", str(file))
    assert file.read_text() == MINE.format(beta=1.0)
