"""What a process has loaded is what the files say, or the sweep is refused."""

import importlib
import os
import sys

import pytest

import sam_theory as st
from sam_theory import sweeps
from sam_theory.sweeps import fresh
from sam_theory.sweeps.study import named

STUDY = "from fresh_helper import FACTOR\ndef f(x): return {'y': FACTOR * x}\n"
HELPER = "fresh_helper.py has changed since it was imported"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for modules; what is imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("_study_", "fresh_")):
            del sys.modules[name]


def go(study, cache="cells", **options):
    options = {"workers": 1, "progress": False} | options
    return sweeps.run(study, {"x": [1.0, 2.0]}, cache=cache, **options)


def files(folder):
    return sorted(path.name for path in folder.rglob("*.cell"))


@pytest.mark.parametrize("study", ["fresh_study.py:f", "fresh_study:f"])
@pytest.mark.parametrize("home", ["fresh_helper.py", "fresh_helper"])
@pytest.mark.parametrize("new", ["FACTOR = 20.0\n", "FACTOR = abs(-20.0)\n"])
def test_an_edited_helper_is_not_computed_with_as_it_was(study, home, new, folder):
    (folder / "fresh_study.py").write_text(STUDY)
    helper = folder / "fresh_helper.py"
    helper.write_text("FACTOR = abs(-10.0)\n")
    assert go(study, depends=[home]).table["y"].tolist() == [10.0, 20.0]
    stored = files(folder)
    text = helper.read_text()
    helper.write_text(new)
    for _ in range(2):
        with pytest.raises(st.InputError, match=HELPER) as error:
            go(study, depends=[home])
        assert "\n" not in str(error.value)
    assert files(folder) == stored
    helper.write_text(text)
    assert go(study, depends=[home]).computed == 0
    helper.write_text(new)
    importlib.reload(sys.modules["fresh_helper"])
    with pytest.raises(st.InputError, match="fresh_helper has been imported again, the study"):
        go(study, depends=[home])


def test_every_module_of_a_package_counts(folder):
    (folder / "fresh_pack").mkdir()
    (folder / "fresh_pack/__init__.py").write_text("from .inner import f\n")
    inner = folder / "fresh_pack/inner.py"
    inner.write_text("def f(x): return {'y': x}\n")
    go("fresh_pack:f")
    inner.write_text("def f(x): return {'y': -x}\n")
    with pytest.raises(st.InputError, match="inner.py has changed since it was imported .f."):
        go("fresh_pack:f")


def test_a_helper_that_was_loaded_between_two_edits(folder):
    (folder / "fresh_study.py").write_text(
        "def f(x):\n    import fresh_helper\n    return {'y': fresh_helper.LIST[0] * x}\n"
    )
    helper = folder / "fresh_helper.py"
    helper.write_text("LIST = [1]\n")
    go("fresh_study.py:f", depends=["fresh_helper.py"])
    helper.write_text("LIST = [2]\n")
    with pytest.raises(st.InputError, match=HELPER):
        go("fresh_study.py:f", depends=["fresh_helper.py"])


def test_a_helper_that_is_not_loaded_may_change(folder):
    (folder / "fresh_study.py").write_text("def f(x): return {'y': x}\n")
    for text in ("A = 1\n", "A = 2\n"):
        (folder / "fresh_helper.py").write_text(text)
        assert go("fresh_study.py:f", depends=["fresh_helper.py"]).computed == 2


def test_a_module_of_the_same_name_from_elsewhere(folder):
    (folder / "fresh_study.py").write_text(STUDY)
    (folder / "fresh_helper.py").write_text("FACTOR = 1.0\n")
    (folder / "other").mkdir()
    (folder / "other/fresh_helper.py").write_text("FACTOR = 2.0\n")
    (folder / "queue.py").write_text("")
    with pytest.raises(st.InputError, match="the module 'fresh_helper' is loaded from .* not from"):
        go("fresh_study.py:f", depends=["other/fresh_helper.py"])
    assert go("fresh_study.py:f", depends=["fresh_helper.py", "queue.py"]).computed == 2


TEXT = """
import functools
import sys
import types
SHIFT = -1 / 3
NONE = None
PAIR = (1, "a")
TWICE = 1
TWICE = 2
PATHS = ["a"]
PATHS.append("b")
COUNT = 0

class Inner:
    SCALE: float = 1.0
    MADE = 0

    def __init__(self):
        Inner.MADE += 1

    def method(self, x, *, power=2):
        return x

@types.coroutine
def waiting():
    yield

@functools.wraps(abs)
def wrapping(x):
    return x

def unused(gain=1.0, other=sys.maxsize):
    return gain

def f(x, gain=1.0):
    global COUNT
    COUNT += 1
    Inner()
    return {"y": gain * x + SHIFT + Inner.SCALE}
"""


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("SHIFT = -1 / 3", "SHIFT = -1 / 5", "SHIFT"),
        ("NONE = None", "NONE = 0.0", "NONE"),
        ('(1, "a")', '(True, "a")', "PAIR"),
        ("float = 1.0", "float = 1", "Inner.SCALE"),
        ("power=2", "power=3", "Inner.method"),
        ("power=2", "power", "Inner.method"),
        ("f(x, gain=1.0)", "f(x, gain=50.0)", "f"),
        ("f(x, gain=1.0)", "f(x, gain)", "f"),
        ("f(x, gain=1.0)", "f(x, more=1.0)", "f"),
    ],
)
@pytest.mark.parametrize("first", ["before", "after"])
def test_constants_and_defaults_count(old, new, what, first, folder):
    path = folder / "fresh_module.py"
    path.write_text(TEXT)
    importlib.import_module("fresh_module").f(1)
    if first == "after":
        go("fresh_module:f")
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    stored = files(folder)
    with pytest.raises(st.InputError, match=rf"changed since it was imported \({what}\): start"):
        go("fresh_module:f")
    assert files(folder) == stored
    path.write_text(TEXT)
    assert named("fresh_module:f").load()(1)["y"] == 1 - 1 / 3 + 1
    importlib.reload(sys.modules["fresh_module"])
    path.write_text(TEXT.replace(old, new))
    importlib.reload(sys.modules["fresh_module"])
    named("fresh_module:f")


def test_the_compiled_file_tells_what_was_imported(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = folder / "fresh_module.py"
    text = "LIST = [1.0]\ndef f(x): return {'y': x * LIST[0]}\n"
    path.write_text(text)
    importlib.import_module("fresh_module")
    path.write_text(text.replace("[1.0]", "[2.0]"))
    with pytest.raises(st.InputError, match="has changed since it was imported .its compiled"):
        go("fresh_module:f")
    path.write_text(text)
    os.utime(path, (1, 1))
    assert go("fresh_module:f").table["y"].tolist() == [1.0, 2.0]


def test_no_module_that_is_loaded_here_is_thought_changed():
    for name, module in list(sys.modules.items()):
        if name.startswith("sam_theory."):
            fresh.check_sources("any", module, [fresh.Path(module.__file__)])
