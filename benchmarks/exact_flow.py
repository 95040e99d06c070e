"""Limits of flows to 1e-16, by a route that shares nothing with the library.

The balanced weights obey, with a and b of THEORY section 2,

    w+-' = w+- (-+ a - b),
    GD      a = X^T r / n,   b = 0
    n-SAM   a = X^T r' / n,  r' = X (beta (1 + rho^2 g^2) + rho g s) - y,  g = X^T r / n,
            b = rho g a
    1-SAM   a = X^T r' / n,  r' = r + e (X^2 s) + e^2 (X^3 beta),  e = rho r,
            b = (X^2)^T (e r') / n

(powers and products of vectors elementwise, beta = (w+^2 - w-^2)/2, s = w+^2 + w-^2).  All of it is
polynomial, so the Taylor coefficients of w+- follow from products of series, and a step adds up
the series.  Everything runs in the extended precision of ``numpy.longdouble`` (64 bits on x86)
until the slowest mode has decayed by e^-45.  For gradient descent the same integration meets the
minimiser of the potential, found in fifty digits, which is the check of the method.

``exact_flow.json`` holds the results, because a benchmark should not spend its time on them;
``python -m benchmarks.exact_flow`` makes it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import sam_theory as st

FILE = Path(__file__).with_suffix(".json")
INSTANCE = {"n": 20, "d": 30, "nonzeros": 3, "seed": 0}
ALPHA, RHO = 0.1, 0.05
ORDER = 30
_DECAY = 45.0
_Extended = np.longdouble


def product(left: Any, right: Any, k: int) -> Any:
    """Coefficient k of the product of two series, coefficients (K, ...) each."""
    return (left[: k + 1] * right[k::-1]).sum(axis=0)


class Series:
    """Taylor coefficients of the flow of one algorithm about a point.

    Parameters
    ----------
    X, y : array, shapes (n, d) and (n,)
        Data.
    kind : {"gd", "n-sam", "1-sam"}
        Algorithm, unnormalised.
    rho : float
        Radius; not used by "gd".
    order : int
        Highest coefficient.
    """

    def __init__(self, X: Any, y: Any, kind: str, rho: float, order: int = ORDER) -> None:
        self.X, self.y = X.astype(_Extended), y.astype(_Extended)
        self.square, self.cube = self.X * self.X, self.X * self.X * self.X
        self.kind, self.rho, self.order = kind, _Extended(rho), order
        n, d = X.shape
        rows, columns = (order + 1, n), (order + 1, d)
        names = ("up", "down", "beta", "size", "rate_up", "rate_down", "g", "gg", "pull", "even")
        self.at = {name: np.zeros(columns, _Extended) for name in names}
        self.row = {name: np.zeros(rows, _Extended) for name in ("r", "e", "q", "ee", "c", "far")}

    def expand(self, up: Any, down: Any) -> tuple[Any, Any]:
        """Return the coefficients of w+ and w-, shape (order + 1, d), about (up, down)."""
        at = self.at
        at["up"][0], at["down"][0] = up, down
        for k in range(self.order):
            plus, minus = product(at["up"], at["up"], k), product(at["down"], at["down"], k)
            at["beta"][k], at["size"][k] = (plus - minus) / 2, plus + minus
            self._rates(k)
            at["rate_up"][k] = -at["pull"][k] - at["even"][k]
            at["rate_down"][k] = at["pull"][k] - at["even"][k]
            at["up"][k + 1] = product(at["up"], at["rate_up"], k) / (k + 1)
            at["down"][k + 1] = product(at["down"], at["rate_down"], k) / (k + 1)
        return at["up"], at["down"]

    def _rates(self, k: int) -> None:
        at, row, n = self.at, self.row, len(self.y)
        labels = self.y if k == 0 else 0
        row["r"][k] = self.X @ at["beta"][k] - labels
        if self.kind == "gd":
            at["pull"][k] = self.X.T @ row["r"][k] / n
        elif self.kind == "n-sam":
            at["g"][k] = self.X.T @ row["r"][k] / n
            at["gg"][k] = product(at["g"], at["g"], k)
            moved = at["beta"][k] + self.rho**2 * product(at["gg"], at["beta"], k)
            moved = moved + self.rho * product(at["g"], at["size"], k)
            at["pull"][k] = self.X.T @ (self.X @ moved - labels) / n
            at["even"][k] = self.rho * product(at["g"], at["pull"], k)
        else:
            row["e"][k] = self.rho * row["r"][k]
            row["q"][k], row["c"][k] = self.square @ at["size"][k], self.cube @ at["beta"][k]
            row["ee"][k] = product(row["e"], row["e"], k)
            far = row["r"][k] + product(row["e"], row["q"], k)
            row["far"][k] = far + product(row["ee"], row["c"], k)
            at["pull"][k] = self.X.T @ row["far"][k] / n
            at["even"][k] = self.square.T @ product(row["e"], row["far"], k) / n


def integrate(series: Series, alpha: float, time: float, tol: float = 1e-21) -> tuple[Any, Any]:
    """Return w+ and w- at the given time, from u = alpha, v = 0; tol is the error of one step."""
    d, order = series.X.shape[1], series.order
    up = np.full(d, _Extended(alpha)) / np.sqrt(_Extended(2))
    down, now = up.copy(), _Extended(0)
    while now < time:
        plus, minus = series.expand(up, down)
        step = time - now
        for k in (order - 1, order):
            top = max(np.abs(plus[k]).max(), np.abs(minus[k]).max())
            if top > 0:
                step = min(step, (tol / top) ** (_Extended(1) / k))
        up, down = plus[order].copy(), minus[order].copy()
        for k in range(order - 1, -1, -1):
            up, down = up * step + plus[k], down * step + minus[k]
        now += step
    return up, down


def slowest_rate(X: Any, kind: str, rho: float, up: Any, down: Any) -> float:
    """Smallest eigenvalue of the flow of r, linearised at r = 0, with weights (up, down)."""
    X, n = np.asarray(X, np.float64), len(X)
    gram = (X * np.asarray(up * up + down * down, np.float64)) @ X.T
    inflated = gram if kind == "1-sam" else gram / n
    if kind == "1-sam":
        inflated = np.diag(np.diag(gram))
    ahead = np.eye(n) + (0.0 if kind == "gd" else rho) * inflated
    return float(np.linalg.eigvals(gram @ ahead / n).real.min())


def limit(X: Any, y: Any, kind: str, alpha: float, rho: float, order: int = ORDER) -> Any:
    """Return w+ and w- of the limit and the time at which they were reached."""
    series = Series(X, y, kind, rho, order)
    time = 1000.0
    while True:
        up, down = integrate(series, alpha, time)
        enough = _DECAY / slowest_rate(X, kind, rho, up, down)
        if time >= enough:
            return up, down, time
        time = 1.05 * enough


def read(kind: str) -> tuple[Any, float]:
    """Return beta of a stored limit, extended precision, and the slowest rate there."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["limits"][kind]
    up, down = (np.array([_Extended(x) for x in found[w]]) for w in ("w_plus", "w_minus"))
    return (up - down) * (up + down) / 2, float(found["slowest_rate"])


def main() -> int:
    """Write the file."""
    if np.finfo(_Extended).eps > 1e-18:
        print("this machine has no extended precision", file=sys.stderr)
        return 1
    data = st.sparse_regression(**INSTANCE, n_test=0)
    limits = {}
    for kind in ("gd", "n-sam", "1-sam"):
        up, down, time = limit(data.X, data.y, kind, ALPHA, RHO)
        rate = slowest_rate(data.X, kind, RHO, up, down)
        texts = [[np.format_float_positional(x, precision=21) for x in w] for w in (up, down)]
        limits[kind] = {"w_plus": texts[0], "w_minus": texts[1], "slowest_rate": rate}
        print(f"{kind}: time {time:.0f}", file=sys.stderr)
    about = {
        "instance": INSTANCE,
        "alpha": ALPHA,
        "rho": RHO,
        "made_by": "benchmarks/exact_flow.py",
    }
    FILE.write_text(json.dumps({**about, "limits": limits}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
