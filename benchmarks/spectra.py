"""Limits on measured data: few rows, over a thousand nearly collinear columns, stiff flows."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import sam_theory as st
from analysis.data import fermentation_all_rows
from sam_theory._threads import VARIABLE

from .machine import cores
from .rows import OURS, Check, Row

GROUP = "spectra"
INTRO = (
    "`implicit_bias` on the fermentation spectra (21 rows, 1019 columns that vary), on all cores: "
    "the slowest limit over all radii and scales, median of its runs, and the largest error bound."
)
SECONDS = 1.0
ALPHAS, RADII = (1.0, 0.1, 0.01, 0.001), (0.01, 0.05, 0.1, 0.5)
ALGORITHMS: dict[str, Callable[[float], st.Algorithm]] = {
    "n-SAM": st.n_sam,
    "7-SAM": lambda rho: st.m_sam(rho, 7),
    "1-SAM": st.one_sam,
}


def rows(quick: bool) -> Iterator[Row]:
    """Measure every algorithm over the grid."""
    data = fermentation_all_rows()
    grid = list(itertools.product(ALPHAS, RADII))
    for name, algorithm in ALGORITHMS.items():
        st.implicit_bias(data, alpha=1.0, algorithm=algorithm(0.01))  # compiles
        slowest, bound, where, valid = 0.0, 0.0, "", 0
        for alpha, rho in grid[5:6] if quick else grid:
            seconds = []
            for _ in range(1 if quick else 3):
                with mock.patch.dict(os.environ, {VARIABLE: str(cores())}):
                    start = time.perf_counter()
                    limit = st.implicit_bias(data, alpha=alpha, algorithm=algorithm(rho))
                    seconds.append(time.perf_counter() - start)
            proof = limit.certificate
            valid += limit.status == "converged" and proof is not None and proof.valid
            bound = max(bound, float("inf") if proof is None else proof.error_bound)
            if statistics.median(seconds) > slowest:
                slowest, where = statistics.median(seconds), f"alpha {alpha:g}, rho {rho:g}"
        count = 1 if quick else len(grid)
        yield Row(
            GROUP,
            f"implicit_bias, {name}, slowest of {count}",
            OURS,
            slowest,
            bound,
            "the certificate's bound, given the effective scale",
            runs=1 if quick else 3,
            checks=(
                Check("seconds", slowest, SECONDS, most=True),
                Check("share with a valid certificate", valid / count, 1.0),
            ),
            note=f"{where}, {cores()} cores",
        )
