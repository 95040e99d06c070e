"""The printed formulas are the derived ones; a fault in either is caught."""

import dataclasses
import shutil

import pytest
import sympy as sp

from sam_theory.diagonal import derivation
from sam_theory.diagonal.forms import closed_forms as forms
from sam_theory.diagonal.forms.programs import DerivationError, Let, Return, require_zero
from sam_theory.diagonal.forms.proofs import SIMPLE, SPECIAL, prove_all


@pytest.fixture
def copies(tmp_path):
    formulas, docs = tmp_path / "formulas.py", tmp_path / "theory.md"
    shutil.copy(derivation.FORMULAS, formulas)
    shutil.copy(derivation.DOCS, docs)
    return formulas, docs


def check(copies):
    formulas, docs = copies
    return derivation.main(["--check", "--formulas", str(formulas), "--docs", str(docs)])


def test_the_committed_files_are_the_derived_ones(capsys):
    assert derivation.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_tampered_formula_is_found(copies, capsys):
    formulas, _ = copies
    text = formulas.read_text()
    assert "0.5" in text
    formulas.write_text(text.replace("0.5", "0.50001", 1))
    assert check(copies) == 1
    assert "out of date" in capsys.readouterr().err


def test_a_tampered_equation_is_found(copies):
    _, docs = copies
    docs.write_text(docs.read_text().replace(r"\sinh", r"\cosh", 1))
    assert check(copies) == 1


def test_stale_files_are_rewritten(copies):
    formulas, docs = copies
    original = formulas.read_text(), docs.read_text()
    formulas.write_text("stale")
    docs.write_text(original[1].replace(r"\sinh", r"\cosh", 1))
    arguments = ["--formulas", str(formulas), "--docs", str(docs)]
    assert derivation.main(arguments) == 0
    assert (formulas.read_text(), docs.read_text()) == original


def test_a_page_without_a_block_is_refused(copies):
    _, docs = copies
    docs.write_text(docs.read_text().replace("<!-- derived: depth -->", ""))
    with pytest.raises(DerivationError, match="blocks of the page"):
        check(copies)


def test_every_program_has_a_proof():
    names = {program.name for program in forms.programs()}
    assert names == set(SIMPLE) | set(SPECIAL)
    assert sum(prove_all(program) for program in forms.programs()) >= len(names) + 20


# They decide between branches that agree, or how an exponent is split: no value depends on them.
IMMATERIAL = {"bregman": (forms.q, forms.z), "scaled_exp": (forms.k,)}


def spoiled(program, index):
    """Double the value of one assignment or return of a program's top level."""
    body = list(program.body)
    item = body[index]
    if isinstance(item, Let) and isinstance(item.target, tuple):
        return None
    if isinstance(item, Let) and not isinstance(item.value, sp.Basic):
        return None
    if getattr(item, "target", None) in IMMATERIAL.get(program.name, ()):
        return None
    if not isinstance(item, Let | Return) or isinstance(item.value, tuple):
        return None
    body[index] = dataclasses.replace(item, value=2 * item.value)
    return dataclasses.replace(program, body=tuple(body))


@pytest.mark.parametrize("program", forms.programs(), ids=lambda p: p.name)
def test_a_doubled_factor_anywhere_is_not_proved(program):
    tried = 0
    for index in range(len(program.body)):
        fault = spoiled(program, index)
        if fault is not None:
            tried += 1
            with pytest.raises(DerivationError):
                prove_all(fault)
    assert tried


def test_require_zero_refuses_what_is_not_an_identity():
    x = sp.Symbol("x", positive=True)
    require_zero(sp.sinh(x) ** 2 + 1 - sp.cosh(x) ** 2, "an identity")
    with pytest.raises(DerivationError, match="not an identity: a slip"):
        require_zero(sp.sinh(x) ** 2 - sp.cosh(x) ** 2, "a slip")


@pytest.mark.parametrize("name", derivation.DERIVATIONS)
def test_each_derivation_gives_its_equations(name):
    equations = derivation.DERIVATIONS[name]()
    assert equations and all(isinstance(right, sp.Expr) for _, right in equations)
