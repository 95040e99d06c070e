"""The pages of the documentation that are made from the code: API, theorems, command line.

They go to docs/_made, which is not under version control, when Sphinx starts; with them the gallery
of :mod:`gallery`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import gallery

ROOT = Path(__file__).resolve().parents[1]

NAMESPACES = {
    "sam_theory": "Diagonal linear networks, algorithms and data",
    "sam_theory.convergence": "Convergence theorems",
    "sam_theory.relu": "One-hidden-layer ReLU networks",
    "sam_theory.deep": "Deep networks",
    "sam_theory.deep.data": "Image data",
    "sam_theory.sweeps": "Sweeps",
}
"""Packages whose public names are documented, in the order of the index."""
RETURNED = {
    "sam_theory": [
        "sam_theory.diagonal.certificate.Certificate",
        "sam_theory.diagonal.minimizer.PotentialMinimum",
        "sam_theory.diagonal.flow.FlowPath",
        "sam_theory.diagonal.descent.Descent",
        "sam_theory.diagonal.settings.Batch",
        "sam_theory.row_space.RowSpace",
        "sam_theory.preprocessing.Preprocessing",
    ],
    "sam_theory.convergence": [
        "sam_theory.convergence.theorems.Measurement",
        "sam_theory.convergence.performance_estimation.WorstCase",
    ],
    "sam_theory.relu": ["sam_theory.relu.geometry.Kinks"],
    "sam_theory.deep": [
        "sam_theory.deep.network.Pass",
        "sam_theory.deep.sharpness.Alignment",
        "sam_theory.deep.hessian.TopEigenvalue",
        "sam_theory.deep.runs.state.Snapshot",
        "sam_theory.deep.runs.experiment.Experiment",
        "sam_theory.deep.checkpoints.Found",
    ],
    "sam_theory.deep.data": ["sam_theory.deep.data.augment.Draws"],
}
"""Classes that public functions return and nobody has to import."""
SHOWN = {
    "limit-cycle": "quadratic",
    "normalized-edge": "quadratic",
    "normalized-floor": "quadratic",
    "quadratic-edge": "quadratic",
    "quadratic-rate": "quadratic",
    "spurious-point": "double_well",
    "T3": "slow_quadratic",
}
"""Problem on which a theorem's page verifies it; noisy_quadratic where none is named."""
SEEDS = 200


def public_names(package: str) -> list[str]:
    """Return the public names of a package."""
    module = import_module(package)
    return [name for name in getattr(module, "__all__", ()) if not name.startswith("_")]


def load(path: str) -> Any:
    """Return what a dotted path names: a module, a member of one, or of a class in one."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(path)


def api(package: str, title: str) -> str:
    """Return the page of a package, one entry per public name, then what its functions return."""
    lines = [f"# {title}", "", f"`{package}`", ""]
    summary = inspect.getdoc(import_module(package))
    if summary:
        lines += [summary.splitlines()[0], ""]
    for name in public_names(package):
        lines += [f"## {name}", "", *_entry(f"{package}.{name}"), ""]
    if package in RETURNED:
        lines += ["## Returned by the above", ""]
    for path in RETURNED.get(package, ()):
        lines += [f"### {path.rpartition('.')[2]}", "", *_entry(path), ""]
    return "\n".join(lines)


def _entry(path: str) -> list[str]:
    value = load(path)
    if not callable(value):
        return _constant(path, value)
    kind = "class" if inspect.isclass(value) else "function"
    options = ["   :members:"] if kind == "class" else []
    return ["```{eval-rst}", f".. auto{kind}:: {path}", *options, "```"]


def _constant(path: str, value: Any) -> list[str]:
    """Return the sentence under the assignment, and the keys of a mapping with what they name."""
    lines = ["```{eval-rst}", f".. data:: {path}", "", f"   {constant_doc(path)}", "```"]
    if isinstance(value, Mapping):
        lines += ["", *(f"- `{key}`{_about(one)}" for key, one in value.items())]
    return lines


def _about(value: Any) -> str:
    title = getattr(value, "title", None)
    return f": {title}" if isinstance(title, str) else ""


def constant_doc(path: str) -> str:
    """Return the string that follows the assignment of a public constant; empty without one."""
    package, _, name = path.rpartition(".")
    module = import_module(package)
    home = getattr(module, "_HOME", {}).get(name)
    source = inspect.getsource(import_module(f"{package}.{home}") if home else module)
    body = ast.parse(source).body
    for one, after in zip(body, body[1:], strict=False):
        targets = getattr(one, "targets", [getattr(one, "target", None)])
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            value = getattr(after, "value", None)
            return value.value if isinstance(value, ast.Constant) else ""
    return ""


def theorem_page(name: str, folder: Path) -> str:
    """Return the page of one theorem: statement, assumptions, verification; draws its plot."""
    from sam_theory import convergence as rates

    theorem = rates.theorem(name)
    problem = rates.problem(SHOWN.get(name, "noisy_quadratic"))
    batch = 1 if theorem.expectation else None
    table = rates.verify(theorem, problem, batch_size=batch, seeds=SEEDS)
    axes = rates.plot(table)
    axes.set_ylabel(theorem.quantity)
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=110)
    (folder / f"{name}.png").write_bytes(buffer.getvalue())
    shown = ["T", "measured", "confidence_bound", "predicted", "slack", "verdict"]
    rows = [f"| {' | '.join(shown)} |", f"|{'---|' * len(shown)}"]
    for row in table[shown].itertuples(index=False):
        cells = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in row]
        rows.append(f"| {' | '.join(cells)} |")
    proved = {None: "quoted", 1: "proved here", 0: "proved here"}.get(
        theorem.proved_from, f"proved here for T ≥ {theorem.proved_from}"
    )
    sides = {"upper": "an upper bound", "lower": "a lower bound", "tight": "an equality"}
    return "\n".join(
        [
            f"# {name}: {theorem.title}", "", "$$", theorem.statement, "$$", "",
            f"It is {sides[theorem.kind]}; {proved}. Source: {theorem.source}.", "",
            "## Assumptions", "",
            *(f"- **{a.name}**: {a.text}" for a in theorem.assumptions), "",
            f"## On {problem.name}", "",
            f"{problem.about}; batch size {table['batch_size'].iloc[0]}.",
            "", f"![measured and predicted against T]({name}.png)", "", *rows, "",
            f"Made by `sam-theory rates --theorem {name} --problem {problem.name}"
            + (f" --batch-size 1 --seeds {SEEDS}`." if batch else "`."), "",
        ]
    )  # fmt: skip


def command_page() -> str:
    """Return the help of every subcommand."""
    from sam_theory.cli import build_parser

    parser = build_parser()
    (commands,) = (a for a in parser._actions if hasattr(a, "choices") and a.choices)
    lines = ["# Command line", ""]
    for name, one in commands.choices.items():
        lines += [f"## sam-theory {name}", "", "```text", one.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Write all pages; what did not change is left alone."""
    from sam_theory.convergence import THEOREMS

    theorems = folder / "theorems"
    theorems.mkdir(parents=True, exist_ok=True)
    for package, title in NAMESPACES.items():
        _update(folder / f"{package.replace('.', '_')}.md", api(package, title))
    made_from = f"% made from {_digest()}\n\n"
    for name in THEOREMS:
        page = theorems / f"{name}.md"
        if not (page.exists() and page.read_text(encoding="utf-8").startswith(made_from)):
            _update(page, made_from + theorem_page(name, theorems))
    listing = "\n".join(THEOREMS)
    index = f"# One page per theorem\n\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"
    _update(theorems / "index.md", index)
    _update(folder / "commands.md", command_page())
    _update(folder / "figures.md", gallery.page(folder / "figures"))


def _digest() -> str:
    """Return a digest of all that a theorem's page depends on."""
    sources = [Path(__file__), *sorted((ROOT / "sam_theory" / "convergence").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _update(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
