"""A picture as a file: drawn from its table, the same bytes for the same table."""

from __future__ import annotations

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from figures import FIGURES, store

FORMATS = ("svg", "pdf", "png")


def render(name: str, file_format: str, *, folder: Path | None = None) -> bytes:
    """Draw a picture from its table and return it as a file.

    Parameters
    ----------
    name : str
        A picture of :data:`figures.FIGURES`.
    file_format : {"svg", "pdf", "png"}
        Of the file; text stays text in SVG and PDF. Its metadata hold the settings of the study.
    folder : pathlib.Path, optional
        Where the tables are, ``results/`` by default.

    Returns
    -------
    bytes
        The same for the same table.

    Raises
    ------
    MissingTable, UnfitTable
        The table is not there, cannot be read, or lacks what the picture needs.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from figures import style

    source, study = FIGURES[name]
    table, sidecar = store.read_table(source, study, folder=folder)
    draw, buffer = import_module(f"figures.{name}").draw, io.BytesIO()
    metadata = _metadata(file_format, name, sidecar)
    before = plt.get_fignums()
    try:
        figure = draw(table)
        with style.house(name):
            figure.savefig(buffer, format=file_format, metadata=metadata)
    except Exception as error:  # of any class: the columns of a foreign table hold anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(f"{name} cannot be drawn from it ({kind}{error})".split())
        path = (store.RESULTS if folder is None else folder) / f"{source}.csv"
        raise store.UnfitTable(path, study, f"does not fit: {reason}") from error
    finally:
        for number in set(plt.get_fignums()) - set(before):
            plt.close(number)
    return buffer.getvalue()


def _metadata(file_format: str, name: str, sidecar: dict[str, Any]) -> dict[str, str | None]:
    """Return title and settings under the names that the format knows; no date of drawing."""
    settings = json.dumps(
        {"table": f"{FIGURES[name][0]}.csv", "settings": sidecar.get("settings", {})}
    )
    described: dict[str, dict[str, str | None]] = {
        "svg": {"Title": name, "Description": settings, "Date": None},
        "pdf": {"Title": name, "Subject": settings, "CreationDate": None},
        "png": {"Title": name, "Description": settings},
    }
    return described[file_format]
