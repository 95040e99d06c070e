"""The exponential function of registers of lanes."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import njit

from .simd import LANES, WIDTH, elementwise, maximum, minimum, nearest, splat, zero

_COEFFICIENTS = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa0000p-1"), float.fromhex("0x1.cf79abc9e3b3ap-40")


def _power_of_two(builder: Any, operands: list[Any]) -> Any:
    """2^k of integral k between -1022 and 1023, by writing the exponent."""
    whole = ir.VectorType(ir.IntType(64), WIDTH)
    shifted = builder.fadd(operands[0], ir.Constant(LANES, [1023.0] * WIDTH))
    exponent = builder.fptosi(shifted, whole)
    return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [52] * WIDTH)), LANES)


power_of_two = elementwise(_power_of_two, 1)


@njit(forceinline=True)
def _split_exponential(x: Any) -> Any:
    """Return (2^k, expm1(t)) with x = k log 2 + t, |t| <= log(2)/2, for x between -708 and 709."""
    x = minimum(maximum(x, splat(-708.0)), splat(709.0))
    k = nearest(x * splat(1.0 / math.log(2.0)))
    t = (x - k * splat(_LN2_HIGH)) - k * splat(_LN2_LOW)
    series = zero()
    for coefficient in _COEFFICIENTS:
        series = series * t + splat(coefficient)
    return power_of_two(k), t + (t * t) * series


@njit(forceinline=True)
def exponential(x: Any) -> Any:
    """exp(x) to about one unit in the last place, that of the nearer end outside -708 .. 709."""
    power, rest = _split_exponential(x)
    return power + power * rest


@njit(forceinline=True)
def exponential_minus_one(x: Any) -> Any:
    """exp(x) - 1 to about one unit in the last place, for x below 709."""
    x = maximum(x, splat(-40.0))
    power, rest = _split_exponential(x)
    return (power - splat(1.0)) + power * rest
