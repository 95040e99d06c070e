"""Signals as a flag: seen once per iteration, the old handlers put back."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sam_theory import InputError
from sam_theory.deep.stopping import StopRequested

LOOP = """
import signal, sys, time
from sam_theory.deep.stopping import StopRequested
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs us behind
with StopRequested() as stop:
    print("ready", flush=True)
    while not (stop.requested and "once" in sys.argv):
        time.sleep(0.01)
print("checkpoint", stop.signal, flush=True)
sys.exit(128 + stop.signal)
"""


def start(*arguments):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", LOOP, *arguments]
    loop = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert loop.stdout.readline() == "ready\n"
    return loop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_ends_by_itself(number):
    loop = start("once")
    loop.send_signal(number)
    output, error = loop.communicate(timeout=20)
    assert (output, error) == (f"checkpoint {int(number)}\n", "")
    assert loop.returncode == 128 + number


def test_a_second_signal_ends_it():
    loop = start()
    loop.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        loop.wait(timeout=0.3)
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(timeout=20) == -signal.SIGTERM
    loop.communicate()


def test_the_flag_and_the_old_handlers():
    seen = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    mine, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        with StopRequested() as stop:
            assert not stop.requested and stop.signal is None
            signal.raise_signal(signal.SIGTERM)
            assert stop.requested and stop.signal == signal.SIGTERM and seen == []
            signal.raise_signal(signal.SIGTERM)
            assert seen == [signal.SIGTERM]
        with pytest.raises(ZeroDivisionError), StopRequested():
            1 / 0  # noqa: B018
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGTERM, old)


def test_an_ignored_signal_stays_ignored():
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with StopRequested() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert not stop.requested
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, old)


def test_another_thread_is_told():
    caught = []

    def enter():
        with StopRequested(signals=()) as stop:
            caught.append(stop.requested)
        try:
            StopRequested().__enter__()
        except InputError as error:
            caught.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert caught[0] is False and caught[1].startswith("signals can be watched in the main thread")
