"""``sam-theory check`` where a run has hardly left an initial scale far below 1."""

import json

import numpy as np
import pytest

import sam_theory as st
from sam_theory.cli import main
from sam_theory.diagonal import reports


def test_check_tells_all_it_can_at_a_tiny_alpha(tmp_path, capsys):
    data = st.sparse_regression(n=4, d=8, nonzeros=1, seed=0)
    file, out = tmp_path / "data.npz", tmp_path / "out.json"
    np.savez(file, X=data.X, y=data.y)
    command = ["check", str(file), "--alpha", "1e-120", "--algorithm", "gd", "--json", str(out)]
    assert main([*command, "--step-size", "0.01", "--steps", "20"]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "identity reached" in line)
    assert "not computed: the run has reached labels X beta of at most" in line
    content = json.loads(out.read_text())
    assert content["max_difference"]["simulation_identity_reached"] is None
    assert content["max_difference"]["identity_theory"] < 1e-12
    np.testing.assert_allclose(content["limit"]["beta"], data.beta_star, atol=1e-6)


def test_a_run_near_zero_says_that_it_has_not_moved():
    data = st.sparse_regression(n=4, d=8, nonzeros=1, seed=0)
    run = st.descend(data, alpha=1e-120, algorithm=st.gd(), step_size=0.01, steps=20)
    with pytest.raises(st.InputError, match="^the run has reached labels X beta of at most"):
        run.limit(at="reached")


@pytest.mark.parametrize("status", ["no_interpolation", "singular", "max_steps"])
def test_why_there_is_no_certificate(status):
    data = st.Regression([[1.0, 1.0]], [1.0])
    limit = st.implicit_bias(data, alpha=0.1, algorithm=st.gd())
    object.__setattr__(limit, "status", status)
    object.__setattr__(limit, "certificate", None)
    lines = reports.limit_report(data, limit).text.splitlines()
    (line,) = [line for line in lines if line.startswith("no certificate: ")]
    assert ("zero-loss limit" in line) == (status == "no_interpolation")
    assert ("was stopped" in line) == (status == "max_steps")
