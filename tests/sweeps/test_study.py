"""A study has a name that every process can load, and a version that is that of its code."""

import os
import subprocess
import sys
import textwrap

import pytest
import toy_studies

import sam_theory as st
from sam_theory.sweeps import study as module
from sam_theory.sweeps.study import check_arguments, check_not_loading, named


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for study files; what is imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("_study_") or name in ("helper", "edited_module"):
            del sys.modules[name]


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


def test_functions_and_names_are_the_same_study():
    by_object, by_name = named(toy_studies.kinds), named("toy_studies:kinds")
    assert by_object == by_name and by_name.name == "toy_studies:kinds"
    assert by_name.load() is toy_studies.kinds
    assert named("sam_theory.regression:Regression.from_file").load() == st.Regression.from_file


def test_files_are_loaded_once_and_see_their_folder(folder):
    write(folder / "helper.py", "FACTOR = 3\n")
    path = write(
        folder / "mine.py", "from helper import FACTOR\ndef f(x):\n    return FACTOR * x\n"
    )
    found = named(f"{path}:f")
    assert found.name == "mine.py:f" and found.home == str(path)
    assert found.load()(2) == 6
    assert found.load() is named(f"{path}:f").load()
    assert sys.path[-1] == str(folder)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("toy_studies", "study 'toy_studies' must read 'package.module:function'"),
        ("toy_studies:", "study 'toy_studies:' must read"),
        (":f", "study ':f' must read"),
        ("toy_studies:none", "study toy_studies:none: toy_studies has no function 'none'"),
        ("toy_studies:NAN", "study toy_studies:NAN: toy_studies has no function 'NAN'"),
        ("no.such:f", "study no.such:f cannot be imported: ModuleNotFoundError: No module named"),
        ("none.py:f", "study none.py:f: no file "),
        (lambda x: x, "study test_"),
        (3, "study must be a function at the top level of a module, or its name"),
        (st.gd().resolve, "study sam_theory.algorithms:Algorithm.resolve names another object"),
    ],
)
def test_what_is_no_study(given, complaint):
    with pytest.raises(st.InputError) as error:
        named(given)
    shown = str(error.value)
    assert shown.startswith(complaint) or "must stand at the top level" in shown, shown
    assert "\n" not in shown


def test_a_file_that_fails_when_imported(folder):
    path = write(folder / "bad.py", "def f(x):\n    return x\nraise RuntimeError('oh')\n")
    for _ in range(2):
        with pytest.raises(st.InputError, match="bad.py:f cannot be imported: RuntimeError: oh"):
            named(f"{path}:f")
    path.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(st.InputError, match="bad.py:f cannot be imported: SystemExit: 0"):
        named(f"{path}:f")
    broken = write(folder / "broken.py", "def f(:\n")
    with pytest.raises(st.InputError, match="broken.py:f cannot be imported: SyntaxError"):
        named(f"{broken}:f")


def test_arguments_are_checked_before_anything_runs():
    kinds = named(toy_studies.kinds)
    check_arguments(kinds, ("rho", "x"))
    with pytest.raises(st.InputError, match="toy_studies:kinds: .*unexpected keyword.* 'roh'"):
        check_arguments(kinds, ("rho", "roh", "x"))
    with pytest.raises(st.InputError, match="toy_studies:kinds: missing a required.* 'rho'"):
        check_arguments(kinds, ("x",))


def test_the_version_follows_the_sources(folder, monkeypatch):
    text = "def f(x):\n    return x\n"
    path, helper = write(folder / "mine.py", text), write(folder / "helper.py", "FACTOR = 3\n")
    (folder / "pack" / "inner").mkdir(parents=True)
    deep = write(folder / "pack" / "inner" / "deep.py", "A = 1\n")
    write(folder / "pack" / "__init__.py", "")
    plain = named(f"{path}:f")
    depending = named(f"{path}:f", [str(helper), "pack"])
    versions = [plain.version(), depending.version()]
    helper.write_text("FACTOR = 4\n")
    versions.append(depending.version())
    deep.write_text("A = 2\n")
    versions.append(depending.version())
    assert plain.version() == versions[0]
    path.write_text(text + "# a comment\n")
    versions += [plain.version(), depending.version()]
    monkeypatch.setattr(st, "__version__", "0.0.0")
    module._library.cache_clear()
    versions.append(plain.version())
    monkeypatch.setattr(module, "version", lambda package: f"other {package}")
    module._library.cache_clear()
    versions.append(plain.version())
    monkeypatch.undo()
    module._library.cache_clear()
    assert len(set(versions)) == len(versions)


def test_the_version_follows_every_source_of_the_library():
    files = dict(module._sources("sam_theory", "x"))
    assert {
        "sam_theory/errors.py",
        "sam_theory/diagonal/flow.py",
        "sam_theory/sweeps/keys.py",
    } <= set(files)
    assert all(path.is_file() for path in files.values())


@pytest.mark.parametrize("depends", ["helper.py", [1]])
def test_refused_depends(depends):
    with pytest.raises(st.InputError, match="depends must be a list of module names or paths"):
        named(toy_studies.kinds, depends)


def test_depends_that_do_not_exist():
    for home, complaint in (("no_such", "no module 'no_such'"), ("none.py", "cannot be read")):
        with pytest.raises(st.InputError, match=complaint):
            named(toy_studies.kinds, [home]).version()
    with pytest.raises(st.InputError, match="the module 'math' has no source file"):
        named("math:sqrt").version()


TEXT = """
import functools
import numba

def g(x):
    return {x, 1, "a", "b"} & {1, "a", "b"}

@functools.cache
def cached(x):
    return 10

@numba.njit
def compiled(x):
    return 20

class Inner:
    @staticmethod
    def still(x):
        return 30

def f(x):
    return {"y": len(g(x)) + cached(x) + Inner.still(x)}
"""


def test_a_file_that_is_edited_is_loaded_anew(folder):
    path = write(folder / "mine.py", TEXT)
    first = named(f"{path}:f").load()
    path.write_text(TEXT.replace("return 10", "return 11"))
    second = named(f"{path}:f").load()
    assert (first(1), second(1)) == ({"y": 43}, {"y": 44})


@pytest.mark.parametrize(
    ("old", "new", "function"),
    [
        ('{1, "a", "b"}', '{1, "a", "c"}', "g"),
        ("return 10", "return 11", "cached"),
        ("return 20", "return 20.0", "compiled"),
        ("return 30", "return -30", "Inner.still"),
        ("\ndef f", "\n\ndef f", "f"),
    ],
)
def test_a_module_older_than_its_file_is_refused(old, new, function, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    path = write(folder / "edited_module.py", TEXT)
    found = named("edited_module:f")
    for _ in range(10_000):
        found.load()(1)
    assert named("edited_module:f") == found
    path.write_text(TEXT.replace(old, new))
    message = f"edited_module.py has changed since it was imported .{function}."
    with pytest.raises(st.InputError, match=message):
        named("edited_module:f")
    path.write_text("def f(:\n")
    with pytest.raises(st.InputError, match="cannot be read again"):
        named("edited_module:f")
    path.write_text(TEXT)
    assert named("edited_module:f") == found


SCRIPT = """
import sys
from sam_theory import sweeps

def f(x):
    return {{"y": x + 1}}

{guard}
    print(sweeps.run(f, {{"x": [1, 2]}}, cache={cache!r}, workers=2, progress=False).table.y.sum())
"""


@pytest.mark.parametrize("way", ["script", "module"])
def test_a_study_in_the_main_script(way, tmp_path):
    guard = 'if __name__ == "__main__":'
    (tmp_path / "main.py").write_text(SCRIPT.format(guard=guard, cache=str(tmp_path / "cache")))
    command = [sys.executable, *(["main.py"] if way == "script" else ["-m", "main"])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == ("5\n", "", 0)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "main.py").write_text(
        SCRIPT.format(guard="if True:", cache=str(tmp_path / "cache"))
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "put the call under if __name__ == '__main__'" in done.stderr.splitlines()[-1]


def test_a_study_typed_into_a_session():
    program = "from sam_theory import sweeps\ndef f(x): return {}\n"
    program += "try: sweeps.status(f, {'x': [1]}, cache='c')\nexcept ValueError as e: print(e)\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "study f was typed into a session: put it into a file\n"


def test_nothing_is_loading_now():
    check_not_loading()
