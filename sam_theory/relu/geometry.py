r"""What function a ReLU network is, exactly: kinks, total variation, areas, neurons.

In dimension 1, f is piecewise linear. Neuron j bends it at t_j = -b_j / w_j, where its slope grows
by a_j |w_j| whichever side is active. Between the outermost examples, for -inf < t < inf,

    f'(t+) - f'(t-) = sum over the neurons with t_j = t of a_j |w_j|,    TV(f') = sum_t |that|

No grid is involved: the places come from the weights, and the area between two fits is an integral
of |f - g| over pieces on which f - g is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._validate import checked_number, real_array
from ..errors import InputError
from .network import Network

Array = npt.NDArray[np.float64]

_RELATIVE = 1e-9
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Kinks:
    """Kinks of f strictly inside an interval, from left to right.

    Attributes
    ----------
    places : (k,) array
        Where, units of x.
    changes : (k,) array
        f'(t+) - f'(t-), units of y/x.
    low, high : float
        The interval.
    """

    places: Array
    changes: Array
    low: float
    high: float

    def __repr__(self) -> str:
        """Count them."""
        return f"Kinks({self.count} in ({self.low:g}, {self.high:g}), TV={self.variation:.6g})"

    @property
    def count(self) -> int:
        """How many."""
        return int(self.places.size)

    @property
    def variation(self) -> float:
        """Total variation of f' inside the interval, units of y/x."""
        return float(np.sum(np.abs(self.changes)))

    @property
    def effective_count(self) -> float:
        """(sum |c|)^2 / sum c^2, dimensionless: how many equal kinks would be spread as these.

        Between 1 and ``count``, and not moved by many small ones; 0 without kinks.
        """
        squares = float(np.sum(self.changes**2))
        return self.variation**2 / squares if squares > 0.0 else 0.0

    def larger_than(self, share: float) -> int:
        """Return how many have |change| above ``share`` (0 to 1) of the total variation."""
        return int(np.sum(np.abs(self.changes) > share * self.variation))


def kinks(
    network: Network,
    low: float,
    high: float,
    *,
    tolerance: float | None = None,
    least_change: float = 0.0,
) -> Kinks:
    """Find the kinks of a network of one input inside an interval.

    Neurons whose t_j lie within ``tolerance`` of the leftmost of a group bend f in one place: their
    changes are added, and the place is the mean of theirs weighted by |change|. A group whose
    changes cancel, to ``least_change`` or to rounding, is no kink. A place within ``tolerance`` of
    an end of the interval is outside: the interval is open, because f' has no left or no right
    limit inside it there.

    Parameters
    ----------
    network : Network
        With d = 1.
    low, high : float
        The interval, low < high; usually the smallest and the largest x of the data.
    tolerance : float, optional
        Units of x, >= 0; by default 1e-9 of the interval, which merges what rounding separates.
    least_change : float
        Units of y/x, >= 0: smaller |changes| of a group are no kinks.

    Returns
    -------
    Kinks
        From left to right, with the change of slope at each.

    Raises
    ------
    InputError
        d is not 1; an argument is out of range.

    Examples
    --------
    >>> from sam_theory import relu
    >>> hat = relu.Network([[1.0], [1.0], [1.0]], [0.0, -1.0, -2.0], [1.0, -2.0, 1.0])
    >>> found = relu.kinks(hat, -1.0, 3.0)
    >>> found.places, found.changes
    (array([0., 1., 2.]), array([ 1., -2.,  1.]))
    """
    _one_input(network)
    low, high = _interval(low, high)
    near = _RELATIVE * (high - low) if tolerance is None else checked_number("tolerance", tolerance)
    least = checked_number("least_change", least_change)
    if near < 0.0 or least < 0.0:
        raise InputError("tolerance and least_change must be >= 0")
    w = network.hidden_weights[:, 0]
    bends = (w != 0.0) & (network.output_weights != 0.0)
    with np.errstate(over="ignore"):
        places = -network.hidden_bias[bends] / w[bends]
    changes = network.output_weights[bends] * np.abs(w[bends])
    inside = (places > low - near) & (places < high + near) & (changes != 0.0)
    order = np.argsort(places[inside], kind="stable")
    merged = _merge(places[inside][order], changes[inside][order], near, least)
    kept = [(t, c) for t, c in merged if low + near < t < high - near]
    found = np.array(kept).reshape(-1, 2)
    return Kinks(found[:, 0].copy(), found[:, 1].copy(), low, high)


def _merge(places: Array, changes: Array, near: float, least: float) -> list[tuple[float, float]]:
    merged = []
    first = 0
    while first < places.size:
        last = int(np.searchsorted(places, places[first] + near, side="right"))
        sizes = np.abs(changes[first:last])
        change, size = float(np.sum(changes[first:last])), float(np.sum(sizes))
        if abs(change) > max(least, _ROUNDING * size):
            offset = np.sum(sizes * (places[first:last] - places[first])) / size
            merged.append((float(places[first] + offset), change))
        first = last
    return merged


def vertices(network: Network, low: float, high: float) -> tuple[Array, Array]:
    """Return the vertices of the graph of f over an interval.

    Straight lines between them are f, exactly; both ends are among them.

    Parameters
    ----------
    network : Network
        With d = 1.
    low, high : float
        The interval, low < high, units of x.

    Returns
    -------
    x, y : (k,) arrays
        Where, ascending, and f there.

    Raises
    ------
    InputError
        d is not 1; low or high is not finite, or low >= high.
    """
    _one_input(network)
    low, high = _interval(low, high)
    x = _knots(network, low, high)
    return x, network(x)


def area_between(first: Network, second: Network, low: float, high: float) -> float:
    """Integral of |f - g| over [low, high], exact up to rounding; units of x y.

    Parameters
    ----------
    first, second : Network
        With d = 1.
    low, high : float
        low < high.

    Returns
    -------
    float
        >= 0, units of x y.

    Raises
    ------
    InputError
        d is not 1, or low >= high.
    """
    for network in (first, second):
        _one_input(network)
    low, high = _interval(low, high)
    x = np.union1d(_knots(first, low, high), _knots(second, low, high))
    gap = first(x) - second(x)
    left, right, lengths = gap[:-1], gap[1:], np.diff(x)
    sizes = np.abs(left) + np.abs(right)
    crossing = left * right < 0.0
    # Two triangles where the sign changes, else a trapezium.
    mean = 0.5 * sizes
    np.divide(left**2 + right**2, 2.0 * sizes, out=mean, where=crossing)
    return float(np.sum(lengths * mean))


def least_variation(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Smallest total variation of f' over [min x, max x] of any f through the points.

    On every gap between neighbours f' takes values on both sides of the chord's slope, so TV(f') is
    at least the sum of the changes of slope from chord to chord, and straight lines attain it.

    Parameters
    ----------
    x, y : (n,) arrays
        Points, n >= 2.

    Returns
    -------
    float
        Units of y/x.

    Raises
    ------
    InputError
        The arrays do not fit, or two x are equal.
    """
    places, values = real_array("x", x), real_array("y", y)
    if places.ndim != 1 or places.shape != values.shape or places.size < 2:
        raise InputError("x and y must be arrays of one dimension and of the same length >= 2")
    order = np.argsort(places)
    gaps = np.diff(places[order])
    if not np.all(gaps > 0.0):
        raise InputError("two x are equal")
    return float(np.sum(np.abs(np.diff(np.diff(values[order]) / gaps))))


def _knots(network: Network, low: float, high: float) -> Array:
    w = network.hidden_weights[:, 0]
    with np.errstate(over="ignore"):
        places = -network.hidden_bias[w != 0.0] / w[w != 0.0]
    return np.unique(np.concatenate([[low], places[(places > low) & (places < high)], [high]]))


def _interval(low: float, high: float) -> tuple[float, float]:
    low, high = checked_number("low", low), checked_number("high", high)
    if not low < high:
        raise InputError(f"low must be < high, not {low:g} and {high:g}")
    return low, high


def _one_input(network: Network) -> None:
    if not isinstance(network, Network):
        raise InputError(f"network must be a Network, not {type(network).__name__}")
    if network.d != 1:
        raise InputError(f"kinks need a network with one input, not d = {network.d}")


@dataclass(frozen=True)
class Geometry:
    """Complexity of a network on some examples.

    Attributes
    ----------
    kinks : Kinks or None
        Between the smallest and the largest x; None unless d = 1.
    active, dead : int
        Neurons that are active on at least one example with a_j not 0, and the others: a dead
        neuron does not touch the fit.
    duplicates : int
        Active neurons whose (w_j, b_j) is a positive multiple of that of another one, each group
        but for its first.
    example_patterns : int
        Distinct sets of active neurons over the examples: linear pieces of f that hold an example.
    neuron_patterns : int
        Distinct sets of examples, over the active neurons, on which a neuron is active.
    path_norm : float
        sum_j |a_j| ||(w_j, b_j)||_2, units of y.
    """

    kinks: Kinks | None
    active: int
    dead: int
    duplicates: int
    example_patterns: int
    neuron_patterns: int
    path_norm: float


def measure_geometry(
    network: Network,
    X: npt.ArrayLike,
    *,
    tolerance: float | None = None,
    least_change: float = 0.0,
    same_direction: float = 1e-9,
) -> Geometry:
    """Measure a network on examples, in any dimension.

    Parameters
    ----------
    network : Network
        What is measured.
    X : (n, d) array
        Examples; (n,) will do if d = 1.
    tolerance, least_change : float
        As in :func:`kinks`.
    same_direction : float
        Neurons are duplicates if their (w_j, b_j), scaled to length 1, differ by at most this in
        each entry; >= 0.

    Returns
    -------
    Geometry
        Kinks, neurons, patterns and path norm.

    Raises
    ------
    InputError
        The shapes do not fit, X has no rows; in dimension 1, all x are equal.
    """
    rows = np.asarray(real_array("X", X), dtype=np.float64)
    on = network.preactivations(rows) > 0.0
    if not len(on):
        raise InputError("X has no rows: a network is measured on at least one example")
    matters = on.any(axis=0) & (network.output_weights != 0.0)
    bent = np.column_stack([network.hidden_weights, network.hidden_bias])
    found: Kinks | None = None
    if network.d == 1:
        if not rows.min() < rows.max():
            raise InputError("all x are equal: there is no interval to look for kinks in")
        found = kinks(
            network, rows.min(), rows.max(), tolerance=tolerance, least_change=least_change
        )
    active = int(matters.sum())
    return Geometry(
        kinks=found,
        active=active,
        dead=network.width - active,
        duplicates=active - _directions(bent[matters], same_direction),
        example_patterns=len(np.unique(on, axis=0)),
        neuron_patterns=len(np.unique(on[:, matters], axis=1).T),
        path_norm=float(np.abs(network.output_weights) @ np.linalg.norm(bent, axis=1)),
    )


def _directions(bent: Any, tolerance: float) -> int:
    """Count vectors that differ in direction, each compared with the firsts of their groups."""
    lengths = np.linalg.norm(bent, axis=1, keepdims=True)
    directions = bent / np.where(lengths > 0.0, lengths, 1.0)
    firsts, count = np.empty_like(directions), 0
    for direction in directions:
        gaps = np.max(np.abs(firsts[:count] - direction), axis=1)
        if not np.any(gaps <= tolerance):
            firsts[count] = direction
            count += 1
    return count
