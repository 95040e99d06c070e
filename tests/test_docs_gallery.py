"""The gallery: every picture has its section, drawn or not, and the commands that make it."""

from __future__ import annotations

import json
import re

import pytest
from docs_rules import pages

from analysis import STUDIES
from figures import FIGURES

gallery = pages.gallery


def tables(folder, name, columns, size="quick"):
    """A table of one row with these columns, and its sidecar."""
    table = FIGURES[name][0]
    folder.mkdir(exist_ok=True)
    (folder / f"{table}.csv").write_text(",".join(columns) + "\n" + ",".join("1" for _ in columns))
    sidecar = {"provenance": {"size": size}, "settings": {}}
    (folder / f"{table}.json").write_text(json.dumps(sidecar))


def sections(text):
    parts = re.split(r"^### (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_fresh_clone_names_the_commands_and_shows_what_is_kept(tmp_path):
    text = gallery.page(tmp_path / "figures", results=tmp_path / "none")
    found = sections(text)
    assert list(found) == [
        f for study in STUDIES for f, home in FIGURES.items() if home[1] == study
    ]
    for name, section in found.items():
        assert f"`python -m analysis {FIGURES[name][1]}`, `python -m figures {name}`" in section
        kept = (gallery.KEPT / f"{name}.png").is_file()
        assert ("![" in section) == kept and ("No table in this build." in section) != kept
    assert "![" in found["loss_curves"] and "![" not in found["lasso_path"]
    assert list((tmp_path / "figures").iterdir()) == []


def test_a_table_that_is_there_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "render", lambda name, kind, folder: f"{name}.{kind}".encode())
    tables(tmp_path / "results", "lasso_path", ["s"], size="full")
    section = sections(gallery.page(tmp_path / "figures", results=tmp_path / "results"))
    assert "](figures/lasso_path.png)" in section["lasso_path"]
    assert "Size of the study: full." in section["lasso_path"]
    assert (tmp_path / "figures" / "lasso_path.png").read_bytes() == b"lasso_path.png"


def test_a_table_that_lacks_a_column_is_said_to(tmp_path):
    tables(tmp_path / "results", "lasso_path", ["alpha"])
    found = sections(gallery.page(tmp_path / "figures", results=tmp_path / "results"))
    section = found["lasso_path"]
    assert "Not drawn: lasso" in section and "lacks the col" in section and "![" not in section


@pytest.mark.parametrize("name", ["relu_path", "loss_curves"])
def test_captions_show_as_they_are(name, tmp_path):
    assert gallery.escaped("a_b * <c> |d|") == r"a\_b \* \<c\> \|d\|"
    (section,) = ["\n".join(gallery.section(name, tmp_path, tmp_path / "none"))]
    assert re.search(r"(?<!\\)[*<>]", section.split("](")[1].split("`python")[0]) is None
