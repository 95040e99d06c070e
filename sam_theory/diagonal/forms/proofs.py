"""What each printed program must equal, and the proof, path by path, that it does.

The arguments are parametrised so that every root is a perfect square: beta = (alpha^2/4)(w - 1/w)
with w = exp(arcsinh(2 beta/alpha^2)) > 1.  Programs whose paths are too intricate for that (Bregman
divergence, orthonormal flow, depth D) are executed in 60 digits at points that reach every path: an
exact path must agree to 1e-40, a truncated one to rounding of float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import sympy as sp

from sam_theory.diagonal.forms import closed_forms as forms
from sam_theory.diagonal.forms.programs import (
    Choice,
    DerivationError,
    Let,
    Meaning,
    Program,
    Return,
    prove,
)

CALLS: Meaning = {
    "angle": lambda u, v: forms.ANGLE.xreplace({forms.beta: u, forms.alpha: v}),
    "scaled_exp": lambda u, v, r: u * v**2 * sp.exp(r),
    "potential": lambda u, v: forms.PHI.xreplace({forms.beta: u, forms.alpha: v}),
    "kinetic": lambda u, v: forms.KINETIC.xreplace({forms.beta: u, forms.alpha: v}),
    "inverse_mirror_map": lambda u, v: forms.INVERSE.xreplace({forms.xi: u, forms.alpha: v}),
}
POINT = forms.curved(forms.omega, forms.alpha)

SIMPLE: dict[str, tuple[Any, dict[sp.Symbol, Any]]] = {
    "angle": (forms.ANGLE.subs(forms.beta, forms.a), {forms.a: POINT}),
    "potential": (forms.PHI, {forms.beta: POINT}),
    "mirror_map": (forms.MIRROR, {forms.beta: POINT}),
    "hessian": (forms.HESSIAN, {forms.beta: POINT}),
    "inverse_mirror_map": (forms.INVERSE, {}),
    "conjugate": (forms.CONJUGATE, {}),
    "kinetic": (forms.KINETIC.subs(forms.beta, forms.a), {forms.a: POINT}),
}


def _evaluated(
    target: Callable[..., Any], points: list[tuple[str, ...]], tolerances: list[float]
) -> Callable[[Program], int]:
    """Compare a program with its target in 60 digits, at points that reach every path of it."""

    def proof(program: Program) -> int:
        for point, tolerance in zip(points, tolerances, strict=True):
            with mp.workdps(60):
                arguments = [mp.mpf(number) for number in point]
                given = _run(program.body, dict(zip(program.args, arguments, strict=True)))
                wanted = target(*arguments)
                pairs = zip(
                    given if isinstance(given, tuple) else (given,),
                    wanted if isinstance(wanted, tuple) else (wanted,),
                    strict=True,
                )
                error = max(abs(a / b - 1) if b else abs(a) for a, b in pairs)
            if not error <= tolerance:
                raise DerivationError(f"{program.name}{point}: error {mp.nstr(error, 3)}")
        return len(points)

    return proof


def _run(body: tuple[Any, ...], env: dict[Any, Any]) -> Any:
    """Execute a program in the current precision."""

    def value(expr: Any) -> Any:
        if isinstance(expr, Choice):
            return value(expr.then if value(expr.when) else expr.otherwise)
        if isinstance(expr, tuple):
            return tuple(value(part) for part in expr)
        names = list(env)
        return sp.lambdify(names, expr, [NUMERIC, "mpmath"])(*(env[name] for name in names))

    for item in body:
        if isinstance(item, Let):
            targets = item.target if isinstance(item.target, tuple) else (item.target,)
            values = value(item.value)
            env.update(
                zip(targets, values if isinstance(values, tuple) else (values,), strict=True)
            )
        elif isinstance(item, Return):
            return value(item.value)
        elif value(item.when):
            found = _run(item.body, dict(env))
            if found is not None:
                return found
    return None


def _angle(b: Any, a: Any) -> Any:
    return mp.asinh(2 * b / a**2)


def _phi(b: Any, a: Any) -> Any:
    return b / 2 * _angle(b, a) - mp.sqrt(4 * b**2 + a**4) / 4 + a**2 / 4


NUMERIC: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "copysign": lambda x, s: abs(x) if s >= 0 else -abs(x),
    "hypot": mp.hypot,
    "expm1": mp.expm1,
    "log1p": mp.log1p,
    "frexp": mp.frexp,
    "ldexp": mp.ldexp,
    "int": int,
    "angle": _angle,
    "potential": _phi,
    "kinetic": lambda b, a: (mp.sqrt(4 * b**2 + a**4) - a**2) / 4,
    "inverse_mirror_map": lambda x, a: a**2 / 2 * mp.sinh(2 * x),
}


def _divergence(b: Any, b0: Any, a: Any) -> Any:
    return _phi(b, a) - _phi(b0, a) - _angle(b0, a) / 2 * (b - b0)


def _solution(b: Any, a: Any, t: Any) -> tuple[Any, Any]:
    """Solve the ODE by the derivation's map of w = exp(theta) into (1, W)."""
    w = mp.exp(_angle(b, a))
    grown = mp.exp(mp.sqrt(4 * b**2 + a**4) * t) * (1 + 1 / w) / (w - 1)
    reached = (grown * w - 1 / w) / (1 + grown)
    level = a**2 / 4 * (reached - 1 / reached)
    return level, _phi(level, a) + _angle(level, a) / 2 * (b - level)


def _depth(z: Any, depth: Any) -> Any:
    power = depth / (depth - 2)
    return (1 - z) ** (-power) - (1 + z) ** (-power)


_EXACT, _SERIES, _PARTS_OF_LOG_2 = 1e-40, 2.0**-53, 1e-20
SPECIAL: dict[str, Callable[[Program], int]] = {
    "scaled_exp": _evaluated(
        lambda factor, a, x: factor * a**2 * mp.exp(x),
        [("0.3", "0.7", "1.5"), ("2", "1e-200", "900"), ("1", "3", "0")],
        [_PARTS_OF_LOG_2] * 3,
    ),
    "bregman": _evaluated(
        _divergence,
        [
            ("3e-10", "1e-10", "1"),
            ("0.7", "-0.3", "0.9"),
            ("-0.2", "1.9", "0.4"),
            ("0.71", "0.53", "0.8"),
            ("-0.53", "-0.71", "0.8"),
            ("2.0", "0.9", "0.95"),
            ("0.9", "2.0", "0.95"),
            ("19", "0.01", "0.3"),
            ("0.01", "19", "0.3"),
            ("-7", "-0.02", "0.3"),
        ],
        [_SERIES, _EXACT, _EXACT, *[_SERIES] * 4, *[_EXACT] * 3],
    ),
    "orthonormal_flow": _evaluated(
        _solution,
        [
            ("0.8", "0.3", "0.7"),
            ("0.02", "0.9", "1.3"),
            ("-0.6", "0.2", "2.1"),
            ("0.7", "1e-12", "5"),
            ("0.7", "0.1", "90"),
        ],
        [_EXACT, _EXACT, _EXACT, 1e-16, _EXACT],
    ),
    "depth_h": _evaluated(
        _depth,
        [("0.3", "3"), ("-0.3", "2.5"), ("0.8", "5.5"), ("-0.9", "3")],
        [_EXACT] * 4,
    ),
}


def prove_all(program: Program) -> int:
    """Prove a program; returns the number of paths and truncations proved.

    Raises
    ------
    DerivationError
        A path of the program does not return what the derivation says.
    """
    if program.name in SPECIAL:
        return SPECIAL[program.name](program)
    target, at = SIMPLE[program.name]
    return prove(program, target, at, CALLS)
