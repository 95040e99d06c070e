"""Exact geometry on networks whose kinks are known, and areas against fine integration."""

import hypothesis
import hypothesis.strategies as some
import numpy as np
import pytest

from sam_theory import InputError, relu

EXACT = 1e-12


def network(*neurons):
    """From (a, w, b), one triple per neuron."""
    a, w, b = map(np.array, zip(*neurons, strict=True))
    return relu.Network(w[:, None], b, a)


def bend(place, change, side=1.0, size=1.0):
    """A neuron that bends f at a place by a change, active to the right or to the left."""
    return change / size, side * size, -side * size * place


def errors(found, places, changes):
    """Largest errors of places and changes; infinite if the number of kinks is wrong."""
    if found.count != len(places):
        return np.inf
    gaps = [np.abs(found.places - places), np.abs(found.changes - changes)]
    return float(np.max(gaps)) if places else 0.0


def test_known_kinks():
    known = network(bend(0.3, 2.0), bend(-0.5, -1.5, -1.0, 3.0), bend(0.9, 0.25, 1.0, 0.01))
    found = relu.kinks(known, -1.0, 1.0)
    assert errors(found, [-0.5, 0.3, 0.9], [-1.5, 2.0, 0.25]) < EXACT
    assert abs(found.variation - 3.75) < EXACT
    assert found.effective_count == pytest.approx(3.75**2 / (1.5**2 + 2.0**2 + 0.25**2))
    assert repr(found) == "Kinks(3 in (-1, 1), TV=3.75)"


def test_the_comparison_can_fail():
    found = relu.kinks(network(bend(0.3, 2.0)), -1.0, 1.0)
    assert errors(found, [0.3 + 1e-11], [2.0]) > EXACT
    assert errors(found, [0.3], [2.0 * (1 + 1e-11)]) > EXACT
    assert errors(found, [0.3, 0.4], [2.0, 1.0]) == np.inf


def test_coinciding_kinks_are_one():
    """Three neurons bend in one place, two of them from the other side; rounding separates them."""
    known = network(bend(0.1, 1.0, 1.0, 3.0), bend(0.1, 2.0, -1.0, 0.7), bend(0.1, -0.5, 1.0, 2.9))
    places = -known.hidden_bias / known.hidden_weights[:, 0]
    assert len(set(places)) > 1
    found = relu.kinks(known, -1.0, 1.0)
    assert errors(found, [0.1], [2.5]) < EXACT and abs(found.variation - 2.5) < EXACT


def test_cancelling_kinks_are_none():
    known = network(bend(0.3, 1.1, 1.0, 3.0), bend(0.3, -1.1, -1.0, 0.7), bend(0.5, 1.0))
    found = relu.kinks(known, -1.0, 1.0)
    assert errors(found, [0.5], [1.0]) < EXACT and abs(found.variation - 1.0) < EXACT
    nearly = network(bend(0.3, 1.1), bend(0.3, -1.1 + 1e-6))
    assert relu.kinks(nearly, -1.0, 1.0).count == 1
    assert relu.kinks(nearly, -1.0, 1.0, least_change=1e-5).count == 0


def test_kinks_at_the_ends_are_outside():
    known = network(bend(-1.0, 3.0), bend(1.0, 4.0, -1.0, 0.3), bend(0.0, 1.0), bend(1.7, 9.0))
    found = relu.kinks(known, -1.0, 1.0)
    assert errors(found, [0.0], [1.0]) < EXACT and abs(found.variation - 1.0) < EXACT
    wider = relu.kinks(known, -1.0 - 1e-6, 1.0 + 1e-6)
    assert errors(wider, [-1.0, 0.0, 1.0], [3.0, 1.0, 4.0]) < EXACT
    assert abs(wider.variation - 8.0) < EXACT
    near = network(bend(-1.0 + 1e-10, 3.0))
    assert relu.kinks(near, -1.0, 1.0).count == 0
    assert relu.kinks(near, -1.0, 1.0, tolerance=1e-12).count == 1


def test_neurons_without_a_kink():
    known = network((2.0, 0.0, 1.0), (0.0, 3.0, 0.0), bend(0.1, 1.0), (1.0, 1e-300, 1.0))
    assert errors(relu.kinks(known, -1.0, 1.0), [0.1], [1.0]) < EXACT


def test_merging_within_a_tolerance():
    known = network(bend(0.10, 1.0), bend(0.11, 3.0), bend(0.125, -2.0), bend(0.4, 1e-3))
    found = relu.kinks(known, 0.0, 1.0, tolerance=0.02)
    # The group reaches from its leftmost place as far as the tolerance, and no further.
    assert errors(found, [0.1075, 0.125, 0.4], [4.0, -2.0, 1e-3]) < EXACT
    assert found.larger_than(0.01) == 2
    assert relu.kinks(known, 0.0, 1.0, tolerance=0.025).count == 2
    assert (
        errors(relu.kinks(known, 0.0, 1.0, tolerance=0.02, least_change=2.5), [0.1075], [4.0])
        < EXACT
    )


@hypothesis.given(
    some.lists(
        some.tuples(
            some.integers(-9, 9), some.integers(-5, 5), some.booleans(), some.floats(0.1, 10.0)
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_arrangement(neurons):
    """Places on a grid, so that many coincide, cancel, or lie on the ends."""
    built = network(
        *(bend(k / 10.0, float(c), 1.0 if right else -1.0, size) for k, c, right, size in neurons)
    )
    expected: dict[int, int] = {}
    for k, c, _, _ in neurons:
        expected[k] = expected.get(k, 0) + c
    inside = {k: c for k, c in sorted(expected.items()) if c and -7 < k < 7}
    found = relu.kinks(built, -0.7, 0.7)
    assert (
        errors(found, [k / 10.0 for k in inside], [float(c) for c in inside.values()]) < EXACT * 10
    )
    assert abs(found.variation - sum(map(abs, inside.values()))) < EXACT * 10


def test_vertices_join_to_the_function():
    drawn = relu.random_network(40, 1, seed=3)
    x, f = relu.vertices(drawn, -1.3, 1.4)
    assert x[0] == -1.3 and x[-1] == 1.4 and np.all(np.diff(x) > 0.0)
    grid = np.linspace(-1.3, 1.4, 4001)
    np.testing.assert_allclose(np.interp(grid, x, f), drawn(grid), atol=1e-12 * np.abs(f).max())
    slopes = np.diff(f) / np.diff(x)
    steep = np.abs(np.diff(slopes))
    assert relu.kinks(drawn, -1.3, 1.4).variation == pytest.approx(steep.sum(), rel=1e-9)


def test_area_with_crossings():
    zero, line = network((0.0, 1.0, 0.0)), network((1.0, 1.0, 0.0), (-1.0, -1.0, 0.0))
    assert abs(relu.area_between(line, zero, -1.0, 2.0) - 2.5) < EXACT
    assert relu.area_between(line, line, -1.0, 2.0) == 0.0
    hat = network(bend(0.0, 1.0), bend(1.0, -2.0), bend(2.0, 1.0))
    assert abs(relu.area_between(hat, zero, -5.0, 5.0) - 1.0) < EXACT
    assert abs(relu.area_between(zero, hat, 0.5, 1.5) - 0.75) < EXACT


@pytest.mark.parametrize("seed", range(4))
def test_area_against_fine_integration(seed):
    one, two = (relu.random_network(20, 1, seed=10 * seed + k) for k in range(2))
    grid = np.linspace(-1.0, 1.0, 400_001)
    gap = np.abs(one(grid) - two(grid))
    fine = float(np.sum(0.5 * (gap[1:] + gap[:-1]) * np.diff(grid)))
    assert relu.area_between(one, two, -1.0, 1.0) == pytest.approx(fine, rel=1e-6)


def test_least_variation_is_attained_by_straight_lines_and_by_nothing_less():
    data = relu.published_data()
    x, y = data.X[:, 0], data.y
    slopes = np.diff(y) / np.diff(x)
    assert relu.least_variation(x, y) == pytest.approx(70.0, rel=1e-12)
    neurons = [bend(t, c) for t, c in zip(x[1:-1], np.diff(slopes), strict=True)]
    first = [(y[0] - slopes[0] * x[0], 0.0, 1.0), (slopes[0], 1.0, 0.0), (-slopes[0], -1.0, 0.0)]
    # The straight line through the first two points bends at 0 by slope - slope.
    lines = network(*neurons, *first)
    np.testing.assert_allclose(lines(x), y, atol=1e-12)
    assert abs(relu.kinks(lines, x[0], x[-1]).variation - 70.0) < 1e-11
    shuffled = np.random.default_rng(0).permutation(12)
    assert relu.least_variation(x[shuffled], y[shuffled]) == pytest.approx(70.0, rel=1e-12)
    with pytest.raises(InputError, match="two x are equal"):
        relu.least_variation([0.0, 0.0], [1.0, 2.0])
    with pytest.raises(InputError, match="same length"):
        relu.least_variation([0.0, 1.0], [1.0])


def test_neurons_active_dead_and_duplicate():
    known = relu.Network(
        [[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-3.0, -3.0]],
        [0.5, 1.0, 0.5, 0.0, -9.0, -1.0],
        [1.0, -1.0, 2.0, 0.0, 1.0, 2.0],
    )
    X = np.array([[1.0, 2.0], [-1.0, 2.0], [2.0, -1.0]])
    found = relu.measure_geometry(known, X)
    # Neuron 1 is twice neuron 0; neuron 3 has a = 0; neurons 4 and 5 are off everywhere.
    assert (found.active, found.dead, found.duplicates) == (3, 3, 1)
    assert (found.example_patterns, found.neuron_patterns) == (3, 2)
    lengths = np.sqrt([1.25, 5.0, 1.25, 1.0, 83.0, 19.0])
    assert found.path_norm == pytest.approx(np.array([1, 1, 2, 0, 1, 2]) @ lengths, rel=1e-14)
    assert found.kinks is None
    near = relu.Network([[1.0], [1.0 + 1e-7]], [0.0, 0.0], [1.0, 1.0])
    assert relu.measure_geometry(near, [0.5, 1.0]).duplicates == 1
    tilted = relu.Network([[1.0], [1.0]], [0.0, 1e-7], [1.0, 1.0])
    assert relu.measure_geometry(tilted, [0.5, 1.0]).duplicates == 0
    assert relu.measure_geometry(tilted, [0.5, 1.0], same_direction=1e-6).duplicates == 1


def test_bad_input_is_one_line():
    drawn, plane = relu.random_network(3, 1, seed=0), relu.random_network(3, 2, seed=0)
    for message, call in (
        ("one input, not d = 2", lambda: relu.kinks(plane, 0.0, 1.0)),
        ("one input, not d = 2", lambda: relu.area_between(drawn, plane, 0.0, 1.0)),
        ("low must be < high", lambda: relu.kinks(drawn, 1.0, 1.0)),
        ("low must be < high", lambda: relu.area_between(drawn, drawn, 2.0, 1.0)),
        ("low must be finite", lambda: relu.kinks(drawn, -np.inf, 1.0)),
        ("must be >= 0", lambda: relu.kinks(drawn, 0.0, 1.0, tolerance=-1.0)),
        ("network must be a Network", lambda: relu.vertices("f", 0.0, 1.0)),
        ("low must be < high, not 2 and 1", lambda: relu.vertices(drawn, 2.0, 1.0)),
        ("high must be finite", lambda: relu.vertices(drawn, 0.0, np.nan)),
        ("X has no rows", lambda: relu.measure_geometry(drawn, np.empty((0, 1)))),
        ("X has no rows", lambda: relu.measure_geometry(plane, np.empty((0, 2)))),
        ("all x are equal", lambda: relu.measure_geometry(drawn, [1.0, 1.0])),
        ("X has shape", lambda: relu.measure_geometry(plane, [1.0, 1.0])),
    ):
        with pytest.raises(InputError, match=message):
            call()
