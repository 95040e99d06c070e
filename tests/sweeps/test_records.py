"""Records give back the same bits, and nothing else passes for a record."""

import enum
import math
import traceback

import bits
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as s

import sam_theory as st
from sam_theory.sweeps.records import Damaged, Failure, Outcome, pack, rows_of, unpack

KEY = "ab" * 32
patterns = s.integers(0, 2**64 - 1).map(
    lambda bits: float(np.array(bits, dtype=np.uint64).view(np.float64))
)
values = s.none() | s.booleans() | s.integers() | s.floats() | patterns | s.text()
rows = s.lists(s.dictionaries(s.text(min_size=1), values, max_size=4), max_size=4)


def record(outcome=None, settings=None):
    outcome = Outcome([{"x": 0.1, "n": 3, "name": "a"}]) if outcome is None else outcome
    return pack(KEY, outcome, "study:f", settings or {"rho": 0.1})


@given(rows)
def test_rows_read_back_to_the_same_bits(given_rows):
    back = unpack(KEY, record(Outcome(given_rows))).rows
    spelled = [[(name, bits.of(value)) for name, value in row.items()] for row in given_rows]
    assert [[(name, bits.of(value)) for name, value in row.items()] for row in back] == spelled


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, 5e-324, 1.7976931348623157e308]
    + [0.1 + 0.2, 2**63, -(2**63) - 1, 10**4000, True, None, "", "\ud800", "\x00\n\u03c1"],
)
def test_strange_values(value):
    back = unpack(KEY, record(Outcome([{"v": value}]))).rows[0]["v"]
    assert type(back) is type(value)
    assert back == value if isinstance(value, int) else bits.of(back) == bits.of(value)


def test_failures_read_back():
    try:
        raise ValueError("two\nlines \u03c1 \ud800")
    except ValueError as error:
        failure = Failure.of(error)
    assert unpack(KEY, record(Outcome([], failure))) == Outcome([], failure)
    assert failure.type == "ValueError" and failure.message == "two\nlines \u03c1 \ud800"


def test_the_traceback_leaves_out_only_the_callers_frame():
    def study():
        raise KeyError("k") from ZeroDivisionError("z")

    try:
        study()
    except KeyError as error:
        failure = Failure.of(error)
        full = traceback.format_exc()
    assert "in study" in failure.traceback and "ZeroDivisionError: z" in failure.traceback
    assert "in test_the_traceback" in full and "in test_the_traceback" not in failure.traceback


def test_an_exception_that_cannot_be_shown():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no")

    failure = Failure.of(Mute())
    assert failure.type == "Mute" and failure.message == "(its message cannot be shown)"


def test_the_same_outcome_gives_the_same_bytes():
    assert record() == record() == record(unpack(KEY, record()))


@pytest.mark.parametrize("bit", [0, 5, 7])
def test_every_flipped_bit_is_noticed(bit):
    data = record()
    for j in range(len(data)):
        flipped = bytearray(data)
        flipped[j] ^= 1 << bit
        with pytest.raises(Damaged):
            unpack(KEY, bytes(flipped))


def test_every_truncation_and_extension_is_noticed():
    data = record()
    for length in range(len(data)):
        with pytest.raises(Damaged):
            unpack(KEY, data[:length])
    for extra in (b"\n", b" ", b"\0", data):
        with pytest.raises(Damaged, match="checksum"):
            unpack(KEY, data + extra)


@pytest.mark.parametrize("foreign", [b"", b"\n", b"a,b\n1,2\n", b"\x80\x04", b"\0" * 4096])
def test_foreign_files_are_noticed(foreign):
    with pytest.raises(Damaged, match="not a record"):
        unpack(KEY, foreign)


def test_a_record_of_another_cell_is_noticed():
    with pytest.raises(Damaged, match="checksum"):
        unpack("cd" * 32, record())


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"a": 1}, [{"a": 1}]),
        ([{"a": 1}, {"b": 2.0}], [{"a": 1}, {"b": 2.0}]),
        ([], []),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 9]), None),
        (pd.DataFrame({"a": np.array([0.1], dtype=np.float32)}), [{"a": float(np.float32(0.1))}]),
        (
            {"a": np.float32(0.1), "b": np.uint64(2**63)},
            [{"a": float(np.float32(0.1)), "b": 2**63}],
        ),
        ({"a": np.bool_(True), "b": np.str_("s")}, [{"a": True, "b": "s"}]),
    ],
)
def test_what_a_study_may_return(result, expected):
    found = rows_of(result, {"rho": 1})
    if expected is None:
        assert [row["a"] for row in found] == [1, 2] and found[0]["b"] == "x"
        assert found[1]["b"] is None or math.isnan(found[1]["b"])
        return
    assert found == expected
    assert [type(v) for row in found for v in row.values()] == [
        type(v) for row in expected for v in row.values()
    ]


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (1.0, "the study returned a float; it must return a mapping of scalars"),
        (None, "the study returned a NoneType"),
        ([1.0], "the study returned a list"),
        ({"a": np.zeros(2)}, "the result 'a' is a ndarray, which cannot be stored"),
        ({"a": 1j}, "the result 'a' is a complex"),
        ({"a": [1]}, "the result 'a' is a list"),
        ({"a": np.longdouble(1)}, "the result 'a' is a longdouble"),
        ({"a": 2**14_000}, "the result 'a' is an integer of 14001 bits"),
        ({"a": Colour.RED}, "the result 'a' is a Colour"),
        ({"rho": 1}, "the result 'rho' has the name of a setting"),
        ({1: 1}, "the name of a result must be a string, not 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the result has two columns of the same name"),
        (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), "the result 't' is a Timestamp"),
    ],
)
def test_what_cannot_be_stored_is_one_line(result, complaint):
    with pytest.raises(st.InputError) as error:
        rows_of(result, {"rho": 1})
    assert str(error.value).startswith(complaint) and "\n" not in str(error.value)
