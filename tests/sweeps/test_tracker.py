"""What loky's resource tracker is told at exit."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLLECTED = """
import sys
from multiprocessing import util
from joblib.externals.loky.backend import get_context, resource_tracker
from sam_theory.sweeps import workers

if sys.argv[1] == "told":
    workers._report_all_semaphores()
semaphore = get_context("loky").Semaphore(1)
name = semaphore._semlock.name
[remove] = [f for f in util._finalizer_registry.values() if getattr(f, "_args", 0) == (name,)]
with resource_tracker._resource_tracker._lock:
    remove()
"""


FED = """
import sys, time
from joblib.externals.loky.backend import get_context, resource_tracker
from sam_theory.sweeps import workers

if sys.argv[1] == "told":
    workers._report_all_semaphores()
queue = get_context("loky").Queue(4)
queue.put(1)
honest = resource_tracker.unregister

def slow(*given):
    time.sleep(0.5)
    honest(*given)

resource_tracker.unregister = slow
queue.close()
del queue
time.sleep(0.1)
"""


def ended(script, how):
    return subprocess.run(
        [sys.executable, "-c", script, how],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(
    not hasattr(threading.RLock(), "_recursion_count"),
    reason="this Python's locks do not count how often they are held",
)
@pytest.mark.parametrize(("how", "said"), [("told", False), ("untold", True)])
def test_a_semaphore_that_is_removed_while_a_message_is_sent(how, said):
    assert_said(ended(COLLECTED, how), said)


@pytest.mark.parametrize(("how", "said"), [("told", False), ("untold", True)])
def test_a_semaphore_that_the_thread_of_a_queue_removes_at_the_end(how, said):
    assert_said(ended(FED, how), said)


def assert_said(done, said):
    assert done.returncode == 0 and ("leaked semlock" in done.stderr) == said, done.stderr
    assert said or done.stderr == ""
