"""The closed forms as programs: which form is evaluated where, and the proof that each is exact.

Accuracy is decided here. With z = 2 beta/alpha^2 and kappa = 1/z no square of alpha or beta is
formed, so nothing over- or underflows before the answer does; differences of close numbers are
replaced by sums of terms of one sign or by series. `sam_theory.diagonal.derivation` derives the
expressions PHI ... CONJUGATE from the network, and prints the programs.
"""

from __future__ import annotations

import sympy as sp

from sam_theory.diagonal.forms import series
from sam_theory.diagonal.forms.programs import Choice, If, Let, Program, Return, horner

alpha, beta, xi = sp.symbols("alpha beta xi", positive=True)
beta0, time, depth, arg = sp.symbols("beta0 time depth z", positive=True)
omega, nu = sp.symbols("omega nu", positive=True)
a, b, c, d, e, f, g, h, k, m, q, s, t, w, x, y, z = (
    sp.Symbol(name, positive=True)
    for name in "a b c delta exponent f g h k mantissa q s t w x y z".split()
)
big, small, kappa, gap, theta = sp.symbols("big small kappa gap theta", positive=True)
factor, decay, risen, half, rest, p = sp.symbols("factor decay risen half rest p", positive=True)

absolute, copysign, hypot, expm1, log1p, frexp, ldexp, floor_int = (
    sp.Function(name) for name in "abs copysign hypot expm1 log1p frexp ldexp int".split()
)
f_angle, f_scaled, f_phi, f_kinetic, f_inverse, f_mirror = (
    sp.Function(name)
    for name in ("angle", "scaled_exp", "potential", "kinetic", "inverse_mirror_map", "mirror_map")
)

ANGLE = sp.asinh(2 * beta / alpha**2)
ROOT = sp.sqrt(4 * beta**2 + alpha**4)
PHI = beta / 2 * ANGLE - ROOT / 4 + alpha**2 / 4
MIRROR = ANGLE / 2
HESSIAN = 1 / ROOT
INVERSE = alpha**2 / 2 * sp.sinh(2 * xi)
CONJUGATE = alpha**2 / 4 * (sp.cosh(2 * xi) - 1)
KINETIC = (ROOT - alpha**2) / 4
BREGMAN = PHI - PHI.subs(beta, beta0) - MIRROR.subs(beta, beta0) * (beta - beta0)

LN2_HIGH = sp.Float(float.fromhex("0x1.62e42fee00000p-1"), 17)
LN2_LOW = sp.Float(float.fromhex("0x1.a39ef35793c76p-33"), 17)


def curved(excess: sp.Expr, scale: sp.Expr) -> sp.Expr:
    """Beta with exp(arcsinh(2 beta/scale^2)) = 1 + excess."""
    return scale**2 / 4 * (1 + excess - 1 / (1 + excess))


def _ratio(value: sp.Expr) -> tuple[Let, Let]:
    """Z = 2 value/alpha^2 without alpha^2."""
    return Let(q, value / alpha), Let(z, 2 * q / alpha)


def _inverse_ratio(value: sp.Expr) -> tuple[Let, Let]:
    """Kappa = alpha^2/(2 value) without alpha^2."""
    return Let(s, alpha / value), Let(kappa, alpha * s / 2)


def _angle() -> Program:
    edge = sp.Float("1.7e308", 17)
    return Program(
        "angle",
        (a, alpha),
        "arcsinh(2 a/alpha^2) for a >= 0.",
        (
            *_ratio(a),
            If(z < edge, (Return(sp.asinh(z)),)),
            Return(
                sp.log(a) - 2 * sp.log(alpha) + 2 * sp.log(2),
                samples=({a: sp.Integer(10) ** 308, alpha: sp.Integer(1)},),
            ),
        ),
    )


def _potential() -> Program:
    return Program(
        "potential",
        (beta, alpha),
        "phi_alpha(beta) of one coordinate.",
        (
            Let(a, absolute(beta)),
            *_ratio(a),
            If(
                z < series.SERIES_BELOW,
                (
                    Let(y, z**2),
                    Return(
                        q**2 / 2 * horner(series.PHI_SERIES, y),
                        samples=({beta: sp.Rational(1, 8), alpha: sp.Integer(1)},),
                    ),
                ),
            ),
            *_inverse_ratio(a),
            Let(t, f_angle(a, alpha) - 1 / (kappa + sp.sqrt(kappa**2 + 1))),
            Return(a / 2 * t),
        ),
    )


def _mirror_map() -> Program:
    return Program(
        "mirror_map",
        (beta, alpha),
        "(1/2) arcsinh(2 beta/alpha^2).",
        (Return(copysign(f_angle(absolute(beta), alpha) / 2, beta)),),
    )


def _hessian() -> Program:
    return Program(
        "hessian",
        (beta, alpha),
        "1/sqrt(4 beta^2 + alpha^4).",
        (
            Let(a, absolute(beta)),
            *_ratio(a),
            If(
                z < 1,
                (
                    Let(s, 1 / alpha),
                    Let(k, s / alpha),
                    Return(k / sp.sqrt(z**2 + 1)),
                ),
            ),
            *_inverse_ratio(a),
            Let(k, 1 / (2 * a)),
            Return(k / sp.sqrt(kappa**2 + 1)),
        ),
    )


def _scaled_exp() -> Program:
    doc = "factor alpha^2 exp(x), x >= 0, by exponents: finite wherever the result is."
    return Program(
        "scaled_exp",
        (factor, alpha, x),
        doc,
        (
            If(x > 3000, (Return(factor * sp.oo),), label="overflow"),
            Let((m, e), frexp(alpha)),
            Let(k, floor_int(sp.floor(x / sp.log(2) + sp.Rational(1, 2)))),
            Let(y, x - k * LN2_HIGH),
            Let(y, y - k * LN2_LOW),
            Return(ldexp(factor * m**2 * sp.exp(y), 2 * e + k)),
        ),
    )


def _inverse_mirror_map() -> Program:
    return Program(
        "inverse_mirror_map",
        (xi, alpha),
        "(alpha^2/2) sinh(2 xi).",
        (
            Let(x, 2 * absolute(xi)),
            If(
                x < sp.Rational(1, 2**27),
                (
                    Let(s, alpha * xi),
                    Return(alpha * s, samples=({xi: sp.Rational(1, 2**28), alpha: sp.Integer(1)},)),
                ),
            ),
            If(
                x < 1,
                (
                    Let((m, e), frexp(alpha)),
                    Let(s, ldexp(m**2 * sp.sinh(x) / 2, 2 * e)),
                    Return(copysign(s, xi)),
                ),
            ),
            Let(s, f_scaled(-expm1(-2 * x) / 4, alpha, x)),
            Return(copysign(s, xi)),
        ),
    )


def _conjugate() -> Program:
    return Program(
        "conjugate",
        (xi, alpha),
        "(alpha^2/4) (cosh(2 xi) - 1).",
        (
            Let(x, absolute(xi)),
            If(
                x < sp.Rational(1, 2),
                (
                    Let(s, alpha * sp.sinh(x)),
                    Return(s**2 / 2),
                ),
            ),
            Let(y, expm1(-2 * x)),
            Return(f_scaled(y**2 / 8, alpha, 2 * x)),
        ),
    )


def _kinetic() -> Program:
    return Program(
        "kinetic",
        (a, alpha),
        "(1/4) (sqrt(4 a^2 + alpha^4) - alpha^2) for a >= 0.",
        (
            *_ratio(a),
            If(z < 1, (Return(q**2 / (1 + sp.sqrt(z**2 + 1))),)),
            *_inverse_ratio(a),
            Return(a / 2 / (kappa + sp.sqrt(kappa**2 + 1))),
        ),
    )


def _entire_sum(series: tuple[int, list[sp.Rational]]) -> sp.Expr:
    power, terms = series
    return t**power * horner(terms, y)


def _same_sign(
    odd: tuple[int, list[sp.Rational]], even: tuple[int, list[sp.Rational]], far: sp.Expr
) -> tuple[If, Return]:
    """Return (big/2) far, by series of its two parts where theta moves by less than one."""
    u, v = sp.Symbol("first", positive=True), sp.Symbol("second", positive=True)
    near = (
        Let(u, _entire_sum(odd)),
        Let(v, _entire_sum(even)),
        Return(big / 2 * (c * u + g * v)),
    )
    return If(t < 1, near, label="series"), Return(big / 2 * far)


def _bregman() -> Program:
    """Opposite signs: Fenchel-Young, a sum of three terms >= 0. Same sign: theta differences."""
    edge = sp.Rational(1, 10**9)
    opposite = sp.Or(
        sp.And(sp.Ge(beta, 0, evaluate=False), sp.Le(beta0, 0, evaluate=False)),
        sp.And(sp.Le(beta, 0, evaluate=False), sp.Ge(beta0, 0, evaluate=False)),
    )
    return Program(
        "bregman",
        (beta, beta0, alpha),
        "phi(beta) - phi(beta0) - phi'(beta0) (beta - beta0).",
        (
            Let(a, absolute(beta)),
            Let(b, absolute(beta0)),
            Let(big, sp.Function("max")(a, b)),
            Let(small, sp.Function("min")(a, b)),
            *_ratio(big),
            If(
                z < edge,
                (
                    Let(d, (beta - beta0) / alpha),
                    Return(d**2 / 2),
                ),
                label="tiny",
            ),
            If(
                opposite,
                (Return(f_phi(a, alpha) + a * f_angle(b, alpha) / 2 + f_kinetic(b, alpha)),),
                label="opposite",
            ),
            Let(d, absolute(beta - beta0) / big),
            Let(c, small / big),
            *_inverse_ratio(big),
            Let(g, hypot(c, kappa)),
            Let(h, sp.sqrt(kappa**2 + 1)),
            Let(
                t,
                Choice(
                    g < sp.Float("1e-290", 17),
                    f_angle(big, alpha) - f_angle(small, alpha),
                    sp.asinh(d * (1 + c) / (g + c * h)),
                ),
            ),
            Let(gap, d * (1 + c) / (g + h)),
            Let(y, t**2),
            If(
                sp.Ge(a, b),
                _same_sign(series.S_SERIES, series.C_SERIES, t - gap),
                label="outward",
            ),
            *_same_sign(series.SH_SERIES, series.CH_SERIES, gap - c * t),
        ),
    )


def _orthonormal_flow() -> Program:
    doc = "beta(t) towards beta on an orthonormal design, and int_0^t (beta(s) - beta)^2 ds."
    u, v = sp.Symbol("level", positive=True), sp.Symbol("area", positive=True)
    return Program(
        "orthonormal_flow",
        (beta, alpha, time),
        doc,
        (
            Let(a, absolute(beta)),
            If(
                sp.Or(sp.Eq(a, 0, evaluate=False), sp.Eq(time, 0, evaluate=False)),
                (Return((sp.Float(0), sp.Float(0))),),
                label="still",
            ),
            *_ratio(a),
            *_inverse_ratio(a),
            Let(y, sp.sqrt(z**2 + 1)),
            Let(h, sp.sqrt(kappa**2 + 1)),
            Let(f, alpha * time),
            Let(s, 2 * time),
            Let(x, Choice(z < 1, alpha * f * y, a * h * s)),
            Let(theta, f_angle(a, alpha)),
            If(
                theta - x > 40,
                (
                    Let(u, f_inverse(x / 2, alpha)),
                    Let(v, f_phi(u, alpha) + x / 2 * (a - u)),
                    Return((copysign(u, beta), v)),
                ),
                label="early",
            ),
            Let(decay, sp.exp(-x)),
            Let(risen, -expm1(-x)),
            Let(w, Choice(z < 1, 1 / y, kappa / h)),
            Let(f, risen * (1 + decay + risen * w) / 2),
            Let(half, (sp.exp(theta - x) + sp.exp(-theta - x)) / 2),
            Let(u, a * f),
            Let(u, u / (f + half)),
            Let(rest, half / (f + half)),
            Let(v, f_phi(u, alpha) + f_angle(u, alpha) / 2 * (a * rest)),
            Return((copysign(u, beta), v)),
        ),
    )


def _depth_h() -> Program:
    doc = "(1-z)^(-D/(D-2)) - (1+z)^(-D/(D-2)), |z| < 1, depth D > 2."
    return Program(
        "depth_h",
        (arg, depth),
        doc,
        (
            Let(a, absolute(arg)),
            Let(k, depth - 2),
            Let(p, depth / k),
            If(
                a < sp.Rational(1, 2),
                (
                    Let(x, sp.atanh(a)),
                    Let(y, log1p(-(a**2))),
                    Let(s, 2 * sp.sinh(p * x) * sp.exp(-p / 2 * y)),
                    Return(copysign(s, arg)),
                ),
            ),
            Let(s, (1 - a) ** (-p) - (1 + a) ** (-p)),
            Return(copysign(s, arg)),
        ),
    )


def programs() -> list[Program]:
    """All programs, in the order of the printed module."""
    return [
        _angle(),
        _potential(),
        _mirror_map(),
        _hessian(),
        _scaled_exp(),
        _inverse_mirror_map(),
        _conjugate(),
        _kinetic(),
        _bregman(),
        _orthonormal_flow(),
        _depth_h(),
    ]
