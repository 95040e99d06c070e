"""``sam-theory sweep FILE.toml``: a sweep described in a file."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_theory.commands import Command, Show
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.sweeps.tables import Status, Sweep

HELP = "run a study over a grid of settings: parallel, cached, resumable"
EPILOG = """\
FILE.toml, with paths relative to it:

  study = "study.py:limit"         # or "package.module:function"; returns a mapping or a DataFrame
  cache = "cache"                  # folder of the results; a second run computes what is missing
  output = "limits.csv"            # the table, and limits.json with settings, versions, failures
  workers = 2                      # optional, by default all cores
  [grid]                           # every combination, or [[table]] for one row after another
  rho = [0.01, 0.03, 0.1]
  algorithm = ["n-sam", "1-sam"]
  [common]                         # optional, arguments that all cells share
  alpha = 0.1
  [data.spectra]                   # optional, more of them: read as a Regression
  file = "spectra.csv"
  target = "glucose"

optional too: depends = ["helpers.py"] (sources that count as the study's), backend = "dask" and
scheduler = "tcp://HOST:PORT" (a Dask cluster; needs the extra distributed).

exit status: 0, 1 if cells have failed, 2 for an error.
example: sam-theory sweep sweep.toml --workers 4"""
_FIELDS = {
    "study": str,
    "cache": str,
    "output": str,
    "workers": int,
    "backend": str,
    "scheduler": str,
    "depends": list,
    "grid": dict,
    "table": list,
    "common": dict,
    "data": dict,
}
_SHOWN = 10


@dataclass(frozen=True)
class Description:
    """What a file asks for, its paths made absolute."""

    study: str
    cache: str
    grid: Any
    output: str | None = None
    workers: int | None = None
    backend: str = "loky"
    scheduler: str | None = None
    depends: tuple[str, ...] = ()
    common: dict[str, Any] = field(default_factory=dict)
    data: dict[str, dict[str, str]] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("file", metavar="FILE.toml", help="what to run, see below")
    parser.add_argument("--status", action="store_true", help="say what is done, compute nothing")
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time")
    parser.add_argument("--output", metavar="OUT.csv", help="where to write the table")
    parser.add_argument("--backend", metavar="loky|dask", help="this machine, or a Dask cluster")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster")
    parser.add_argument(
        "--retry-failed", action="store_true", help="compute cells again that have failed"
    )


def sweep(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command; returns the exit status.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of :func:`add_arguments`.
    show : callable
        Prints a text.

    Raises
    ------
    InputError
        The file, the study, the cache or the output cannot be used.
    """
    from sam_theory.sweeps import runner

    asked = read(arguments.file)
    same: dict[str, Any] = {
        "cache": asked.cache,
        "common": _common(asked),
        "depends": asked.depends,
    }
    if arguments.status:
        found = runner.status(asked.study, asked.grid, **same)
        show(_status_text(found))
        return 0
    output = arguments.output or asked.output
    target = _checked_output(output, arguments, asked)
    done = runner.run(
        asked.study,
        asked.grid,
        **same,
        workers=asked.workers if arguments.workers is None else arguments.workers,
        backend=arguments.backend or asked.backend,
        scheduler=arguments.scheduler or asked.scheduler,
        retry_failed=arguments.retry_failed,
        progress=sys.stderr.isatty(),
    )
    _write(target, arguments, asked, done)
    show(_text(target, done))
    return 1 if len(done.failures) else 0


def read(path: str) -> Description:
    """Read a file; InputError names what in it cannot be used."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    except ValueError as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: lists or tables are nested too deep") from None
    _check_fields(path, content)
    folder = os.path.dirname(os.path.abspath(path))
    return Description(
        study=_study(content["study"], folder),
        cache=os.path.join(folder, content["cache"]),
        grid=content["grid"] if "grid" in content else content["table"],
        output=os.path.join(folder, content["output"]) if "output" in content else None,
        workers=content.get("workers"),
        backend=content.get("backend", "loky"),
        scheduler=content.get("scheduler"),
        depends=tuple(
            os.path.join(folder, home) if home.endswith(".py") else home
            for home in content.get("depends", [])
        ),
        common=content.get("common", {}),
        data={
            name: entry | {"file": os.path.join(folder, entry["file"])}
            for name, entry in content.get("data", {}).items()
        },
        content=content,
    )


def _check_fields(path: str, content: dict[str, Any]) -> None:
    for name, value in content.items():
        if name not in _FIELDS:
            raise InputError(f"{path}: unknown key {name!r}; known are {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise InputError(f"{path}: {name} must be {_form(_FIELDS[name])}, not {value!r}")
    if not all(isinstance(home, str) for home in content.get("depends", [])):
        raise InputError(f"{path}: depends must be a list of module names or paths of .py files")
    texts = [(name, value) for name, value in content.items() if isinstance(value, str)]
    texts += [("depends", home) for home in content.get("depends", [])]
    for name, text in texts:
        if "\0" in text:
            raise InputError(f"{path}: {name} holds a zero character")
    for name in ("study", "cache"):
        if name not in content:
            raise InputError(f"{path}: {name} is missing")
    if ("grid" in content) == ("table" in content):
        raise InputError(f"{path}: give either [grid] or [[table]]")
    for name, entry in content.get("data", {}).items():
        where = f"{path}: [data.{name}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise InputError(f'{where} must say file = "..."')
        for key, value in entry.items():
            if key not in ("file", "target"):
                raise InputError(f"{where}: unknown key {key!r}; known are file, target")
            if not isinstance(value, str):
                raise InputError(f"{where}: {key} must be a string, not {value!r}")
            if "\0" in value:
                raise InputError(f"{where}: {key} holds a zero character")
        if name in content.get("common", {}):
            raise InputError(f"{path}: {name!r} is in [common] and in [data]")


def _form(kind: type) -> str:
    return {str: "a string", int: "an integer", list: "a list", dict: "a table"}[kind]


def _study(name: str, folder: str) -> str:
    home, colon, function = name.rpartition(":")
    if home.endswith(".py"):
        return f"{os.path.join(folder, home)}{colon}{function}"
    if folder not in sys.path:
        # Last: what stands beside the file hides no installed module.
        sys.path.append(folder)
    return name


def _common(asked: Description) -> dict[str, Any]:
    from sam_theory.regression import Regression

    loaded = {}
    for name, entry in asked.data.items():
        data = Regression.from_file(entry["file"], entry.get("target"))
        # Named as in the file, so that the folder may move without computing anything again.
        source = asked.content["data"][name]["file"]
        test = None if data.test is None else replace(data.test, source=source)
        loaded[name] = replace(data, source=source, test=test)
    return asked.common | loaded


def _checked_output(output: str | None, arguments: argparse.Namespace, asked: Description) -> Path:
    """Refuse an output that cannot or must not be written, before anything is computed."""
    from sam_theory.output import check_writable

    if output is None:
        raise InputError(f"{arguments.file}: output is missing (or give --output OUT.csv)")
    where = f"--output {output}" if arguments.output else f"{arguments.file}: output {output}"
    if not output.endswith(".csv"):
        raise InputError(f"{where}: must end with .csv")
    target = Path(os.path.realpath(output))
    inputs = [arguments.file, asked.study.rpartition(":")[0], *asked.depends]
    inputs += [entry["file"] for entry in asked.data.values()]
    for path in (target, target.with_suffix(".json")):
        if str(path) in map(os.path.realpath, inputs):
            raise InputError(f"{where}: would overwrite {path.name}, which is an input")
        check_writable(where, path)
    return target


def _write(target: Path, arguments: argparse.Namespace, asked: Description, done: Sweep) -> None:
    from sam_theory import output

    table = done.table
    header = [str(name) for name in table.columns]
    rows = [list(row) for row in table.itertuples(index=False, name=None)]
    content = {
        "sweep": _readable(asked.content),
        "cells": done.cells,
        "rows": len(rows),
        "failures": done.failures.to_dict("records"),
    }
    paths = {"csv": str(target), "json": str(target.with_suffix(".json"))}
    settings = argparse.Namespace(command="sweep", file=arguments.file, **paths)
    output.write(output.Report("", header, rows, content), settings)


def _readable(value: Any) -> Any:
    """Return what the file says with inf and nan as words; JSON has no numbers for them."""
    if isinstance(value, dict):
        return {name: _readable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_readable(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(target: Path, done: Sweep) -> str:
    lines = [str(done), f"{target.name}: {len(done.table)} rows", *_reasons(done.failures)]
    return "\n".join(lines)


def _status_text(found: Status) -> str:
    bad = found.table[found.table["state"].isin(["failed", "damaged"])]
    return "\n".join([str(found), *_reasons(bad)])


def _reasons(cells: pd.DataFrame) -> list[str]:
    from sam_theory.sweeps.grids import RESERVED

    lines = []
    for row in cells.head(_SHOWN).to_dict("records"):
        settings = [f"{name}={row[name]!r}" for name in row if name not in RESERVED]
        state, kind = row.get("state", "failed"), row.get("error_type")
        error = row["error"] if kind is None else f"{kind}: {row['error']}"
        lines.append(" ".join(f"{state} at {', '.join(settings)}: {error}".split()))
    if len(cells) > _SHOWN:
        lines.append(f"... and {len(cells) - _SHOWN} more")
    return lines


COMMANDS = (Command("sweep", HELP, EPILOG, add_arguments, sweep),)
