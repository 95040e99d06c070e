"""The convergence study on few seeds and problems, and the pictures drawn from its tables."""

import numpy as np
import pandas as pd
import pytest

from analysis import convergence_rates as study
from figures import convergence_rates as curves
from figures import convergence_slack as slack
from sam_theory import convergence as rates


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        few = ("noisy_quadratic", "interpolation", "logistic", "quadratic", "double_well")
        patch.setattr(study, "TITLES", few)
        patch.setattr(study, "SEEDS", {True: 12, False: 12})
        patch.setattr(study, "_LONG", {"T1": (300, 1000, 3000), "T2": (400, 1600, 6400)})
        target = tmp_path_factory.mktemp("results")
        study.run(quick=True, folder=target)
        return target


def table(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def test_every_pair_is_attempted_and_every_verdict_holds(folder):
    verdicts, coverage = table(folder, "convergence_rates"), table(folder, "convergence_coverage")
    assert len(coverage) == 5 * len(rates.THEOREMS)
    assert sorted(coverage.loc[~coverage["verified"], "theorem"].unique())
    assert coverage.loc[~coverage["verified"], "why"].str.contains("does not apply to").all()
    assert set(verdicts["verdict"]) == {"holds"}
    pairs = verdicts.groupby(["theorem", "problem"]).ngroups
    assert pairs == coverage["verified"].sum()


def test_all_problems_are_studied():
    assert set(study.TITLES) == set(rates.PROBLEMS)


def test_controls_are_caught(folder):
    controls = table(folder, "convergence_controls")
    assert len(controls) == 6 and controls["caught"].all()


def test_exponents(folder):
    found = table(folder, "convergence_exponents")
    attained = found[found["attained"]]
    assert (np.abs(attained["measured"] - attained["predicted"]) < 0.2).all()
    assert found.loc[~found["attained"], "why"].notna().all()


def test_settings_of_the_full_study_include_m_and_batches():
    problem = rates.problem("noisy_quadratic")
    chosen = study.settings(rates.theorem("T1"), problem, quick=False)
    assert {(1, 1), (4, 4), (32, 32), (4, 2), (4, 1), (32, 16), (32, 1)} == {
        (one["batch_size"], one["m"]) for one in chosen
    }
    assert len(study.settings(rates.theorem("T6"), problem, quick=False)) == 3 * 7


def test_curves_show_the_table(folder):
    data = table(folder, "convergence_rates")
    figure = curves.draw(data)
    part = data[(data["theorem"] == "T1") & (data["problem"] == "logistic")]
    part = part[part["batch_size"] == 1].sort_values("T")
    lines = [line.get_xydata() for line in figure.axes[0].lines]
    for column in ("measured", "predicted"):
        wanted = part[["T", column]].to_numpy(dtype=float)
        assert any(line.shape == wanted.shape and np.allclose(line, wanted) for line in lines)
    changed = data.assign(
        measured=2.0 * data["measured"], confidence_bound=2.0 * data["confidence_bound"]
    )
    other = [line.get_xydata() for line in curves.draw(changed).axes[0].lines]
    assert not any(
        a.shape == b.shape and np.allclose(a, b)
        for a in other
        for b in [part[["T", "measured"]].to_numpy(dtype=float)]
    )


def test_grid_shows_the_smallest_slack(folder):
    data = table(folder, "convergence_rates")
    figure = slack.draw(data)
    shown = figure.axes[0].images[0].get_array()
    upper = data[data["kind"] == "upper"]
    grid = upper.pivot_table("slack", "problem", "theorem", aggfunc="min", sort=False)
    assert shown.shape == grid.shape
    clear = np.isfinite(grid.to_numpy()) & (grid.to_numpy() < 1e4)
    assert np.allclose(np.ma.filled(shown, np.nan)[clear], grid.to_numpy()[clear])


@pytest.mark.parametrize("draw", [curves.draw, slack.draw])
def test_missing_column_is_named(folder, draw):
    with pytest.raises(ValueError, match="table convergence_rates lacks the columns slack"):
        draw(table(folder, "convergence_rates").drop(columns="slack"))
