"""The rules of the house that no compiler checks; each comparer is shown a planted fault."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from importlib import metadata

import house
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sam_theory

DIAGONAL = "sam_theory.diagonal"
THEORY, SIMULATION = f"{DIAGONAL}.flow", f"{DIAGONAL}.descent"
# What a folder may import of its package.
FOLDERS = {
    "diagonal.forms": set(),
    "diagonal.primitives": set(),
    "diagonal.dual": {"primitives"},
    "diagonal.integrator": {"primitives"},
    "diagonal.steps": {"primitives", "coordinates", "settings"},
    "deep.operations": set(),
    "deep.data": set(),
}


def read(name: str) -> str:
    return (house.ROOT / name).read_text(encoding="utf-8")


def direct() -> set[str]:
    return set().union(*house.requirements(read("pyproject.toml")).values())


def test_versions_pinned_and_agree():
    constraints, environment = (
        house.pins(read("constraints.txt")),
        house.pins(read("environment.yml")),
    )
    assert house.pin_complaints(direct(), constraints, environment) == []
    assert house.unpinned_lines(read("constraints.txt")) == []
    assert unmet(read("pyproject.toml"), constraints) == []
    assert sorted(brought(direct(), needs) - set(constraints)) == []


def unmet(pyproject: str, pinned: dict[str, str]) -> list[str]:
    """Requirements of pyproject.toml that the pinned version does not satisfy."""
    project = tomllib.loads(pyproject)["project"]
    lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    asked = [r for r in map(Requirement, lines) if canonicalize_name(r.name) != house.PROJECT]
    return [
        f"{r}: {pinned.get(canonicalize_name(r.name))} is pinned"
        for r in asked
        if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))
    ]


def needs(name: str) -> set[str]:
    """What an installed package requires here; nothing if it is not installed."""
    try:
        lines = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:
        return set()
    asked = map(Requirement, lines)
    return {
        canonicalize_name(r.name)
        for r in asked
        if r.marker is None or r.marker.evaluate({"extra": ""})
    }


def brought(names, requires) -> set[str]:
    """The names and all that they bring with them."""
    found, todo = set(names), list(names)
    while todo:
        new = requires(todo.pop()) - found
        found |= new
        todo += new
    return found


def test_planted_unmet_and_unpinned():
    text = '[project]\ndependencies=["a>=2"]\noptional-dependencies={x=["b>=1", "sam-theory[y]"]}'
    assert unmet(text, {"a": "2.1", "b": "1"}) == []
    assert unmet(text, {"a": "1.9", "b": "1"}) == ["a>=2: 1.9 is pinned"]
    assert brought({"a"}, {"a": {"b"}, "b": {"c", "a"}, "c": set()}.get) == {"a", "b", "c"}
    assert {"numpy", "pluggy"} <= needs("numba") | needs("pytest")


@pytest.mark.parametrize(
    ("constraints", "environment", "complaint"),
    [
        ({"b": "1"}, {"a": "1", "b": "1"}, "not in constraints.txt"),
        ({"a": "1", "b": "1"}, {"b": "1"}, "not in environment.yml"),
        ({"a": "1", "b": "1"}, {"a": "2", "b": "1"}, "2 in environment.yml, 1 in constraints.txt"),
        ({"a": "1", "b": "1"}, {"a": "1", "b": "1", "c": "1"}, "None in constraints.txt"),
    ],
)
def test_planted_pin_fault(constraints, environment, complaint):
    assert any(complaint in c for c in house.pin_complaints({"a", "b"}, constraints, environment))


def test_planted_unpinned_line():
    assert house.unpinned_lines("# note\na==1\nb>=2\n") == ["b>=2"]
    assert house.requirements(
        '[project]\ndependencies=["A_b>=1"]\noptional-dependencies={x=["sam-theory[y]"]}'
    ) == {"": {"a-b"}, "x": set()}


def test_no_hosts_or_machine_paths():
    complaints = []
    for path in house.tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            name = str(path.relative_to(house.ROOT))
            complaints += house.host_complaints(name, content.decode("utf-8"))
    assert complaints == []


@pytest.mark.parametrize(
    "line",
    [
        "see https://py" + "pi.org/simple",
        "index" + "-url = https://example.net",
        "open('/" + "home/someone/data.csv')",
        "cd /" + "work/main",
        "x = '/" + "tmp/w'",
    ],
)
def test_planted_host(line):
    assert house.host_complaints("f", f"fine\n{line}\n")[0].startswith("f:2")


def test_relative_paths_are_no_complaint():
    inner, number = "work", "root"
    relative = f"../shared/{inner}/x a/opt/b 1/{number}/2 https://a.b/home/"
    assert house.host_complaints("f", relative) == []


def test_ci_runs_make_test():
    script = house.ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    assert "make test" in lines and "set -euo pipefail" in lines
    assert re.search(r"^test: .*\n\t.*-m pytest", read("Makefile"), re.MULTILINE)


def justified(page: str) -> set[str]:
    """Packages that have a line with a reason in docs/dependencies.md."""
    found = (re.match(r"\| `([\w.-]+)` \|.*\w", line) for line in page.splitlines())
    return {match[1].lower() for match in found if match}


def test_every_dependency_is_justified():
    assert direct() == justified(read("docs/dependencies.md"))


def test_planted_unjustified_dependency():
    assert justified("| package | what for |\n|---|---|\n| `a` | x |\n| `b` |  |\n`c`") == {"a"}


def test_run_time_dependencies_are_the_imported_ones():
    groups = house.requirements(read("pyproject.toml"))
    names = set().union(*(house.imported_by(m) for m in house.modules("sam_theory")))
    third_party = {name.split(".")[0] for name in names} & (direct() | {"pyarrow"})
    extras = set().union(*(groups[g] for g in set(groups) - {"", "dev", "peers"}))
    assert groups[""] == third_party - extras


def test_architecture_describes_what_exists():
    known = set(house.modules("sam_theory") + house.modules("analysis") + house.modules("figures"))
    packages = {name for name in known if (house.ROOT / name.replace(".", "/")).is_dir()}
    assert house.described_modules(read("docs/architecture.md"), known - packages) == ([], [])


def test_planted_architecture_fault():
    missing, invented = house.described_modules(
        "`sam_theory/errors.py`, `sam_theory/castle.py`", ["sam_theory.errors", "sam_theory.moat"]
    )
    assert missing == ["sam_theory/moat.py"] and invented == ["sam_theory/castle.py"]


def test_theory_and_simulation_never_meet():
    graph = house.graph("sam_theory")
    assert {THEORY, SIMULATION} <= set(graph)
    assert SIMULATION not in house.closure(THEORY, graph)
    assert THEORY not in house.closure(SIMULATION, graph)


def folder_complaints(module: str, names: set[str]) -> list[str]:
    """Imports of a module in a folder, from beside that folder, that do not belong there."""
    library, package, folder = module.split(".")[:3]
    beside = {name.split(".")[2] for name in names if name.startswith(f"{library}.{package}.")}
    return sorted(beside - FOLDERS[f"{package}.{folder}"] - {folder})


def test_folders_import_nothing_from_above():
    inside = [m for m in house.modules("sam_theory") if ".".join(m.split(".")[1:3]) in FOLDERS]
    assert {".".join(module.split(".")[1:3]) for module in inside} == set(FOLDERS)
    found = {module: folder_complaints(module, house.imported_by(module)) for module in inside}
    assert {module: names for module, names in found.items() if names} == {}
    assert {name for name in FOLDERS if name.startswith("diagonal.")} == {
        ".".join(module.split(".")[1:3])
        for module in house.modules("sam_theory")
        if module.startswith(f"{DIAGONAL}.") and module.count(".") > 2
    }


def test_planted_import_from_above():
    names = house.imports("from ..steps import plan\n", f"{DIAGONAL}.integrator")
    assert folder_complaints(f"{DIAGONAL}.integrator.radau", names) == ["steps"]


def test_planted_meeting():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}
    assert house.closure("a", graph) == {"a", "b", "c"}
    assert house.imports("def f():\n    from sam_theory.diagonal import descent\n") == {
        "sam_theory.diagonal",
        SIMULATION,
    }


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("sam_theory", ["analysis", "figures", "matplotlib", "jinja2", "benchmarks", "tests"]),
        ("analysis", ["matplotlib", "figures", "jinja2"]),
        ("figures", ["analysis", "sam_theory.diagonal", "sam_theory.regression", "scipy", "numba"]),
    ],
)
def test_arrows(package, forbidden):
    # The one picture that a user without a checkout can ask for: `sam-theory rates --plot`.
    names = [name for name in house.modules(package) if name != "sam_theory.convergence.plotting"]
    assert names
    wrong = [(m, f) for m in names for f in forbidden if house.reaches(house.imported_by(m), f)]
    assert wrong == []


def test_planted_arrow():
    inside = house.imports("def f():\n    import matplotlib.pyplot as plt\n")
    assert house.reaches(inside, "matplotlib")
    assert house.reaches(house.imports("from figures import style"), "figures.style")
    assert house.imports("from .. import flow\nfrom .x import y", "a.b") == {
        "a",
        "a.flow",
        "a.b.x",
        "a.b.x.y",
    }
    assert not house.reaches(house.imports("import matplotlib_inline, figured"), "matplotlib")


def test_versions_agree():
    version = sam_theory.__version__
    assert tomllib.loads(read("pyproject.toml"))["project"]["version"] == version
    assert f"\nversion: {version}\n" in read("CITATION.cff")
    assert re.search(r"^## \[([\d.]+)\]", read("CHANGELOG.md"), re.MULTILINE)[1] == version


def test_only_the_library_is_installed():
    find = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]
    assert find == {"include": ["sam_theory*"]}


def too_long(name: str, text: str, lines: int = 400, body: int = 60) -> list[str]:
    """Files of more than `lines` lines, functions of more than `body` without their docstring."""
    count = len(text.splitlines())
    found = [f"{name}: {count} lines"] if count > lines else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            length = (node.end_lineno or 0) - first.lineno + 1
            if length > body:
                found.append(f"{name}: {node.name} has {length} lines")
    return found


def test_proportions():
    files = [p for p in house.tracked_files() if p.suffix == ".py"]
    assert len(files) > 50
    assert [c for p in files for c in too_long(p.name, p.read_text(encoding="utf-8"))] == []


def test_planted_length():
    text = 'def f():\n    """A\n\n    b."""\n    x = 1\n    return x\n'
    assert too_long("n", text, lines=6, body=2) == []
    assert too_long("n", text, lines=5, body=2) == ["n: 6 lines"]
    assert too_long("n", text, lines=6, body=1) == ["n: f has 2 lines"]
