"""Grids become lists of cells, in order."""

import numpy as np
import pandas as pd
import pytest

import sam_theory as st
from sam_theory.sweeps.grids import expand


def test_the_last_name_runs_fastest():
    names, cells = expand({"b": [1, 2], "a": ["x", "y", "z"]})
    assert names == ("b", "a")
    assert [tuple(cell.values()) for cell in cells] == [
        (b, a) for b in (1, 2) for a in ("x", "y", "z")
    ]


@pytest.mark.parametrize(
    "values", [[0.0, 0.5], (0.0, 0.5), np.array([0.0, 0.5]), pd.Series([0.0, 0.5])]
)
def test_forms_of_values(values):
    _, cells = expand({"a": values})
    assert [type(cell["a"]) for cell in cells] == [float, float]
    assert [cell["a"] for cell in cells] == [0.0, 0.5]


def test_values_that_are_arrays_or_objects():
    _, cells = expand({"a": np.eye(2), "data": [st.sparse_regression()], "n": range(2)})
    assert len(cells) == 4 and cells[0]["a"].tolist() == [1.0, 0.0]
    assert cells[3]["n"] == 1 and isinstance(cells[3]["data"], st.Regression)


def test_tables_and_data_frames():
    rows = [{"a": 1, "b": 0.1}, {"b": -0.0, "a": 2}]
    frame = pd.DataFrame({"a": [1, 2], "b": [0.1, -0.0]})
    for grid in (rows, tuple(rows), frame):
        names, cells = expand(grid)
        assert names == ("a", "b")
        assert repr(cells) == "[{'a': 1, 'b': 0.1}, {'a': 2, 'b': -0.0}]"


def test_a_data_frame_keeps_its_dtypes():
    frame = pd.DataFrame({"a": np.array([0.1], dtype=np.float32), "n": np.array([1], np.int8)})
    (cell,) = expand(frame)[1]
    assert type(cell["a"]) is np.float32 and type(cell["n"]) is np.int8


@pytest.mark.parametrize(
    ("grid", "complaint"),
    [
        ({}, "grid has no settings"),
        ([], "grid has no cells"),
        ({"a": []}, "grid: a has no values"),
        ({"a": "abc"}, "grid: a must be a list of values, not a str"),
        ({"a": 1.0}, "grid: a must be a list of values, not a float"),
        ({"a": {1, 2}}, "grid: a must be a list of values, not a set"),
        ({"a": np.array(1.0)}, "grid: a must be a list of values, not a ndarray"),
        ({1: [1]}, "grid: the name of a setting must be a string, not 1"),
        ({"error": [1]}, "grid: 'error' is a column of the result, choose another name"),
        ([{"a": 1}, {"b": 1}], "grid: row 2 has no 'a'"),
        ([{"a": 1}, {"a": 1, "b": 1}], "grid: row 2 has 'b', which row 1 has not"),
        ([1], "grid: row 1 must be a mapping, not a int"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "grid: 'a' appears twice"),
        (pd.DataFrame({"a": []}), "grid has no cells"),
        (3, "grid must be a mapping of names to lists of values, a list of mappings, or a Data"),
        ("abc", "grid must be"),
    ],
)
def test_refused_grids(grid, complaint):
    with pytest.raises(st.InputError) as error:
        expand(grid)
    assert str(error.value).startswith(complaint) and "\n" not in str(error.value)
