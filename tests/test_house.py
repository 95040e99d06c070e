"""The rules of the house that no compiler checks; each comparer is shown a planted fault."""

from __future__ import annotations

import os
import re
import tomllib

import house
import pytest

import sam_theory

THEORY, SIMULATION = "sam_theory.diagonal.flow", "sam_theory.diagonal.descent"


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


def test_every_dependency_is_justified():
    lines = read("docs/dependencies.md").splitlines()
    justified = {m[1].lower() for line in lines if (m := re.match(r"\| `([\w.-]+)` \|.+\w", line))}
    assert direct() == justified


def test_run_time_dependencies_are_the_imported_ones():
    groups = house.requirements(read("pyproject.toml"))
    names = set().union(*(house.imported_by(m) for m in house.modules("sam_theory")))
    third_party = {name.split(".")[0] for name in names} & (direct() | {"pyarrow"})
    assert groups[""] == third_party - groups["parquet"]


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
    names = house.modules(package)
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


def test_proportions():
    files = [p for p in house.tracked_files() if p.suffix == ".py"]
    long = [p.name for p in files if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []
