"""Train in a child process again and again, killing it at random moments; see test_run_kill.py.

usage: run_killed.py FOLDER KILLS SEED. Forking makes a kill cost no start of the interpreter.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
from runs import CONVOLUTIONS, sam

from sam_theory.deep.runs.run import train


def child(folder, pipe):
    def progress(now):
        os.write(pipe, now.iteration.to_bytes(4, "little"))

    settings = sam(checkpoint_every=2, dropout=0.2, **CONVOLUTIONS)
    train(settings, folder, resume=True, progress=progress)
    os._exit(0)


def killed(folder, wait, delay):
    """Run a child until it has done `wait` steps and `delay` seconds more; its exit status."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(folder, writing)
    os.close(writing)
    for _ in range(wait):
        if not os.read(reading, 4):
            break
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.close(reading)
    return os.waitpid(pid, 0)[1]


def main():
    folder, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # What is compiled and loaded here, no child has to load.
    train(sam(epochs=1, dropout=0.2, **CONVOLUTIONS))
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        status = killed(folder, int(rng.integers(0, 5)), float(rng.uniform(0.0, 0.02)))
        print("killed" if os.WIFSIGNALED(status) else f"ended {status}", flush=True)
    print(f"last {killed(folder, 10_000, 0.5)}", flush=True)


if __name__ == "__main__":
    main()
