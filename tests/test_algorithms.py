"""Algorithm: kinds, labels, sizes, conversions, refusals."""

import dataclasses

import numpy as np
import pytest

import sam_theory as st


def test_constructors_describe_the_field_in_one_type():
    assert st.gd() == st.Algorithm()
    assert st.sgd() == st.Algorithm(batch_size=1)
    assert st.n_sam(0.1) == st.Algorithm(rho=0.1)
    assert st.one_sam(0.1) == st.Algorithm(rho=0.1, m=1)
    assert st.m_sam(0.1, 5) == st.Algorithm(rho=0.1, m=5)
    kinds = [a.kind for a in (st.gd(), st.sgd(), st.n_sam(1.0), st.m_sam(1.0, 5), st.one_sam(1.0))]
    assert kinds == ["gd", "sgd", "n-sam", "m-sam", "1-sam"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        st.gd().rho = 1.0


@pytest.mark.parametrize(
    ("algorithm", "n", "sizes"),
    [
        (st.gd(), 20, (20, 20)),
        (st.n_sam(0.1), 20, (20, 20)),
        (st.m_sam(0.1, 5), 20, (20, 5)),
        (st.one_sam(0.1), 20, (20, 1)),
        (st.sgd(4), 20, (4, 4)),
        (st.m_sam(0.1, 2, batch_size=4), 20, (4, 2)),
    ],
)
def test_sizes(algorithm, n, sizes):
    assert algorithm.resolve(n) == sizes


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (st.m_sam(0.1, 3), "m = 3 does not divide n = 20"),
        (st.m_sam(0.1, 21), "m = 21 exceeds n = 20"),
        (st.sgd(21), "batch_size = 21 exceeds"),
        (st.m_sam(0.1, 3, batch_size=4), "m = 3 does not divide batch_size = 4"),
    ],
)
def test_sizes_that_do_not_fit(algorithm, message):
    with pytest.raises(st.InputError, match=message):
        algorithm.resolve(20)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"rho": -0.1}, "rho"),
        ({"rho": np.nan}, "rho"),
        ({"rho": "x"}, "rho"),
        ({"m": 0}, "m must be"),
        ({"m": 1.5}, "m must be"),
        ({"batch_size": 0}, "batch_size"),
        ({"ascent_steps": 0}, "ascent_steps"),
        ({"normalized": 2}, "normalized"),
    ],
)
def test_bad_fields_are_named(fields, name):
    with pytest.raises(st.InputError, match=name) as refusal:
        st.Algorithm(**fields)
    assert "\n" not in str(refusal.value)


def test_the_published_one_sam_has_twice_the_radius():
    assert st.from_reference("1-sam", 0.1) == st.one_sam(0.2)
    assert st.from_reference("n-sam", 0.1) == st.n_sam(0.1)
    assert st.from_reference("gd") == st.gd()
    assert st.from_reference("sgd") == st.sgd()
    with pytest.raises(st.InputError):
        st.from_reference("adam", 0.1)


def test_initial_scales_of_other_papers_give_the_same_flow():
    """Woodworth and Pesme: beta = w+^2 - w-^2 from w = a; Even: u(0) = sqrt(2) a, v(0) = 0."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3, 5)), rng.standard_normal(3)
    a, step, steps = 0.2, 1e-3, 4000
    p, q = np.full(5, a), np.full(5, a)
    u, v = np.full(5, np.sqrt(2.0) * a), np.zeros(5)
    for _ in range(steps):
        g = X.T @ (X @ (p**2 - q**2) - y) / 3
        # (1/4n) sum r^2 in (p, q).
        p, q = p - step * g * p, q + step * g * q
        g = X.T @ (X @ (u * v) - y) / 3
        u, v = u - step * g * v, v - step * g * u
    data = st.Regression(X, y)
    for alpha, beta in ((st.from_woodworth(a), p**2 - q**2), (st.from_even(a), u * v)):
        run = st.descend(data, alpha=alpha, algorithm=st.gd(), step_size=step, steps=steps)
        assert np.max(np.abs(run.beta - beta)) < 1e-12
        other = st.descend(data, alpha=a, algorithm=st.gd(), step_size=step, steps=steps)
        assert np.max(np.abs(other.beta - beta)) > 1e-3
    assert np.array_equal(st.from_woodworth(np.array([1.0, 2.0])), [2.0, 4.0])
