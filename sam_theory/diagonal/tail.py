"""The end of a flow: when to stop integrating, and what the rest of its integrals is.

Near zero loss r' = -K M r with K = X diag(s) X^T/n, M = I + (rho/m) blockdiag(X_B diag(s) X_B^T).
With P = int r r^T dt, which solves (K M) P + P (K M)^T = r r^T,

    Delta_tail = (1/n m) sum_B diag(X_B^T M_BB P_BB X_B),    int 2L = tr(P)/n

(THEORY section 2).  Normalised n-SAM, in its rescaled time, ends along one mode of rate lambda:
Delta_tail = g g'/lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import linalg

from .field import FlowField
from .newton import Array

_LINEAR_BELOW = 1e-7
_RESCALED_BELOW = 1e-7
_STALLED_STEPS = 60
_VANISHED = 1e-6


class Watch:
    """Stopping rule of a flow that is followed to its limit, and the tail of its integrals.

    ``verdict`` is None while a zero-loss limit is in sight, else "no_interpolation" (the labels
    cannot be fitted and the loss has stalled) or "singular" (a normalised block's gradient vanished
    before the others': the flow is not defined beyond that point).
    """

    def __init__(
        self,
        flow_field: FlowField,
        rank: int,
        solvable: bool,
        progress: Callable[[float], None] | None,
        share: int,
    ) -> None:
        self.field, self.solvable = flow_field, solvable
        self.progress, self.share = progress, share
        self.range = np.linalg.svd(flow_field.X, full_matrices=False)[0][:, :rank]
        self.start = float(np.linalg.norm(flow_field.y)) or 1.0
        self.losses: list[float] = []
        self.first_norm = 0.0
        self.verdict: str | None = None

    def __call__(self, _time: float, state: Array) -> bool:
        """Whether to stop at this state."""
        X, n = self.field.X, self.field.X.shape[0]
        _, s, r = self.field.point(state)
        size = float(np.linalg.norm(r)) / self.start
        self.losses.append(size)
        if self.progress is not None:
            done = min(1.0, max(0.0, -math.log10(max(size, 1e-300)) / 9.0))
            self.progress(0.5 * (self.share + done))
        if not self.solvable and len(self.losses) > _STALLED_STEPS:
            if size > 0.9 * self.losses[-_STALLED_STEPS // 2]:
                self.verdict = "no_interpolation"
                return True
        if size == 0.0:
            return True
        if self.field.rescaled:
            return size <= _RESCALED_BELOW
        if self.field.normalized:
            return self._vanished(s, r)
        if size > 1e-2:
            return False
        kernel = self.range.T @ ((X * s) @ (X.T @ self.range)) / n
        try:
            remaining = linalg.solve(kernel, self.range.T @ r, assume_a="pos")
        except linalg.LinAlgError:
            return False
        move = 2.0 / n * float(np.max(np.abs(X.T @ (self.range @ remaining))))
        return move <= _LINEAR_BELOW

    def _vanished(self, s: Array, r: Array) -> bool:
        """Whether one block's gradient norm has collapsed."""
        k, m = self.field.blocks, self.field.m
        g = np.einsum("kmd,km->kd", self.field.X.reshape(k, m, -1), r.reshape(k, m)) / m
        norm = np.sqrt(g**2 @ s)
        self.first_norm = self.first_norm or float(np.max(norm))
        if float(np.min(norm)) <= _VANISHED * self.first_norm:
            self.verdict = "singular"
        return self.verdict is not None

    def tail(self, state: Array) -> tuple[Array, float]:
        """Return the rest of Delta (d,) and of int 2L beyond the state where this rule stopped."""
        n, d = self.field.X.shape
        if self.losses[-1] == 0.0:
            return np.zeros(d), 0.0
        if self.field.rescaled:
            return self._single_mode(state)
        return self._linear(state)

    def _single_mode(self, state: Array) -> tuple[Array, float]:
        n = self.field.X.shape[0]
        rate, doubled_loss = self.field.rates(state[None])
        residual = self.field.point(state)[2]
        inner = self.field.linearize(state).to_inner(rate[:, :n], rate[:, n:])
        decay = -float(inner[0, :n] @ residual) / float(residual @ residual)
        return rate[0, n:] / decay, float(doubled_loss[0]) / (3.0 * decay)

    def _linear(self, state: Array) -> tuple[Array, float]:
        X, m, k = self.field.X, self.field.m, self.field.blocks
        n = X.shape[0]
        blocks = X.reshape(k, m, -1)
        _, s, r = self.field.point(state)
        grow = np.eye(m) + np.einsum("kad,kbd->kab", blocks * s, blocks) * (self.field.rho / m)
        moved = np.einsum("kab,kbr->kar", grow, self.range.reshape(k, m, -1)).reshape(n, -1)
        kernel = self.range.T @ ((X * s) @ (X.T @ moved)) / n
        rest = self.range.T @ r
        inner = linalg.solve_continuous_lyapunov(kernel, np.outer(rest, rest))
        P = self.range @ inner @ self.range.T
        own = np.einsum("kakb->kab", P.reshape(k, m, k, m))
        weighted = np.einsum("kab,kbc->kac", grow, own)
        along = np.einsum("kac,kcd->kad", weighted, blocks)
        return np.einsum("kad,kad->d", blocks, along) / (n * m), float(np.trace(P)) / n
