"""Studies: data as stated, extrapolation of the right order, a verdict that can say no."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pandas as pd
import pytest

import sam_theory as st
from analysis import STUDIES, data, store
from analysis import __main__ as command
from analysis import theory_vs_simulation as study
from analysis.verdict import verdict

SMALL = dataclasses.replace(
    study.PUBLISHED,
    name="small",
    load=lambda: st.sparse_regression(n=4, d=9, nonzeros=2, seed=3, n_test=5),
    alpha=0.4,
    step_size=0.05,
    steps=100_000,
    m=2,
    rho=(0.1,),
    rho_one=(0.1,),
)


@pytest.fixture(scope="module")
def small_table():
    problem = SMALL.load()
    rows = [row for a in SMALL.algorithms() for row in study.compare(problem, a, SMALL)[0]]
    return pd.DataFrame(rows)


def test_published_data_is_the_published_recipe():
    legacy = np.random.RandomState(0)
    X = legacy.multivariate_normal(np.zeros(30), np.eye(30), 20)
    problem = data.published()
    np.testing.assert_allclose(problem.X, X, rtol=1e-13)
    assert problem.test.X.shape == (1000, 30)
    np.testing.assert_allclose(np.linalg.norm(problem.beta_star), 1.0, rtol=1e-15)


def test_spectra_are_the_copied_files():
    digests = {
        name: hashlib.sha256((data.FOLDER / "fermentation" / name).read_bytes()).hexdigest()
        for name in ("train_spectra.csv", "train_hplc.csv")
    }
    assert digests == DIGESTS
    notice = (data.FOLDER / "fermentation" / "NOTICE.md").read_text(encoding="utf-8")
    licence = (data.FOLDER / "fermentation" / "LICENSE").read_text(encoding="utf-8")
    assert "chemotools" in notice and "Pau Cabaneros" in licence and licence.startswith("MIT")


DIGESTS = {
    "train_spectra.csv": "895175f56e7634795baaaf016cba269fc9f8ee448f4f443126fef0b505f8ca34",
    "train_hplc.csv": "0e3b66aa278f39607e17a4ec386167804d692b25e46fb5e6b22fb508bc6c4e71",
}


def test_spectra_preprocessing():
    problem, everything = data.fermentation(), data.fermentation_all_rows()
    assert (problem.n, problem.test.n, everything.n, everything.d) == (15, 6, 21, 1019)
    assert everything.rank == 20 and everything.consistent and everything.test is None
    np.testing.assert_allclose(problem.X.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(problem.X.std(axis=0), 1.0, rtol=1e-12)
    glucose = np.loadtxt(data.FOLDER / "fermentation" / "train_hplc.csv", skiprows=1)
    both = np.concatenate([problem.y, problem.test.y]) + problem.preprocessing.target_center
    np.testing.assert_allclose(np.sort(both), np.sort(glucose) / 10.0, rtol=1e-12, atol=1e-12)
    assert len(problem.feature_names) == problem.d


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_extrapolation_order(count):
    def error(gamma, sign=1.0):
        values = [np.array([np.exp(sign * gamma / 2**k)]) for k in range(count)]
        return abs(study.extrapolate(values)[0] - 1.0)

    order = np.log2(error(0.02) / error(0.01))
    assert abs(order - count) < 0.1


def test_small_comparison_agrees(small_table):
    assert len(small_table) == 4 * (study.HALVINGS + 1)
    result = verdict(small_table)
    assert result["agrees"].all(), result["why_not"].tolist()
    np.testing.assert_allclose(result["step_ratio"], 2.0, atol=0.1)
    assert list(result["limits"]) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("identity_minus_simulation", 1e-9, "identity_minus_simulation is 1.0e-09"),
        ("theory_minus_extrapolated", 1e-4, "theory_minus_extrapolated is 1.0e-04"),
        ("error_bound", np.inf, "error_bound is inf"),
        ("error_bound", np.nan, "a comparison is missing"),
        ("theory_minus_extrapolated", np.nan, "a comparison is missing"),
        ("status_simulation", "max_steps", "status_simulation is max_steps"),
        ("status_theory", "singular", "status_theory is singular"),
    ],
)
def test_planted_disagreement(small_table, column, value, complaint):
    wrong = small_table.copy()
    wrong.loc[wrong["kind"] == "m-sam", column] = value
    result = verdict(wrong).set_index("kind")
    assert list(result["agrees"]) == [True, True, False, True]
    assert complaint in result.loc["m-sam", "why_not"]


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_planted_wrong_order(small_table, power):
    """A difference that stays, or falls as the square of the step, is not the flow's."""
    wrong = small_table.copy()
    chosen = wrong["kind"] == "m-sam"
    wrong.loc[chosen, "theory_minus_simulation"] = wrong.loc[chosen, "step_size"] ** power
    result = verdict(wrong).set_index("kind")
    assert list(result["agrees"]) == [True, True, False, True]
    assert f"step_ratio is {2.0**power:.2f}" in result.loc["m-sam", "why_not"]


def test_planted_wrong_algorithm():
    """A simulation with another radius must not pass for the theory of this one."""
    problem = SMALL.load()
    limit = st.implicit_bias(problem, alpha=0.4, algorithm=st.one_sam(0.1))
    reached = [
        st.descend(
            problem,
            alpha=0.4,
            algorithm=st.one_sam(0.1001),
            step_size=0.05 / 2**k,
            steps=400_000,
            tol=1e-24,
        ).beta
        for k in range(3)
    ]
    assert np.max(np.abs(limit.beta - study.extrapolate(reached))) > 1e-6


def test_tables_read_back_exactly(tmp_path):
    table = pd.DataFrame({"x": [1 / 3, 1e-300, -0.0], "name": ["a", "b, c", 'd"']})
    path = store.write_table("t", table, {"seed": 0}, store.provenance(), folder=tmp_path)
    back = pd.read_csv(path)
    pd.testing.assert_frame_equal(back, table, check_exact=True)
    sidecar = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert sidecar["rows"] == 3 and sidecar["settings"] == {"seed": 0}
    assert {"sam_theory", "numpy", "commit", "date"} <= set(sidecar["provenance"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.json"]


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    store.write_atomically(tmp_path / "t.csv", "old")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(store.os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        store.write_atomically(tmp_path / "t.csv", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "old"


def test_unknown_study(capsys):
    assert command.main(["nonsense"]) == 2
    error = capsys.readouterr().err
    assert error == f"no study named nonsense; known: {', '.join(STUDIES)}, all, report, claims\n"


def test_unwritable_results_are_refused_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").write_text("a file, not a folder", encoding="utf-8")
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "run", lambda **_: pytest.fail("computed all the same"))
    assert command.main(["theory_vs_simulation"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis: ") and error.count("\n") == 1 and "results" in error


def test_loss_curves_are_the_published_losses():
    curves, settings = study.loss_curves()
    assert settings["step_size"] == 5 / 30
    last = curves.groupby("kind").last()
    # Stored in the published notebook: GD and n-SAM with rho = 1 at step size 5/d, alpha = 0.1.
    np.testing.assert_allclose(last.loc["gd", "test_loss"], 0.015056044189449159, rtol=1e-12)
    np.testing.assert_allclose(last.loc["n-sam", "test_loss"], 0.03606494489010675, rtol=1e-12)


@pytest.mark.slow
def test_report_study(tmp_path):
    table = study.run(folder=tmp_path)
    assert verdict(table)["agrees"].all()
    names = ("theory_vs_simulation", "verdict", "alpha_effective", "loss_curves")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("csv", "json")
    )
