"""The report page: one self-contained HTML file, verdicts first, then pictures and tables."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import FIGURES, store
from figures.render import render

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = "claims"
MAIN = "theory_vs_simulation"
"""The study whose data sets the page describes."""
TEMPLATE = Path(__file__).resolve().parent / "report.html"
MARKS = {"holds": "good", "contradicted": "bad", "not shown": "open", "not run": "open"}
SHOWN_ROWS = 40
LEAST = 0.8
"""Of a picture's own width: on a narrower screen it is scrolled, not shrunk beyond reading."""
COMMON = ("python", "numpy", "scipy", "numba", "pandas", "machine", "sam_theory")
"""Of the provenance: shown once if all studies share it."""


def cell(value: Any) -> str:
    """Format one value: text as it is, numbers with as many digits as a reader can use."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or str(type(value).__name__) == "bool":
        return "yes" if value else "no"
    if value is None or value != value:
        return "–"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", "\u2009")
    return f"{value:.2e}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.5g}"


def rows(table: pd.DataFrame) -> dict[str, Any]:
    """Return headings and formatted cells; evenly spaced rows of a long table, and how many.

    Columns in which every value is missing are left out; "texts" says which are not numbers.
    """
    from pandas.api.types import is_numeric_dtype

    shown = table.dropna(axis="columns", how="all").iloc[:: max(-(-len(table) // SHOWN_ROWS), 1)]
    return {
        "headings": [str(name).replace("_", " ") for name in shown.columns],
        "texts": [not is_numeric_dtype(shown[name]) for name in shown.columns],
        "body": [[cell(value) for value in line] for line in shown.to_numpy(object)],
        "shown": len(shown),
        "all": len(table),
    }


def picture(name: str, folder: Path | None) -> dict[str, Any]:
    """Return a drawn picture as a data address, its caption, table and the commands that make it.

    Raises
    ------
    MissingTable
        Its table is not there.
    """
    source, study = FIGURES[name]
    table, sidecar = store.read_table(source, study, folder=folder)
    module = import_module(f"figures.{name}")
    svg = render(name, "svg", folder=folder)
    width = re.search(rb'<svg[^>]* width="([\d.]+)pt"', svg)
    assert width is not None
    full = " --full" if sidecar["provenance"].get("size") == "full" else ""
    return {
        "name": name,
        "title": (module.__doc__ or name).split("\n\n")[0].replace("\n", " ").rstrip("."),
        "address": f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}",
        "least": round(LEAST * float(width[1]) * 4 / 3),
        "alt": module.ALT,
        "caption": module.CAPTION,
        "command": f"python -m analysis {study}{full} && python -m figures {name}",
        "source": f"results/{source}.csv",
        "details": rows(table),
    }


def sections(claims: pd.DataFrame, folder: Path | None) -> Iterator[dict[str, Any]]:
    """Yield, for every group of claims, its rows, pictures, and those that could not be drawn.

    These are "missing", without a table, or "unfit": lines that say why their table is none.
    """
    for group, part in claims.groupby("group", sort=False):
        drawn, missing, unfit = [], [], []
        for study in dict.fromkeys(part["study"]):
            for name in (name for name, (_, home) in FIGURES.items() if home == study):
                try:
                    drawn.append(picture(name, folder))
                except store.MissingTable as error:
                    missing.append({"name": name, "command": error.command})
                except store.UnfitTable as error:
                    unfit.append({"name": name, "line": str(error)})
        told = part.astype(object).where(part.notna(), "")
        yield {
            "title": group, "claims": told.to_dict("records"), "figures": drawn,
            "missing": missing, "unfit": unfit,
        }  # fmt: skip


def provenance(claims: pd.DataFrame, folder: Path | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what all studies share, and a table with the rest, study by study."""
    import pandas as pd

    studies: dict[str, dict[str, Any]] = {}
    for table, study in FIGURES.values():
        if study in set(claims["study"]) - set(studies):
            try:
                _, sidecar = store.read_table(table, study, folder=folder)
            except (store.MissingTable, store.UnfitTable):
                continue
            studies[study] = sidecar["provenance"] | {"seed": _seeds(sidecar["settings"])}
    found = pd.DataFrame.from_dict(studies, orient="index").rename_axis("study").reset_index()
    shared = {
        name: str(found[name].iloc[0])
        for name in COMMON
        if name in found and found[name].nunique() == 1
    }
    return shared, rows(found.drop(columns=list(shared)))


def _seeds(settings: dict[str, Any]) -> str:
    """Return the seeds of a study in a few words."""
    seed = settings.get("seed", settings.get("seeds", ""))
    if isinstance(seed, list) and seed:
        return f"{seed[0]} to {seed[-1]}" if len(seed) > 1 else str(seed[0])
    return str(seed)


def page(folder: Path | None = None) -> tuple[str, Counter[str], int, list[str]]:
    """Build the page from the tables that are there.

    A table that cannot be used is a line in place of its pictures.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where the tables are, ``results/`` by default.

    Returns
    -------
    html : str
        Refers to nothing outside itself.
    verdicts : collections.Counter
        How many claims have which verdict.
    failed : int
        Theorems and findings that are contradicted; a published observation that is not confirmed
        at our sizes is no failure.
    unfit : list of str
        A line for every table, other than that of the claims, that cannot be used.

    Raises
    ------
    MissingTable
        The table of claims is not there.
    UnfitTable
        The table of claims cannot be read, or rows of it are missing.
    ValueError
        It lacks a column that the page shows, or has a verdict of another kind.
    """
    import jinja2

    claims, _ = store.read_table(CLAIMS, CLAIMS, folder=folder)
    needed = (
        "group", "kind", "statement", "source", "measured", "predicted", "slack", "verdict",
        "size", "study", "command",
    )  # fmt: skip
    missing = [name for name in needed if name not in claims]
    if missing:
        raise ValueError(f"table {CLAIMS} lacks the columns {', '.join(missing)}")
    foreign = sorted({str(verdict) for verdict in claims["verdict"]} - set(MARKS))
    if foreign:
        raise ValueError(f"table {CLAIMS} has the verdict {foreign[0]}, not {', '.join(MARKS)}")
    parts = list(sections(claims, folder))
    shared, by_study = provenance(claims, folder)
    verdicts = Counter(claims["verdict"])
    lost = (claims["verdict"] == "contradicted") & (claims["kind"] != "published")
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(
        verdicts=verdicts,
        run=len(claims) - verdicts["not run"],
        failed=int(lost.sum()),
        marks=MARKS,
        sections=parts,
        data_sets=_data_sets(folder),
        shared=shared,
        by_study=by_study,
    )
    unfit = dict.fromkeys(one["line"] for part in parts for one in part["unfit"])
    return html, verdicts, int(lost.sum()), list(unfit)


def _data_sets(folder: Path | None) -> list[dict[str, Any]]:
    """Return the data sets of the main study, none if it was not run or does not tell them."""
    try:
        _, sidecar = store.read_table(MAIN, MAIN, folder=folder)
    except (store.MissingTable, store.UnfitTable):
        return []
    found = sidecar["settings"].get("data_sets", [])
    shown = {"name", "n", "test_rows", "d", "alpha", "step_sizes", "about", "licence"}
    told = isinstance(found, list) and all(isinstance(d, dict) and shown <= set(d) for d in found)
    return found if told else []
