"""Claims: decided by tables, each with a planted fault that turns its verdict."""

from __future__ import annotations

import html
import json

import pandas as pd
import pytest

from analysis import STUDIES, claims, store
from analysis import __main__ as command
from analysis.claims import convergence
from analysis.claims.claim import equals, interval, less, more, number, within
from figures import FIGURES, verdicts
from figures import __main__ as pictures
from sam_theory.convergence.catalogue import THEOREMS

CLAIMS = {claim.key: claim for group in claims.GROUPS.values() for claim in group}


def verdict_table(**changes):
    row = {"error_bound": 1e-14, "identity_minus_simulation": 1e-12, "agrees": True}
    row |= {"theory_minus_extrapolated": 1e-8, "step_ratio": 2.01}
    return {"verdict": pd.DataFrame([row, row | changes])}


def losses(*values):
    table = {"data_set": "a", "kind": "n-sam", "rho": [0.1, 0.2, 0.4], "test_loss_theory": values}
    return {"theory_vs_simulation": pd.DataFrame(table)}


def ratios(first=0.5, middle=0.8, last=1.1, width=0.01, equality="rho"):
    rows = [
        {"equality": equality, "level": 0.1, "m": m, "kind": kind, "ratio_theory": value,
         "ratio_theory_low": value - width, "ratio_theory_high": value + width}
        for m, kind, value in ((1, "1-sam", first), (2, "m-sam", middle), (4, "n-sam", last))
    ]  # fmt: skip
    return {"effect_of_m_summary": pd.DataFrame(rows)}


def printed(table, *values):
    return {table: pd.DataFrame({"relative_difference": values})}


def orders(*values):
    table = {"order": values, "resolved": [True] * len(values)}
    return {"leading_order_orders": pd.DataFrame(table)}


def diagram(*losses_of_n_sam):
    rows = [
        {"data_set": "published 20 x 30", "kind": "n-sam", "test_loss": loss, "test_loss_gd": 1.0,
         "status": "converged" if loss == loss else "max_steps"}
        for loss in losses_of_n_sam
    ]  # fmt: skip
    return {"phase_diagram": pd.DataFrame(rows)}


def rules(accuracy):
    row = {"kind": "n-sam", "group": "all", "rule": "exact slope", "instances": 100, "low": 0.9}
    row |= {"high": 1.0, "base_rate": 0.7, "accuracy": accuracy}
    return {"when_n_sam_hurts_rules": pd.DataFrame([row, row | {"rule": "other", "accuracy": 0.0}])}


def switches(erm, after):
    table = {"path": ["ERM", "ERM -> 1-SAM"], "test_loss": [erm, after]}
    return {"fine_tuning_summary": pd.DataFrame(table)}


def edges(low):
    row = {"radius": "edge", "switch": 300, "fraction": 0.9, "diverged": 0.0, "ratio": 0.1}
    late = row | {"switch": 9000, "ratio": low + 0.05, "ratio_low": low, "ratio_high": low + 0.1}
    fast = late | {"fraction": 2.0, "diverged": 0.5, "ratio_low": 0.01}
    return {"fine_tuning_switch_summary": pd.DataFrame([row, late, fast])}


def correlations(sharpness, norm):
    rows = [
        {"design": "isotropic", "group": "all", "measure": name, "correlation": value,
         "low": value - 0.1, "high": value + 0.1}
        for name, value in (("sharpness", sharpness), ("l1_norm", norm))
    ]  # fmt: skip
    return {"sharpness_correlations": pd.DataFrame(rows)}


def noisy(final=2.0, sam=0.9):
    gd = {"share": 0.6, "kind": "gd", "best": 1.0, "best_high": 1.1, "final": final}
    gd |= {"final_low": final - 0.1, "final_ratio": 1.0}
    one = gd | {"kind": "1-sam", "final_ratio": sam, "final_ratio_low": sam - 0.05}
    one |= {"final_ratio_high": sam + 0.05}
    return {"noisy_labels_summary": pd.DataFrame([gd, one])}


def depths(order):
    table = {"depth": [2, 3], "order": [0.53, order], "predicted": [0.527, 1.0]}
    return {"depth_orders": pd.DataFrame(table)}


def lasso(power):
    scale = pd.Series([1.0, 10.0, 100.0, 1000.0])
    return {"lasso_path_errors": pd.DataFrame({"log_scale": scale, "largest_error": scale**power})}


def bound(theorem, verdict="holds", measured=0.5):
    row = {"theorem": theorem, "problem": "p", "verdict": "holds", "slack": 2.0}
    row |= {"measured": 1.0, "predicted": 1.0}
    return {
        convergence.STUDY: pd.DataFrame([row, row | {"verdict": verdict, "measured": measured}])
    }


def exponents(measured):
    row = {"theorem": "T1", "problem": "p", "predicted": -0.5, "attained": True, "measured": -0.51}
    unattained = row | {"attained": False, "measured": float("nan")}
    return {"convergence_exponents": pd.DataFrame([row, row | {"measured": measured}, unattained])}


def controls(*caught):
    return {"convergence_controls": pd.DataFrame({"caught": caught})}


def relu(ratio, measure, base="ERM"):
    row = {"name": "n-SAM, rho = 0.3", "base": base, "measure": measure, "ratio": ratio}
    row |= {"ratio_low": ratio - 0.1, "ratio_high": ratio + 0.1}
    return {"relu_complexity_verdict": pd.DataFrame([row, row | {"base": "other", "ratio": 9.0}])}


def differences(table, difference, **columns):
    row = {"kind": "m-sam", "m": 8, "value": "test_error", "rho": 0.1, "name": "n"} | columns
    row |= {"difference": difference, "low": difference - 0.01, "high": difference + 0.01}
    worse = row | {"rho": 0.2, "difference": difference + 1, "low": 1.0, "high": 2.0}
    return {table: pd.DataFrame([row, worse])}


def sharpness(correlation):
    table = {"target": "test_error", "rank_correlation": [0.1, correlation], "runs": 5}
    return {"deep_sharpness": pd.DataFrame(table)}


def label_noise(kind, difference):
    erm = {"kind": "gd", "name": "ERM", "final": 0.5, "final_low": 0.49, "final_high": 0.51}
    row = {"kind": kind, "name": "best", "final": 0.4, "final_low": 0.39, "final_high": 0.41}
    found = {"name": "best", "value": "final", "difference": difference}
    found |= {"low": difference - 0.01, "high": difference + 0.01}
    return {
        "deep_label_noise_summary": pd.DataFrame([erm, row, row | {"name": "x", "final": 0.6}]),
        "deep_label_noise_verdict": pd.DataFrame([found]),
    }


NAN = float("nan")
EFFECT = "deep_effect_of_m_verdict"
TUNING = {"name": "ERM, then SAM", "base": "ERM"}
NOISE = {"name": "ERM", "value": "final - early_stopped"}
# Claim -> tables by which it holds, and tables with the verdict that they must lead to.
CASES = {
    "error_bound": (verdict_table(), [(verdict_table(error_bound=1e-9), "contradicted"),
                                      (verdict_table(agrees=False), "contradicted"),
                                      (verdict_table(error_bound=NAN), "not shown")]),
    "identity_minus_simulation": (
        verdict_table(), [(verdict_table(identity_minus_simulation=1e-9), "contradicted")]),
    "theory_minus_extrapolated": (
        verdict_table(), [(verdict_table(theory_minus_extrapolated=1e-5), "contradicted")]),
    "step_ratio": (verdict_table(), [(verdict_table(step_ratio=4.0), "contradicted"),
                                     (verdict_table(step_ratio=NAN), "not shown")]),
    "n_sam_grows": (losses(1.0, 1.1, 1.2), [(losses(1.0, 0.9, 1.2), "contradicted")]),
    "one_sam_helps": (ratios(), [(ratios(first=1.2), "contradicted"),
                                 (ratios(first=0.995), "not shown")]),
    "n_sam_does_not": (ratios(), [(ratios(last=0.9), "contradicted"),
                                  (ratios(last=1.005), "not shown")]),
    **{f"smaller_m_{name}": (ratios(equality=name), [
        (ratios(middle=1.2, equality=name), "contradicted"),
        (ratios(width=0.5, equality=name), "not shown")])
       for name in ("rho", "radius", "shrinkage")},
    "conversion": (printed("effect_of_m_conversion", 1e-6, -1e-5),
                   [(printed("effect_of_m_conversion", 1e-6, -1e-3), "contradicted")]),
    "leading_order": (orders(1.95, 2.05), [(orders(1.95, 1.5), "contradicted")]),
    "n_sam_worse": (diagram(1.1, 2.0, NAN), [(diagram(1.1, 0.9), "contradicted"),
                                             (diagram(NAN), "not shown")]),
    "when_n_sam_hurts": (rules(1.0), [(rules(0.99), "contradicted")]),
    "fine_tuning_printed": (printed("fine_tuning_summary", 1e-6, NAN),
                            [(printed("fine_tuning_summary", 1e-3), "contradicted"),
                             (printed("fine_tuning_summary", NAN), "not shown")]),
    "fine_tuning_helps": (switches(0.01, 0.001), [(switches(0.01, 0.02), "contradicted")]),
    "fine_tuning_stable": (edges(0.8), [(edges(0.3), "contradicted")]),
    "sharpness": (correlations(0.3, 0.9), [(correlations(0.8, 0.9), "not shown")]),
    "early_stopping": (noisy(), [(noisy(final=1.15), "not shown")]),
    "sam_with_noise": (noisy(), [(noisy(sam=1.1), "contradicted"), (noisy(sam=1.0), "not shown")]),
    "depth": (depths(0.99), [(depths(0.6), "contradicted")]),
    "lasso": (lasso(-0.97), [(lasso(-0.5), "contradicted")]),
    **{name: (bound(name), [(bound(name, "violated"), "contradicted"),
                            (bound(name, "inconclusive"), "not shown")])
       for name, theorem in THEOREMS.items() if theorem.kind != "tight"},
    **{name: (bound(name, measured=1.0), [(bound(name, measured=1.0 + 1e-6), "contradicted"),
                                          (bound(name, "violated", 1.0), "contradicted"),
                                          (bound(name, measured=NAN), "not shown")])
       for name, theorem in THEOREMS.items() if theorem.kind == "tight"},
    "exponents": (exponents(-0.45), [(exponents(-0.3), "contradicted"),
                                     (exponents(NAN), "not shown")]),
    "controls": (controls(True, True), [(controls(True, False), "contradicted")]),
    **{f"relu_{measure}{end}": (relu(0.4, measure, base), [
        (relu(1.4, measure, base), "contradicted"), (relu(0.95, measure, base), "not shown")])
       for measure in ("kinks", "total_variation")
       for base, end in (("ERM", ""), ("ERM, stopped early", "_early"))},
    "deep_small_m": (differences(EFFECT, -0.1), [(differences(EFFECT, 0.1), "contradicted"),
                                                 (differences(EFFECT, 0.0), "not shown")]),
    "deep_n_sam": (differences(EFFECT, 0.1, kind="n-sam"),
                   [(differences(EFFECT, -0.1, kind="n-sam"), "contradicted"),
                    (differences(EFFECT, 0.0, kind="n-sam"), "not shown")]),
    "deep_sharpness": (sharpness(0.2), [(sharpness(0.9), "contradicted"),
                                        (sharpness(NAN), "not shown")]),
    "deep_erm_then_sam": (
        differences("deep_fine_tuning_verdict", -0.1, **TUNING),
        [(differences("deep_fine_tuning_verdict", 0.1, **TUNING), "contradicted")]),
    "deep_early_stopping": (
        differences("deep_label_noise_verdict", 0.1, **NOISE),
        [(differences("deep_label_noise_verdict", -2.0, **NOISE), "contradicted")]),
    "deep_sam_with_noise": (label_noise("m-sam", -0.1), [
        (label_noise("m-sam", 0.1), "contradicted"), (label_noise("m-sam", 0.0), "not shown")]),
    "deep_n_sam_with_noise": (label_noise("n-sam", -0.1), [
        (label_noise("n-sam", 0.1), "contradicted")]),
}  # fmt: skip


def test_every_claim_has_a_fault_planted():
    assert set(CASES) == set(CLAIMS)
    assert sum(len(group) for group in claims.GROUPS.values()) == len(CLAIMS)


@pytest.mark.parametrize("key", CASES)
def test_a_claim_holds_and_a_fault_turns_it(tmp_path, key):
    right, wrong = CASES[key]
    for tables, wanted in [(right, "holds"), *wrong]:
        assert set(tables) == set(CLAIMS[key].tables)
        for name, table in tables.items():
            store.write_table(name, table, {}, {"size": "quick"}, folder=tmp_path)
        found = claims.judged(CLAIMS[key], claims.Tables(tmp_path))
        assert (found["verdict"], found["size"]) == (wanted, "quick"), (key, tables)
        assert found["measured"] and found["predicted"]


def test_every_study_decides_something_and_tables_are_its_own():
    assert {claim.study for claim in CLAIMS.values()} == set(STUDIES)
    homes = dict(FIGURES.values())
    for claim in CLAIMS.values():
        for name in claim.tables:
            assert homes.get(name, claim.study) == claim.study


def test_nothing_run_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    assert command.main(["claims"]) == 0
    assert capsys.readouterr().out == f"results/claims.csv: {len(CLAIMS)} not run\n"
    table = pd.read_csv(tmp_path / "claims.csv")
    assert set(table["verdict"]) == {"not run"} and table["measured"].isna().all()
    assert (table["command"] == "python -m analysis " + table["study"]).all()
    sidecar = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert set(sidecar["settings"]["studies"]) == set(STUDIES)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda table: table.drop(columns="order"), "depth_orders.csv lacks order"),
        (lambda table: table.iloc[:0], "depth_orders.csv has too few rows"),
    ],
)
def test_an_unfit_table_is_one_line(tmp_path, monkeypatch, capsys, spoil, said):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    store.write_table("depth_orders", spoil(depths(1.0)["depth_orders"]), {}, {})
    assert command.main(["claims"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"analysis: {said}") and error.count("\n") == 1
    assert error.endswith("make it again with: python -m analysis depth\n")


def test_intervals_decide():
    assert within(0.5, 1.0).holds and not within(2.0, 1.0).holds
    assert within(float("nan"), 1.0).holds is None and within(0.0, 1.0).slack == "exact"
    assert equals([1.0, 1.05], 1.0, 0.1).holds and not equals([1.0, 1.2], 1.0, 0.1).holds
    assert equals([], 1.0, 0.1).holds is None
    assert less(-1.0, -2.0, -0.5, 0.0, than="0").slack == "0.5 below"
    assert more(1.0, 0.5, 2.0, 0.0, than="0").holds is True
    assert less(1.0, 0.5, 2.0, 0.0, than="0").holds is False
    assert less(0.0, float("nan"), float("nan"), 0.0, than="0").holds is None
    assert interval(0.1, 0.05, 0.2, percent=True) == "10 [5, 20] %"
    assert interval(1e-17, -0.05, 0.2) == "0 [-0.05, 0.2]"
    assert [number(value) for value in (0.0, 0.123456, 1e-9)] == ["0", "0.123", "1.0e-09"]


def test_the_readme_and_the_page_of_verdicts_say_what_is_claimed():
    for path, keys in (("README.md", verdicts.CHIEF), ("docs/verdicts.md", CLAIMS)):
        text = (store.ROOT / path).read_text(encoding="utf-8")
        shown = [line.split(" | ") for line in text.splitlines() if line.endswith(VERDICTS)]
        statements = [html.unescape(line[0].removeprefix("| ")) for line in shown]
        assert statements == [CLAIMS[key].statement for key in keys]
        assert "<dT" not in text
        assert all(measured for _, measured, *_ in shown), path


VERDICTS = tuple(f"| {word} |" for word in ("holds", "contradicted", "not shown", "not run"))


def test_verdicts_replace_the_table_in_the_readme_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    table = claims.write(tmp_path)
    readme = f"before\n{verdicts.START}old\n{verdicts.END}after\n"
    made = verdicts.pages(table, readme)
    assert made["README.md"].startswith(f"before\n{verdicts.START}| claim |")
    assert made["README.md"].endswith(f"| not run |\n{verdicts.END}after\n")
    assert "old" not in made["README.md"] and made["docs/verdicts.md"].count("not run") == len(
        CLAIMS
    )
    assert verdicts.pages(table, made["README.md"])["README.md"] == made["README.md"]
    with pytest.raises(ValueError, match=r"README\.md lacks the lines <!-- verdicts -->"):
        verdicts.pages(table, "before\nafter\n")
    with pytest.raises(ValueError, match="table claims lacks the rows T1$"):
        verdicts.markdown(table[table["claim"] != "T1"], ["error_bound", "T1"])
    monkeypatch.setattr("figures.store.RESULTS", tmp_path / "empty")
    assert pictures.main(["verdicts"]) == 2
    assert capsys.readouterr().err.endswith("make it with: python -m analysis claims\n")
