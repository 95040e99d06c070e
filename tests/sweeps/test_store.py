"""Cells on disk: complete or absent, one process at a time, whatever the disk or a kill does."""

import errno
import multiprocessing
import os
import signal
import threading
import time

import pytest

import sam_theory as st
from sam_theory.sweeps.records import Damaged, Outcome, pack
from sam_theory.sweeps.store import Store

KEY = "ab" * 32


def record(value=1.0):
    return pack(KEY, Outcome([{"y": value}]), "study:f", {})


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "cache"))
    made.prepare()
    return made


def names(store):
    return sorted(path.name for path in store.path(KEY).parent.iterdir())


def test_what_is_written_is_read(store):
    assert store.load(KEY) is None
    store.write(KEY, record())
    assert store.load(KEY) == Outcome([{"y": 1.0}])
    assert names(store) == [f"{KEY}.cell"]
    store.write(KEY, record(2.0))
    assert store.load(KEY) == Outcome([{"y": 2.0}])


def test_damage_is_not_hidden(store):
    store.write(KEY, record())
    path = store.path(KEY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged):
        store.load(KEY)
    path.unlink()
    path.mkdir()
    with pytest.raises(st.InputError, match="cannot be read"):
        store.load(KEY)


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open", "mkdir"])
def test_a_full_disk_is_one_line_and_leaves_the_old_record(call, store, monkeypatch):
    if call != "mkdir":
        store.write(KEY, record())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"os.{call}", full)
    with pytest.raises(st.InputError) as error:
        store.write(KEY, record(2.0))
    monkeypatch.undo()
    expected = f"cache {store.folder}: cannot be written (No space left on device); "
    assert str(error.value) == expected + "what is stored stays valid"
    if call != "mkdir":
        assert store.load(KEY) == Outcome([{"y": 1.0}])
        assert names(store) == [f"{KEY}.cell"]


def test_a_disk_that_takes_a_part_at_a_time(store, monkeypatch):
    honest = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: honest(descriptor, data[:7]))
    store.write(KEY, record())
    assert store.load(KEY) == Outcome([{"y": 1.0}])


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in ("file", "file/cache"):
        with pytest.raises(st.InputError, match="cannot be written"):
            Store(str(tmp_path / folder)).prepare()
    gone = Store(str(tmp_path / "elsewhere"))
    with pytest.raises(st.InputError, match="is not there on .*; all workers must see it"):
        gone.write(KEY, record())
    with pytest.raises(st.InputError, match="is not there"), gone.claim(KEY, False):
        pass


def left_behind(store, name, age=0.0):
    """What a writer that was killed so many seconds ago left of a cell."""
    path = store.path(KEY).with_name(f"{KEY}.{name}.tmp")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(record()[:9])
    os.utime(path, (0, time.time() - age))
    return path


def test_only_what_no_writer_holds_is_removed(store):
    store.write(KEY, record())
    left_behind(store, "old", 2 * 86_400)
    minutes, new = left_behind(store, "minutes", 120), left_behind(store, "new")
    with store.claim(KEY, False):
        store.prepare()
        assert names(store) == [f"{KEY}.cell", f"{KEY}.lock", minutes.name, new.name]
    store.prepare()
    assert names(store) == [f"{KEY}.cell", new.name]
    assert store.load(KEY) == Outcome([{"y": 1.0}])


def test_what_killed_writers_left_is_cleared(store, monkeypatch):
    monkeypatch.setattr("sam_theory.sweeps.store._DYING", 0.05)
    left = left_behind(store, "left")
    with store.claim(KEY, False):
        store.clear({KEY})
        assert left.exists()
    store.clear({"cd" * 32})
    assert left.exists()
    store.clear({KEY})
    assert names(store) == []


def test_a_writer_that_dies_meanwhile_is_waited_for(store):
    left, inside = left_behind(store, "left"), threading.Event()

    def die():
        with store.claim(KEY, False):
            inside.set()
            time.sleep(0.1)

    dying = threading.Thread(target=die)
    dying.start()
    assert inside.wait(10)
    store.clear({KEY})
    dying.join()
    assert not left.exists()


def test_a_cell_is_held_by_one_at_a_time(store):
    with store.claim(KEY, False) as first:
        assert first and not store.left_behind(KEY)
        with store.claim(KEY, False) as second:
            assert not second
    with store.claim(KEY, False) as again:
        assert again
    assert names(store) == []


def test_waiting_for_a_cell(store):
    inside, seen = [0], []

    def hold():
        for _ in range(25):
            with store.claim(KEY, True) as held:
                inside[0] += held
                seen.append(inside[0])
                time.sleep(1e-4)
                inside[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 100
    assert names(store) == []


def hold_forever(store, ready):
    with store.claim(KEY, True):
        ready.set()
        time.sleep(60)


def test_a_killed_holder_holds_nothing(store):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_forever, args=(store, ready))
    process.start()
    assert ready.wait(30)
    with store.claim(KEY, False) as held:
        assert not held
    assert not store.left_behind(KEY)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert names(store) == [f"{KEY}.lock"]
    assert store.left_behind(KEY)
    with store.claim(KEY, False) as held:
        assert held
    assert names(store) == [] and not store.left_behind(KEY)


def test_without_locks_a_record_is_still_complete(store, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with store.claim(KEY, False) as first, store.claim(KEY, True) as second:
        assert first and second
        assert store.left_behind(KEY)
        store.write(KEY, record())
        left = left_behind(store, "left", 120)
        store.prepare()
        assert left.exists()
        left.unlink()
    assert names(store) == [f"{KEY}.cell"]
