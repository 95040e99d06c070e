"""The group of deep networks: every row with its error, contracts where they belong."""

import numpy as np

from benchmarks import deep, rows


def test_rows_and_contracts(monkeypatch):
    monkeypatch.setattr(deep.peers_torch, "installed", lambda: False)
    found = list(deep.rows(True))
    ours = [row for row in found if row.contender != deep.TORCH]
    steps = [row for row in ours if "step on 16 images" in row.work]
    passes = [row for row in ours if "one image" in row.work]
    assert len(steps) == 4 and len(passes) == 3
    assert all(row.seconds > 0 and row.error < 1e-5 for row in steps + passes)
    assert all("Gflop/s" in row.note and "flops per byte" in row.note for row in passes)
    assert [check.required for row in steps for check in row.checks] == [deep.SAM_OVER_SGD]
    memory = [row for row in ours if "memory" in row.work]
    assert [row.note.endswith("MiB") for row in memory] == [True]
    missing = [row for row in found if row.contender == deep.TORCH]
    assert [row.note for row in missing] == [rows.MISSING] * 3
    assert [check.required for check in missing[0].checks] == [1 / deep.SLOWEST]


def test_the_error_sees_another_radius(monkeypatch):
    exact = deep.Task("resnet_tiny_gn", 2, 3, "float64", "arrays").step("SAM").copy()
    right = deep.Task("resnet_tiny_gn", 2, 3)
    assert deep._relative(right.step("SAM"), exact) < 1e-5
    monkeypatch.setattr(deep, "RHO", 1.01 * deep.RHO)
    wrong = deep.Task("resnet_tiny_gn", 2, 3)
    assert deep._relative(wrong.step("SAM"), exact) > 1e-4
    assert deep._relative(np.ones(2), np.ones(2)) == 0.0
