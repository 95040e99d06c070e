"""Limits and runs of diagonal networks as text for the screen, tables and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_theory.diagonal.certificate import Certificate
from sam_theory.diagonal.descent import Descent
from sam_theory.diagonal.limit import ImplicitBias
from sam_theory.errors import InputError
from sam_theory.output import Report
from sam_theory.regression import Regression

_SHOWN = 12
_NO_CERTIFICATE = {
    "no_interpolation": "the flow has no zero-loss limit that theory describes",
    "singular": "the flow is not defined to the end",
    "max_steps": "the flow was stopped before its limit; beta is its last point",
}


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
    identity, (own, own_line) = run.limit(), _own_identity(run)
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
    text = [
        "theory",
        *_summary(data, limit),
        "",
        f"simulation: {run.status} after {run.steps} steps, loss {run.loss:.3e}",
        f"max |simulation - theory|            {_gap(run.beta, limit.beta):.3e}"
        "   (step size, and training not finished)",
        f"max |identity - theory|              {_gap(identity.beta, limit.beta):.3e}"
        "   (step size alone)",
        f"max |simulation - identity reached|  {own_line}",
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


def _own_identity(run: Descent) -> tuple[float, str]:
    """Return how far the run is from the identity at the labels it has reached, and a line."""
    try:
        own = _gap(run.limit(at="reached").beta, run.beta)
    except InputError as error:
        return float("nan"), f"not computed: {error}"
    return own, f"{own:.3e}   (rounding: the identity is exact)"


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
        lines.append(f"no certificate: {_NO_CERTIFICATE[limit.status]}")
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
