"""Finite steps act like SAM: GD(gamma) ~ n-SAM(gamma/2), SGD(gamma) ~ 1-SAM(gamma/2).

The exponents log(alpha/alpha_eff) agree to first order in gamma: halving gamma must halve their
relative difference for GD (measured order in gamma near 1), and the mean over SGD runs must agree
within its sampling error.  The wrong partner must not.
"""

import numpy as np

import sam_theory as st


def exponent(limit_or_run, alpha):
    return np.log(alpha / limit_or_run.alpha_effective)


def small_problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 9))
    return st.Regression(X, X @ np.where(np.arange(9) < 2, [1.0, -0.7] + [0.0] * 7, 0.0))


def relative_difference(data, step_size, partner, alpha=0.3):
    run = st.descend(
        data, alpha=alpha, algorithm=st.gd(), step_size=step_size, steps=int(2500 / step_size)
    )
    assert run.loss < 1e-20
    flow = st.implicit_bias(data, alpha=alpha, algorithm=partner)
    mine, other = exponent(run, alpha), exponent(flow, alpha)
    return np.linalg.norm(mine - other) / np.linalg.norm(other)


def test_gradient_descent_acts_like_n_sam():
    data = small_problem()
    gaps = [relative_difference(data, g, st.n_sam(g / 2)) for g in (0.08, 0.04, 0.02)]
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert np.all(np.abs(orders - 1.0) < 0.15), (gaps, orders)
    assert gaps[-1] < 0.1
    assert relative_difference(data, 0.02, st.one_sam(0.01)) > 0.3
    assert relative_difference(data, 0.02, st.n_sam(0.02)) > 0.3


def test_stochastic_gradient_descent_acts_like_1_sam():
    data, alpha, runs = small_problem(), 0.3, 60

    def mean_exponent(step_size):
        found = [
            exponent(
                st.descend(
                    data,
                    alpha=alpha,
                    algorithm=st.sgd(),
                    step_size=step_size,
                    steps=int(2000 / step_size),
                    seed=seed,
                ),
                alpha,
            )
            for seed in range(runs)
        ]
        return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(runs)

    gaps = []
    for step_size in (0.04, 0.01):
        mean, error = mean_exponent(step_size)
        flow = st.implicit_bias(data, alpha=alpha, algorithm=st.one_sam(step_size / 2))
        gaps.append(np.linalg.norm(mean - exponent(flow, alpha)) / np.linalg.norm(mean))
        noise = np.linalg.norm(error) / np.linalg.norm(mean)
        wrong = st.implicit_bias(data, alpha=alpha, algorithm=st.n_sam(step_size / 2))
        wrong_gap = np.linalg.norm(mean - exponent(wrong, alpha)) / np.linalg.norm(mean)
        assert gaps[-1] < 2.0 * step_size * 3.0 + 4.0 * noise, (gaps, noise)
        assert wrong_gap > 0.3
    assert gaps[1] < gaps[0]
