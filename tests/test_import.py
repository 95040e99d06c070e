"""Importing the package costs little and loads nothing heavy."""

import json
import statistics
import subprocess
import sys

import sam_theory as st

PROGRAM = """
import json, sys, time
start = time.perf_counter()
import sam_theory
seconds = time.perf_counter() - start
heavy = {"sympy", "matplotlib", "pandas", "cupy", "numba", "scipy", "numpy"} & set(sys.modules)
print(json.dumps([seconds, sorted(heavy)]))
"""


def test_import_is_light():
    seconds = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
        time, heavy = json.loads(done.stdout)
        assert heavy == []
        seconds.append(time)
    assert statistics.median(seconds) <= 0.3


def test_every_public_name_resolves_and_is_documented():
    for name in st.__all__:
        value = getattr(st, name)
        assert name == "__version__" or value.__doc__, name
        assert name in dir(st)


def test_the_command_loads_no_sympy_or_pandas_for_a_limit(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,b,y\n1,2,3\n2,1,4\n")
    program = (
        "import sys; from sam_theory.cli import main; "
        f"main(['bias', {str(path)!r}, '--target', 'y', '--alpha', '1', '--algorithm', 'gd']); "
        "assert not {'sympy', 'pandas', 'matplotlib'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
