"""The README's example runs and shows what it says."""

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len([line for line in code.splitlines() if line]) <= 10
    shown = io.StringIO()
    names: dict = {}
    with contextlib.redirect_stdout(shown):
        exec(compile(code, "README.md", "exec"), names)
    lines = shown.getvalue().splitlines()
    assert "1-SAM, converged" in lines[0]
    step, rounding = float(lines[-2]), float(lines[-1])
    assert 1e-6 < step < 1e-3
    assert rounding < 1e-11
    assert sum("upper bound" in line for line in lines) == 4


def test_the_files_it_names_exist():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target
