"""The report page: one self-contained HTML file with verdict, pictures, tables and provenance."""

from __future__ import annotations

import base64
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import FIGURES, store
from figures.render import render

if TYPE_CHECKING:
    import pandas as pd

STUDY = "theory_vs_simulation"
TEMPLATE = Path(__file__).resolve().parent / "report.html"

# Column -> heading; only these are shown, the CSV files have all.
VERDICT = {
    "data_set": "data",
    "algorithm": "algorithm",
    "limits": "limits",
    "agrees": "verdict",
    "error_bound": "certified error of the theory",
    "identity_minus_simulation": "identity − simulation",
    "theory_minus_extrapolated": "theory − simulation, step → 0",
    "step_ratio": "step halved: difference falls by",
    "why_not": "why not",
}
COMPARISON = {
    "data_set": "data",
    "algorithm": "algorithm",
    "rho": "ρ",
    "step_size": "step",
    "steps": "steps",
    "test_loss_theory": "test loss: theory",
    "test_loss_simulation": "simulation",
    "test_loss_identity": "identity",
    "theory_minus_simulation": "theory − simulation",
    "theory_minus_extrapolated": "step → 0",
    "identity_minus_simulation": "identity − simulation",
    "error_bound": "error bound",
    "residual": "residual",
    "alpha_effective_min": "α eff. min",
    "alpha_effective_mean": "mean",
    "alpha_effective_max": "max",
    "l1_norm": "l1",
    "l2_norm": "l2",
    "sharpness": "sharpness",
    "status_simulation": "simulation status",
    "seconds_theory": "s, theory",
    "seconds_simulation": "s, simulation",
}
CURVES = {
    "algorithm": "algorithm",
    "rho": "ρ",
    "step": "step",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_loss_theory": "theory",
    "test_loss_identity": "identity",
}
COORDINATES = {
    "algorithm": "algorithm",
    "rho": "ρ",
    "coordinate": "coordinate",
    "alpha_effective_theory": "α eff.: theory",
    "alpha_effective_identity": "identity",
    "beta_theory": "β: theory",
    "beta_simulation": "simulation",
}
SHOWN_ROWS = 120
TITLES = {
    "loss_curves": "Training curves and the predicted test loss",
    "alpha_effective": "Effective initialisation per coordinate",
    "test_loss_vs_rho": "Test loss against the radius",
}


def cell(value: Any) -> str:
    """Format one value: text as it is, numbers with as many digits as a reader can use."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or str(type(value).__name__) == "bool":
        return "agrees" if value else "DISAGREES"
    if value != value:
        return "–"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", "\u2009")
    return f"{value:.2e}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.5g}"


def rows(table: pd.DataFrame, columns: dict[str, str]) -> dict[str, Any]:
    """Return headings and formatted cells; evenly spaced rows of a long table, and how many."""
    step = -(-len(table) // SHOWN_ROWS)
    shown = table.iloc[:: max(step, 1)]
    present = [name for name in columns if name in table.columns]
    if "why_not" in present and (table["why_not"].isna() | table["why_not"].eq("")).all():
        present.remove("why_not")
    body = [
        [cell("" if name == "why_not" and value != value else value) for name, value in record]
        for record in (zip(present, line, strict=True) for line in shown[present].to_numpy(object))
    ]
    return {
        "headings": [columns[name] for name in present],
        "body": body,
        "shown": len(shown),
        "all": len(table),
    }


def picture(name: str, folder: Path | None) -> dict[str, str]:
    """Return a drawn picture as a data address, with its caption and the commands that make it."""
    module = import_module(f"figures.{name}")
    svg = base64.b64encode(render(name, "svg", folder=folder)).decode()
    return {
        "title": TITLES[name],
        "address": f"data:image/svg+xml;base64,{svg}",
        "alt": module.ALT,
        "caption": module.CAPTION,
        "command": f"python -m analysis {FIGURES[name][1]} && python -m figures {name}",
        "source": f"results/{FIGURES[name][0]}.csv",
    }


def page(folder: Path | None = None) -> tuple[str, int, int]:
    """Build the page from the tables.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where the tables are, ``results/`` by default.

    Returns
    -------
    html : str
        Refers to nothing outside itself.
    agree, compared : int
        Comparisons that agree, and all.

    Raises
    ------
    MissingTable
        A table is not there.
    """
    import jinja2

    tables = {
        name: store.read_table(name, STUDY, folder=folder)
        for name in ("verdict", "theory_vs_simulation", "loss_curves", "alpha_effective")
    }
    verdict, sidecar = tables["verdict"]
    coordinates = tables["alpha_effective"][0]
    first = coordinates[coordinates["data_set"] == coordinates["data_set"].iloc[0]]
    largest = first.groupby("algorithm")["rho"].transform("max")
    pictures = [name for name, (_, study) in FIGURES.items() if study == STUDY]
    figures = [picture(name, folder) for name in pictures]
    details = {
        "loss_curves": rows(tables["loss_curves"][0], CURVES),
        "alpha_effective": rows(first[first["rho"] == largest], COORDINATES),
        "theory_vs_simulation": rows(tables["theory_vs_simulation"][0], COMPARISON),
    }
    for figure, name in zip(figures, pictures, strict=True):
        figure["details"] = details[FIGURES[name][0]]  # type: ignore[assignment]
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    agree, compared = int(verdict["agrees"].sum()), len(verdict)
    html = template.render(
        agree=agree,
        compared=compared,
        limits=int(verdict["limits"].sum()),
        verdict=rows(verdict, VERDICT),
        figures=figures,
        data_sets=sidecar["settings"]["data_sets"],
        settings=sidecar["settings"],
        provenance=sidecar["provenance"],
    )
    return html, agree, compared
