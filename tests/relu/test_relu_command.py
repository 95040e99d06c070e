"""``sam-theory relu``: the published experiment or one's own data, and one line for what fails."""

import csv
import json
import re

import numpy as np
import pytest

import sam_theory as st
from sam_theory import relu
from sam_theory.cli import main

QUICK = ["--steps", "2000", "--seeds", "3"]


def write(path, x, y):
    rows = "\n".join(f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    path.write_text(f"x,y\n{rows}\n")
    return str(path)


def test_the_published_experiment_in_small(tmp_path, capsys):
    out, table = tmp_path / "o.json", tmp_path / "o.csv"
    files = ["--json", str(out), "--csv", str(table)]
    assert main(["relu", *QUICK, "--seeds", "6", *files]) == 0
    shown = capsys.readouterr().out
    assert "12 points of the published 1-D experiment: n = 12, 6 seeds" in shown
    assert "SAM is n-SAM, normalized, rho = 0.3" in shown
    number = r"[-+]?\d[\d.e+-]*"
    interval = rf"{number} \[{number}, {number}\]"
    for line, name in zip(shown.splitlines()[-2:], ("kinks", "total variation"), strict=True):
        assert re.fullmatch(
            rf"{name}: ((smaller|larger) under SAM than under ERM|no difference shown between "
            rf"SAM and ERM): {interval}, ratio {interval}, smaller on \d+ % of 6 seeds",
            line,
        ), line
    content = json.loads(out.read_text())
    assert content["verdicts"] == shown.splitlines()[-2:]
    assert content["settings"]["seeds"] == 6 and "run" not in content["settings"]
    assert content["versions"]["sam_theory"] == st.__version__
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    single = relu.train_run(relu.published_data(), relu.published_run(2, steps=2000))
    sam = next(row for row in rows if row["name"] == "SAM" and row["seed"] == "2")
    assert float(sam["objective"]) == single.objective
    assert float(sam["total_variation"]) == relu.measure(single).total_variation
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("seeds", [2, 5])
def test_few_seeds_decide_nothing(seeds, tmp_path, capsys):
    """However far apart ERM and SAM are; the interval of two values is their range."""
    out = tmp_path / "o.json"
    flags = ["--rho", "30", "--seeds", str(seeds), "--json", str(out)]
    assert main(["relu", *QUICK, *flags]) == 0
    words = capsys.readouterr().out.splitlines()[-2:]
    for line, name in zip(words, ("kinks", "total variation"), strict=True):
        assert line.startswith(f"{name}: not decided between SAM and ERM, fewer than 6 seeds: -")
        assert line.endswith(f"smaller on 100 % of {seeds} seeds")
    content = json.loads(out.read_text())
    assert content["verdicts"] == words
    assert {row["verdict"] for row in content["differences"]} == {"not decided"}


def test_ones_own_data_in_any_unit(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, 8))
    y = np.sin(3 * x)
    texts = []
    for name, scale, offset in (("a", 1.0, 0.0), ("b", 2.0**40, 0.0)):
        path = write(tmp_path / f"{name}.csv", x * scale + offset, y * scale)
        assert main(["relu", "--data", path, "--target", "y", *QUICK, "--width", "30"]) == 0
        texts.append(capsys.readouterr().out.replace(f"{name}.csv", ""))
    # Rescaling takes units away: a power of two changes no bit.
    assert texts[0] == texts[1]
    path = write(tmp_path / "c.csv", x, y)
    assert main(["relu", "--data", path, "--target", "y", *QUICK, "--raw", "--m", "4"]) == 0
    assert "SAM is m-SAM, m=4, normalized" in capsys.readouterr().out
    flags = ["--rho", "1e-4", "--unnormalized", "--scale", "0.1"]
    assert main(["relu", "--data", path, "--target", "y", *QUICK, *flags]) == 0
    assert "SAM is n-SAM, rho = 0.0001" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rho", "-1"], "--rho must be > 0, not -1"),
        (["--rho", "nan"], "--rho must be > 0, not nan"),
        (["--seeds", "1"], "--seeds must be at least 2, not 1"),
        (["--width", "0"], "width must be >= 1, not 0"),
        (["--scale", "0"], "scale must be > 0, not 0"),
        (["--m", "5"], "m = 5 does not divide n = 12"),
        (["--steps", "0"], "steps must be between 1"),
        (["--step-size", "-1"], "step_size must be > 0, not -1"),
        (["--step-size", "10"], "runs diverged, the first (ERM) at step"),
        (["--tol", "-1"], "tol must be >= 0"),
        (["--target", "y"], "--target is for a file: give --data FILE"),
        (["--raw"], "--raw is for a file: give --data FILE"),
        (["--data", "missing.csv", "--target", "y"], "missing.csv"),
        (["--csv", "none/o.csv"], "--csv none/o.csv: the folder"),
        (["--csv", "o.csv", "--json", "o.csv"], "would overwrite the file of --"),
        (["--threads", "0"], "threads must be an integer >= 1"),
        (["--seeds", "x"], "invalid int value"),
    ],
)
def test_bad_flags_are_one_line(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["relu", *QUICK, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n1,3\n", "the feature is constant"),
        ("x,y\n1,2\n2,2\n", "the target is constant"),
        ("x,y\n1,1e-300\n2,3e-300\n", "the target spans 2e-300, too little to be rescaled"),
        ("x,y\n-1e308,1\n1e308,2\n", "the feature spans inf, too much to be rescaled"),
        ("x,z,y\n1,2,3\n2,3,4\n", "2 features, but the command takes one"),
        ("x,y\n1,nan\n2,3\n", "line 2"),
        ("x,y\n1\n2,3\n", "line 2"),
        ("x,y\n1,abc\n2,3\n", "line 2"),
        ("", "empty"),
        ("x,w\n1,2\n2,3\n", "'y'"),
    ],
)
def test_unreadable_files_are_one_line(text, message, tmp_path, capsys):
    path = tmp_path / "d.csv"
    path.write_text(text)
    assert main(["relu", *QUICK, "--data", str(path), "--target", "y"]) == 2
    error = capsys.readouterr().err
    assert message in error and str(path) in error and error.count("\n") == 1


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit):
        main(["relu", "--help"])
    shown = capsys.readouterr().out
    for flag in ("--rho", "--seeds", "--data", "--target", "--csv", "--json", "--step-size"):
        assert flag in shown
    assert "example: sam-theory relu --rho 0.3 --seeds 20" in shown
    assert '"not decided" with fewer than 6' in shown and "a verdict needs 6" in shown
