"""Pictures and page: drawn from tables alone, complete, the same every time, clear when refused."""

from __future__ import annotations

import itertools
import json
import re
from html import escape
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from figures import FIGURES, report, store, style
from figures import __main__ as command
from figures.render import render

# The pictures of the main study; others have tests of their own.
MAIN = {name: home for name, home in FIGURES.items() if home[1] == report.MAIN}
ALGORITHMS = [("GD", "gd", 0.0), ("n-SAM", "n-sam", 0.1), ("n-SAM", "n-sam", 0.3)]
ALGORITHMS += [("1-SAM", "1-sam", 0.1), ("1-SAM", "1-sam", 0.2)]


def tables():
    rows, coordinates, curves = [], [], []
    for data_set, (algorithm, kind, rho) in itertools.product(("a", "b < c"), ALGORITHMS):
        common = {"data_set": data_set, "algorithm": algorithm, "kind": kind, "rho": rho}
        for step_size in (0.1, 0.05):
            rows.append(
                common
                | {
                    "step_size": step_size,
                    "test_loss_theory": 0.3 + rho,
                    "test_loss_simulation": 0.31 + rho,
                    "theory_minus_extrapolated": 1e-9 if step_size == 0.05 else np.nan,
                }
            )
        for j in range(4):
            coordinates.append(
                common
                | {
                    "alpha": 0.1,
                    "coordinate": j,
                    "feature": str(100 + j),
                    "alpha_effective_theory": 0.1 * np.exp(-rho * j),
                    "alpha_effective_identity": 0.1 * np.exp(-rho * j),
                    "beta_theory": j / 3,
                    "beta_simulation": j / 3,
                    "beta_star": float(j == 1) if data_set == "a" else np.nan,
                }
            )
    for algorithm, kind, rho in ALGORITHMS[::2]:
        for step in range(30):
            curves.append(
                {
                    "algorithm": algorithm,
                    "kind": kind,
                    "rho": rho,
                    "step": step,
                    "train_loss": np.exp(-step),
                    "test_loss": 0.1 + np.exp(-step),
                    "test_loss_theory": 0.1,
                    "test_loss_identity": 0.1,
                }
            )
    return {
        "theory_vs_simulation": pd.DataFrame(rows),
        "alpha_effective": pd.DataFrame(coordinates),
        "loss_curves": pd.DataFrame(curves),
    }


SETTINGS = {
    "seed": 0,
    "criteria": {"identity_minus_simulation": 1e-11, "theory_minus_extrapolated": 1e-6},
    "step_ratio_tolerance": 0.2,
    "data_sets": [
        {
            "name": "a",
            "n": 3,
            "d": 4,
            "test_rows": 2,
            "alpha": 0.1,
            "step_sizes": [0.1, 0.05],
            "about": "Made up.",
            "licence": "none",
        }
    ],
}


def write(folder, contents):
    for name, table in contents.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        sidecar = {"provenance": {"commit": "abc", "numpy": "2"}, "settings": SETTINGS, "rows": 1}
        (folder / f"{name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, tables())


def colors(figure):
    """Colours of all lines that stand for an algorithm, by their label."""
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    return {line.get_label().split(",")[0]: line.get_color() for line in lines}


def test_every_algorithm_looks_the_same_everywhere():
    wanted = {"GD": "gd", "n-SAM": "n-sam", "1-SAM": "1-sam"}
    contents = tables()
    for name, (table, _) in MAIN.items():
        found = colors(import_module(f"figures.{name}").draw(contents[table]))
        for label, kind in wanted.items():
            assert found[label] == style.LOOKS[kind].color, (name, label)
    looks = list(style.LOOKS.values())
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_curves_show_the_table():
    table = tables()["loss_curves"]
    figure = import_module("figures.loss_curves").draw(table)
    train, test = figure.axes
    drawn = {tuple(line.get_ydata()) for line in train.get_lines()}
    for _, part in table[table["step"] > 0].groupby(["algorithm", "rho"]):
        assert tuple(part["train_loss"]) in drawn
    dashed = [line for line in test.get_lines() if list(line.get_ydata()) == [0.1, 0.1]]
    assert len(dashed) == table["algorithm"].nunique()


def drawn(axes):
    """Heights of all lines of a panel, rounded so that they can be looked up."""
    return {tuple(np.round(line.get_ydata(), 12)) for line in axes.get_lines()}


def test_scales_and_test_losses_show_the_table():
    contents = tables()
    scales, losses = contents["alpha_effective"], contents["theory_vs_simulation"]
    # Make theory and simulation differ, so that drawing one for both would show.
    scales["alpha_effective_identity"] *= 1.01
    for table, name, columns in (
        (scales, "alpha_effective", ["alpha_effective_theory", "alpha_effective_identity"]),
        (losses, "test_loss_vs_rho", ["test_loss_theory", "test_loss_simulation"]),
    ):
        panels = import_module(f"figures.{name}").draw(table).axes
        for panel, data_set in zip(panels, ("a", "b < c"), strict=True):
            part = table[(table["data_set"] == data_set) & (table["kind"] == "1-sam")]
            part = part[part["rho"] == 0.2] if table is scales else part[part["step_size"] == 0.05]
            unit = 0.1 if table is scales else 1.0
            for column in columns:
                wanted = tuple(np.round(part[column] / unit, 12))
                assert wanted in drawn(panel), (name, data_set, column)
                assert tuple(np.round(part[column] * 1.5 / unit, 12)) not in drawn(panel)


@pytest.mark.parametrize("name", MAIN)
def test_missing_column_is_named(name):
    module, table = import_module(f"figures.{name}"), tables()[FIGURES[name][0]]
    for column in module.COLUMNS:
        with pytest.raises(ValueError, match=rf"^table {FIGURES[name][0]} lacks .*{column}"):
            module.draw(table.drop(columns=column))


@pytest.mark.parametrize("file_format", command.FORMATS)
def test_same_table_same_file(folder, file_format):
    one, other = (render("alpha_effective", file_format, folder=folder) for _ in "ab")
    assert one == other
    if file_format == "svg":
        assert b">coordinate</text>" in one


def claim(**changes):
    row = {
        "group": "Diagonal",
        "claim": "c",
        "kind": "theorem",
        "statement": "a < b",
        "source": "s",
    }
    row |= {"measured": "1e-12", "predicted": "0", "slack": "2 times", "verdict": "holds"}
    row |= {"size": "quick", "study": report.MAIN, "command": f"python -m analysis {report.MAIN}"}
    return row | changes


UNRUN = {"measured": np.nan, "predicted": np.nan, "slack": np.nan, "size": np.nan}
UNRUN |= {"group": "Deep", "claim": "d", "study": "deep_label_noise", "verdict": "not run"}
UNRUN |= {"command": "python -m analysis deep_label_noise"}


@pytest.fixture
def claimed(folder):
    """Write a table of claims beside the tables of the main study."""

    def put(*claims):
        return write(folder, {"claims": pd.DataFrame(claims)})

    return put


def test_page_is_self_contained(claimed):
    html, verdicts, failed, _ = report.page(claimed(claim(), claim(**UNRUN)))
    assert (verdicts, failed) == ({"holds": 1, "not run": 1}, 0)
    assert "1 of 1 claims hold;\n1 not run here." in html
    assert "a &lt; b" in html and "a < b" not in html and "b &lt; c" in html
    assert not re.search(r"(?:src|href)\s*=\s*\"(?!data:|#)", html)
    assert "@import" not in html and "url(" not in html and "<script" not in html
    assert html.count("<img ") == len(MAIN) == html.count("<figcaption>")
    undrawn = [name for name, (_, study) in FIGURES.items() if study == "deep_label_noise"]
    assert html.count("python -m figures ") == len(MAIN) + len(undrawn)
    assert not re.search(r">\s*nan\s*<", html)
    assert "@media print" in html and 'name="viewport"' in html
    assert "abc" in html and "Licence: none" in html
    targets = set(re.findall(r'href="#([^"]+)"', html))
    assert targets and targets <= set(re.findall(r'id="([^"]+)"', html))


def test_verdicts_come_first_and_tables_are_folded_under_their_pictures(claimed):
    html, _, _, _ = report.page(claimed(claim()))
    places = [html.index(text) for text in ("claims hold", "a &lt; b", "<img ", "<details>")]
    assert places == sorted(places) and places[-1] < html.index("Provenance</h2>")
    for name, (table, _) in MAIN.items():
        part = html[html.index(f'id="{name}"') :]
        shown = part[part.index("<details>") : part.index("</details>")]
        content = tables()[table]
        assert shown.count("<tr>") == 1 + len(content.iloc[:: -(-len(content) // 40)])
        assert f"results/{table}.csv" in shown


def test_page_says_what_is_contradicted(claimed):
    lost = claim(verdict="contradicted")
    html, verdicts, failed, _ = report.page(claimed(lost, claim()))
    assert (verdicts["contradicted"], failed) == (1, 1)
    assert "1 of 2 claims hold,\n1 contradicted." in html and 'class="result bad"' in html
    assert '<td class="mark bad">contradicted' in html
    # A published observation that does not show at our sizes is a finding.
    html, _, failed, _ = report.page(claimed(lost | {"kind": "published"}))
    assert failed == 0 and 'class="result good"' in html
    html, verdicts, failed, _ = report.page(claimed(claim(verdict="not shown")))
    assert verdicts["not shown"] == 1 and failed == 0 and "1 not shown either way" in html


def test_what_differs_between_studies_is_said_of_each(claimed):
    shared, rows = report.provenance(pd.DataFrame([claim()]), claimed(claim()))
    assert shared == {"numpy": "2"}
    assert rows["headings"] == ["study", "commit", "seed"]
    assert rows["body"] == [[report.MAIN, "abc", "0"]]


def test_a_table_of_claims_that_lacks_a_column(claimed, monkeypatch, capsys):
    spoiled = claim()
    del spoiled["slack"]
    monkeypatch.setattr(store, "RESULTS", claimed(spoiled))
    assert command.main(["report"]) == 2
    assert capsys.readouterr().err == "figures: table claims lacks the columns slack\n"


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_missing_table_is_one_line(claimed, monkeypatch, capsys, ending):
    folder = claimed(claim())
    monkeypatch.setattr(store, "RESULTS", folder)
    for name, make in (("claims", "claims"), ("loss_curves", "theory_vs_simulation")):
        (folder / f"{name}.{ending}").unlink()
        assert command.main(["report" if name == "claims" else name]) == 2
        error = capsys.readouterr().err
        wanted = f"{name}.{ending} is missing; make it with: python -m analysis {make}\n"
        assert error == f"figures: {wanted}"
    assert not (folder / "report").exists()


UNFIT = [
    ("csv", lambda text: text.splitlines()[0] + "\n", "has no rows"),
    ("csv", lambda text: "", "cannot be read (No columns to parse from file)"),
    ("csv", lambda text: "a,b\n1,2,3\n1,2,3,4,5\n", "cannot be read (Error tokenizing data."),
    ("json", lambda text: "[1]", "is no description of a table"),
    ("json", lambda text: '{"settings": 3}', "is no description of a table"),
    ("json", lambda text: text[:-5], "cannot be read ("),
    ("json", lambda text: text.replace('"rows": 1', '"rows": 1000'), "rows, but 1000 were written"),
]


@pytest.mark.parametrize(("ending", "spoil", "reason"), UNFIT)
def test_unfit_table_is_one_line(claimed, monkeypatch, capsys, ending, spoil, reason):
    folder = claimed(claim())
    monkeypatch.setattr(store, "RESULTS", folder)
    path = folder / f"loss_curves.{ending}"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    named = "loss_curves.csv" if "written" in reason else path.name
    for asked in ("loss_curves", "report"):
        assert command.main([asked]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"figures: {named} ") and reason in error
        assert error.endswith("; make it again with: python -m analysis theory_vs_simulation\n")
        assert error.count("\n") == 1
    assert not (folder / "figures").exists()
    html = (folder / "report" / "index.html").read_text(encoding="utf-8")
    line = error.removeprefix("figures: ").strip()
    assert html.count(f"<li>loss_curves: {escape(line)}</li>") == 1
    assert html.count("<img ") == len(MAIN) - 1 and 'id="loss_curves"' not in html


def test_command_draws_and_judges(folder, claimed, monkeypatch, capsys):
    monkeypatch.setattr(store, "RESULTS", folder)
    assert command.main(["theory_vs_simulation"]) == 0
    made = {path.name for path in (folder / "figures").iterdir()}
    assert made == {f"{name}.{ending}" for name in MAIN for ending in (*command.FORMATS, "csv")}
    claimed(claim())
    assert command.main(["report"]) == 0
    claimed(claim(verdict="contradicted"), claim())
    assert command.main(["report"]) == 1
    said = "index.html: 2 claims: 1 contradicted, 1 holds"
    assert said in capsys.readouterr().out
    assert command.main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("no picture named nonsense; known: loss_curves")


def test_unwritable_results_are_one_line(folder, monkeypatch, capsys):
    (folder / "figures").write_text("a file, not a folder", encoding="utf-8")
    monkeypatch.setattr(store, "RESULTS", folder)
    assert command.main(["loss_curves"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("figures: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12345, "12\u2009345"),
        (1.23456789, "1.2346"),
        (1.5e-12, "1.50e-12"),
        (float("nan"), "–"),
        (float("inf"), "inf"),
        (True, "yes"),
        (np.bool_(False), "no"),
        ("GD", "GD"),
    ],
)
def test_cell(value, text):
    assert report.cell(value) == text
