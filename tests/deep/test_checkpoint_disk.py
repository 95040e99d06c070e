"""A full disk or a killed writer: one line, and what was written before stays valid."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_checkpoints import differences, made, refused

from sam_theory.deep import checkpoints
from sam_theory.deep.checkpoints import CheckpointFolder

HERE = Path(__file__).parent
WRITER = """
import sys
import numpy as np
from sam_theory.deep.checkpoints import Checkpoint, CheckpointFolder

folder = CheckpointFolder(sys.argv[1])
folder.prepare()
for iteration in range(int(sys.argv[2]), int(sys.argv[3])):
    arrays = {"w": np.full(200_000, iteration, dtype=np.float32)}
    folder.save("last", Checkpoint(arrays, {}, 0, {"iteration": iteration}))
    print(iteration, flush=True)
"""


def run(folder, first, last, **named):
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(last)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named
    )


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("kind", ["last", "best"])
def test_the_disk_fills_up_in_this_process(call, kind, tmp_path, monkeypatch):
    folder = CheckpointFolder(str(tmp_path))
    folder.save(kind, made(1))

    def full(*given, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(checkpoints.np.lib.format, "write_array", full)
    else:
        monkeypatch.setattr(checkpoints.os, call, full)
    message = f"checkpoint .*{kind}.npz: cannot be written .No space left on device.; those"
    refused(message, folder.save, kind, made(2))
    monkeypatch.undo()
    found = folder.load(kind)
    assert found.checkpoint.position["iteration"] == 1 and found.refused == ()
    assert differences(found.checkpoint.arrays, made(1).arrays) == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{kind}.npz"]


@pytest.mark.parametrize("limit", [20, 400_000, 800_300])
def test_a_file_that_may_not_grow(limit, tmp_path):
    writer = run(tmp_path, 0, 2)
    assert writer.communicate()[0] == "0\n1\n" and writer.returncode == 0

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    writer = run(tmp_path, 2, 3, preexec_fn=small)
    output, error = writer.communicate()
    assert output == "" and "last.npz: cannot be written (File too large); those" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.npz", "previous.npz"]
    found = CheckpointFolder(str(tmp_path)).load()
    assert found.checkpoint.position["iteration"] == 1 and found.refused == ()
    assert (found.checkpoint.arrays["w"] == 1).all()


def test_killed_at_any_moment(tmp_path):
    folder, begun = CheckpointFolder(str(tmp_path)), 0
    for delay in (0.0, 0.0003, 0.001, 0.002, 0.004, 0.007, 0.011, 0.016):
        writer = run(tmp_path, begun, 100_000)
        assert int(writer.stdout.readline()) == begun
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        printed = [*map(int, writer.communicate()[0].split()), begun]
        checkpoint = folder.load().checkpoint
        found = checkpoint.position["iteration"]
        # Between the two renames there is no last one, and the one before it is used.
        assert max(printed) - 1 <= found <= max(printed) + 1
        assert (checkpoint.arrays["w"] == found).all()
        begun = found + 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    place = CheckpointFolder(str(tmp_path / "file" / "run"))
    refused("checkpoints .*file/run: cannot be written .Not a directory", place.prepare)
    refused("cannot be written", place.save, "last", made())
