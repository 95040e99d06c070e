"""The fermentation spectra: 21 rows, over a thousand nearly collinear columns, long stiff flows."""

import time

import numpy as np
import pytest

import sam_theory as st
from analysis.data import fermentation_all_rows

ALGORITHMS = [st.gd(), st.n_sam(0.1), st.m_sam(0.1, 7), st.one_sam(0.01)]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.label)
def test_limit_within_ten_seconds_with_valid_certificate(algorithm):
    data = fermentation_all_rows()
    assert data.d > 1000 > data.n > data.rank and data.consistent
    start = time.perf_counter()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    seconds = time.perf_counter() - start
    assert limit.status == "converged"
    assert limit.certificate.error_bound < 1e-10
    assert np.max(np.abs(data.X @ limit.beta - data.y)) < 1e-11
    assert seconds < 10.0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.label)
def test_long_simulation_by_the_finite_step_identity(algorithm):
    data = fermentation_all_rows()
    run = st.descend(data, alpha=0.1, algorithm=algorithm, step_size=0.004, steps=20_000)
    assert run.status == "max_steps" and run.loss < 1e-2 * 0.5 * np.mean(data.y**2)
    reached = run.limit(at="reached")
    assert reached.certificate.error_bound < 1e-9
    assert np.max(np.abs(reached.beta - run.beta)) < 1e-10


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.label)
def test_long_simulation_extrapolated_to_zero_step(algorithm):
    """Runs to zero loss at gamma, gamma/2, gamma/4; Richardson's extrapolation meets the flow."""
    data = fermentation_all_rows()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=algorithm)
    ends = []
    for step_size in (0.004, 0.002, 0.001):
        run = st.descend(
            data,
            alpha=0.1,
            algorithm=algorithm,
            step_size=step_size,
            steps=int(3000 / step_size),
            tol=1e-20,
        )
        assert run.status == "converged"
        ends.append(run.limit().beta)
    once = [2.0 * ends[1] - ends[0], 2.0 * ends[2] - ends[1]]
    twice = (4.0 * once[1] - once[0]) / 3.0
    assert np.max(np.abs(ends[2] - limit.beta)) > 1e-9
    assert np.max(np.abs(twice - limit.beta)) < 1e-6
