"""``python -m figures NAME``: draw one picture, all pictures of a study, or the report page."""

from __future__ import annotations

import argparse
import io
import sys
from importlib import import_module
from pathlib import Path

from figures import FIGURES, store

FORMATS = ("svg", "pdf", "png")


def render(name: str, file_format: str, *, folder: Path | None = None) -> bytes:
    """Draw a picture from its table and return it as a file.

    Parameters
    ----------
    name : str
        A picture of :data:`figures.FIGURES`.
    file_format : {"svg", "pdf", "png"}
        Of the file; text stays text in SVG and PDF.
    folder : pathlib.Path, optional
        Where the tables are, ``results/`` by default.

    Returns
    -------
    bytes
        The same for the same table.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from figures import style

    table, _ = store.read_table(*FIGURES[name], folder=folder)
    figure = import_module(f"figures.{name}").draw(table)
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[file_format]
    buffer = io.BytesIO()
    with style.house(name):
        figure.savefig(buffer, format=file_format, metadata=undated)
    plt.close(figure)
    return buffer.getvalue()


def main(argv: list[str] | None = None) -> int:
    """Draw what the command line names.

    Exit status 2 for an unknown name, a missing table or a file that cannot be written; 1 if a
    comparison in the report fails.
    """
    studies = sorted({study for _, study in FIGURES.values()})
    known = ", ".join([*FIGURES, *studies, "report"])
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description="Draw a picture, all pictures of a study, or the report page, from results/.",
    )
    parser.add_argument("name", metavar="NAME", help=known)
    name = parser.parse_args(argv).name
    chosen = [figure for figure, (_, study) in FIGURES.items() if name in (figure, study)]
    if not chosen and name != "report":
        print(f"no picture named {name}; known: {known}", file=sys.stderr)
        return 2
    try:
        for figure in chosen:
            for file_format in FORMATS:
                path = store.RESULTS / "figures" / f"{figure}.{file_format}"
                store.write_atomically(path, render(figure, file_format))
            print(f"results/figures/{figure}: {', '.join(FORMATS)}")
        if name == "report":
            from figures import report

            html, agree, compared = report.page()
            store.write_atomically(store.RESULTS / "report" / "index.html", html.encode())
            print(f"results/report/index.html: {agree} of {compared} comparisons agree")
            return 0 if agree == compared else 1
    except (OSError, ValueError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
