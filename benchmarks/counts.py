"""Flops and bytes that one step cannot do without, and the time below which it cannot go.

Arithmetic, per entry of X, in fused multiply-adds of two flops:

    GD, SGD   2   r = X beta - y; a = X^T r
    n-SAM     4   the same twice, at w and at the perturbed point
    1-SAM     5   r = X beta - y, q = X^2 s, c = X^3 beta; a = X^T r', b = (X^2)^T (e r')

(powers elementwise: their products are not counted, a batch shares them between its settings, and a
single run does two more multiplications per entry because it does not). GD and n-SAM depend on X
through X^T X alone, so the triangular factor of X does in its place, with m (m - 1)/2 entries less
than m d, m = min(n, d); batches run on it where X is small, single runs do not. SAM on single
examples squares the residuals apart and needs every entry of X; so does SGD, of one example a step.
Per coordinate, the update of w+, w-, beta, s and of the smallest factor is 20 flops; the
perturbation of n-SAM is 10 more.

Traffic. A single run reads X once per gradient (8 bytes an entry; two gradients for n-SAM; four
rows go forwards and backwards together, the second time from the first-level cache) and the state
once per step: w+-, the smallest factor (read and written), beta, s, a, b: 80 bytes a coordinate. A
batch reads X for all settings, so that its share per setting is left out. Its registers hold the
sums of eight examples on the way forwards, for which beta and s are read (16 bytes a coordinate for
eight examples), and those of four coordinates on the way backwards, for which z and e z are (16
bytes an example for four coordinates): 48 bytes a coordinate for eight examples, 24 without s and
b. Where X is beyond the fastest caches, that traffic stays within them, and beta and s come from
further off once for 128 examples. The update moves 64. Traffic is served by the cache that holds
what it goes over: X, the eight arrays of a run's state, or those of the eight settings that share a
register.

A kernel's floor is the largest of flops over peak flops and, for each of the two streams, bytes
over the bandwidth measured on a working set of that size.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam_theory.diagonal.steps.lane_loop import IN_TILES
from sam_theory.diagonal.steps.products import FEW_ROWS

from . import peaks

PRODUCTS = {"gd": 2, "sgd": 2, "n-sam": 4, "1-sam": 5}
_GRADIENTS = {"gd": 1, "sgd": 1, "n-sam": 2, "1-sam": 1}
_ARRAYS, _PANEL, _LANES = 8, 8, 8


@dataclass(frozen=True)
class Stream:
    """Traffic over one set of arrays: bytes per step and setting, and bytes of the set."""

    bytes: float
    working_set: int

    def seconds(self) -> float:
        """Return the time at the bandwidth measured for a working set like this."""
        rounded = 1 << max(12, self.working_set.bit_length() - 1)
        return self.bytes / peaks.bandwidth(rounded)


@dataclass(frozen=True)
class Work:
    """What one step of one setting needs.

    Attributes
    ----------
    flops : float
        Per step and setting.
    data, state : Stream
        Traffic over X and over the state.
    """

    flops: float
    data: Stream
    state: Stream

    def floor(self, rate: float | None = None) -> tuple[float, str]:
        """Return the seconds below which one core cannot go, and what sets them.

        ``rate`` is in flops per second; without one, the largest that this machine has shown.
        """
        floors = {
            "arithmetic": self.flops / (rate or peaks.flops()),
            "reading X": self.data.seconds(),
            "the state": self.state.seconds(),
        }
        limit = max(floors, key=lambda name: floors[name])
        return floors[limit], limit

    def attained(self, seconds: float, rate: float | None = None) -> str:
        """Say what fraction of the roofline a measured time attains."""
        floor, limit = self.floor(rate)
        return f"{100.0 * floor / seconds:.0f} % of the roofline, which {limit} sets"


def _entries(kind: str, n: int, d: int) -> int:
    """Entries of X, or of its triangular factor, that one step needs."""
    if kind in ("gd", "n-sam"):
        rows = min(n, d)
        return rows * d - rows * (rows - 1) // 2
    return d if kind == "sgd" else n * d


def _flops(kind: str, n: int, d: int) -> float:
    update = 20 * d + (10 * d if kind == "n-sam" else 0)
    return 2.0 * PRODUCTS[kind] * _entries(kind, n, d) + update


def single(kind: str, n: int, d: int) -> Work:
    """Count one step of one run on n examples in d dimensions (SGD: one of the n)."""
    data = Stream(8.0 * _GRADIENTS[kind] * _entries(kind, n, d), 8 * n * d)
    return Work(_flops(kind, n, d), data, Stream(80.0 * d, 8 * _ARRAYS * d))


def batch(kind: str, n: int, d: int) -> Work:
    """Count one step of one setting of a batch."""
    vectors = 2.0 if kind == "1-sam" else 1.0
    passed = 8.0 / FEW_ROWS if n * d > IN_TILES else 24.0 / _PANEL
    traffic = _GRADIENTS[kind] * vectors * passed * _entries(kind, n, d) + 64.0 * d
    state = Stream(traffic, 8 * _ARRAYS * _LANES * d)
    return Work(_flops(kind, n, d), Stream(0.0, 8 * n * d), state)
