"""The pages of the documentation that are made from the code: API, theorems, command line.

They go to docs/_made, which is not under version control, when Sphinx starts.
"""

from __future__ import annotations

import inspect
import io
from importlib import import_module
from pathlib import Path

NAMESPACES = {
    "sam_theory": "Diagonal linear networks, algorithms and data",
    "sam_theory.convergence": "Convergence theorems",
    "sam_theory.relu": "One-hidden-layer ReLU networks",
    "sam_theory.deep": "Deep networks",
    "sam_theory.deep.data": "Image data",
    "sam_theory.sweeps": "Sweeps",
}
"""Packages whose public names are documented, in the order of the index."""
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


def api(package: str, title: str) -> str:
    """Return the page of a package, one entry per public name."""
    module = import_module(package)
    lines = [f"# {title}", "", f"`{package}`", ""]
    summary = inspect.getdoc(module)
    if summary:
        lines += [summary.splitlines()[0], ""]
    for name in public_names(package):
        value = getattr(module, name)
        kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
        options = [":members:"] if kind == "class" else []
        lines += [f"## {name}", "", "```{eval-rst}", f".. auto{kind}:: {package}.{name}"]
        lines += [f"   {option}" for option in options]
        lines += ["```", ""]
    return "\n".join(lines)


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
    for name in THEOREMS:
        if not (theorems / f"{name}.md").exists():
            _update(theorems / f"{name}.md", theorem_page(name, theorems))
    listing = "\n".join(THEOREMS)
    index = f"# One page per theorem\n\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"
    _update(theorems / "index.md", index)
    _update(folder / "commands.md", command_page())


def _update(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
