"""A full disk: one line, status 2, and what has been recorded stays and counts."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import bits
import pytest
import toy_studies
from test_run import go, records

import sam_theory as st
from sam_theory.sweeps import store

HERE = Path(__file__).parent
STUDY = """
def f(size):
    return {"text": "x" * size}
"""
COMMAND = [sys.executable, "-m", "sam_theory.cli", "sweep", "sweep.toml"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path


def describe(folder, sizes, workers, cache="cache"):
    text = f'study = "study.py:f"\ncache = "{cache}"\noutput = "out.csv"\nworkers = {workers}\n'
    (folder / "sweep.toml").write_text(f"{text}[grid]\nsize = {sizes}\n")


def environment():
    return os.environ | {"PYTHONPATH": str(HERE.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}


def assert_one_line(done, message):
    assert done.returncode == 2, done
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("sam-theory: error: cache ") and message in done.stderr


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("good", [0, 3])
def test_the_disk_fills_up_in_this_process(call, good, tmp_path, monkeypatch):
    log, cache = str(tmp_path / "log"), tmp_path / "c"
    honest, left = getattr(store.os, call), [good]

    def filling(*given, **named):
        # The study's own log is written elsewhere, and a folder is flushed after its file.
        if call == "write" and not given[1][:10].tobytes().startswith(b"sam_theory"):
            return honest(*given, **named)
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*given, **named)

    class Os:
        def __getattr__(self, name):
            return filling if name == call else getattr(os, name)

    grid, common = {"x": range(5)}, {"log": log}
    monkeypatch.setattr(store, "os", Os())
    with pytest.raises(st.InputError, match="cannot be written .No space left on device.; what"):
        go(toy_studies.logged, grid, cache, common=common)
    monkeypatch.undo()
    kept = records(cache)
    assert len(kept) == (good if call != "fsync" else (good + 1) // 2)
    done = go(toy_studies.logged, grid, cache, common=common)
    assert done.computed == 5 - len(kept) and done.damaged == 0
    assert {path: records(cache)[path] for path in kept} == kept
    other = go(toy_studies.logged, grid, tmp_path / "other", common=common)
    assert bits.differences(done.table, other.table) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_may_not_grow(workers, folder):
    describe(folder, [10, 20, 30, 100_000], workers)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    run = {"cwd": folder, "env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(COMMAND, preexec_fn=limit, **run)
    assert_one_line(done, "cannot be written (File too large); what is stored stays valid")
    assert len(records(folder / "cache")) <= 3 and not list(folder.rglob("*.tmp"))
    assert not (folder / "out.csv").exists()
    kept = len(records(folder / "cache"))
    done = subprocess.run(COMMAND, **run)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"4 cells: 4 done, 0 failed; {4 - kept} computed now" in done.stdout


SCRIPT = """
set -u
mount -t tmpfs -o size=64k none cache || exit 77
"$@"; echo "status $?"
df --output=avail cache | tail -n 1 >&2
find cache -name '*.cell' | wc -l
find cache -name '*.tmp' | wc -l
mount -o remount,size=4m cache || exit 77
"$@"; echo "status $?"
"""


def test_a_disk_that_is_full(folder):
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a small disk")
    describe(folder, [10, 20, 30, 30_000, 30_001, 30_002], 1)
    (folder / "cache").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh", *COMMAND],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()[:80]}")
    first, cells, temporary, text, table, last = done.stdout.splitlines()
    errors = done.stderr.splitlines()
    assert (first, temporary, last) == ("status 2", "0", "status 0")
    assert errors[0].startswith("sam-theory: error: cache ") and "No space left" in errors[0]
    assert len(errors) == 2
    assert 3 <= int(cells) < 6
    assert text == f"6 cells: 6 done, 0 failed; {6 - int(cells)} computed now"
    assert table == "out.csv: 6 rows"
    assert json.loads((folder / "out.json").read_text())["rows"] == 6
