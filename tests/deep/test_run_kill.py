"""Killed by SIGKILL at random moments, or with a full disk: the same run in the end, to the bit."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import runs
from runs import CONVOLUTIONS, sam

from sam_theory.cli import main
from sam_theory.deep import checkpoints
from sam_theory.deep.runs import folder as run_folder
from sam_theory.deep.runs.folder import RunFolder
from sam_theory.deep.runs.run import train
from sam_theory.errors import InputError

HERE = Path(__file__).parent
VELOCITY = "velocity/layers.0.weight"
COMMAND = [
    sys.executable, "-m", "sam_theory.cli", "train", "--fraction", "0.1", "--model", "resnet_tiny",
    "--model-width", "2", "--batch-size", "16", "--epochs", "24", "--evaluate-every", "1",
    "--sam-rho", "0.1", "--m", "4", "--l2-reg", "0.001", "--average", "0.9", "--threads", "1",
    "--checkpoint-every", "3",
]  # fmt: skip


def environment():
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), str(HERE.parent)])
    return os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}


def contents(folder):
    """Metrics and every array of every checkpoint but the previous one."""
    found = {"metrics": (folder / "metrics.csv").read_bytes()}
    for path in sorted((folder / "checkpoints").glob("*.npz")):
        if path.stem != "previous":
            kept = checkpoints.read(path)
            found |= {f"{path.stem}/{name}": a.tobytes() for name, a in kept.arrays.items()}
            found[f"{path.stem}/position"] = dict(kept.position)
    return found


def different(one, other):
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def test_killed_at_random_moments(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "run_killed.py"), str(tmp_path / "run"), "5", "3"],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["killed"] * 5 + ["last 0"], done.stdout
    train(sam(checkpoint_every=2, dropout=0.2, **CONVOLUTIONS), tmp_path / "whole")
    assert different(contents(tmp_path / "run"), contents(tmp_path / "whole")) == []
    assert list((tmp_path / "run").rglob("*.tmp")) == []


def test_planted_difference(tmp_path):
    train(sam(), tmp_path / "one")
    train(sam(), tmp_path / "other")
    folder = RunFolder(str(tmp_path / "other")).checkpoints
    kept = folder.load("last").checkpoint
    array = kept.arrays[VELOCITY]
    array.flat[0] = np.nextafter(array.flat[0], np.float32(1.0))
    folder.save("last", kept)
    found = different(contents(tmp_path / "one"), contents(tmp_path / "other"))
    assert found == [f"last/{VELOCITY}"]


@pytest.mark.slow
def test_the_command_killed_at_twenty_random_moments(tmp_path):
    rng = np.random.default_rng(7)
    command = [*COMMAND, "--output", str(tmp_path / "run"), "--resume"]
    settings = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    kills = 0
    while kills < 20:
        process = subprocess.Popen(command, **settings)
        path = tmp_path / "run" / "checkpoints" / "last.npz"
        before = path.stat().st_mtime_ns if path.exists() else None
        until = time.monotonic() + 120
        # From the first new checkpoint on, at any moment; a tenth of them before it.
        early = rng.random() < 0.1
        while not early and (not path.exists() or path.stat().st_mtime_ns == before):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 3.0 if early else 0.15))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        process.stderr.close()
        kills += 1
    assert kills == 20, "the run ended too soon"
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = [*COMMAND, "--output", str(tmp_path / "whole")]
    done = subprocess.run(whole, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert different(contents(tmp_path / "run"), contents(tmp_path / "whole")) == []


@pytest.mark.parametrize("what", ["checkpoint", "metrics"])
def test_a_full_disk_leaves_the_old_checkpoint(what, tmp_path, monkeypatch):
    whole, count = train(sam(), tmp_path / "whole"), [0]

    def full(*given, **more):
        count[0] += 1
        if count[0] > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*given, **more)

    folder = tmp_path / "run"
    if what == "checkpoint":
        honest = checkpoints._pack
        monkeypatch.setattr(checkpoints, "_pack", full)
    else:
        honest = run_folder.os.fsync
        monkeypatch.setattr(run_folder, "write_text", _failing(run_folder.write_text, 4))
    with pytest.raises(
        InputError, match=r"cannot be written .No space left on device.; (those|what)"
    ):  # noqa: E501
        train(sam(), folder)
    monkeypatch.undo()
    assert list(folder.rglob("*.tmp")) == []
    assert RunFolder(str(folder)).checkpoints.load().refused == ()
    assert runs.differences(train(sam(), folder, resume=True), whole) == []


def _failing(honest, good):
    count = [0]

    def write(path, text):
        count[0] += 1
        if count[0] > good:
            message = "cannot be written (No space left on device); what was written before"
            raise InputError(f"{path}: {message} stays valid")
        honest(path, text)

    return write


SMALL_FILES = """
import resource, sys
from runs import sam
from sam_theory.cli import main
from sam_theory.deep.runs.run import train

train(sam(epochs=1))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def test_files_that_may_not_grow(tmp_path):
    """A limit of the system in place of a full disk: one line, status 2, and it can be resumed."""
    flags = [*COMMAND[3:], "--output", str(tmp_path / "run")]
    flags[flags.index("resnet_tiny")] = "mlp"
    assert main([*flags[:-1], str(tmp_path / "whole")]) == 0
    # The metrics in it let a checkpoint grow: the last ones do not fit.
    size = (tmp_path / "whole" / "checkpoints" / "last.npz").stat().st_size - 1500
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, str(size), *flags], env=environment(),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("sam-theory: error: checkpoint ") and "(File too large); those" in line
    folder = RunFolder(str(tmp_path / "run")).checkpoints
    assert folder.load().refused == () and list((tmp_path / "run").rglob("*.tmp")) == []
    assert folder.load().checkpoint.position["iteration"] > 0
    assert main([*flags, "--resume"]) == 0
    assert different(contents(tmp_path / "run"), contents(tmp_path / "whole")) == []


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    with RunFolder(str(tmp_path / "run")).held():
        with pytest.raises(InputError, match="another process is training in it"):
            train(sam(), tmp_path / "run", resume=True)
