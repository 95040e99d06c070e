"""Arrays that are masked, text or complex are refused by the name of the argument, everywhere."""

import numpy as np
import pytest

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory import relu
from sam_theory.diagonal import potential

DATA = st.Regression(np.eye(2, 3), np.ones(2))
STEPS = {"algorithm": st.gd(), "steps": 2}
NETWORK = relu.Network([[1.0]], [0.0], [1.0])
CALLS = {
    "X": [
        lambda bad: st.Regression(bad([[1.0, 2.0]]), [1.0]),
        lambda bad: NETWORK(bad([1.0, 2.0])),
    ],
    "y": [
        lambda bad: st.Regression([[1.0], [2.0]], bad([1.0, 2.0])),
        lambda bad: st.minimize_potential(np.eye(2), bad([1.0, 2.0]), 0.1),
    ],
    "alpha": [
        lambda bad: st.minimize_potential(DATA.X, DATA.y, bad([0.1, 0.1, 0.1])),
        lambda bad: st.certify(DATA.X, DATA.y, bad([0.1, 0.1, 0.1]), np.ones(3)),
        lambda bad: st.implicit_bias(DATA, alpha=bad([0.1, 0.1, 0.1]), algorithm=st.gd()),
        lambda bad: st.descend(DATA, alpha=bad([0.1, 0.1, 0.1]), step_size=0.1, **STEPS),
        lambda bad: st.from_woodworth(bad([0.1, 0.2])),
        lambda bad: potential.potential(1.0, bad([0.1, 0.2])),
    ],
    "beta": [
        lambda bad: st.certify(DATA.X, DATA.y, 0.1, bad([1.0, 1.0, 0.0])),
        lambda bad: DATA.loss(bad([1.0, 1.0, 0.0])),
    ],
    "shift": [lambda bad: st.minimize_potential(DATA.X, DATA.y, 0.1, bad([1.0, 1.0, 0.0]))],
    "step_size": [lambda bad: st.descend(DATA, alpha=0.1, step_size=bad([0.1, 0.1]), **STEPS)],
    "times": [lambda bad: st.flow(DATA, alpha=0.1, algorithm=st.gd(), times=bad([1.0, 2.0]))],
    "record": [lambda bad: st.descend(DATA, alpha=0.1, step_size=0.1, record=bad([1, 2]), **STEPS)],
    "hidden_bias": [lambda bad: relu.Network([[1.0], [1.0]], bad([0.0, 1.0]), [1.0, 1.0])],
    "step_sizes": [lambda bad: rates.Schedule(bad([0.1, 0.1]), [0.0, 0.0])],
    "samples": [lambda bad: rates.empirical_rate([1, 2, 3], bad([[1.0, 1.0, 1.0]]))],
    "directions": [lambda bad: rates.wave(bad([[1.0, 0.0], [0.0, 1.0]]))],
    "target": [lambda bad: rates.factorization(bad([[1.0]]), [[1.0]], [[1.0]], radius=0.1)],
    "w": [lambda bad: rates.problem("logistic").evaluate(bad([0.0] * 5))],
}


def masked(values):
    array = np.ma.masked_array(values)
    array[(0,) * array.ndim] = np.ma.masked
    return array


def flat():
    return [pytest.param(name, call, id=f"{name}-{k}") for name in CALLS for k, call in
            enumerate(CALLS[name])]  # fmt: skip


@pytest.mark.parametrize(("name", "call"), flat())
def test_masked_entries_are_refused(name, call):
    with pytest.raises(st.InputError, match=rf"^{name} has masked \(missing\) values$"):
        call(masked)


@pytest.mark.parametrize(("name", "call"), flat())
@pytest.mark.parametrize("form", [lambda v: np.array(v).astype(str), lambda v: np.array(v) + 1j])
def test_text_and_complex_numbers_are_refused(name, call, form):
    with pytest.raises(st.InputError, match=rf"^{name} must hold real numbers"):
        call(form)


@pytest.mark.parametrize("call", CALLS["alpha"] + CALLS["X"])
def test_a_masked_array_without_masked_entries_is_an_array(call):
    call(np.ma.masked_array)


@pytest.mark.parametrize("value", [np.ma.masked, "0.1"])
def test_a_single_masked_or_written_number_is_refused(value):
    with pytest.raises(st.InputError, match="^alpha "):
        st.implicit_bias(DATA, alpha=value, algorithm=st.gd())
    with pytest.raises(st.InputError, match="^test_fraction must be a number"):
        DATA.split(value)


@pytest.mark.parametrize("shift", [300.5, -400.0, 1e10])
def test_shift_that_double_precision_cannot_hold_is_named(shift):
    line = f"^shift must lie between -300 and 300, got {shift:g}$"
    with pytest.raises(st.InputError, match=line.replace("+", r"\+")):
        st.minimize_potential(DATA.X, DATA.y, 0.1, [0.0, shift, 0.0])


@pytest.mark.parametrize("shift", [300.0, -300.0])
@pytest.mark.parametrize("alpha", [1e-150, 0.1, 1e6])
def test_the_largest_shift_is_answered(shift, alpha):
    found = st.minimize_potential(DATA.X, DATA.y, alpha, [0.0, shift, 0.0])
    assert found.status == "converged"
    np.testing.assert_allclose(found.beta, [1.0, 1.0, 0.0], rtol=1e-6)
