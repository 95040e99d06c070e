"""The key of a cell distinguishes everything that its result may depend on, and nothing else."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as s
from scipy import sparse

import sam_theory as st
from sam_theory.sweeps.inputs import private
from sam_theory.sweeps.keys import cell_key, digest

DATA = st.sparse_regression(n=5, d=3, n_test=2)
SETTINGS = {"rho": 0.1, "seed": 3, "algorithm": st.one_sam(0.1), "alpha": np.array([0.1, 0.2])}


def key(settings, common=""):
    return cell_key("study:f", "code", settings, common)


def moved(array):
    """The array with its last entry moved by one unit in the last place."""
    array = array.copy()
    array.flat[-1] = np.nextafter(array.flat[-1], np.inf)
    return array


DISTINCT = [
    *[None, True, False, 1, 1.0, "1", b"1", 0, 0.0, -0.0, float("nan"), float("inf"), 2**70],
    *[np.float32(0.1), 0.1, float(np.float32(0.1)), np.float16(1), np.int8(1), 1 + 0j],
    *[np.complex64(1), np.uint8(1)],
    *[[1], (1,), [[1]], [1, 1], [[1], [1]], [[1, 1]], [], (), {}, {"a": 1}, {"a": 1.0}, {"b": 1}],
    *[["ab", "c"], ["a", "bc"], ["abc"], "abc", "", [""], ["", ""], "\ud800"],
    *[np.array([1.0]), np.array([[1.0]]), np.array([1.0], dtype=np.float32), np.array([1])],
    *[np.array(1.0), np.array([1.0, 2.0]), np.array([[1.0], [2.0]]), np.array([True])],
    *[
        np.array([1.0], dtype=">f8"),
        np.array([]),
        np.array([[]]),
        np.array(["a"]),
        np.array([b"a"]),
    ],
    *[moved(np.array([1.0])), np.array([0.0]), np.array([-0.0])],
    *[sparse.csr_array(np.eye(2)), sparse.csc_array(np.eye(2)), sparse.csr_matrix(np.eye(2))],
    *[sparse.csr_array(2 * np.eye(2)), sparse.csr_array(np.eye(2, 3)), np.eye(2)],
    *[st.gd(), st.one_sam(0.1), st.n_sam(0.1), st.n_sam(0.1, normalized=True)],
    DATA,
    replace(DATA, X=moved(DATA.X)),
    replace(DATA, y=moved(DATA.y)),
    replace(DATA, test=None),
    replace(DATA, test=replace(DATA.test, y=moved(DATA.test.y))),
    replace(DATA, target="y"),
    replace(DATA, feature_names=("a", "b", "c")),
    DATA.standardize(),
]


def test_different_values_have_different_keys():
    found = {}
    for value in DISTINCT:
        name = f"{type(value).__name__} {value!r}"
        assert found.setdefault(key({"x": value}), name) == name
    assert len(found) == len(DISTINCT)
    assert key({"x": 1}) != key({"y": 1}) != key({"x": 1, "y": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.1, np.float64(0.1)),
        (3, np.int64(3)),
        (True, np.bool_(True)),
        ("a", np.str_("a")),
        (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        (np.arange(3.0), np.arange(6.0)[:3]),
        (np.arange(3.0), np.arange(3.0).repeat(2)[::2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (st.one_sam(0.1), st.m_sam(0.1, 1)),
    ],
)
def test_what_a_study_cannot_tell_apart_has_one_key(one, other):
    assert key({"x": one}) == key({"x": other}) == key({"x": private(other)})


def test_what_an_object_has_cached_is_no_part_of_the_key():
    fresh = st.sparse_regression(n=5, d=3, n_test=2)
    used = st.sparse_regression(n=5, d=3, n_test=2)
    assert used.rank == 3
    assert key({"x": fresh}) == key({"x": used})
    assert "row_space" not in vars(private(used)) and "row_space" in vars(used)


def test_the_key_is_what_it_was():
    """Another value here means that every cache in the world is computed again."""
    common = digest({"X": np.arange(3.0), "n": 2}, "common")
    assert cell_key("a:b", "c", {"rho": 0.1, "name": "x"}, common) == (
        "87bb08cf0ddfa1e453dd3e767a5aed16eff8fcd9db29b911350892d0cf7e6723"
    )


def overlooked(make, settings, changes, study="s:f", code="c", common="d"):
    """The changed inputs that a key function does not notice."""
    base = make(study, code, settings, common)
    found = [
        name
        for name, value in changes.items()
        if make(study, code, settings | {name: value}, common) == base
    ]
    found += ["study"] * (make("s:g", code, settings, common) == base)
    found += ["code"] * (make(study, "C", settings, common) == base)
    found += ["common"] * (make(study, code, settings, "D") == base)
    return found


CHANGES = {
    "rho": np.nextafter(0.1, 1.0),
    "seed": 4,
    "algorithm": st.one_sam(np.nextafter(0.1, 1.0)),
    "alpha": moved(SETTINGS["alpha"]),
}


def test_every_setting_counts():
    assert set(CHANGES) == set(SETTINGS)
    assert overlooked(cell_key, SETTINGS, CHANGES) == []


def without_rho(study, code, settings, common):
    return cell_key(study, code, {k: v for k, v in settings.items() if k != "rho"}, common)


def rounded(study, code, settings, common):
    texts = {
        name: f"{value:.10g}" if isinstance(value, float) else repr(value)
        for name, value in settings.items()
    }
    return cell_key(study, code, texts, common)


@pytest.mark.parametrize(
    ("faulty", "missed"),
    [
        (without_rho, ["rho"]),
        (rounded, ["rho", "alpha"]),
        (lambda study, code, settings, common: cell_key("", code, settings, common), ["study"]),
        (lambda study, code, settings, common: cell_key(study, "", settings, common), ["code"]),
        (lambda study, code, settings, common: cell_key(study, code, settings, ""), ["common"]),
    ],
)
def test_planted_key_that_ignores_something(faulty, missed):
    assert overlooked(faulty, SETTINGS, CHANGES) == missed


plain = s.none() | s.booleans() | s.integers() | s.floats() | s.text(max_size=4)
nested = s.recursive(
    plain,
    lambda inner: (
        s.lists(inner, max_size=3) | s.dictionaries(s.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def spelled(value):
    if isinstance(value, dict):
        return {name: spelled(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [spelled(entry) for entry in value]
    return value.hex() + str(np.signbit(value)) if isinstance(value, float) else value


@given(nested, nested)
def test_keys_are_equal_exactly_when_the_inputs_are(one, other):
    same = repr(spelled(one)) == repr(spelled(other))
    assert (key({"x": one}) == key({"x": other})) == same
    assert key({"x": one}) == key({"x": private(one)})


@dataclass
class Thawed:
    x: int


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (len, "x: a builtin_function_or_method cannot be an input of a sweep; known are numbers"),
        ({1, 2}, "x: a set cannot"),
        (Thawed(1), "x: a Thawed, a dataclass that is not frozen, cannot"),
        (np.array([None]), "x: an array or scalar of dtype object cannot"),
        (np.longdouble(1), "x: an array or scalar of dtype float128 cannot"),
        (np.ma.masked_array([1.0], [True]), "x: a MaskedArray cannot"),
        (np.random.default_rng(0), "x: a Generator cannot"),
        ({"a": [1, {2}]}, "x['a'][1]: a set cannot"),
        ({1: 2}, "x: a dict with the key 1, which is no string, cannot"),
        (st.Algorithm, "x: a type cannot"),
        (sparse.coo_array(np.eye(2)), "x: a coo_array (only csr and csc) cannot"),
    ],
)
def test_refused_inputs_are_named(value, complaint):
    with pytest.raises(st.InputError) as error:
        key({"x": private(value)})
    assert str(error.value).startswith(complaint) and "\n" not in str(error.value)


def test_orders_of_names_do_not_matter():
    keys = {key(dict(order)) for order in itertools.permutations(SETTINGS.items())}
    assert len(keys) == 1
