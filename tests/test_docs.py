"""What the docstring of every public name must say, and the pages that are made from code."""

from __future__ import annotations

import inspect
import re
import typing
from importlib import import_module
from types import SimpleNamespace

import pytest
from docs_rules import DOCS, complaints, members, names, pages

PLACE = "sam_theory.algorithms"


def test_every_public_name_is_documented():
    found = list(names())
    assert len(found) > 250
    assert [line for name in found for line in complaints(name)] == []


def test_names_are_functions_classes_methods_and_what_functions_return():
    found = set(names())
    assert {
        "sam_theory.implicit_bias",
        "sam_theory.Regression.from_csv",
        "sam_theory.Regression.row_space",
        "sam_theory.diagonal.certificate.Certificate.lines",
        "sam_theory.relu.Run.gammas",
    } <= found
    assert not any(name.rpartition(".")[2].startswith("_") for name in found)
    assert list(members(SimpleNamespace)) == []


@pytest.fixture
def planted(monkeypatch):
    """What is said of a docstring that has been put into the library."""

    def plant(thing):
        monkeypatch.setattr(import_module(PLACE), thing.__name__, thing, raising=False)
        return complaints(f"{PLACE}.{thing.__name__}")

    return plant


GOOD = """Do something.

        Parameters
        ----------
        rho : float
            Radius.
        m : int
            Size.

        Returns
        -------
        float
            The sum.
        """


def test_a_good_docstring_passes(planted):
    def good(rho, m):
        return rho + m

    good.__doc__ = GOOD
    assert planted(good) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("        m : int\n            Size.\n", ""), "PR01"),
        (("rho : float", "radius : float"), "PR02"),
        (("rho : float", "k : float"), "PR01"),
        (("            Radius.\n        m : int\n", "        m : int\n"), "PR07"),
        (("rho : float", "rho"), "PR04"),
        (("rho : float", "rho: float"), "PR10"),
        (("Size.", "Size"), "PR09"),
        (("        Returns\n        -------\n        float\n            The sum.\n", ""), "RT01"),
        (("            The sum.\n", ""), "RT03"),
        (("Do something.", "Do something"), "SS03"),
        (("Do something.", "do something."), "SS02"),
        (("Do something.", "Does something."), "SS05"),
        (("Do something.", "Do something\n        and more."), "SS06"),
        (("Do something.\n\n", "Do something.\n\n\n\n"), "GL03"),
        (("Radius.", "As in the paper."), None),
        (("rho : float\n            Radius.", "rho\n            As in :func:`m_sam`."), None),
    ],
)
def test_planted_fault_in_a_docstring(planted, change, code):
    def bad(rho, m):
        return rho + m

    assert change[0] in GOOD
    bad.__doc__ = GOOD.replace(*change)
    found = planted(bad)
    assert found == [] if code is None else any(f" {code} " in line for line in found)


def test_planted_missing_docstring(planted):
    def bare(rho):
        pass

    assert any(" GL08 " in line for line in planted(bare))


def test_what_a_method_or_a_dataclass_may_leave_out(monkeypatch):
    class Thing:
        """Hold a number.

        Attributes
        ----------
        value : float
            The number.
        """

        def __init__(self, value):
            self.value = value

        def good(self, factor):
            """Return the value times ``factor``."""
            return self.value * factor

        def unnamed(self, factor):
            """Return the value times another."""
            return self.value * factor

        def silent(self, factor):
            """Multiply by ``factor``."""
            return self.value * factor

    Thing.__qualname__ = "Thing"
    for method in (Thing.good, Thing.unnamed, Thing.silent):
        method.__qualname__ = f"Thing.{method.__name__}"
    monkeypatch.setattr(import_module(PLACE), "Thing", Thing, raising=False)
    assert complaints(f"{PLACE}.Thing") == [] and complaints(f"{PLACE}.Thing.good") == []
    assert any(" PR01 " in line for line in complaints(f"{PLACE}.Thing.unnamed"))
    assert any(" RT01 " in line for line in complaints(f"{PLACE}.Thing.silent"))
    Thing.__doc__ = "Hold a number."
    assert any(" PR01 " in line for line in complaints(f"{PLACE}.Thing"))


def returned(package):
    """Names of our classes in the return annotations of a package's public functions."""
    found = set()
    for name in pages.public_names(package):
        value = getattr(import_module(package), name)
        owned = [getattr(value, m) for m in members(value)] if inspect.isclass(value) else [value]
        if inspect.isclass(value):
            owned += [vars(value)[m].fget for m in members(value) if is_property(value, m)]
        for function in filter(callable, owned):
            hint = str(typing.cast(typing.Any, function).__annotations__.get("return", ""))
            found |= set(re.findall(r"\b[A-Z]\w+", hint))
    return found


def is_property(owner, name):
    return isinstance(inspect.getattr_static(owner, name), property)


@pytest.mark.parametrize("package", pages.NAMESPACES)
def test_api_page_has_every_public_name_and_what_is_returned(package):
    text = pages.api(package, "title")
    listed = pages.public_names(package)
    assert listed
    for name in listed:
        value = getattr(import_module(package), name)
        directive = "autoclass" if inspect.isclass(value) else "autofunction"
        if callable(value):
            assert f".. {directive}:: {package}.{name}\n" in text
        else:
            assert f".. data:: {package}.{name}\n\n   " in text
            assert isinstance(value, str) or pages.constant_doc(f"{package}.{name}").endswith(".")
    for path in pages.RETURNED.get(package, ()):
        assert inspect.isclass(pages.load(path)) and f".. autoclass:: {path}\n" in text


def test_classes_that_are_returned_are_documented():
    public = {name for package in pages.NAMESPACES for name in pages.public_names(package)}
    shown = {path.rpartition(".")[2] for paths in pages.RETURNED.values() for path in paths}
    others = {"Any", "Array", "Axes", "DataFrame", "Iterator", "Kind", "None", "Path", "Status"}
    others |= {"NDArray", "Steps", "Callable", "Literal", "Generator"}
    used = set().union(*map(returned, pages.NAMESPACES))
    assert {"Certificate", "Descent", "Kinks"} <= used
    assert used - public - shown - others == set()


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([\w/]+)$", index, flags=re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {page.stem for page in DOCS.glob("*.md")} - set(listed) - {"index"} == set()


def test_a_theorem_page_is_made_anew_when_its_sources_change(tmp_path, monkeypatch):
    from sam_theory.convergence import THEOREMS

    made = []
    monkeypatch.setattr(pages, "theorem_page", lambda name, folder: made.append(name) or "# T\n")
    monkeypatch.setattr(pages.gallery, "page", lambda folder: "# Figures\n")
    pages.write(tmp_path)
    assert made == list(THEOREMS)
    pages.write(tmp_path)
    assert len(made) == len(THEOREMS)
    monkeypatch.setattr(pages, "_digest", lambda: "another")
    pages.write(tmp_path)
    assert len(made) == 2 * len(THEOREMS)


def test_a_theorem_page_has_statement_assumptions_and_plot(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "SEEDS", 5)
    text = pages.theorem_page("T2", tmp_path)
    assert (tmp_path / "T2.png").read_bytes().startswith(b"\x89PNG")
    assert "$$\n" in text and "- **PL**:" in text and "![measured" in text and "| holds |" in text
