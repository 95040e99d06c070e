"""The studies of diagonal linear networks at tiny sizes: promised columns, known identities."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tiny_studies import TINY

import sam_theory as st
from analysis import (
    effect_of_m,
    fine_tuning,
    grids,
    instances,
    leading_order,
    noisy_labels,
    when_n_sam_hurts,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM_THEORY_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def table(place):
    """Read a table, after the study that writes it has been run once."""
    done = {}

    def read(study, name=None):
        if study not in done:
            module, size = TINY[study]
            done[study] = module.run(size=size, folder=place)
        return pd.read_csv(place / f"{name or study}.csv")

    return read


WRITTEN = {
    "effect_of_m": ("", "_summary", "_conversion"),
    "leading_order": ("", "_coordinates", "_orders"),
    "phase_diagram": ("",),
    "when_n_sam_hurts": ("", "_designs", "_rules"),
    "fine_tuning": ("", "_segment", "_summary", "_switch", "_switch_summary"),
    "noisy_labels": ("", "_curves", "_summary"),
    "depth": ("", "_orders"),
    "lasso_path": ("", "_errors"),
}


@pytest.mark.parametrize("study", WRITTEN)
def test_every_table_says_how_it_came_about(study, table, place):
    for ending in WRITTEN[study]:
        content = table(study, study + ending)
        sidecar = json.loads((place / f"{study}{ending}.json").read_text(encoding="utf-8"))
        assert len(content) == sidecar["rows"] > 0
        assert "seed" in sidecar["settings"] and "commit" in sidecar["provenance"]


def test_equalities_of_m(table):
    found = table("effect_of_m")
    alike = found[found["m"] == 1].pivot(index=["seed", "level"], columns="equality", values="rho")
    np.testing.assert_allclose(alike["rho"], alike["radius"], rtol=1e-12)
    np.testing.assert_allclose(alike["rho"], alike["shrinkage"], rtol=1e-12)
    for equality, column in (("radius", "radius"), ("shrinkage", "mean_shrinkage")):
        groups = found[found["equality"] == equality].groupby(["seed", "level"])[column]
        assert (groups.max() / groups.min() - 1.0).max() < 2e-6
        # Planted: at equal rho neither is equal.
        groups = found[found["equality"] == "rho"].groupby(["seed", "level"])[column]
        assert (groups.max() / groups.min() - 1.0).min() > 0.05
    trained = found[found["seed"] == 0]
    apart = trained["test_loss_simulation"] / trained["test_loss_theory"] - 1.0
    assert apart.abs().max() < 0.15
    whole = found[found["m"].isin((1, 4)) & (found["equality"] == "rho")]
    assert (whole["rho_published"] / whole["rho"]).tolist() == [0.5, 1.0] * (len(whole) // 2)


def test_random_blocks_approach_the_exact_limit_at_small_rho():
    """At m = 1 and m = n there is only one way to cut, so the difference is of second order."""
    rows = effect_of_m.cell(1, [0.01, 0.005], [1, 4], n=4, d=8, nonzeros=1, steps=1)
    by_rho = pd.DataFrame(rows).query("equality == 'rho'").set_index(["m", "level"])
    error = (by_rho["test_loss_theory"] - by_rho["test_loss_random_blocks"]).abs()
    for m in (1, 4):
        assert 3.5 < error[m, 0.01] / error[m, 0.005] < 4.5


def test_published_losses_are_converted(table):
    found = table("effect_of_m", "effect_of_m_conversion")
    # As many digits as the published readings have.
    assert found["relative_difference"].abs().max() < 2e-5
    one = found[found["method"] == "1-sam"]
    assert (one["rho"] == 2 * one["rho_published"]).all()
    # Planted: the rho of the published code taken for ours is off by far.
    assert (one["test_loss_unconverted"] / one["test_loss_published"] - 1.0).min() > 0.2


def test_orders_of_the_dictionary(table):
    orders = table("leading_order", "leading_order_orders").set_index("series")
    for name in ("GD, step size", "n-SAM, radius", "1-SAM, radius", "1-SAM, radius = step size"):
        assert orders.loc[name, "resolved"] and abs(orders.loc[name, "order"] - 2.0) < 0.1, name
    assert not orders.loc["SGD, step size", "resolved"]
    assert orders.loc["GD, step size", "standard_error"] == 0.0
    found = table("leading_order")
    assert (found["measured_mean"] / found["predicted_mean"] - 1.0).abs().max() < 0.2
    # Planted: a prediction that is off by a first-order term has order 1.
    wrong = found.assign(error=found["error"] + found["predicted_mean"])
    planted = leading_order.orders(wrong).set_index("series")["order"]
    assert (planted.drop("SGD, step size") < 1.3).all()


def test_sgd_with_all_examples_is_gd(table):
    found = table("leading_order")
    gd = found[(found["series"] == "GD, step size") & (found["x"] == 0.02)]["measured_mean"]
    whole = found[(found["series"] == "SGD, batch size") & (found["x"] == 4)]["measured_mean"]
    assert gd.item() == whole.item()


def test_phase_diagram_against_single_limits(table):
    found = table("phase_diagram")
    published = found[found["data_set"] == "published 20 x 30"]
    data = st.sparse_regression()
    row = published[(published["kind"] == "1-sam") & (published["rho"] == 0.1)].iloc[0]
    limit = st.implicit_bias(data, alpha=row["alpha"], algorithm=st.one_sam(0.1))
    assert row["test_loss"] == pytest.approx(limit.loss(data.test), rel=1e-12)
    helps = published["test_loss"] < published["test_loss_gd"]
    assert (helps == (published["kind"] == "1-sam")).all()


def test_condition_for_n_sam_to_hurt(table):
    found = table("when_n_sam_hurts")
    assert len(found) == 2 * (3 * 3 + 2)
    np.testing.assert_allclose(found["slope"], found["change_0.0001"], rtol=0.05, atol=1e-4)
    assert ((found["slope"] > 0) == (found["change_0.0001"] > 0)).all()
    trained = found[found["change_simulation"].notna()]
    assert len(trained) == 2 * (3 + 1)
    np.testing.assert_allclose(
        trained["change_simulation"], trained["change_0.1"], rtol=0.2, atol=0.01
    )
    published = found[found["design"] == "published"].set_index("kind")
    assert published.loc["n-sam", "slope"] > 0 > published.loc["1-sam", "slope"]
    np.testing.assert_allclose(found["slope_uniform"] + found["slope_shape"], found["slope"])
    # Both happen, so that a rule which always gives one answer fails.
    assert set(found.loc[found["kind"] == "n-sam", "slope"] > 0) == {True, False}


def test_planted_wrong_condition(table):
    found = table("when_n_sam_hurts")
    exact = table("when_n_sam_hurts", "when_n_sam_hurts_rules").set_index(["rule", "kind", "group"])
    assert exact.loc[("exact slope", "both", "all"), "accuracy"] == 1.0
    for wrong in (-found["slope"], found["slope_uniform"]):
        planted = when_n_sam_hurts.rules(found.assign(slope=wrong))
        planted = planted.set_index(["rule", "kind", "group"])
        assert planted.loc[("exact slope", "n-sam", "all"), "accuracy"] < 0.6


def test_dependent_rows_have_no_leave_one_out():
    data = instances.make("isotropic", 0, n=4, d=9, nonzeros=2, n_test=30)
    centred = data.standardize(scale=False, center_target=True)
    assert np.isnan(when_n_sam_hurts.measure(centred, 0.3)[0]["slope_leave_one_out"])
    assert np.isfinite(when_n_sam_hurts.measure(data, 0.3)[0]["slope_leave_one_out"])


def test_fine_tuning_reproduces_the_published_losses(table):
    found = table("fine_tuning", "fine_tuning_summary").set_index("path")
    known = found[found["test_loss_published"].notna()]
    assert len(known) == len(fine_tuning.PUBLISHED)
    assert known["relative_difference"].abs().max() < 5e-6
    assert found.loc["ERM -> 1-SAM", "edge_ratio"] > 1.0 > found.loc["1-SAM", "edge_ratio"]
    curves = table("fine_tuning").groupby("path").last()
    for path in found.index:
        assert curves.loc[path, "test_loss"] == found.loc[path, "test_loss"]


def test_segment_ends_are_the_runs(table):
    segment = table("fine_tuning", "fine_tuning_segment")
    ends = table("fine_tuning", "fine_tuning_summary").set_index("path")
    for path, rows in segment.groupby("path"):
        for name, at in ((path.split(" -> ")[0] + " (one phase)", 0.0), (path, 1.0)):
            row = rows.iloc[(rows["position"] - at).abs().argmin()]
            assert row["test_loss"] == pytest.approx(ends.loc[name, "test_loss"], rel=1e-9)
            assert row["train_loss"] == pytest.approx(ends.loc[name, "train_loss"], rel=1e-6)


def test_late_switches_change_less(table):
    found = table("fine_tuning", "fine_tuning_switch_summary")
    ratio = found[found["radius"] == "edge"].set_index(["fraction", "switch"])["ratio"]
    assert ratio[0.1, 300] < ratio[0.1, 10_001] < 1.0


def test_correlations(table):
    table("sharpness_and_generalization")
    found = table("sharpness_and_generalization", "sharpness_correlations")
    found = found.set_index(["design", "group", "measure"])["correlation"]
    assert found["isotropic", "scale, GD", "l1_norm"] == pytest.approx(1.0)
    assert found["isotropic", "radius, n-SAM", "alpha_effective_mean"] == pytest.approx(-1.0)
    assert found.abs().max() < 1.0 + 1e-12


def test_noisy_labels(table):
    found = table("noisy_labels")
    trained = found[found["test_loss_simulation"].notna()]
    assert set(trained["seed"]) == {0}
    apart = trained["test_loss_simulation"] / trained["test_loss"] - 1.0
    assert apart.abs().max() < 0.05
    both = 0.8 * found["clean_loss"] + 0.2 * found["replaced_loss"]
    noisy = found["share"] == 0.2
    np.testing.assert_allclose(both[noisy], found["train_loss"][noisy], rtol=1e-9, atol=1e-14)
    ends = table("noisy_labels", "noisy_labels_summary").set_index(["share", "kind"])
    assert (ends["best"] <= ends["final"]).all() and (ends.loc[0.2]["best_time"] < 3000).all()
    assert (ends.xs("gd", level="kind")["best_ratio"] == 1.0).all()


def test_replaced_labels_keep_their_variance():
    data, replaced = noisy_labels.noisy(0.5, 0, 2000, 3, 2)
    assert replaced.sum() == 1000
    clean = st.sparse_regression(n=2000, d=3, nonzeros=2, seed=0)
    assert (data.y[~replaced] == clean.y[~replaced]).all()
    assert data.y[replaced].std() == pytest.approx(clean.y.std(), rel=0.1)
    assert abs(np.corrcoef(data.y[replaced], clean.y[replaced])[0, 1]) < 0.1


def test_depth(table):
    found = table("depth")
    assert found["residual"].max() < 1e-12 and (found["l1_excess"] > 0).all()
    assert found["simulation"].dropna().max() < 1e-6 and found["simulation"].notna().sum() == 2
    orders = table("depth", "depth_orders").set_index("depth")
    assert orders.loc[3, "order"] == pytest.approx(1.0, abs=0.1)
    assert orders.loc[2, "predicted"] < 0.6 and orders.loc[2, "order"] == pytest.approx(
        orders.loc[2, "predicted"], abs=0.1
    )


def test_average_approaches_the_lasso(table):
    table("lasso_path")
    found = table("lasso_path", "lasso_path_errors")
    product = found["largest_error"] * found["log_scale"]
    assert product.max() / product.min() < 1.5 and (found["quadrature"] < 1e-5).all()
    assert (found["objective_gap"] > 0).all() and found["objective_gap"].is_monotonic_decreasing


def test_cells_are_not_computed_twice(place, table, monkeypatch):
    first = table("phase_diagram")
    module, size = TINY["phase_diagram"]
    monkeypatch.setattr(st, "implicit_bias", lambda *_, **__: pytest.fail("computed again"))
    again = module.run(size=size, folder=place)
    assert again["test_loss"].tolist() == first["test_loss"].tolist()


def test_failing_cell_is_one_line(tmp_path):
    with pytest.raises(st.InputError, match=r"^1 of 1 cells failed; the first: InputError: no des"):
        grids.compute(
            when_n_sam_hurts.synthetic,
            {"design": ["round"], "nonzeros": [1], "alpha": [0.1], "noise": [0.0], "seed": [0]},
            folder=tmp_path,
        )
