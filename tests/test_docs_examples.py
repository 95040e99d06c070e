"""Every example of the documentation runs: docstrings, tutorial, pages, command lines."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from importlib import import_module

import pytest
from docs_rules import DOCS, ROOT, pages

import sam_theory

PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
FRONT_DOORS = [
    *(f"sam_theory.{name}" for name in (
        "one_sam", "from_reference", "from_woodworth", "from_even", "sparse_regression",
        "minimize_potential", "certify", "implicit_bias", "flow", "descend", "settings_grid",
        "descend_batch", "implicit_bias_batch",
    )),
    *(f"sam_theory.convergence.{name}" for name in (
        "verify", "theorem", "problem", "claim", "refute", "simulate", "least_squares", "logistic",
        "empirical_rate",
    )),
    *(f"sam_theory.relu.{name}" for name in (
        "train", "kinks", "random_network", "edge_of_stability",
    )),
    "sam_theory.deep.train",
    "sam_theory.deep.data.load",
    "sam_theory.deep.data.prepare",
    "sam_theory.sweeps.run",
]  # fmt: skip
"""Functions that a user calls first; each has an example in its docstring."""


def modules():
    """Modules of the library that have an example in a docstring."""
    for path in sorted((ROOT / "sam_theory").rglob("*.py")):
        if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, attempted = doctest.testmod(import_module(name))
    assert attempted > 0 and failed == 0


def test_every_front_door_has_an_example_that_is_found():
    without = [name for name in FRONT_DOORS if not pages.load(name).__doc__.count(">>> ")]
    assert without == []
    found = set(modules())
    assert {pages.load(name).__module__ for name in FRONT_DOORS} <= found
    for name in FRONT_DOORS:
        thing = pages.load(name)
        (case,) = doctest.DocTestFinder(recurse=False).find(thing, name)
        assert case.examples


def test_planted_wrong_example_is_seen(capsys):
    def wrong():
        """Add.

        >>> 1 + 1
        3
        """

    (case,) = doctest.DocTestFinder().find(wrong, "wrong")
    assert doctest.DocTestRunner().run(case).failed == 1
    assert "Expected" in capsys.readouterr().out


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = blocks((DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert len(found) >= 5
    space = {}
    for block in found:
        exec(compile(block, "tutorial.md", "exec"), space)
    assert space["sam"].certificate.error_bound < 1e-10
    assert "converged" in capsys.readouterr().out


def unknown(code):
    """Names that a block imports from the library, or takes from a module of it, in vain."""
    tree, aliases, missing = ast.parse(code), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sam_theory"):
            for one in node.names:
                if not reachable(f"{node.module}.{one.name}"):
                    missing.append(f"{node.module}.{one.name}")
                aliases[one.asname or one.name] = f"{node.module}.{one.name}"
        elif isinstance(node, ast.Import):
            aliases |= {one.asname or one.name: one.name for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = aliases.get(node.value.id, "")
            if home.startswith("sam_theory") and not reachable(f"{home}.{node.attr}"):
                missing.append(f"{home}.{node.attr}")
    return sorted(missing)


def reachable(path):
    try:
        pages.load(path)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_code_on_the_pages_compiles_and_names_what_exists(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        compile(block, page.name, "exec")
        assert unknown(block) == []


def test_planted_unknown_name():
    planted = "import sam_theory as st\nfrom sam_theory import relu, gd\nst.gone()\nrelu.kink\n"
    assert unknown(planted) == ["sam_theory.gone", "sam_theory.relu.kink"]
    assert unknown("from sam_theory.relu import kink") == ["sam_theory.relu.kink"]


def commands(text):
    """Command lines ``sam-theory ...`` in blocks, without their comments."""
    whole = re.sub(r"\\\n\s*", "", text)
    for line in re.findall(r"^(?: {4})?(sam-theory [a-z].*)$", whole, flags=re.MULTILINE):
        yield shlex.split(line, comments=True)[1:]


def refused(words):
    from sam_theory.cli import build_parser

    try:
        build_parser().parse_args(words)
    except sam_theory.InputError:
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_command_lines_on_the_pages_can_be_read(page):
    found = list(commands(page.read_text(encoding="utf-8")))
    assert [words for words in found if refused(words)] == []


def test_planted_wrong_command():
    text = "```console\nsam-theory bias x.csv --target y --alpha 0.1 --algoritm gd  # wrong\n```"
    (words,) = commands(text)
    assert words[-1] == "gd" and refused(words)
    assert not refused([*words[:-2], "--algorithm", "gd"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(list(commands(readme))) >= 5
