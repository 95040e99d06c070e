"""Readers and comparers behind test_house.py; a comparer returns its complaints."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "sam-theory"


def requirements(pyproject: str) -> dict[str, set[str]]:
    """Direct dependencies by group ("" for run time), the project's own extras resolved away."""
    table = tomllib.loads(pyproject)["project"]
    groups = {"": table["dependencies"], **table["optional-dependencies"]}
    return {
        group: {canonicalize_name(Requirement(line).name) for line in lines} - {PROJECT}
        for group, lines in groups.items()
    }


def pins(text: str) -> dict[str, str]:
    """`name==version` lines, as a requirements file or as items of a YAML list."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(?:- )?([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)\s*", line)
        if match:
            found[canonicalize_name(match[1])] = match[2]
    return found


def pin_complaints(
    direct: Iterable[str], constraints: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """Direct dependencies must be pinned in both files, each to the same version."""
    direct = set(direct)
    complaints = [f"{name}: not in constraints.txt" for name in direct - set(constraints)]
    complaints += [f"{name}: not in environment.yml" for name in direct - set(environment)]
    complaints += [
        f"{name}: {version} in environment.yml, {constraints.get(name)} in constraints.txt"
        for name, version in environment.items()
        if constraints.get(name) != version
    ]
    return sorted(complaints)


def unpinned_lines(constraints: str) -> list[str]:
    """Lines of constraints.txt that are neither a comment nor `name==version`."""
    lines = [line for line in constraints.splitlines() if line.strip() and line[0] != "#"]
    return [line for line in lines if not pins(line)]


def tracked_files() -> list[Path]:
    """Files that git tracks or would track."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    command += ["--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in sorted(set(listing.split("\0")) - {""})]
    return [path for path in paths if path.is_file()]


# Joined from pieces, so that this file does not contain what it forbids.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"py" + r"pi\.org",
            r"python" + r"hosted\.org",
            r"ana" + r"conda\.org",
            r"npm" + r"js\.org",
            r"index" + r"-url\s*[=:]",
            r"find" + r"-links\s*[=:]",
            r"trusted" + r"-host",
            r"(?<![\w.])/(?:" + "root|work|opt" + r")/\w",
            r"(?<![\w.])/(?:" + "home|Users" + r")/\w+/\w",
            r"(?<![\w.])/tmp" + r"/\w",
        ]
    )
)


def host_complaints(name: str, text: str) -> list[str]:
    """Lines that name a package registry's host or setting, or a path of one machine."""
    return [
        f"{name}:{number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    ]


def modules(package: str) -> list[str]:
    """Dotted names of all modules of a package of this repository, packages by their own name."""
    names = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def source(module: str) -> str:
    """Text of a module of this repository."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.read_text(encoding="utf-8")


def imports(text: str, package: str = "") -> set[str]:
    """Every dotted name that the text of a module of `package` imports, wherever in the text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            names.add(name)
            names.update(f"{name}.{alias.name}" for alias in node.names)
    return names


def imported_by(module: str) -> set[str]:
    """Every dotted name that a module of this repository imports."""
    is_package = ROOT.joinpath(*module.split(".")).is_dir()
    return imports(source(module), module if is_package else module.rpartition(".")[0])


def reaches(names: Iterable[str], forbidden: str) -> bool:
    """Whether one of the names is the module or package `forbidden`, or below it."""
    return any(f"{name}.".startswith(f"{forbidden}.") for name in names)


def closure(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Modules that `start` imports, directly or through others."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in graph.get(todo.pop(), set()) - seen:
            seen.add(name)
            todo.append(name)
    return seen


def graph(package: str) -> dict[str, set[str]]:
    """Which modules of a package import which others of it."""
    names = modules(package)
    return {name: imported_by(name) & set(names) - {package} for name in names}


def described_modules(text: str, known: Iterable[str]) -> tuple[list[str], list[str]]:
    """Modules the text does not mention as `name.py`, and file names in it that do not exist."""
    mentioned = set(re.findall(r"[\w/]+\.py\b", text))
    paths = {name.replace(".", "/") + ".py" for name in known}
    return sorted(paths - mentioned), sorted(
        path for path in mentioned if not (ROOT / path).is_file()
    )
