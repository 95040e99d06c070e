"""The examples of docs/sweeps.md run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import sam_theory as st

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path):
    study, call = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    (described,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    data = st.sparse_regression()
    names = [*(f"x{j}" for j in range(data.d)), "glucose"]
    rows = pd.DataFrame(np.column_stack([data.X, data.y]), columns=names)
    rows.to_csv(tmp_path / "spectra.csv", index=False)
    for name, text in (("study.py", study), ("call.py", call), ("sweep.toml", described)):
        (tmp_path / name).write_text(text)
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    run["env"] = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "call.py"], **run)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rho", "alpha", "l1", "sharpness", "status"]
    assert [line.split()[:3] for line in (lines[1], lines[6])] == [
        ["0", "0.01", "0.1"],
        ["5", "0.10", "1.0"],
    ]
    assert {line.split()[-1] for line in lines[1:7]} == {"converged"}
    assert lines[7] == "Empty DataFrame"
    assert "6/6" in done.stderr and "cell/s" in done.stderr
    command = [sys.executable, "-m", "sam_theory.cli", "sweep", "sweep.toml"]
    done = subprocess.run(command, **run)
    assert (done.returncode, done.stderr) == (0, "")
    # The same inputs but for the file's name and the test rows: other cells.
    assert done.stdout == "6 cells: 6 done, 0 failed; 6 computed now\nlimits.csv: 6 rows\n"
    printed = [float(line.split()[3]) for line in lines[1:7]]
    written = pd.read_csv(tmp_path / "limits.csv")["l1"]
    assert np.allclose(written, printed, rtol=0.0, atol=2e-6)
    assert subprocess.run([*command, "--status"], **run).stdout == (
        "6 cells: 6 done, 0 failed, 0 missing, 0 damaged\n"
    )
