"""The documentation: every public name, every example, every internal link; the build itself."""

import doctest
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import pages  # noqa: E402

PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
CHECKS = {"GL08", "SS01", "SS03", "PR02", "PR03", "PR07"}
"""Docstring there, with a summary sentence; no parameter that is not one, in their order."""


def callables():
    for package in pages.NAMESPACES:
        for name in pages.public_names(package):
            if callable(getattr(import_module(package), name)):
                yield f"{package}.{name}"


def complaints(name, checks=frozenset(CHECKS)):
    validate = pytest.importorskip("numpydoc.validate", reason="extra `docs` is not installed")
    found = validate.validate(name)["errors"]
    return [f"{name}: {code} {text}" for code, text in found if code in checks]


def test_every_public_name_is_documented():
    names = list(callables())
    assert len(names) > 80
    assert [line for name in names for line in complaints(name)] == []


def test_planted_bad_docstring_is_seen(monkeypatch):
    import sam_theory.algorithms as algorithms

    def no_summary(rho):
        pass

    monkeypatch.setattr(algorithms, "bad", no_summary, raising=False)
    assert complaints("sam_theory.algorithms.bad")

    def wrong(rho):
        """Do nothing.

        Parameters
        ----------
        radius : float
            There is none of that name.
        """

    monkeypatch.setattr(algorithms, "bad", wrong, raising=False)
    assert any("PR02" in line for line in complaints("sam_theory.algorithms.bad"))


@pytest.mark.parametrize("package", pages.NAMESPACES)
def test_api_page_has_every_public_name(package):
    text = pages.api(package, "title")
    names = pages.public_names(package)
    assert names
    for name in names:
        assert f"{package}.{name}" in text
        assert inspect.getdoc(getattr(import_module(package), name))


def modules_with_examples():
    for path in sorted((ROOT / "sam_theory").rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_docstring_examples_run():
    names = list(modules_with_examples())
    assert names
    for name in names:
        failed, attempted = doctest.testmod(import_module(name))
        assert attempted > 0 and failed == 0, name


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


def broken_links(page, text):
    """Local targets of Markdown links that do not exist."""
    found = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if re.match(r"[a-z]+:", target) or (page.parent / target).exists():
            continue
        found.append(f"{page.name}: {target}")
    return found


def test_links_inside_the_project_exist():
    assert [line for p in PAGES for line in broken_links(p, p.read_text(encoding="utf-8"))] == []
    planted = "see [that](no/such/page.md) and [this](https://example.org)"
    assert broken_links(DOCS / "index.md", planted) == ["index.md: no/such/page.md"]


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w/]+)$", index, flags=re.MULTILINE))
    missing = {page.stem for page in DOCS.glob("*.md")} - listed - {"index"}
    assert missing == set()


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="extra `docs` is not installed")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "site" / "tutorial.html").read_text(encoding="utf-8")
    assert "certificate" in page
