"""Studies of deep networks at tiny sizes: what their tables and pictures say is what was run."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from analysis import STUDIES, deep_effect_of_m, deep_fine_tuning, deep_label_noise, deep_runs
from figures import FIGURES, store, style
from figures.render import render

TINY = {
    "deep_effect_of_m": deep_effect_of_m.Size(
        2, (0.02, 0.05), (8,), (0.05,), True, epochs=2, width=8
    ),
    "deep_fine_tuning": deep_fine_tuning.Size(2, (0.5,), epochs=4, width=8, every=1),
    "deep_label_noise": deep_label_noise.Size(2, epochs=3, width=8, every=1),
}
OURS = {name: home for name, home in FIGURES.items() if home[1] in TINY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of all studies with another network and fewer images, so that a run takes no time."""
    place = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM_THEORY_THREADS", "1")
        patch.setitem(deep_runs.BASE, "model", "mlp")
        patch.setitem(deep_runs.BASE, "fraction", 0.2)
        for name, size in TINY.items():
            import_module(f"analysis.{name}").run(size=size, folder=place)
    return place


def table(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def direct(**changes):
    return deep_runs.train(**{"model": "mlp", "fraction": 0.2, "width": 8} | changes)


def test_they_are_listed_with_pictures():
    assert set(TINY) <= set(STUDIES)
    assert {home[1] for home in OURS.values()} == set(TINY)


def test_rows_are_the_runs(folder):
    rows = table(folder, "deep_effect_of_m")
    # ERM; n-SAM, m-SAM, random and the previous batch at two radii; 1-SAM at one; two seeds.
    assert len(rows) == 2 * (1 + 4 * 2 + 1)
    row = rows[(rows["name"] == "m-SAM, m = 8") & (rows["rho"] == 0.05) & (rows["seed"] == 1)]
    run = direct(rho=0.05, m=8, seed=1, epochs=2, evaluate_every=5)
    assert row["test_loss"].item() == run.last["test_loss"]
    assert row["sharpness_8"].item() == deep_runs.sharpness(run)["sharpness_8"]
    last = table(folder, "deep_label_noise").query("name == 'ERM' and seed == 0").iloc[-1]
    noisy = direct(label_noise=0.6, augment=False, epochs=3, evaluate_every=1)
    assert last["train_error_noisy"] == noisy.last["train_error_noisy"] > 0
    curve = table(folder, "deep_fine_tuning").query("name == 'ERM, then SAM' and seed == 0")
    switched = direct(rho=0.05, m=8, sam_start=0.5, epochs=4, evaluate_every=1)
    assert curve["test_loss"].tolist() == switched.table["test_loss"].tolist()
    assert curve["sam"].tolist() == [0, 0, 1, 1, 1]
    sidecar = json.loads((folder / "deep_fine_tuning.json").read_text())
    assert sidecar["settings"]["rho"] == 0.05 and sidecar["settings"]["seed"] == [0, 1]


def test_before_the_switch_nothing_differs(folder):
    rows = table(folder, "deep_fine_tuning").set_index(["name", "seed", "epoch"])["test_loss"]
    for first, second in (("ERM", "ERM, then SAM"), ("SAM", "SAM, then ERM")):
        for seed in (0, 1):
            same = [rows[first, seed, e] == rows[second, seed, e] for e in range(5)]
            assert same == [True, True, True, False, False]


def test_summaries_and_verdicts(folder):
    rows = table(folder, "deep_effect_of_m")
    summary = table(folder, "deep_effect_of_m_summary")
    one = summary[(summary["name"] == "random") & (summary["rho"] == 0.02)].iloc[0]
    own = rows[(rows["name"] == "random") & (rows["rho"] == 0.02)]["test_loss"]
    assert one["test_loss"] == pytest.approx(own.mean()) and one["seeds"] == 2
    assert one["test_loss_low"] <= one["test_loss"] <= one["test_loss_high"]
    verdict = table(folder, "deep_effect_of_m_verdict")
    assert "ERM" not in set(verdict["name"])
    assert set(verdict["words"]) <= {"better", "worse", "no difference shown"}
    correlations = table(folder, "deep_sharpness")
    assert len(correlations) == 6 and (correlations["rank_correlation"].abs() <= 1).all()


def made(shift, seeds=6):
    rng = np.random.default_rng(0)
    base = rng.random(seeds)
    rows = [{"name": "ERM", "seed": k, "test_error": base[k]} for k in range(seeds)]
    noise = 0.01 * rng.random(seeds)
    rows += [
        {"name": "SAM", "seed": k, "test_error": base[k] + shift + noise[k]} for k in range(seeds)
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=0)


@pytest.mark.parametrize(
    ("shift", "words"), [(0.1, "worse"), (-0.1, "better"), (-0.005, "no difference shown")]
)
def test_differences_are_paired_over_seeds(shift, words):
    found = deep_runs.paired(made(shift), ("name",), "ERM", ("test_error",)).iloc[0]
    assert found["words"] == words
    # Seeds spread over [0, 1]; unpaired, no such difference could be seen.
    assert found["high"] - found["low"] < 0.02


def test_early_stopping_looks_at_the_validation_error_alone():
    rows = pd.DataFrame(
        {
            "name": "ERM", "kind": "gd", "rho": 0.0, "m": 64, "seed": 0, "epoch": [0, 1, 2, 3],
            "validation_error": [0.9, 0.2, 0.1, 0.4], "test_error": [0.9, 0.15, 0.25, 0.5],
            "train_error_noisy": [0.9, 0.8, 0.5, 0.1], "averaged_test_error": 0.3,
        }
    )  # fmt: skip
    found = deep_label_noise.outcomes(rows.sample(frac=1.0, random_state=1)).iloc[0]
    expected = {"final": 0.5, "early_stopped": 0.25, "least": 0.15, "best_epoch": 2}
    assert {name: found[name] for name in expected} == expected
    assert found["final_noisy"] == 0.1


@pytest.fixture
def drawn(folder):
    """Draw a picture from its table; returns both."""
    import matplotlib.pyplot as plt

    def draw(name):
        found, _ = store.read_table(*FIGURES[name], folder=folder)
        return import_module(f"figures.{name}").draw(found), found

    yield draw
    plt.close("all")


@pytest.mark.parametrize("name", OURS)
def test_pictures(name, folder, drawn):
    module = import_module(f"figures.{name}")
    one, other = (render(name, "png", folder=folder) for _ in "ab")
    assert one == other and one.startswith(b"\x89PNG")
    found, _ = store.read_table(*OURS[name], folder=folder)
    for column in module.COLUMNS:
        with pytest.raises(ValueError, match=rf"^table {OURS[name][0]} lacks .*{column}"):
            module.draw(found.drop(columns=column))
    assert len(module.CAPTION) > 100 and len(module.ALT) > 40
    figure, _ = drawn(name)
    figure.canvas.draw()
    for axes in figure.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0 - 1 and box.x1 <= figure.bbox.x1 + 1, text.get_text()
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(a.get_window_extent())
                       for a in figure.axes)  # fmt: skip


def heights(axes):
    return {tuple(np.round(np.asarray(line.get_ydata(), float), 10)) for line in axes.get_lines()}


def test_pictures_show_the_tables(drawn):
    figure, rows = drawn("deep_label_noise")
    part = rows[(rows["kind"] == "n-sam") & (rows["epoch"] > 0)]
    mean = 100 * part.groupby("epoch")["train_error_noisy"].mean()
    assert tuple(np.round(mean, 10)) in heights(figure.axes[1])
    assert tuple(np.round(1.01 * mean, 10)) not in heights(figure.axes[1])
    # A second radius that ends worse is not shown, one that ends better is.
    ours = rows["kind"] == "n-sam"
    for factor, shown in ((1.5, 1.0), (0.5, 0.5)):
        other = rows[ours].assign(rho=9.0, test_error=factor * rows[ours]["test_error"])
        figure = import_module("figures.deep_label_noise").draw(pd.concat([rows, other]))
        error = 100 * shown * part.groupby("epoch")["test_error"].mean()
        assert tuple(np.round(error, 10)) in heights(figure.axes[2])
    figure, rows = drawn("deep_effect_of_m")
    part = rows[rows["name"] == "m-SAM, m = 8"].sort_values("rho")
    assert tuple(np.round(part["test_loss"], 10)) in heights(figure.axes[1])
    colors = {line.get_label(): line.get_color() for line in figure.axes[0].get_lines()}
    assert colors["ERM"] == style.LOOKS["gd"].color


@pytest.mark.slow
def test_erm_reaches_two_and_a_half_percent_on_digits():
    errors = [
        deep_runs.train(seed=seed, epochs=30, width=8, evaluate_every=30).last["test_error"]
        for seed in range(5)
    ]
    assert np.mean(errors) <= 0.025, errors
