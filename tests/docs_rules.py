"""What the docstring of a public name must say, on top of numpydoc's own checks."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import links  # noqa: E402, F401
import pages  # noqa: E402

CODES = frozenset(
    "GL01 GL02 GL03 GL05 GL06 GL07 GL08 GL10 SS01 SS02 SS03 SS04 SS05 SS06 PR02 PR03 PR05 PR06 "
    "PR07 PR09 PR10 RT05".split()
)
"""Checks of numpydoc on every name. Not PR08, RT04: a description may begin with a symbol."""
SECTIONS = frozenset({"PR01", "PR04", "RT01", "RT03", "YD01"})
"""Checks of its sections; see :func:`excused` for what else is as good as a section."""
REFERENCE = re.compile(r"(As (in|of)|Of) :(func|class|meth):`")


def members(owner: type) -> Iterator[str]:
    """Public methods and properties that are written in this project, inherited ones too."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        home = next(c for c in owner.__mro__ if name in vars(c))
        kinds = property | classmethod | staticmethod
        value = vars(home)[name]
        wanted = isinstance(value, kinds) or inspect.isroutine(value) or hasattr(value, "func")
        if wanted and home.__module__.startswith("sam_theory"):
            yield name


def names() -> Iterator[str]:
    """Every public function, class, method and property, as a path that can be imported."""
    for package in pages.NAMESPACES:
        found = [f"{package}.{name}" for name in pages.public_names(package)]
        for path in [*found, *pages.RETURNED.get(package, ())]:
            value = pages.load(path)
            if callable(value):
                yield path
            if inspect.isclass(value):
                yield from (f"{path}.{name}" for name in members(value))


def complaints(name: str) -> list[str]:
    """Return what is wrong with a docstring, one line each."""
    validate = pytest.importorskip("numpydoc.validate", reason="extra `docs` is not installed")
    doc = validate.Validator(validate.get_doc_object(validate.Validator._load_obj(name)))
    found = validate.validate(name)["errors"]
    return [
        f"{name}: {code} {text}"
        for code, text in found
        if code in CODES or (code in SECTIONS and not excused(code, text, doc))
    ]


def excused(code: str, text: str, doc) -> bool:
    """Whether something else does what the missing section would.

    The fields of a dataclass are attributes and parameters at once, listed once. A method without
    sections may name its parameters in its sentence, and begin with "Return". A group of
    parameters may refer to the function where they have types.
    """
    if code == "PR01":
        missing = {p for p in re.findall(r"'([^']+)'", text) if not p.startswith("_")}
        if inspect.isclass(doc.obj):
            return missing <= attributes(doc)
        return (
            is_method(doc)
            and not doc.doc_parameters
            and all(re.search(rf"(?<![\w.]){re.escape(p)}(?!\w)", doc.raw_doc) for p in missing)
        )
    if code == "PR04":
        name = re.findall(r'"([^"]+)"', text)[0]
        return bool(REFERENCE.match(" ".join(doc.doc_parameters[name][1])))
    if code in ("RT01", "YD01"):
        return is_method(doc) and re.match(r"\s*(Return|Whether|Yield) ", doc.raw_doc) is not None
    return False


def is_method(doc) -> bool:
    """Whether a function is a member of a class."""
    return inspect.isroutine(doc.obj) and "." in doc.obj.__qualname__.rpartition("<locals>.")[2]


def attributes(doc) -> set[str]:
    """Names in the section Attributes."""
    return {name for row in doc.doc["Attributes"] for name in row.name.split(", ")}
