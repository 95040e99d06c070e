"""The study by name, so that every process can load it, and the version of the code behind it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import sam_theory
from sam_theory.errors import InputError
from sam_theory.sweeps import fresh

_NUMERICS = ("numpy", "scipy", "numba")
_LOADING: set[str] = set()


@dataclass(frozen=True)
class Study:
    """A function that any process can load by name.

    Attributes
    ----------
    name : str
        ``package.module:function`` or ``file.py:function``; part of the key of each cell.
    home : str
        Dotted name of the module, or the path of its file if it ends with ``.py``.
    function : str
        Name of the function in the module.
    depends : tuple of str
        Modules, packages or files whose sources count as the study's own.
    """

    name: str
    home: str
    function: str
    depends: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """Import the study in this process; InputError says why it cannot be."""
        module = _module(self)
        target: Any = module
        for part in self.function.split("."):
            target = getattr(target, part, None)
        if not callable(target):
            raise InputError(f"study {self.name}: {self.home} has no function {self.function!r}")
        return target

    def version(self) -> str:
        """Return the SHA-256 of the code behind the results, see :mod:`sam_theory.sweeps`."""
        state = hashlib.sha256(_library().encode())
        for home in (self.home, *self.depends):
            for label, path in _sources(home, self.name):
                state.update(f"{label}\0{_file_digest(path)}\0".encode())
        return state.hexdigest()


def named(study: Any, depends: Any = ()) -> Study:
    """Return the Study of a function, of ``"package.module:function"`` or ``"file.py:function"``.

    Raises
    ------
    InputError
        It cannot be found by that name, or its source has changed since it was imported.
    """
    if isinstance(depends, str) or not all(isinstance(home, str) for home in depends):
        raise InputError("depends must be a list of module names or paths of .py files")
    if isinstance(study, str):
        home, _, function = study.rpartition(":")
        if not home or not function:
            raise InputError(
                f"study {study!r} must read 'package.module:function' or 'file.py:function'"
            )
    else:
        home, function = _home_of(study), study.__qualname__
    if home.endswith(".py"):
        home = os.path.abspath(home)
    others = tuple(os.path.abspath(other) if other.endswith(".py") else other for other in depends)
    found = Study(f"{_label(home)}:{function}", home, function, others)
    loaded = found.load()
    if not isinstance(study, str) and loaded is not study:
        raise InputError(f"study {found.name} names another object than the function given")
    check_fresh(found)
    return found


def check_arguments(study: Study, names: tuple[str, ...]) -> None:
    """Refuse names that the study does not take, or a missing one, before anything is computed."""
    try:
        signature = inspect.signature(study.load())
    except ValueError:
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise InputError(f"study {study.name}: {error}") from None


def check_not_loading() -> None:
    """Refuse a sweep that begins while a study's own file is being imported."""
    for path in _LOADING:
        raise InputError(
            f"{path} starts a sweep when it is imported: "
            "put the call under if __name__ == '__main__'"
        )


def _home_of(study: Any) -> str:
    module, name = getattr(study, "__module__", None), getattr(study, "__qualname__", None)
    if not callable(study) or not isinstance(module, str) or not isinstance(name, str):
        raise InputError("study must be a function at the top level of a module, or its name")
    if "<" in name:
        raise InputError(f"study {name} must stand at the top level of a module")
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    if path is None:
        raise InputError(f"study {name} was typed into a session: put it into a file")
    return str(path)


def _label(home: str) -> str:
    return os.path.basename(home) if home.endswith(".py") else home


def _module(study: Study) -> ModuleType:
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if study.home == (spec.name if spec is not None else path and os.path.abspath(path)):
        return main
    try:
        return _from_file(study.home) if study.home.endswith(".py") else import_module(study.home)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"study {study.name}: no file {study.home}") from None
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"study {study.name} cannot be imported: {text}") from None


def _from_file(path: str) -> ModuleType:
    content = Path(path).read_bytes()
    # Named by its content: what has been edited is another module, and is loaded anew.
    name = f"{fresh.PREFIX}{hashlib.sha256(path.encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    folder = os.path.dirname(path)
    if folder not in sys.path:
        # Last, so that what stands beside the study hides no installed module.
        sys.path.append(folder)
    sys.modules[name] = module
    _LOADING.add(path)
    try:
        exec(compile(content, path, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _LOADING.discard(path)
    fresh.remember(module, content)
    return module


@functools.cache
def _library() -> str:
    # Once per process: what has been imported does not change when its file does.
    state = hashlib.sha256(f"python {'.'.join(platform.python_version_tuple()[:2])}\0".encode())
    for package in _NUMERICS:
        state.update(f"{package} {version(package)}\0".encode())
    state.update(f"sam_theory {sam_theory.__version__}\0".encode())
    for label, path in _sources("sam_theory", "sam_theory"):
        state.update(f"{label}\0{_file_digest(path)}\0".encode())
    return state.hexdigest()


def _sources(home: str, name: str) -> Iterator[tuple[str, Path]]:
    """Yield label and path of each source file of a module, a package or a file."""
    if home.endswith(".py"):
        yield _label(home), Path(home)
        return
    try:
        spec = importlib.util.find_spec(home)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        raise InputError(f"study {name}: no module {home!r}")
    for folder in sorted(spec.submodule_search_locations or []):
        for path in sorted(Path(folder).rglob("*.py")):
            yield f"{home}/{path.relative_to(folder).as_posix()}", path
    if not spec.submodule_search_locations:
        if spec.origin is None or not spec.origin.endswith(".py"):
            raise InputError(f"study {name}: the module {home!r} has no source file")
        yield home, Path(spec.origin)


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def check_fresh(study: Study) -> None:
    """Refuse what is older than its file: its results would be stored as the file's."""
    module, paths = _module(study), []
    for home in (study.home, *study.depends):
        paths += [path for _, path in _sources(home, study.name)]
    fresh.check_sources(study.name, module, paths)
    for home in study.depends:
        if home.endswith(".py"):
            fresh.check_name(study.name, Path(home))
