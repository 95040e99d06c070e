"""Whether what this process has loaded is what stands in the files now.

A module is compared by its whole source with the source that it was first seen with. One that was
imported before that is compared by its functions, their defaults and its plain constants, and by
its compiled code on disk.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import marshal
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from sam_theory.errors import InputError

PREFIX = "_study_"
_HEADER = 16
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
# By name of the module. Its spec tells one import from the next.
_LOADED: dict[str, tuple[Any, str]] = {}
_BESIDE: dict[str, tuple[Any, dict[str, Any]]] = {}
_UNLOADED: dict[Path, str] = {}


def remember(module: ModuleType, content: bytes) -> None:
    """Note the source that a module has been made from."""
    _LOADED[module.__name__] = (module.__spec__, hashlib.sha256(content).hexdigest())


def check_sources(study: str, own: ModuleType, paths: Iterable[Path]) -> None:
    """Refuse a study if a module that is loaded from one of the files is not what the file says.

    Parameters
    ----------
    study : str
        Name of the study, for the message.
    own : module
        The study's module.
    paths : iterable of Path
        Its source files and those of what it depends on.

    Raises
    ------
    InputError
        A file has changed since it was imported, or cannot be read.
    """
    files = list(paths)
    loaded = _loaded_from(files, own)
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if path not in loaded:
            _UNLOADED[path] = hashlib.sha256(content).hexdigest()
        for module in loaded.get(path, ()):
            _check(study, module, path, content)
    others = {module.__name__: module for found in loaded.values() for module in found}
    _check_beside(study, own, {name: module.__spec__ for name, module in others.items()})


def check_name(study: str, path: Path) -> None:
    """Refuse a study if the name of a file beside it is taken by a module from another file."""
    module = sys.modules.get(path.stem)
    file = getattr(module, "__file__", None)
    # Python's own modules hide such a file in every process.
    if module is None or file is None or path.stem in sys.stdlib_module_names:
        return
    if os.path.realpath(file) != os.path.realpath(path) and not _loaded_from([path], module):
        raise InputError(
            f"study {study}: the module {path.stem!r} is loaded from {file}, not from {path}: "
            "start Python, or the cluster's workers, anew or rename one of them"
        )


def _loaded_from(paths: list[Path], own: ModuleType) -> dict[Path, list[ModuleType]]:
    """Return the modules loaded from each file; of those that are named by content, only `own`."""
    names = {path.name for path in paths}
    homes: dict[str, list[ModuleType]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or os.path.basename(file) not in names:
            continue
        if not name.startswith(PREFIX) or module is own:
            homes.setdefault(os.path.realpath(file), []).append(module)
    found = {path: homes.get(os.path.realpath(path), []) for path in paths}
    return {path: modules for path, modules in found.items() if modules}


def _check(study: str, module: ModuleType, path: Path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    spec, known = _LOADED.get(module.__name__, (None, None))
    if spec is not module.__spec__:
        known = None
    if known == digest:
        return
    change: str | None = None
    # Other loaders may rewrite what they load.
    if type(getattr(module, "__loader__", None)) is SourceFileLoader:
        try:
            code = compile(content, str(path), "exec", dont_inherit=True)
            tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError(f"study {study}: {path} cannot be read again ({error})") from None
        change = next(_changes(module, path, code, tree), None)
        if change is None and _differs_from_compiled(module, path, code):
            change = "its compiled code"
    if change is None and (known or _UNLOADED.get(path, digest) != digest):
        change = "its text"
    if change is not None:
        raise InputError(
            f"study {study}: {path} has changed since it was imported ({change}): "
            "start Python, or the cluster's workers, anew"
        )
    remember(module, content)


def _check_beside(study: str, own: ModuleType, specs: dict[str, Any]) -> None:
    """Refuse a study that may hold names from an import that has been replaced by another."""
    spec, before = _BESIDE.get(own.__name__, (None, {}))
    if spec is not own.__spec__:
        before = {}
    for name in specs:
        if name in before and before[name] is not specs[name]:
            raise InputError(
                f"study {study}: {name} has been imported again, the study's module has not: "
                "start Python, or the cluster's workers, anew"
            )
    _BESIDE[own.__name__] = (own.__spec__, before | specs)


def _differs_from_compiled(module: ModuleType, path: Path, code: CodeType) -> bool:
    # Python writes this file at each import from the source, if it may.
    cached = getattr(module, "__cached__", None)
    if sys.dont_write_bytecode or not cached or not os.access(cached, os.W_OK):
        return False
    if not os.access(os.path.dirname(cached), os.W_OK):
        return False
    try:
        data = Path(cached).read_bytes()
        if data[:4] != importlib.util.MAGIC_NUMBER:
            return False
        compiled = marshal.loads(data[_HEADER:])
    except (OSError, ValueError, EOFError, TypeError):
        return False
    return isinstance(compiled, CodeType) and _print(compiled) != _print(code)


def _changes(module: ModuleType, path: Path, code: CodeType, tree: ast.Module) -> Iterator[str]:
    """Yield the names of what is loaded otherwise than the file says."""
    on_disk = set(_prints(code))
    defaults = dict(_defaults(tree, ""))
    for function in _functions(vars(module), module.__name__):
        if os.path.abspath(function.__code__.co_filename) != os.path.abspath(path):
            continue
        name = function.__qualname__
        if _print(function.__code__) not in on_disk:
            yield name
        if name in defaults and _other_defaults(function, defaults[name]):
            yield name
    yield from _other_constants(tree, vars(module), "")


def _functions(names: Mapping[str, Any], module: str) -> Iterator[FunctionType]:
    """Yield the functions of a module, also compiled or cached ones and those of its classes."""
    for value in list(names.values()):
        if isinstance(value, type) and value.__module__ == module:
            yield from _functions(vars(value), "")
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, functools._lru_cache_wrapper):
            value = value.__wrapped__
        if type(value).__module__.startswith("numba."):
            value = getattr(value, "py_func", None)
        if isinstance(value, FunctionType):
            value = inspect.unwrap(value)
        if isinstance(value, FunctionType):
            yield value


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs in the scope of a node."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _within(child)


def _bound(scope: ast.AST) -> Iterator[str]:
    for node in _within(scope):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def _defaults(scope: ast.AST, prefix: str) -> Iterator[tuple[str, ast.arguments]]:
    """Yield name and arguments of the functions that are defined once, in no condition."""
    times = Counter(_bound(scope))
    for node in getattr(scope, "body", ()):
        if isinstance(node, ast.ClassDef) and times[node.name] == 1:
            yield from _defaults(node, f"{prefix}{node.name}.")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and times[node.name] == 1:
            yield f"{prefix}{node.name}", node.args


def _other_defaults(function: FunctionType, arguments: ast.arguments) -> bool:
    given = function.__defaults__ or ()
    if len(given) != len(arguments.defaults):
        return True
    pairs = list(zip(given, arguments.defaults, strict=True))
    named = function.__kwdefaults__ or {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if (default is None) != (argument.arg not in named):
            return True
        if default is not None:
            pairs.append((named[argument.arg], default))
    return any(_other(value, node) for value, node in pairs)


def _other_constants(scope: ast.AST, names: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the constants that the file sets once, and to another value than they have."""
    times = Counter(_bound(scope))
    if times["*"]:
        return
    for node in ast.walk(scope):
        times.update(node.names if isinstance(node, ast.Global) else ())
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            times[node.attr] += 1
    for node in getattr(scope, "body", ()):
        if isinstance(node, ast.ClassDef) and isinstance(names.get(node.name), type):
            if times[node.name] == 1:
                yield from _other_constants(node, vars(names[node.name]), f"{prefix}{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and times[target.id] == 1:
                # A name that the import has deleted or a class has moved is no constant.
                if target.id in names and _other(names[target.id], node.value):
                    yield prefix + target.id


def _other(value: Any, node: ast.expr) -> bool:
    """Whether a plain value is another than that of an expression without names."""
    if not _plain(value):
        return False
    try:
        code = compile(ast.Expression(node), "constant", "eval", dont_inherit=True)
        if code.co_names or any(isinstance(entry, CodeType) for entry in code.co_consts):
            return False
        expected = eval(code, {"__builtins__": {}})
        return _plain(expected) and repr(expected) != repr(value)
    except Exception:
        return False


def _plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_plain, value))
    return type(value) in _PLAIN


def _prints(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield _print(constant)
            yield from _prints(constant)


def _print(code: CodeType) -> str:
    # Not code == code: the interpreter rewrites instructions while it runs them.
    constants = [_constant(value) for value in code.co_consts]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    # The other flags are changed by decorators such as types.coroutine.
    rest = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    place = (code.co_qualname, code.co_firstlineno)
    return repr((place, counts, rest, names, code.co_code.hex(), code.co_exceptiontable, constants))


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _print(value)
    if isinstance(value, tuple):
        return repr([_constant(entry) for entry in value])
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
