"""The page of the explorer as HTML text: sentences, pictures and the tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sam_theory.explorer import pictures
from sam_theory.explorer.model import Answer, Row, certificates, numbers
from sam_theory.explorer.sources import Problem

STYLE = """<style>
.st-heading {padding-right: 3rem;}
.st-heading h1 {font-size: 1.5rem; font-weight: 600; margin: 0 0 0.3rem 0;}
.st-grid {display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr));
  gap: 0.4rem 2rem; align-items: start;}
.st-pictures {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 1rem;}
.st-pictures svg {width: 100%; max-width: 34rem; height: auto; display: block; background: #fff;}
.st-note {border-left: 4px solid #E69F00; background: #FFF8E6; color: #222; margin: 0.3rem 0;
  padding: 0.4rem 0.7rem;}
.st-scroll {overflow-x: auto;}
table.st-numbers {border-collapse: collapse; width: 100%; font-size: 0.85rem; line-height: 1.3;}
.st-numbers th, .st-numbers td {padding: 0.3rem 0.5rem; border-bottom: 1px solid #ddd;
  text-align: right; vertical-align: top; font-variant-numeric: tabular-nums;}
.st-numbers td {white-space: nowrap;}
.st-numbers .st-words td {white-space: normal;}
.st-numbers th:first-child {text-align: left; font-weight: 500; width: 34%;}
@media (max-width: 40rem) {.st-numbers th, .st-numbers td {padding: 0.3rem 0.2rem;}}
.st-numbers small {display: block; color: #666; font-weight: 400;}
.st-swatch {display: inline-block; width: 0.7em; height: 0.7em; margin-right: 0.35em;}
</style>"""
"""Style sheet of everything here; its classes begin with ``st-``."""
HEADING = (
    f'{STYLE}<div class="st-heading"><h1>Which solution does SAM select?</h1>'
    "<p>Diagonal linear networks trained from u = α, v = 0 with step size to 0: the limits by "
    "theory, each with its certificate, and that of gradient descent beside them.</p></div>"
)
"""Top of the page."""
PREPARING = "Preparing: compiling, half a minute the first time, then about a second"
"""Shown until answers can be given."""


def grid(elements: Sequence[object]) -> str:
    """Return controls side by side, as many as fit; each element formats itself as HTML."""
    return '<div class="st-grid">' + "".join(f"<div>{one}</div>" for one in elements) + "</div>"


def sentence(text: str) -> str:
    """Return one sentence as a paragraph that stands out."""
    return f'<p class="st-note" role="status">{escape(text)}</p>'


def results(problem: Problem, found: Sequence[Answer], alpha: float) -> str:
    """Return everything below the sliders.

    Parameters
    ----------
    problem : Problem
        The data, or why there are none.
    found : sequence of Answer
        The answers to show, GD first.
    alpha : float
        Initial scale.

    Returns
    -------
    str
        HTML.
    """
    data = problem.data
    if data is None:
        return sentence(problem.sentence)
    notes = [sentence(f"{one.choice.label}: {one.sentence}.") for one in found if one.sentence]
    drawn = [
        pictures.coefficients(data, found),
        pictures.scales(data, found, alpha),
        pictures.against(data, found),
    ]
    size = f"n = {data.n} rows, d = {data.d} columns, rank {data.rank}"
    return "".join(
        [
            f"<p>{escape(size)}</p>",
            *notes,
            '<div class="st-pictures">',
            *(f"<div>{picture}</div>" for picture in drawn if picture),
            "</div>",
            table("limit", found, numbers(data, found)),
            table("certificate", found, certificates(found)),
        ]
    )


def table(title: str, found: Sequence[Answer], rows: Sequence[Row]) -> str:
    """Return numbers as a table, one column per algorithm; empty without rows.

    Parameters
    ----------
    title : str
        Name of the table; that of the limits also has a row of statuses.
    found : sequence of Answer
        One per column.
    rows : sequence of Row
        Numbers that are proved bounds are marked with "≤".

    Returns
    -------
    str
        HTML.
    """
    if not rows:
        return ""
    names = [escape(one.choice.label).replace(" = ", "&#160;=&#160;") for one in found]
    head = "".join(
        f"<th>{_swatch(one, found)}{name}</th>" for one, name in zip(found, names, strict=True)
    )
    lines = [f"<thead><tr><th>{escape(title)}</th>{head}</tr></thead><tbody>"]
    if title == "limit":
        cells = "".join(f"<td>{escape(one.status.replace('_', ' '))}</td>" for one in found)
        lines.append(f'<tr class="st-words"><th>status</th>{cells}</tr>')
    for row in rows:
        cells = "".join(f"<td>{_cell(value, row.bound)}</td>" for value in row.values)
        meaning = f"<small>{escape(row.meaning)}</small>"
        lines.append(
            f'<tr data-row="{escape(row.name, quote=True)}">'
            f"<th>{escape(row.name)}{meaning}</th>{cells}</tr>"
        )
    body = "".join(lines)
    return f'<div class="st-scroll"><table class="st-numbers">{body}</tbody></table></div>'


def _cell(value: float | None, bound: bool) -> str:
    if value is None:
        return "–"
    return f"≤ {value:.1e}" if bound else f"{value:.4g}"


def _swatch(one: Answer, found: Sequence[Answer]) -> str:
    color = pictures.COLORS[one.choice.kind]
    fill = "#fff" if pictures.hollow(one, found) else color
    return f'<span class="st-swatch" style="background:{fill};border:1.5px solid {color}"></span>'
