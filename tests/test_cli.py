"""The command: results read back, and one clear line for everything that cannot be used."""

import csv
import io
import json
import os
import resource
import stat
import subprocess
import sys

import numpy as np
import pytest

import sam_theory as st
from sam_theory.cli import main
from sam_theory.progress import Bar


def write_csv(path, data):
    names = [f"x{j}" for j in range(data.d)] + ["y"]
    rows = np.column_stack([data.X, data.y])
    text = "\n".join([",".join(names), *(",".join(map(repr, row.tolist())) for row in rows)])
    path.write_text(text + "\n")
    return path


@pytest.fixture
def file(tmp_path):
    return write_csv(tmp_path / "data.csv", st.sparse_regression())


def flags(file, algorithm="1-sam", rho="0.1", **changes):
    named = {"--target": "y", "--alpha": "0.1", "--algorithm": algorithm, "--rho": rho} | {
        "--" + name.replace("_", "-"): value for name, value in changes.items()
    }
    out = [str(file)]
    for flag, value in named.items():
        if value is True:
            out.append(flag)
        elif value is not None:
            out += [flag, str(value)]
    return out


def test_bias_gives_the_librarys_limit(file, tmp_path, capsys):
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    assert main(["bias", *flags(file, json=out, csv=table)]) == 0
    shown = capsys.readouterr()
    assert "1-SAM: converged" in shown.out and "upper bound on max |beta - beta*|" in shown.out
    limit = st.implicit_bias(st.sparse_regression(), alpha=0.1, algorithm=st.one_sam(0.1))
    content = json.loads(out.read_text())
    assert content["limit"]["beta"] == limit.beta.tolist()
    assert content["limit"]["certificate"]["error_bound"] == limit.certificate.error_bound
    assert content["settings"]["rho"] == 0.1
    assert content["versions"]["sam_theory"] == st.__version__
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["beta"]) for row in rows] == limit.beta.tolist()
    assert [row["coordinate"] for row in rows][:2] == ["x0", "x1"]
    assert list(tmp_path.glob(".*")) == []


def test_check_puts_the_routes_side_by_side(file, tmp_path, capsys):
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    finite = {"step_size": 0.05, "steps": 200_000, "json": out, "csv": table}
    assert main(["check", *flags(file, "m-sam", m=5, **finite)]) == 0
    content = json.loads(out.read_text())
    gaps = content["max_difference"]
    assert gaps["simulation_identity_reached"] < 1e-11
    assert 1e-6 < gaps["identity_theory"] < 1e-2
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30
    for row in rows:
        difference = float(row["simulation"]) - float(row["theory"])
        assert float(row["difference"]) == difference
    assert "finite-step shift" in capsys.readouterr().out


def test_simulate_prints_the_recorded_losses(file, tmp_path, capsys):
    table = tmp_path / "losses.csv"
    finite = {"step_size": 0.1, "steps": 1000, "csv": table}
    assert main(["simulate", *flags(file, "sgd", None, batch_size=2, seed=3, **finite)]) == 0
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    run = st.descend(
        st.sparse_regression(),
        alpha=0.1,
        algorithm=st.sgd(2),
        step_size=0.1,
        steps=1000,
        seed=3,
    )
    assert float(rows[-1]["loss"]) == run.loss
    assert [int(row["step"]) for row in rows] == list(range(0, 1001, 100))
    assert "max_steps after 1000 steps" in capsys.readouterr().out


def test_npz_with_a_test_set_needs_no_target(tmp_path, capsys):
    data = st.sparse_regression()
    path = tmp_path / "data.npz"
    np.savez(path, X=data.X, y=data.y, X_test=data.test.X, y_test=data.test.y)
    assert main(["bias", *flags(path, "gd", None, target=None)]) == 0
    assert "test loss" in capsys.readouterr().out


def test_preprocessing_and_split(file, capsys):
    assert main(["bias", *flags(file, "gd", None, standardize=True, test_fraction=0.2)]) == 0
    assert "n = 16, d = 30, rank 15" in capsys.readouterr().out


def test_inconsistent_data_is_answered_with_its_status(tmp_path, capsys):
    rng = np.random.default_rng(0)
    data = st.Regression(rng.standard_normal((12, 4)), rng.standard_normal(12))
    path = write_csv(tmp_path / "tall.csv", data)
    assert main(["bias", *flags(path, "n-sam")]) == 0
    assert "least_squares" in capsys.readouterr().out
    out = tmp_path / "out.json"
    assert main(["bias", *flags(path, "1-sam", json=out)]) == 0
    assert "no_interpolation" in capsys.readouterr().out
    assert json.loads(out.read_text())["limit"]["certificate"] is None


def assert_refused(arguments, capsys, folder, message):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("sam-theory: error: ") and shown.err.count("\n") == 1, shown.err
    assert "Traceback" not in shown.err
    assert message in shown.err, shown.err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


BAD_FLAGS = {
    "alpha zero": (("1-sam", "0.1", {"alpha": "0"}), "alpha must be positive"),
    "alpha negative": (("1-sam", "0.1", {"alpha": "-1"}), "alpha must be positive"),
    "alpha no number": (("1-sam", "0.1", {"alpha": "x"}), "--alpha"),
    "alpha missing": (("1-sam", "0.1", {"alpha": None}), "--alpha"),
    "rho negative": (("1-sam", "-0.1", {}), "rho"),
    "rho barely negative": (("1-sam", "-1e-9", {}), "rho must be a finite number >= 0, not -1e-09"),
    "rho missing": (("n-sam", None, {}), "--rho is required"),
    "rho with gd": (("gd", "0.1", {}), "--rho does not apply"),
    "m missing": (("m-sam", "0.1", {}), "--m is required"),
    "m zero": (("m-sam", "0.1", {"m": "0"}), "m must be"),
    "m does not divide": (("m-sam", "0.1", {"m": "3"}), "m = 3 does not divide n = 20"),
    "m too large": (("m-sam", "0.1", {"m": "40"}), "m = 40 exceeds n = 20"),
    "m with gd": (("gd", None, {"m": "2"}), "--m does not apply"),
    "m with n-sam": (("n-sam", "0.1", {"m": "2"}), "--m does not apply"),
    "m with 1-sam": (("1-sam", "0.1", {"m": "1"}), "--m does not apply"),
    "batch with gd": (("gd", None, {"batch_size": "2"}), "--batch-size does not apply"),
    "normalized with gd": (("gd", None, {"normalized": True}), "--normalized does not apply"),
    "batch too large": (("sgd", None, {"batch_size": "21"}), "batch_size = 21 exceeds"),
    "unknown algorithm": (("adam", None, {}), "adam"),
    "wrong target": (("gd", None, {"target": "z"}), "no column 'z'; the columns are x0, x1"),
    "no target": (("gd", None, {"target": None}), "target"),
    "unknown flag": (("gd", None, {"colour": "red"}), "--colour"),
    "test fraction": (("gd", None, {"test_fraction": "1.5"}), "test_fraction"),
    "folder missing": (("gd", None, {"json": "no/such/out.json"}), "does not exist"),
    "folder is a file": (("gd", None, {"json": "data.csv/out.json"}), "does not exist"),
    "out is a folder": (("gd", None, {"csv": "."}), "--csv .: is a directory"),
    "out is the data": (("gd", None, {"csv": "data.csv"}), "--csv data.csv: would overwrite"),
    "one out for two": (("gd", None, {"csv": "./out.json"}), "the file of --json"),
    "alpha too large": (("gd", None, {"alpha": "1e200"}), "alpha must lie between 1e-150"),
    "alpha too small": (("gd", None, {"alpha": "1e-200"}), "alpha must lie between"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_flags(case, file, tmp_path, capsys, monkeypatch):
    (algorithm, rho, changes), message = BAD_FLAGS[case]
    monkeypatch.chdir(tmp_path)
    arguments = flags(file, algorithm, rho, **({"json": "out.json"} | changes))
    assert_refused(["bias", *arguments], capsys, tmp_path, message)


BAD_FILES = {
    "nan": ("a,y\n1,2\nnan,3\n", "line 3, column 'a': nan is not finite"),
    "inf": ("a,y\n1,2\n2,inf\n", "line 3, column 'y': inf is not finite"),
    "text": ("a,y\n1,2\nx,3\n", "line 3, column 'a': 'x' is not a number"),
    "empty cell": ("a,y\n1,\n", "line 2, column 'y': the cell is empty"),
    "ragged": ("a,y\n1,2\n1,2,3\n", "line 3 has 3 cells, the header has 2"),
    "short": ("a,b,y\n1,2,3\n1,2\n", "line 3 has 2 cells"),
    "digits grouped": ("a,y\n1_000,2\n", "line 2, column 'a': '1_000' is not a number"),
    "foreign digits": ("a,y\n\u0661,2\n", "line 2, column 'a'"),
    "too large": ("a,y\n1,2\n1e300,2\n", "the largest entry of X is 1e+300"),
    "too small": ("a,y\n1,1e-300\n2,0\n", "the largest entry of y is 1e-300"),
    "no rows": ("a,y\n", "n = 0"),
    "empty": ("", "the file is empty"),
    "target alone": ("y\n1\n", "no feature column"),
    "twice": ("a,a,y\n1,2,3\n", "column 'a' appears twice"),
    "NUL in the header": ("\0a,y\n1,2\n", "not a text file"),
    "control characters": ("\x1b[31ma,z\n1,2\n", r"the columns are '\x1b[31ma', z"),
    "binary": (b"\xff\xfe\x00\x01\x02", "not a text file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_csv(case, tmp_path, capsys):
    content, message = BAD_FILES[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ["bias", *flags(path, "gd", None, json=tmp_path / "out.json")]
    assert_refused(arguments, capsys, tmp_path, message)


GOOD = {"X": np.eye(2), "y": np.ones(2)}


def npz_bytes(tmp_path, **arrays):
    path = tmp_path / "made.npz"
    np.savez(path, **arrays)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: b"", "the file is empty"),
        (lambda t: b"a,y\n1,2\n", "not an NPZ file"),
        (lambda t: npz_bytes(t, X=np.eye(2), y=np.ones(2))[:150], "not an NPZ file"),
        (lambda t: npz_bytes(t, X=np.eye(2)), "no array 'y'"),
        (lambda t: npz_bytes(t, X=np.eye(2), y=np.array([{}, 1])), "needs pickle"),
        (lambda t: npz_bytes(t, X=np.eye(2), y=np.ones(3)), "bad.npz: y has length 3"),
        (lambda t: npz_bytes(t, **GOOD, feature_names=np.array(3)), "feature_names"),
        (lambda t: npz_bytes(t, **GOOD, X_test=np.eye(2) * np.nan, y_test=np.ones(2)), "X_test"),
        (lambda t: npz_bytes(t, **GOOD, X_test=np.eye(2)), "X_test and y_test"),
        (lambda t: npz_bytes(t, X=np.ones((0, 2)), y=np.ones(0)), "X"),
        (lambda t: npz_bytes(t, X=np.full((2, 2), np.nan), y=np.ones(2)), "X"),
    ],
)
def test_bad_npz(make, message, tmp_path, capsys):
    path = tmp_path / "bad.npz"
    path.write_bytes(make(tmp_path))
    assert_refused(["bias", *flags(path, "gd", None, target=None)], capsys, tmp_path, message)


def test_npz_with_another_target(tmp_path, capsys):
    path = tmp_path / "data.npz"
    np.savez(path, **GOOD)
    assert main(["bias", *flags(path, "gd", None)]) == 0
    capsys.readouterr()
    assert_refused(
        ["bias", *flags(path, "gd", None, target="z")], capsys, tmp_path, "array y, not 'z'"
    )


def test_output_that_is_no_regular_file_is_left_alone(file, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ["bias", *flags(file, "gd", None, json=pipe)]
    assert_refused(arguments, capsys, tmp_path, "is not a regular file")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_output_through_a_link_replaces_the_file_behind_it(file, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert main(["bias", *flags(file, "gd", None, json=tmp_path / "link.json")]) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["limit"]["status"] == "converged"


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.csv", "no such file"), ("folder.csv", "is a directory"), ("data.xls", "ending")],
)
def test_bad_paths(name, message, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "data.xls").write_text("x")
    assert_refused(["bias", *flags(tmp_path / name, "gd", None)], capsys, tmp_path, message)


def test_divergence_names_the_step(file, tmp_path, capsys):
    finite = {"step_size": 50, "steps": 1000, "json": tmp_path / "out.json"}
    message = "the run diverged at step"
    for command in ("simulate", "check"):
        arguments = [command, *flags(file, "gd", None, **finite)]
        assert_refused(arguments, capsys, tmp_path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_size": "0", "steps": "10"}, "step_size must be positive"),
        ({"step_size": "0.1", "steps": "0"}, "steps must be"),
        ({"step_size": "0.1", "steps": str(10**20)}, "--steps must be at most"),
        ({"step_size": "0.1"}, "--steps"),
        ({"steps": "10"}, "--step-size"),
    ],
)
def test_bad_finite_steps(changes, message, file, tmp_path, capsys):
    assert_refused(["simulate", *flags(file, "gd", None, **changes)], capsys, tmp_path, message)


def test_a_failed_factorisation_is_one_line(file, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr("sam_theory.diagonal.flow.implicit_bias", fail)
    assert_refused(
        ["bias", *flags(file, "gd", None)], capsys, tmp_path, "double precision (singular)"
    )


def test_the_bar_is_for_terminals(capsys, monkeypatch):
    def shown():
        with Bar("theory") as bar:
            bar(0.5)
            bar.bar.refresh()
        return capsys.readouterr().err

    assert shown() == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "theory:  50%" in shown()


def test_a_file_that_cannot_be_replaced_leaves_nothing(file, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    out = {"json": tmp_path / "out.json", "csv": tmp_path / "out.csv"}
    arguments = ["bias", *flags(file, "gd", None, **out)]
    assert main(arguments) == 2
    assert "No space left" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.csv"]


def test_the_helper_notices_what_it_is_for(file, tmp_path, capsys, monkeypatch):
    """Planted faults: an answer, two lines, another message, a file left behind."""
    refused = ["bias", *flags(file, "gd", None, alpha="0")]
    with pytest.raises(AssertionError):
        assert_refused(["bias", *flags(file, "gd", None)], capsys, tmp_path, "")
    with pytest.raises(AssertionError):
        assert_refused(refused, capsys, tmp_path, "--rho")

    honest = main
    for fault in (lambda: print("x", file=sys.stderr), (tmp_path / "left").touch):
        monkeypatch.setitem(globals(), "main", lambda given, do=fault: (do(), honest(given))[1])
        with pytest.raises(AssertionError):
            assert_refused(refused, capsys, tmp_path, "alpha must be positive")
    monkeypatch.undo()
    assert_refused(refused, capsys, tmp_path, "alpha must be positive")


def test_interrupting_leaves_nothing(file, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam_theory.diagonal.flow.implicit_bias", interrupt)
    assert main(["bias", *flags(file, "gd", None, json=tmp_path / "out.json")]) == 130
    assert capsys.readouterr() == ("", "sam-theory: interrupted\n")
    assert [p.name for p in tmp_path.iterdir()] == ["data.csv"]


def test_names_that_the_terminal_cannot_show(tmp_path, monkeypatch):
    path = tmp_path / "names.csv"
    path.write_text("gr\u00f6\u00dfe,y\n1,2\n", encoding="utf-8")
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["bias", *flags(path, "gd", None)]) == 0
    shown.seek(0)
    assert r"gr\xf6\xdfe" in shown.read()


def test_help_and_version(capsys):
    for command in ("bias", "simulate", "check"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"example: sam-theory {command} data.csv" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"sam-theory {st.__version__}\n"


def test_in_a_process_of_its_own(file, tmp_path):
    command, arguments = [sys.executable, "-m", "sam_theory.cli"], ["bias", *flags(file, "1-sam")]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    bare = "from numba.core.registry import cpu_target as t; t.target_context.refresh()"
    lines = {"ours": [*command, *arguments], "bare": [sys.executable, "-c", bare]}
    seconds = {name: [] for name in lines}
    for name, line in list(lines.items()) * 5:
        # Processor time: the wall clock also counts other workers.
        start = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        seconds[name] += [sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - start]
        assert ("converged" in done.stdout) == (name == "ours") and done.stderr == ""
    # On a slow machine, in units of numba's own start: compiling takes far longer.
    assert min(seconds["ours"]) <= max(1.5, 2.0 * min(seconds["bare"]))
    early, late = os.pipe()
    os.close(early)
    unread = subprocess.run([*command, *arguments], stdout=late, stderr=subprocess.PIPE)
    os.close(late)
    assert (unread.returncode, unread.stderr) == (0, b"")
    bad = subprocess.run([*command, "bias", "none.csv"], capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "Traceback" not in bad.stderr
