"""Pictures of the studies of diagonal linear networks: what they show is what the tables hold."""

from __future__ import annotations

import itertools
import json
import re
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from tiny_studies import TINY

from figures import FIGURES, store, style
from figures import __main__ as command
from figures.render import render

OURS = {name: home for name, home in FIGURES.items() if home[1] in TINY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of all studies at tiny sizes."""
    place = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM_THEORY_THREADS", "1")
        for module, size in TINY.values():
            module.run(size=size, folder=place)
    return place


@pytest.fixture
def drawn(folder):
    """Draw a picture from its table; returns both."""
    import matplotlib.pyplot as plt

    def draw(name):
        table, _ = store.read_table(*FIGURES[name], folder=folder)
        return import_module(f"figures.{name}").draw(table), table

    yield draw
    plt.close("all")


def lines(axes):
    """Points of all lines of a panel, rounded so that they can be looked up."""
    return {
        tuple(np.round(np.asarray(line.get_xydata(), dtype=float).ravel(), 12))
        for line in axes.get_lines()
    }


def points(x, y):
    return tuple(np.round(np.column_stack([x, y]).astype(float).ravel(), 12))


def assert_shown(axes, x, y):
    """The points are one of the panel's lines; the same, one percent off, are none."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    assert points(x, y) in lines(axes)
    assert points(x, 1.01 * y + 1e-9) not in lines(axes)


def test_every_study_has_a_picture():
    assert {home[1] for home in OURS.values()} == set(TINY)


QUICKLY = ("effect_of_m", "phase_diagram", "when_n_sam_hurts", "noisy_labels", "depth")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICKLY else pytest.param(name, marks=pytest.mark.slow) for name in OURS],
)
def test_same_table_same_bytes(name, folder):
    one, other = (render(name, "png", folder=folder) for _ in "ab")
    assert one == other and one.startswith(b"\x89PNG") and f"{OURS[name][0]}.csv".encode() in one


@pytest.mark.parametrize("name", OURS)
def test_missing_column_is_named(name, folder):
    module = import_module(f"figures.{name}")
    table, _ = store.read_table(*OURS[name], folder=folder)
    for column in module.COLUMNS:
        with pytest.raises(ValueError, match=rf"^table {OURS[name][0]} lacks .*{column}"):
            module.draw(table.drop(columns=column))
    assert len(module.CAPTION) > 100 and len(module.ALT) > 40


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_clipped_or_overlaps(name, drawn):
    """Titles, tick and axis labels lie inside the picture; legends and titles off the panels."""
    figure, _ = drawn(name)
    figure.canvas.draw()
    whole = figure.bbox
    for axes in figure.axes:
        texts = [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
        for text in (text for text in texts if text.get_text()):
            box = text.get_window_extent()
            assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1, text.get_text()
            assert box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1, text.get_text()
    titles = [axes._left_title.get_window_extent() for axes in figure.axes]
    titles = [box for box in titles if box.width > 0.0]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2))
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1
        for axes in figure.axes:
            assert not box.overlaps(axes.get_window_extent())


def test_algorithms_keep_their_colours(drawn):
    wanted = {f"{style.NAMES[kind]}": look.color for kind, look in style.LOOKS.items()}
    wanted["ERM"] = style.LOOKS["gd"].color
    seen = set()
    for name in OURS:
        figure, _ = drawn(name)
        legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
        entries = [zip(g.legend_handles, g.texts, strict=True) for g in legends]
        for handle, text in itertools.chain(*entries):
            label = re.split(",", text.get_text())[0]
            if label in wanted:
                assert same_color(handle.get_color(), wanted[label]), (name, label)
                seen.add(label)
    assert seen == {"GD", "SGD", "n-SAM", "m-SAM", "1-SAM", "ERM"}


def test_effect_of_m_shows_its_table(drawn):
    figure, table = drawn("effect_of_m")
    for axes, equality in zip(figure.axes, ("rho", "radius", "shrinkage"), strict=True):
        for _, part in table[table["equality"] == equality].groupby("level"):
            part = part.sort_values("m")
            assert_shown(axes, part["m"], part["ratio_theory"])
            assert_shown(axes, part["m"], part["published_simulation"] / part["published_gd"])


def test_effect_of_m_summary_is_its_study(folder, drawn):
    """The means that are drawn, recomputed from the rows of the study."""
    _, summary = drawn("effect_of_m")
    rows = pd.read_csv(folder / "effect_of_m.csv")
    for _, line in summary.iterrows():
        part = rows[(rows["equality"] == line["equality"]) & (rows["level"] == line["level"])]
        part = part[part["m"] == line["m"]]
        ratio = part["test_loss_theory"] / part["test_loss_gd"]
        assert np.exp(np.log(ratio).mean()) == pytest.approx(line["ratio_theory"], rel=1e-12)


def test_leading_order_shows_its_table(drawn):
    figure, table = drawn("leading_order")
    part = table[table["series"] == "1-SAM, radius"].sort_values("x")
    assert_shown(figure.axes[0], part["x"], part["predicted_mean"])
    assert_shown(figure.axes[0], part["x"], part["measured_mean"])
    assert_shown(figure.axes[1], part["x"], part["relative_error"])
    part = table[table["series"] == "SGD, batch size"].sort_values("x")
    assert_shown(figure.axes[2], part["x"], part["measured_mean"])


def test_phase_diagram_shows_its_table(drawn):
    figure, table = drawn("phase_diagram")
    cells = [(name, kind) for name in table["data_set"].unique() for kind in ("n-sam", "1-sam")]
    for axes, (name, kind) in zip(figure.axes, cells, strict=False):
        part = table[(table["data_set"] == name) & (table["kind"] == kind)]
        part = part.sort_values(["alpha", "rho"])
        wanted = np.log10(part["test_loss"] / part["test_loss_gd"])
        found = axes.collections[0].get_array().ravel()
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_when_n_sam_hurts_shows_its_table(drawn):
    figure, table = drawn("when_n_sam_hurts")
    for axes, kind in zip(figure.axes, ("n-sam", "1-sam"), strict=True):
        part = table[(table["kind"] == kind) & ~table["design"].isin(["published", "spectra"])]
        assert_shown(axes, part["slope"], part["change_0.1"])
        right = int(((part["slope"] > 0) == (part["change_0.1"] > 0)).sum())
        assert f"{right} of {len(part)} signs" in axes._left_title.get_text()


def test_rules_show_their_table(drawn):
    figure, table = drawn("when_n_sam_hurts_rules")
    part = table[(table["kind"] == "n-sam") & (table["group"] == "all")]
    assert_shown(figure.axes[0], part["accuracy"], np.arange(len(part)))
    assert_shown(figure.axes[0], part["base_rate"], np.arange(len(part)))


def test_fine_tuning_shows_its_table(drawn):
    figure, table = drawn("fine_tuning_segment")
    for axes, (_, part) in zip(figure.axes, table.groupby("path", sort=False), strict=True):
        assert_shown(axes, part["position"], part["test_loss"])
        assert_shown(axes, part["position"], part["train_loss"])


def test_noisy_labels_show_their_table(drawn):
    figure, table = drawn("noisy_labels")
    shares = sorted(set(table["share"]))
    for axes, share in zip(figure.axes, shares, strict=False):
        for _, part in table[table["share"] == share].groupby("kind"):
            assert_shown(axes, part["time"], part["test_loss"])


def test_depth_and_lasso_show_their_tables(drawn):
    figure, table = drawn("depth")
    part = table[table["depth"] == 3].sort_values("mu")
    assert_shown(figure.axes[0], part["mu"], part["l1_excess"])
    assert_shown(figure.axes[1], part["mu"], part["test_loss"])
    figure, table = drawn("lasso_path")
    off = (table["average"] - table["lasso"]).abs().groupby(table["alpha"]).max()
    size = table["lasso"].abs().groupby(table["alpha"]).max()
    assert_shown(figure.axes[1], -2.0 * np.log(off.index.to_numpy()), off / size)


def test_all_draws_what_it_can_and_says_what_is_missing(folder, tmp_path, monkeypatch, capsys):
    for ending in ("csv", "json"):
        (tmp_path / f"depth.{ending}").write_bytes((folder / f"depth.{ending}").read_bytes())
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    assert command.main(["all"]) == 2
    shown = capsys.readouterr()
    assert "results/figures/depth: svg, pdf, png, csv" in shown.out
    assert shown.err.count("\n") == len(FIGURES) - 1
    line = "figures: lasso_path.csv is missing; make it with: python -m analysis lasso_path\n"
    assert line in shown.err
    made = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert made == [f"depth.{ending}" for ending in ("csv", "pdf", "png", "svg")]
    beside = (tmp_path / "figures" / "depth.csv").read_bytes()
    assert beside == (folder / "depth.csv").read_bytes()
    drawing = (tmp_path / "figures" / "depth.svg").read_text(encoding="utf-8")
    assert json.dumps("depth.csv")[1:-1] in drawing and "l1_minimum" in drawing


def test_wrong_columns_are_one_line(folder, tmp_path, monkeypatch, capsys):
    wrong = pd.read_csv(folder / "depth.csv").rename(columns={"mu": "scale"})
    wrong.to_csv(tmp_path / "depth.csv", index=False)
    (tmp_path / "depth.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    assert command.main(["depth"]) == 2
    assert capsys.readouterr().err == (
        "figures: depth.csv does not fit: depth cannot be drawn from it (table depth lacks the "
        "columns mu); make it again with: python -m analysis depth\n"
    )


def test_quick_runs_the_studies_whose_tables_are_missing(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(command.subprocess, "run", lambda line, **_: asked.append(line[1:]))
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    for ending in ("csv", "json"):
        (tmp_path / f"depth.{ending}").write_bytes((folder / f"depth.{ending}").read_bytes())
    command.make_missing(["depth", "fine_tuning", "fine_tuning_segment", "lasso_path"])
    assert asked == [["-m", "analysis", "fine_tuning", "lasso_path", "--jobs", "2"]]
    command.make_missing(["depth"])
    assert len(asked) == 1


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_quick_runs_a_study_that_left_one_file_of_two(ending, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(command.subprocess, "run", lambda line, **_: asked.append(line[1:]))
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    (tmp_path / f"depth.{ending}").write_text("", encoding="utf-8")
    command.make_missing(["depth"])
    assert asked == [["-m", "analysis", "depth", "--jobs", "2"]]
