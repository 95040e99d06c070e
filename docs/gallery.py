"""The gallery: every picture of every study, drawn from its table while the pages are built.

A picture whose table is not there is shown as it is kept in docs/images, if it is, and always with
the commands that make it: a fresh clone has no tables.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from analysis import STUDIES
from figures import FIGURES, store
from figures.render import render

KEPT = Path(__file__).resolve().parent / "images"
INTRODUCTION = """# Figures

One picture per table, drawn from that table alone. What this build found no table for is made by
the command beside it, and all that is missing, in quick sizes, by `python -m figures all --quick`.
"""


def page(folder: Path, *, results: Path | None = None) -> str:
    """Return the page, its pictures drawn into a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where the pictures go; the page lies beside it.
    results : pathlib.Path, optional
        Where the tables are, ``results/`` of the checkout by default.

    Returns
    -------
    str
        Markdown, a section per study in the order of the studies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [INTRODUCTION]
    for study, question in STUDIES.items():
        names = [name for name, (_, home) in FIGURES.items() if home == study]
        if names:
            sentence = f"{question[0].upper()}{question[1:]}."
            lines += [f"## {study.replace('_', ' ')}", "", sentence, ""]
        for name in names:
            lines += section(name, folder, results)
    return "\n".join(lines)


def section(name: str, folder: Path, results: Path | None) -> list[str]:
    """Return picture, caption and commands of one figure."""
    module = import_module(f"figures.{name}")
    commands = f"`python -m analysis {FIGURES[name][1]}`, `python -m figures {name}`"
    shown, note = picture(name, folder, results)
    lines = [f"### {name}", ""]
    if shown:
        lines += [f"![{escaped(module.ALT)}]({shown})", "", escaped(module.CAPTION), ""]
    return [*lines, f"{note}Made by {commands}.", ""]


def picture(name: str, folder: Path, results: Path | None) -> tuple[str, str]:
    """Draw a picture if its table can be used: its address in the page, and what to say of it."""
    try:
        content = render(name, "png", folder=results)
        _, sidecar = store.read_table(*FIGURES[name], folder=results)
    except store.MissingTable:
        kept = KEPT / f"{name}.png"
        if not kept.is_file():
            return "", "No table in this build. "
        return os.path.relpath(kept, folder.parent), "As kept with the sources. "
    except ValueError as error:
        return "", f"Not drawn: {escaped(str(error))}. "
    path = folder / f"{name}.png"
    if not path.is_file() or path.read_bytes() != content:
        store.write_atomically(path, content)
    size = sidecar.get("provenance", {}).get("size")
    return f"{folder.name}/{path.name}", f"Size of the study: {size}. " if size else ""


def escaped(text: str) -> str:
    """Return text in which Markdown sees no markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>$|#" else c for c in text)
