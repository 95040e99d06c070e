"""Small programs written as sympy expressions: printed as jitted Python, and proved by execution.

A `Program` fixes the order of evaluation (each `Let` is one rounding path), which sympy alone
would rearrange. `print_program` prints it, `prove` runs every path through it on symbols and
requires the value to equal the derived expression. Used by `sam_theory.diagonal.derivation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp
from sympy.printing.pycode import PythonCodePrinter


class DerivationError(AssertionError):
    """A step of the derivation, or a printed program, is not the identity it claims to be."""


@dataclass(frozen=True)
class Let:
    """`target = value`; a tuple of targets takes the two results of `frexp`."""

    target: Any
    value: Any


@dataclass(frozen=True)
class Choice:
    """A value that depends on a condition, inside a `Let`."""

    when: Any
    then: Any
    otherwise: Any


@dataclass(frozen=True)
class If:
    """Run `body` (which returns) where the condition holds; `label` lets a proof assume it."""

    when: Any
    body: tuple[Any, ...]
    label: str = ""


@dataclass(frozen=True)
class Return:
    """The value; `samples` marks a truncation, compared with the target at these points."""

    value: Any
    samples: tuple[dict[sp.Symbol, Any], ...] = ()


@dataclass(frozen=True)
class Program:
    """One scalar function: name, arguments, docstring and body."""

    name: str
    args: tuple[sp.Symbol, ...]
    doc: str
    body: tuple[Any, ...]


class _Printer(PythonCodePrinter):
    """Python for numba: float literals (the nearest double of each rational), `math` functions."""

    _math = ("asinh", "copysign", "frexp", "ldexp", "expm1", "log1p", "hypot")

    def _print_Rational(self, expr: sp.Rational) -> str:
        return repr(float(Fraction(int(expr.p), int(expr.q))))

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))

    def _print_Infinity(self, expr: Any) -> str:
        return "math.inf"

    def _print_Function(self, expr: Any) -> str:
        name = expr.func.__name__
        prefix = "math." if name in self._math else ""
        return f"{prefix}{name}({', '.join(self._print(a) for a in expr.args)})"


_printer = _Printer({"fully_qualified_modules": True, "standard": "python3"})


def code(value: Any) -> str:
    """Print an expression, a `Choice` or a tuple as Python."""
    if isinstance(value, tuple):
        return ", ".join(code(v) for v in value)
    if isinstance(value, Choice):
        return f"{code(value.then)} if {code(value.when)} else {code(value.otherwise)}"
    return str(_printer.doprint(sp.sympify(value)))


def _lines(body: tuple[Any, ...], indent: int) -> Iterator[str]:
    pad = "    " * indent
    for item in body:
        if isinstance(item, Let):
            yield f"{pad}{code(item.target)} = {code(item.value)}"
        elif isinstance(item, Return):
            yield f"{pad}return {code(item.value)}"
        else:
            yield f"{pad}if {code(item.when)}:"
            yield from _lines(item.body, indent + 1)


def _wrap(line: str, width: int = 100) -> Iterator[str]:
    """Break a nested Horner form, the only kind of line that gets long, at its openings."""
    if len(line) <= width:
        yield line
        return
    pad = " " * (len(line) - len(line.lstrip()) + 4)
    head, _, rest = line.strip().partition(" ")
    keyword = "return" if head == "return" else f"{head} ="
    if head != "return":
        rest = rest.partition("= ")[2]
    yield f"{pad[4:]}{keyword} ("
    row = ""
    for piece in rest.split(" "):
        if row and len(pad) + len(row) + len(piece) + 1 > width:
            yield pad + row
            row = piece
        else:
            row = f"{row} {piece}".strip()
    yield pad + row
    yield f"{pad[4:]})"


def print_program(program: Program) -> str:
    """Print one program as a jitted function."""
    text = ["@numba.njit(cache=True)"]
    text.append(f"def {program.name}({', '.join(s.name for s in program.args)}):")
    text.append(f'    """{program.doc}"""')
    for line in _lines(program.body, 1):
        text.extend(_wrap(line))
    return "\n".join(text) + "\n"


def horner(coefficients: list[sp.Rational], x: sp.Symbol) -> sp.Expr:
    """Nested form of sum_k c_k x^k."""
    value: sp.Expr = sp.Integer(0)
    for c in reversed(coefficients):
        value = c + x * value
    return value


Meaning = dict[str, Callable[..., sp.Expr]]

MEANING: Meaning = {
    "abs": lambda x: sp.Abs(sp.factor(sp.together(x))),
    "copysign": lambda x, s: x * sp.sign(sp.factor(sp.together(s))),
    "hypot": lambda x, y: sp.sqrt(x**2 + y**2),
    "expm1": lambda x: sp.exp(x) - 1,
    "log1p": lambda x: sp.log(1 + x),
    "ldexp": lambda m, k: m * 2**k,
    "asinh": lambda x: sp.log(x + sp.sqrt(x**2 + 1)),
    "atanh": lambda x: sp.log((1 + x) / (1 - x)) / 2,
    "sinh": lambda x: (sp.exp(x) - sp.exp(-x)) / 2,
    "cosh": lambda x: (sp.exp(x) + sp.exp(-x)) / 2,
    "tanh": lambda x: (sp.exp(2 * x) - 1) / (sp.exp(2 * x) + 1),
}


def canonical(expr: Any, meaning: Meaning) -> sp.Expr:
    """Rewrite into exponentials, logarithms of factors and roots of factored bases."""
    expr = sp.sympify(expr)
    if not expr.args:
        return expr
    args = [canonical(a, meaning) for a in expr.args]
    name = expr.func.__name__
    if name in meaning:
        return canonical(meaning[name](*args), meaning)
    if expr.is_Pow and not args[1].is_Integer:
        base = sp.factor(sp.cancel(sp.together(args[0])))
        return sp.expand_power_base(base ** args[1])
    if isinstance(expr, sp.log):
        return sp.expand_log(sp.log(sp.factor(sp.cancel(sp.together(args[0])))), force=True)
    if isinstance(expr, sp.exp):
        return sp.expand_power_exp(sp.exp(sp.expand(args[0])))
    return expr.func(*args)


def vanishes(expr: Any, meaning: Meaning = MEANING) -> bool:
    """Whether an expression in positive symbols is identically zero."""
    reduced = sp.cancel(sp.together(canonical(expr, meaning)))
    if reduced == 0:
        return True
    return bool(sp.simplify(sp.powsimp(sp.expand(reduced))) == 0)


def require_zero(expr: Any, what: str) -> None:
    """Raise `DerivationError` unless the expression vanishes identically."""
    parts = list(expr) if isinstance(expr, sp.MatrixBase) else [expr]
    for part in parts:
        if not vanishes(part):
            raise DerivationError(f"not an identity: {what}: {sp.simplify(part)}")


def _paths(
    body: tuple[Any, ...], env: dict[Any, Any], assume: dict[str, bool], meaning: Meaning
) -> Iterator[tuple[Return, Any]]:
    """Every (return, value) that the body can reach, values canonical."""
    env = dict(env)
    for k, item in enumerate(body):
        rest = body[k + 1 :]
        if isinstance(item, Return):
            values = item.value if isinstance(item.value, tuple) else (item.value,)
            yield item, tuple(canonical(sp.sympify(v).xreplace(env), meaning) for v in values)
            return
        if isinstance(item, If):
            known = assume.get(item.label)
            if known is not False:
                yield from _paths(item.body, env, assume, meaning)
            if known is True:
                return
        elif isinstance(item.value, Choice):
            for value in (item.value.then, item.value.otherwise):
                yield from _paths((Let(item.target, value), *rest), env, assume, meaning)
            return
        elif isinstance(item.target, tuple):
            mantissa, exponent = item.target
            env[mantissa] = item.value.args[0].xreplace(env) / 2**exponent
        elif item.value.has(sp.floor):
            continue
        else:
            value = canonical(sp.sympify(item.value).xreplace(env), meaning)
            env[item.target] = sp.factor(sp.cancel(sp.together(value)))


def prove(
    program: Program,
    target: Any,
    at: dict[sp.Symbol, Any],
    meaning: Meaning | None = None,
    assume: dict[str, bool] | None = None,
) -> int:
    """Require every path of the program to return `target`; give the number of paths proved.

    Exact paths must agree identically after the substitution `at` (which parametrises the
    arguments so that roots are perfect squares). Truncated ones are evaluated to 60 digits at
    their `samples`, the edges of their range, and may differ by 2^-54 relatively.
    """
    meaning = {**MEANING, **(meaning or {})}
    targets = target if isinstance(target, tuple) else (target,)
    wanted = [canonical(sp.sympify(g).xreplace(at), meaning) for g in targets]
    count = 0
    for item, values in _paths(program.body, at, assume or {}, meaning):
        if not item.samples:
            for value, want in zip(values, wanted, strict=True):
                if not vanishes(value - want, meaning):
                    raise DerivationError(f"{program.name} does not print its derivation: {item}")
            count += 1
    for sample, value, want in _truncated(program, targets, meaning):
        error = abs(sp.N(value.subs(sample) / want.subs(sample) - 1, 30))
        if not error <= sp.Rational(1, 2**54):
            raise DerivationError(f"{program.name}: truncation error {error} at {sample}")
        count += 1
    return count


def _truncated(
    program: Program, targets: tuple[Any, ...], meaning: Meaning
) -> Iterator[tuple[dict[sp.Symbol, Any], sp.Expr, sp.Expr]]:
    for item, values in _paths(program.body, {}, {}, meaning):
        for sample in item.samples:
            for value, want in zip(values, targets, strict=True):
                yield sample, value, canonical(want, meaning)
