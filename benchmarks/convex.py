"""The convex problem that names the limit, beside conic solvers and general optimisers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sam_theory as st

from . import exact, peers_cones, peers_smooth
from .rows import OURS, Row, compare, missing
from .timing import Answer, Contender

GROUP = "convex"
INTRO = (
    "`minimize_potential`, certificate included, against cvxpy (model building included) with its "
    "exponential cones in several formulations, and scipy. Solvers are told to stop after 60 s "
    "(SCS and trust-constr 20 s); their defaults unless a tolerance is named. Gram matrices are "
    "made on all cores here, whatever the peers do."
)
SIZES = ((20, 30, 3), (200, 5_000, 10))
ALPHAS = (1e-1, 1e-3)
LARGE_REQUIRED = (300.0, 1e5)
_LIMIT, _SHORT_LIMIT = 60.0, 20.0


@dataclass(frozen=True)
class Cone:
    """A conic solver, a formulation and a tolerance (None: the solver's own)."""

    solver: str
    form: str
    tol: float | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        tolerance = "" if self.tol is None else f", tol {self.tol:.0e}"
        return f"{self.solver}, {self.form}{tolerance}"

    @property
    def limit(self) -> float:
        """Seconds it may take."""
        return _LIMIT if self.solver == "Clarabel" else _SHORT_LIMIT


SMALL = (
    *(Cone("Clarabel", form) for form in peers_cones.FORMS),
    Cone("Clarabel", "dual", 1e-12),
    Cone("Clarabel", "KL scaled", 1e-12),
    Cone("SCS", "dual"),
    Cone("SCS", "entropy"),
    Cone("SCS", "entropy", 1e-9),
)
BIG = {
    1e-1: (Cone("Clarabel", "dual"), Cone("SCS", "entropy")),
    1e-3: (Cone("Clarabel", "dual"), Cone("Clarabel", "entropy"), Cone("SCS", "entropy")),
}
BIG_LARGE = (
    Cone("Clarabel", "entropy"),
    Cone("Clarabel", "KL scaled"),
    Cone("Clarabel", "KL"),
    Cone("Clarabel", "dual", 1e-12),
    Cone("SCS", "dual"),
)


def rows(quick: bool, large: bool = False) -> Iterator[Row]:
    """Measure both sizes and scales; ``large`` adds formulations at the larger size."""
    for n, d, nonzeros in SIZES[: 1 if quick else None]:
        data = st.sparse_regression(n, d, nonzeros=nonzeros, n_test=0)
        for alpha in ALPHAS:
            more = BIG_LARGE if large else ()
            cones = SMALL if d < 1000 else tuple(dict.fromkeys((*BIG[alpha], *more)))
            yield from _one(data, alpha, cones[:2] if quick else cones)


def _one(data: st.Regression, alpha: float, cones: Sequence[Cone]) -> Iterator[Row]:
    X, y = data.X, data.y
    found = st.minimize_potential(X, y, alpha)
    best = exact.entropy_minimum(X, y, alpha, 2.0 * found.dual)
    work = f"minimize_potential, {data.n} x {data.d}, alpha {alpha:g}"

    def error(beta: Any) -> float:
        return exact.difference(beta, best)

    def cone(entry: Cone) -> Callable[[], Answer]:
        return lambda: peers_cones.solve(
            X, y, alpha, entry.solver, entry.form, entry.tol, entry.limit
        )

    contenders = [
        Contender(OURS, lambda: Answer(st.minimize_potential(X, y, alpha).beta), error),
        Contender("scipy L-BFGS on the dual", lambda: peers_smooth.lbfgs(X, y, alpha), error),
        Contender(
            "scipy trust-constr",
            lambda: peers_smooth.trust_constr(X, y, alpha, _SHORT_LIMIT),
            error,
        ),
    ]
    wanted = LARGE_REQUIRED if data.d >= 1000 else (0.0, 0.0)
    contracts, absent = {}, []
    for entry in cones:
        required = wanted if entry.solver == "Clarabel" and entry.tol is None else (0.0, 0.0)
        if peers_cones.installed(entry.solver):
            contenders.append(Contender(entry.name, cone(entry), error))
            contracts[entry.name] = required
        else:
            absent.append(missing(GROUP, work, entry.name, required))
    against = f"Newton's method in {exact.precision()}, to a residual of rounding size"
    yield from compare(GROUP, work, contenders, against, contracts)
    yield from absent
