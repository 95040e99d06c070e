"""What the command prints and writes: text for the screen, a table for CSV, everything for JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory import __version__
from sam_theory.diagonal.certificate import Certificate
from sam_theory.diagonal.descent import Descent
from sam_theory.diagonal.limit import ImplicitBias
from sam_theory.errors import InputError
from sam_theory.regression import Regression

_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Report:
    """Text for the screen, a table as (header, rows), and the content of the JSON file."""

    text: str
    header: list[str]
    rows: list[list[Any]]
    content: dict[str, Any]


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse an output file that cannot or must not be written, before anything is computed."""
    taken = {os.path.realpath(arguments.file): "the data"}
    for flag in ("json", "csv"):
        path = getattr(arguments, flag)
        if path is None:
            continue
        where = f"--{flag} {path}"
        target = os.path.realpath(path)
        if target in taken:
            raise InputError(f"{where}: would overwrite {taken[target]}")
        taken[target] = f"the file of --{flag}"
        check_writable(where, Path(target))


def check_writable(where: str, target: Path) -> None:
    """Refuse a file that cannot be written; the message begins with where it was named."""
    folder = target.parent
    if target.is_dir():
        raise InputError(f"{where}: is a directory")
    if target.exists() and not target.is_file():
        raise InputError(f"{where}: is not a regular file")
    if not folder.is_dir():
        raise InputError(f"{where}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise InputError(f"{where}: cannot be written")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{where}: cannot be written ({error.strerror})") from None


def limit_report(data: Regression, limit: ImplicitBias) -> Report:
    """Return the report of a limit."""
    names = _names(data)
    header = ["coordinate", "beta", "alpha_effective", "delta", "error_bound"]
    bounds = _bounds(limit)
    rows = [
        [names[j], limit.beta[j], limit.alpha_effective[j], limit.delta[j], bounds[j]]
        for j in range(data.d)
    ]
    text = [*_summary(data, limit), "", *_largest(header, rows, limit.beta)]
    return Report("\n".join(text), header, rows, _limit_content(data, limit))


def run_report(run: Descent) -> Report:
    """Return the report of a run: its loss table."""
    table = run.table
    header = [str(name) for name in table.columns]
    rows = [list(row) for row in table.itertuples(index=False)]
    text = [
        f"{run.algorithm.label}: {run.status} after {run.steps} steps, loss {run.loss:.6e}",
        "",
        *_columns(header, rows),
    ]
    content = {"run": _run_content(run), "table": [dict(zip(header, r, strict=True)) for r in rows]}
    return Report("\n".join(text), header, rows, content)


def comparison(data: Regression, limit: ImplicitBias, run: Descent) -> Report:
    """Return theory beside simulation beside the finite-step identity."""
    names = _names(data)
    identity, reached = run.limit(), run.limit(at="reached")
    header = ["coordinate", "theory", "simulation", "difference", "identity", "error_bound"]
    bounds = _bounds(limit)
    rows = [
        [
            names[j],
            limit.beta[j],
            run.beta[j],
            run.beta[j] - limit.beta[j],
            identity.beta[j],
            bounds[j],
        ]
        for j in range(data.d)
    ]
    own = float(np.max(np.abs(reached.beta - run.beta)))
    text = [
        "theory",
        *_summary(data, limit),
        "",
        f"simulation: {run.status} after {run.steps} steps, loss {run.loss:.3e}",
        f"max |simulation - theory|            {_gap(run.beta, limit.beta):.3e}"
        "   (step size, and training not finished)",
        f"max |identity - theory|              {_gap(identity.beta, limit.beta):.3e}"
        "   (step size alone)",
        f"max |simulation - identity reached|  {own:.3e}   (rounding: the identity is exact)",
        f"finite-step shift, max               {np.max(np.abs(run.shift)):.3e}",
        "",
        *_largest(header, rows, limit.beta),
    ]
    content = _limit_content(data, limit) | {
        "run": _run_content(run),
        "identity": {"beta": identity.beta.tolist(), "certificate": _certificate(identity)},
        "max_difference": {
            "simulation_theory": _gap(run.beta, limit.beta),
            "identity_theory": _gap(identity.beta, limit.beta),
            "simulation_identity_reached": own,
        },
    }
    return Report("\n".join(text), header, rows, content)


def write(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that the flags ask for: all of them, each atomically, or none."""
    texts = {}
    if arguments.csv is not None:
        stream = io.StringIO(newline="")
        writer = csv.writer(stream)
        writer.writerow(report.header)
        writer.writerows([[_cell(value) for value in row] for row in report.rows])
        texts[arguments.csv] = stream.getvalue()
    if arguments.json is not None:
        content = {"settings": _settings(arguments), "versions": _versions()} | report.content
        texts[arguments.json] = json.dumps(_clean(content), indent=1, allow_nan=False) + "\n"
    temporary: dict[str, str] = {}
    try:
        for path, text in texts.items():
            target = os.path.realpath(path)
            temporary[target] = _write_beside(Path(target), text)
        for target in list(temporary):
            os.replace(temporary[target], target)
            del temporary[target]
    finally:
        for left in temporary.values():
            Path(left).unlink(missing_ok=True)


def _write_beside(target: Path, text: str) -> str:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary


def _cell(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, float) else value


def _clean(value: Any) -> Any:
    """Return value as JSON: NumPy scalars as Python's, what is not finite as null."""
    if isinstance(value, dict):
        return {key: _clean(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if value is not None}


def _versions() -> dict[str, str]:
    import platform

    import numba
    import scipy

    return {
        "sam_theory": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
    }


def _names(data: Regression) -> list[str]:
    return (
        [str(j) for j in range(data.d)] if data.feature_names is None else list(data.feature_names)
    )


def _bounds(limit: ImplicitBias) -> np.ndarray:
    if limit.certificate is None:
        return np.full(limit.beta.shape, np.nan)
    return limit.certificate.coordinate_bounds


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.max(np.abs(first - second)))


def _certificate(limit: ImplicitBias) -> dict[str, float] | None:
    given: Certificate | None = limit.certificate
    if given is None:
        return None
    return {
        name: getattr(given, name) for name in ("residual", "stationarity", "gap", "error_bound")
    }


def _summary(data: Regression, limit: ImplicitBias) -> list[str]:
    scale = limit.alpha_effective
    lines = [
        f"{limit.algorithm.label}: {limit.status}   (n = {data.n}, d = {data.d}, rank {data.rank})",
        f"l1 norm {limit.l1_norm:.6g}   l2 norm {limit.l2_norm:.6g}   train loss "
        f"{limit.loss(data):.3e}"
        + ("" if data.test is None else f"   test loss {limit.loss(data.test):.6g}"),
        f"sharpness {limit.sharpness:.6g}   Hessian trace {limit.hessian_trace:.6g}"
        + ("" if limit.loss_integral is None else f"   int L dt {limit.loss_integral:.6g}"),
        f"alpha_effective {scale.min():.6g} .. {scale.max():.6g}   (relative error about "
        f"{limit.alpha_effective_error:.1e})",
    ]
    if limit.certificate is None:
        lines.append("no certificate: the flow has no zero-loss limit that theory describes")
    else:
        lines += ["certificate:", *("  " + line for line in limit.certificate.lines())]
    return lines


def _limit_content(data: Regression, limit: ImplicitBias) -> dict[str, Any]:
    return {
        "data": {"n": data.n, "d": data.d, "rank": data.rank, "consistent": data.consistent},
        "limit": {
            "status": limit.status,
            "algorithm": limit.algorithm.label,
            "names": _names(data),
            "beta": limit.beta.tolist(),
            "alpha_effective": limit.alpha_effective.tolist(),
            "delta": limit.delta.tolist(),
            "alpha_effective_error": limit.alpha_effective_error,
            "l1_norm": limit.l1_norm,
            "l2_norm": limit.l2_norm,
            "sharpness": limit.sharpness,
            "hessian_trace": limit.hessian_trace,
            "loss_integral": limit.loss_integral,
            "train_loss": limit.loss(data),
            "test_loss": None if data.test is None else limit.loss(data.test),
            "certificate": _certificate(limit),
        },
    }


def _run_content(run: Descent) -> dict[str, Any]:
    return {
        "algorithm": run.algorithm.label,
        "status": run.status,
        "steps": run.steps,
        "loss": run.loss,
        "test_loss": run.test_loss,
        "beta": run.beta.tolist(),
        "alpha_effective": run.alpha_effective.tolist(),
        "shift": run.shift.tolist(),
    }


def _largest(header: list[str], rows: list[list[Any]], beta: np.ndarray) -> list[str]:
    order = np.argsort(-np.abs(beta), kind="stable")[:_SHOWN]
    lines = _columns(header, [rows[j] for j in order])
    if len(rows) > _SHOWN:
        lines.append(f"... {len(rows) - _SHOWN} smaller coordinates (all of them: --csv)")
    return lines


def _columns(header: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [header] + [
        [f"{v:.6e}" if isinstance(v, float) else str(v) for v in row] for row in rows
    ]
    width = [max(len(row[j]) for row in cells) for j in range(len(header))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, width, strict=True)) for row in cells]
