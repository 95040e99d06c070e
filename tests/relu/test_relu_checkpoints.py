"""Runs on disk: exact, atomic, refused by name when damaged; a killed run goes on bit for bit."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import relu_twins as twins

import sam_theory as st
from sam_theory import InputError, relu
from sam_theory.relu import checkpoints

DATA, START = twins.instance(12, 1, 30, seed=1)
RULES = [
    st.n_sam(0.1, normalized=True),
    st.m_sam(0.05, 2, batch_size=4, normalized=True, ascent_steps=2),
]


def settings(rule, **changes):
    return {
        "algorithm": rule,
        "step_size": 5e-3,
        "steps": 100,
        "schedule": "linear",
        "record": [3, 50],
        "seed": 5,
    } | changes


def equal(one, other):
    return (
        one.network.parameters.tobytes() == other.network.parameters.tobytes()
        and one.summary()["status"] == other.status
        and one.table.equals(other.table)
        and np.array_equal(one.balancedness, other.balancedness)
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_stored_run_goes_on_with_the_same_bits(rule, precision, tmp_path):
    path = tmp_path / "run.npz"
    straight = relu.train(DATA, START, **settings(rule, precision=precision))
    half = relu.train(
        DATA, START, pause_after=47, checkpoint=path, **settings(rule, precision=precision)
    )
    back = relu.load_checkpoint(path)
    assert equal(back, half) and repr(back) == repr(half)
    assert (back.run.algorithm, back.run.schedule, back.run.steps) == (rule, "linear", 100)
    assert np.array_equal(back.data.X, DATA.X) and np.array_equal(back.data.y, DATA.y)
    done = relu.continue_training(back, checkpoint=path)
    assert equal(done, straight)
    assert equal(relu.load_checkpoint(path), straight)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_checkpoints_come_every_so_many_steps(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        checkpoints, "save_checkpoint", lambda result, path: seen.append(result.steps)
    )
    path = tmp_path / "run.npz"
    relu.train(DATA, START, checkpoint=path, checkpoint_every=30, **settings(RULES[0]))
    assert seen == [30, 60, 90, 100]
    seen.clear()
    relu.train(DATA, START, checkpoint=path, **settings(RULES[0]))
    assert seen == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]


@pytest.mark.parametrize("outcome", ["converged", "diverged"])
def test_finished_runs_are_stored_as_well(outcome, tmp_path):
    changes = {"tol": 30.0} if outcome == "converged" else {"step_size": 5.0}
    path = tmp_path / "run.npz"
    run = relu.train(DATA, START, checkpoint=path, **settings(st.gd(), **changes))
    back = relu.load_checkpoint(path)
    assert back.status == run.status == outcome and back.diverged_at == run.diverged_at
    assert equal(back, run)


def test_truncated_damaged_and_foreign_files_are_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    relu.train(DATA, START, checkpoint=path, **settings(RULES[1]))
    good = path.read_bytes()
    # The archive ends with a comment-free directory: every cut must be noticed.
    for size in (0, 1, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:size])
        refused(path, "truncated, damaged or not an NPZ file|cannot be read|not a checkpoint")
    rng = np.random.default_rng(0)
    for place in rng.integers(len(good), size=60):
        spoiled = bytearray(good)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(spoiled))
        try:
            back = relu.load_checkpoint(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            # A flipped bit of the archive's own bookkeeping (dates, attributes) spoils no content.
            path.write_bytes(good)
            assert equal(back, relu.load_checkpoint(path))
    for place in flags_of_members(good):
        for bit in range(8):
            spoiled = bytearray(good)
            spoiled[place] ^= 1 << bit
            path.write_bytes(bytes(spoiled))
            try:
                relu.load_checkpoint(path)
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
    path.write_text("x,y\n1,2\n")
    refused(path, "truncated, damaged or not an NPZ file")
    np.savez(path, X=np.ones(3))
    refused(path, "not a checkpoint of ReLU training")
    np.save(tmp_path / "array.npy", np.ones(3))
    refused(tmp_path / "array.npy", "not a checkpoint of ReLU training")
    refused(tmp_path / "missing.npz", "no such file")
    refused(tmp_path, "cannot be read")


def flags_of_members(archive):
    """Places of the flags and of the compression method in an archive's directory."""
    found, at = [], archive.find(b"PK\x01\x02")
    while at >= 0:
        found += [at + 8, at + 9, at + 10, at + 11]
        at = archive.find(b"PK\x01\x02", at + 1)
    return found


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        relu.load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_changed_array_is_noticed(tmp_path):
    path = tmp_path / "run.npz"
    relu.train(DATA, START, checkpoint=path, **settings(RULES[0]))
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    for name in ("reached_hidden_bias", "history", "y", "described"):
        changed = arrays[name].copy()
        if name == "described":
            changed = np.array(str(changed).replace('"rho": 0.1', '"rho": 0.2'))
            assert changed != arrays[name]
        else:
            changed.flat[0] = np.nextafter(changed.flat[0], 10.0)
        np.savez(path, **arrays | {name: changed})
        refused(path, "damaged: its content does not fit its checksum")
    arrays.pop("history")
    arrays.pop("checksum")
    np.savez(path, checksum=np.array(checkpoints._checksum(arrays)), **arrays)
    refused(path, "not a checkpoint of this version")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run = relu.train(DATA, START, checkpoint=path, **settings(RULES[0]))
    old = path.read_bytes()

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(checkpoints.os, "replace", refuse)
    with pytest.raises(InputError, match=r"run.npz: cannot be written \(no\); what was written"):
        relu.save_checkpoint(run, path)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(checkpoints.np, "savez", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(InputError, match="cannot be written .No space left on device."):
        relu.train(DATA, START, checkpoint=path, **settings(RULES[0]))
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_bad_places_are_refused_before_the_work(tmp_path):
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    for place, message in (
        (tmp_path / "run.csv", "must end with .npz"),
        (tmp_path / "none" / "run.npz", "does not exist"),
        (folder, "is not a regular file"),
    ):
        with pytest.raises(InputError, match=message):
            relu.train(DATA, START, checkpoint=place, **settings(RULES[0], steps=10**9))
    with pytest.raises(InputError, match="checkpoint_every must be >= 1"):
        place = tmp_path / "run.npz"
        relu.train(DATA, START, checkpoint=place, checkpoint_every=0, **settings(RULES[0]))


LONG = """
import sys
import relu_twins as twins
import sam_theory as st
from sam_theory import relu
from test_relu_checkpoints import DATA, START, long_settings
relu.train(DATA, START, checkpoint=sys.argv[1], checkpoint_every=1000, **long_settings(sys.argv[2]))
"""


def long_settings(kind):
    rule = RULES[0] if kind == "full" else RULES[1]
    return settings(rule, steps=2_000_000 if kind == "full" else 600_000, record=100_000)


@pytest.mark.parametrize("kind", ["full", "minibatches"])
def test_a_killed_run_goes_on_bit_for_bit(kind, tmp_path):
    path = tmp_path / "run.npz"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])
    }
    process = subprocess.Popen([sys.executable, "-c", LONG, str(path), kind], env=environment)
    try:
        seen, deadline = set(), time.monotonic() + 120.0
        while len(seen) < 4:
            assert process.poll() is None and time.monotonic() < deadline
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.003)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    stored = relu.load_checkpoint(path)
    assert stored.status == "paused" and 0 < stored.steps < stored.run.steps
    resumed = relu.continue_training(stored)
    straight = relu.train(DATA, START, **long_settings(kind))
    assert resumed.status == "max_steps" and equal(resumed, straight)
