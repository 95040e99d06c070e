"""The potential and its relatives against high-precision arithmetic, at every scale."""

import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sam_theory as st
from sam_theory.diagonal import potential as module
from sam_theory.diagonal.potential import (
    bregman,
    bregman_terms,
    conjugate,
    conjugate_terms,
    depth_h,
    depth_mirror_map,
    hessian,
    inverse_mirror_map,
    mirror_map,
    orthonormal_delta,
    orthonormal_flow,
    potential,
    potential_terms,
)

ULPS = 1e-15
ROOT = Path(__file__).resolve().parents[2]


def exact_angle(b, a):
    return mp.asinh(2 * b / a**2)


def exact_potential(b, a):
    z = 2 * b / a**2
    if abs(z) < mp.mpf(10) ** -20:
        return b * b / (2 * a * a)
    return b / 2 * mp.asinh(z) - (mp.sqrt(4 * b * b + a**4) - a * a) / 4


def assert_accurate(function, exact, arguments, tolerance=ULPS):
    """Compare in 80 digits; arguments are tuples of doubles, taken as exact."""
    columns = [np.array(column) for column in zip(*arguments, strict=True)]
    given = function(*columns)
    worst, where = 0.0, None
    with mp.workdps(80):
        for value, point in zip(given, arguments, strict=True):
            wanted = exact(*(mp.mpf(float(number)) for number in point))
            if not mp.mpf("1e-300") < abs(wanted) < mp.mpf("1e300"):
                continue
            assert np.isfinite(value), point
            error = float(abs(mp.mpf(float(value)) / wanted - 1))
            if error > worst:
                worst, where = error, point
    assert worst <= tolerance, f"relative error {worst:.3e} at {where}"
    assert where is not None


def points(seed, count=400):
    """(beta, alpha) with |beta|/alpha^2 from 1e-300 to 1e300, dense where branches meet."""
    rng = np.random.default_rng(seed)
    out = []
    for exponent in np.linspace(-300.0, 300.0, 121):
        log_alpha = np.clip(rng.uniform(-150, 150), (-290 - exponent) / 2, (290 - exponent) / 2)
        out.append((rng.choice([-1, 1]) * 10.0 ** (exponent + 2 * log_alpha), 10.0**log_alpha))
    for _ in range(count):
        alpha = 10.0 ** rng.uniform(-3, 2)
        out.append((rng.choice([-1, 1]) * alpha**2 * 10.0 ** rng.uniform(-2, 2), alpha))
    for ratio in (0.125, 0.5, 1.0):
        for side in (-1e-15, 0.0, 1e-15):
            out.append((ratio * (1.0 + side), 1.0))
    return [(b, a) for b, a in out if 1e-300 < abs(b) < 1e300]


ELEMENTARY = {
    "potential": (potential_terms, exact_potential),
    "mirror map": (mirror_map, lambda b, a: exact_angle(b, a) / 2),
    "hessian": (hessian, lambda b, a: 1 / mp.sqrt(4 * b * b + a**4)),
}


@pytest.mark.parametrize("name", ELEMENTARY)
def test_accurate_to_a_few_ulp_at_every_scale(name):
    assert_accurate(*ELEMENTARY[name], points(1))


@pytest.mark.parametrize("name", ELEMENTARY)
def test_the_checker_catches_a_slip(name):
    function, exact = ELEMENTARY[name]
    with pytest.raises(AssertionError, match="relative error"):
        assert_accurate(lambda *x: function(*x) * (1.0 + 5e-15), exact, points(1, 50))


def test_the_checker_catches_a_dropped_term(monkeypatch):
    def without_the_last_term(b, a):
        z = 2.0 * b / a**2
        return np.where(
            np.abs(z) < 0.25, b**2 / (2 * a**2) * (1 - z**2 / 12), potential_terms(b, a)
        )

    with pytest.raises(AssertionError, match="relative error"):
        assert_accurate(without_the_last_term, exact_potential, [(0.1, 1.0), (0.3, 1.0)])


def dual_points(seed):
    rng = np.random.default_rng(seed)
    wide = [
        (rng.choice([-1, 1]) * 10.0 ** rng.uniform(-280, 2.8), 10.0 ** rng.uniform(-150, 150))
        for _ in range(300)
    ]
    return wide + [(rng.uniform(-3, 3), 10.0 ** rng.uniform(-2, 1)) for _ in range(300)]


def test_inverse_and_conjugate():
    assert_accurate(inverse_mirror_map, lambda x, a: a * a / 2 * mp.sinh(2 * x), dual_points(2))
    assert_accurate(conjugate_terms, lambda x, a: a * a / 2 * mp.sinh(x) ** 2, dual_points(3))


def test_nothing_overflows_where_the_answer_is_finite():
    big = [(1e300, 1e-150), (-1e300, 1e-300), (1e-300, 1e-300), (1.0, 1e-300), (1e300, 1e140)]
    for function, exact in ELEMENTARY.values():
        assert_accurate(function, exact, big)
    assert_accurate(
        inverse_mirror_map,
        lambda x, a: a * a / 2 * mp.sinh(2 * x),
        [(690.0, 1e-300), (400.0, 1e-40)],
    )


def bregman_points(seed):
    rng = np.random.default_rng(seed)
    out = []
    for kind in range(900):
        alpha = 10.0 ** rng.uniform(-3, 1)
        beta = rng.choice([-1, 1]) * alpha**2 * 10.0 ** rng.uniform(-3, 5)
        other = beta * (1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-14, 0))
        if kind % 3 == 0:
            other = rng.choice([-1, 1]) * alpha**2 * 10.0 ** rng.uniform(-3, 5)
        if beta != other:
            out.append((beta, other, alpha))
    return out


def wide_bregman_points(seed, count=300):
    """Neighbours and strangers with both arguments anywhere in the range of doubles."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < count:
        log_alpha = rng.uniform(-140, 140)
        exponents = rng.uniform(-300, 300, 2) + 2 * log_alpha
        if np.all(np.abs(exponents) < 290):
            beta, other = rng.choice([-1, 1], 2) * 10.0**exponents
            if len(out) % 2:
                other = beta * (1.0 - 10.0 ** rng.uniform(-14, 0))
            out.append((beta, other, 10.0**log_alpha))
    return out


def exact_bregman(b, c, a):
    """In enough digits for the cancellation between the three terms."""
    size = max(abs(b), abs(c)) / a**2
    lost = 2 * abs(mp.log10(size)) - 2 * mp.log10(abs(b - c) / max(abs(b), abs(c)))
    with mp.workdps(80 + int(2 * lost)):
        root = [mp.sqrt(4 * x * x + a**4) for x in (b, c)]
        turn = exact_angle(b, a) - exact_angle(c, a)
        return b / 2 * turn - (root[0] - root[1]) / 4


def test_bregman_of_neighbours_and_strangers():
    assert_accurate(bregman_terms, exact_bregman, bregman_points(4), 1e-14)
    assert_accurate(bregman_terms, exact_bregman, wide_bregman_points(10), 1e-14)
    with pytest.raises(AssertionError, match="relative error"):
        plain = lambda b, c, a: (  # noqa: E731
            potential_terms(b, a) - potential_terms(c, a) - mirror_map(c, a) * (b - c)
        )
        assert_accurate(plain, exact_bregman, bregman_points(4), 1e-14)
    assert bregman([1.0, -2.0], [1.0, -2.0], 0.3) == 0.0


def test_identities():
    rng = np.random.default_rng(5)
    beta, alpha = rng.standard_normal(50), 10.0 ** rng.uniform(-3, 1, 50)
    xi = mirror_map(beta, alpha)
    assert np.allclose(inverse_mirror_map(xi, alpha), beta, rtol=1e-13, atol=0)
    young = potential(beta, alpha) + conjugate(xi, alpha) - xi @ beta
    assert abs(young) < 1e-13 * potential(beta, alpha)
    other = rng.standard_normal(50)
    gap = potential(beta, alpha) + conjugate(mirror_map(other, alpha), alpha)
    gap -= mirror_map(other, alpha) @ beta
    assert gap == pytest.approx(bregman(beta, other, alpha), rel=1e-12)


def test_limits_in_alpha():
    beta = np.array([0.3, -2.0, 1.1])
    assert potential(beta, 1e8) == pytest.approx(beta @ beta / 2e16, rel=1e-14)
    alpha = 1e-140
    scaled = potential(beta, alpha) / np.log(1.0 / alpha**2)
    assert scaled == pytest.approx(0.5 * np.sum(np.abs(beta)), rel=3e-3)


@pytest.mark.parametrize("alpha", [1.0, 0.1])
def test_orthonormal_flow_solves_its_equation(alpha):
    goals = np.array([1.3, -0.7, 0.02])
    times = np.array([0.01, 0.3, 1.0, 4.0, 9.0])
    for goal in goals:
        found = solve_ivp(
            lambda _, x, g=goal: [
                -(x[0] - g) * np.sqrt(4 * x[0] ** 2 + alpha**4),
                (x[0] - g) ** 2,
            ],
            (0.0, 9.0),
            [0.0, 0.0],
            t_eval=times,
            method="DOP853",
            rtol=3e-14,
            atol=1e-15,
        )
        assert np.max(np.abs(orthonormal_flow(goal, alpha, times) - found.y[0])) < 1e-12
        assert np.max(np.abs(orthonormal_delta(goal, alpha, times) - found.y[1])) < 1e-12
    assert np.array_equal(orthonormal_flow(goals, alpha, 0.0), np.zeros(3))
    assert np.allclose(orthonormal_flow(goals, alpha, 1e6), goals, rtol=1e-15)
    assert np.allclose(orthonormal_delta(goals, alpha, 1e6), potential_terms(goals, alpha), 1e-14)


def exact_flow(b, a, t):
    big = mp.exp(exact_angle(b, a))
    grown = mp.exp(mp.sqrt(4 * b * b + a**4) * t) * (1 + 1 / big) / (big - 1)
    w = (grown * big - 1 / big) / (1 + grown)
    return a * a / 4 * (w - 1 / w)


def exact_delta(b, a, t):
    now = exact_flow(b, a, t)
    return exact_potential(now, a) + exact_angle(now, a) / 2 * (b - now)


def test_orthonormal_flow_in_high_precision():
    rng = np.random.default_rng(6)
    cases = [
        (rng.standard_normal(), 10.0 ** rng.uniform(-3, 1), 10.0 ** rng.uniform(-4, 2))
        for _ in range(300)
    ]
    assert_accurate(orthonormal_flow, exact_flow, cases, 1e-14)
    assert_accurate(orthonormal_delta, exact_delta, cases, 1e-14)
    with pytest.raises(AssertionError, match="relative error"):
        late = lambda b, a, t: orthonormal_flow(b, a, t * (1.0 + 1e-9))  # noqa: E731
        assert_accurate(late, exact_flow, cases, 1e-14)


@pytest.mark.parametrize("alpha", [2.0, 0.3, 1e-3])
def test_orthonormal_flow_leaves_no_residual_in_its_equation(alpha):
    """beta'(t) by 40-digit differences of the printed solution against the right-hand side."""
    for goal, t in [(1.3, 0.05), (-0.7, 0.8), (0.02, 5.0), (2.5, 2.0)]:
        with mp.workdps(40):
            b, a = mp.mpf(goal), mp.mpf(alpha)
            slope = mp.diff(lambda x, b=b, a=a: exact_flow(b, a, x), mp.mpf(t))
        now = orthonormal_flow(goal, alpha, t)
        rate = -(now - goal) * np.sqrt(4.0 * now**2 + alpha**4)
        assert abs(rate - float(slope)) <= 1e-12
        assert abs(rate * 1.0001 - float(slope)) > 1e-12 or abs(rate) < 1e-8


@pytest.mark.parametrize("depth", [2.1, 3.0, 4.0, 10.0])
def test_depth(depth):
    rng = np.random.default_rng(7)
    z = rng.choice([-1, 1], 100) * 10.0 ** rng.uniform(-8, -1e-3, 100)

    def exact(x, d):
        power = d / (d - 2)
        return (1 - x) ** -power - (1 + x) ** -power

    assert_accurate(depth_h, exact, [(x, depth) for x in z], 2e-14)
    back = depth_mirror_map(depth_h(z, depth), 1.0, depth)
    assert np.allclose(back, z, rtol=2e-14, atol=0)
    scaled = depth_mirror_map(depth_h(z, depth) * 0.5**depth, 0.5, depth)
    assert np.allclose(scaled, z, rtol=2e-13, atol=0)


def exact_depth_mirror(b, a, d):
    """h_D(tanh x) = 2 sinh(p x) cosh(x)^p, solved for log x, where its logarithm is convex."""
    p, level = d / (d - 2), mp.log(b) - d * mp.log(a)
    y = mp.log(mp.asinh(mp.exp(level) / 2) / p)
    for _ in range(300):
        x = mp.exp(y)
        gap = mp.log(2 * mp.sinh(p * x)) + p * mp.log(mp.cosh(x)) - level
        step = gap / (p * x * (mp.coth(p * x) + mp.tanh(x)))
        y -= step
        if abs(step) < mp.mpf(10) ** -60:
            return mp.tanh(mp.exp(y))
    raise AssertionError((b, a, d))


@pytest.mark.parametrize("depth", [2.0001, 2.01, 2.5, 3.0, 10.0, 1e4])
def test_depth_mirror_map_at_every_scale(depth):
    rng = np.random.default_rng(11)
    cases = [(1e300, 1e150, depth), (1e300, 1e-150, depth), (1.0, 1.0, depth)]
    for k in range(100):
        log_alpha = rng.uniform(-3, 3) if k % 2 else rng.uniform(-150, 150)
        log_beta = depth * log_alpha + rng.uniform(-20, 20) if k % 2 else rng.uniform(-300, 300)
        if abs(log_beta) < 300:
            cases.append((10.0**log_beta, 10.0**log_alpha, depth))
    assert_accurate(depth_mirror_map, exact_depth_mirror, cases, 2e-15)
    assert depth_mirror_map(0.0, 1e-150, depth) == 0.0
    assert depth_mirror_map(-1e300, 1e-150, 3.0) == -1.0


@pytest.mark.parametrize("depth", [3, 4])
def test_depth_potential_describes_the_flow(depth):
    """X^T-direction of q_D'(beta/alpha^D): gradient flow of w+^D - w-^D keeps it in the rows."""
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((3, 5)), rng.standard_normal(3)

    def rate(_, w):
        p, q = w[:5], w[5:]
        g = X.T @ (X @ (p**depth - q**depth) - y)
        return np.concatenate([-g * depth * p ** (depth - 1), g * depth * q ** (depth - 1)])

    end = solve_ivp(rate, (0, 400), np.full(10, 0.7), method="DOP853", rtol=1e-12, atol=1e-13).y
    beta = end[:5, -1] ** depth - end[5:, -1] ** depth
    assert np.max(np.abs(X @ beta - y)) < 1e-9
    mirror = depth_mirror_map(beta, 0.7, depth)
    off = mirror - X.T @ np.linalg.lstsq(X.T, mirror)[0]
    assert np.max(np.abs(off)) < 1e-8
    wrong = mirror_map(beta, 0.7)
    assert np.max(np.abs(wrong - X.T @ np.linalg.lstsq(X.T, wrong)[0])) > 1e-4


def test_the_first_call_is_silent():
    """In a fresh process: numba looks closely only at the first array of a kind."""
    calls = "p.potential([1.0], 0.1); p.orthonormal_flow([1.0], 0.1, 1.0)"
    program = f"import sam_theory.diagonal.potential as p; {calls}"
    command = [sys.executable, "-W", "error::FutureWarning", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shapes_broadcast():
    assert potential_terms(np.ones((2, 3)), [0.1, 0.2, 0.3]).shape == (2, 3)
    assert isinstance(potential([1.0, 2.0], 0.1), float)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: potential([1.0], 0.0), "alpha must be positive"),
        (lambda: potential([np.nan], 1.0), "beta must be finite"),
        (lambda: mirror_map("x", 1.0), "beta must hold real numbers"),
        (lambda: orthonormal_flow(1.0, 1.0, -1.0), "t must be >= 0"),
        (lambda: potential([1.0, 2.0], [1.0, 2.0, 3.0]), r"do not fit: \(2,\), \(3,\)"),
        (lambda: orthonormal_flow([1.0, 2.0], np.ones(3), 1.0), "do not fit"),
        (lambda: depth_h(1.0, 3), "z must lie strictly"),
        (lambda: depth_h(0.5, 2), "depth must be greater than 2"),
        (lambda: depth_mirror_map(1.0, 1.0, 2.0), "depth must be greater than 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(st.InputError, match=message):
        call()


def test_a_million_coordinates_take_little_time():
    import time

    beta = np.random.default_rng(9).standard_normal(1_000_000)
    module.potential_terms(beta[:10], 0.1)
    start = time.perf_counter()
    module.potential_terms(beta, 0.1)
    assert time.perf_counter() - start < 0.5
