"""The comparer of tables notices what it is for."""

import bits
import numpy as np
import pandas as pd
import pytest
import toy_studies

BASE = {"a": [1.0, float("nan")], "b": ["x", "y"], "c": [1, 2]}


def test_equal_tables():
    assert bits.differences(pd.DataFrame(BASE), pd.DataFrame(BASE)) == []
    assert bits.differences(pd.DataFrame({"a": [-0.0]}), pd.DataFrame({"a": [-0.0]})) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"a": [np.nextafter(1.0, 2.0), float("nan")]}, ["a[0]"]),
        ({"a": [1.0, toy_studies.NAN]}, ["a[1]"]),
        ({"b": ["x", "z"]}, ["b[1]"]),
        ({"c": [1.0, 2.0]}, ["c: int64 and float64", "c[0]", "c[1]"]),
        ({"d": [0, 0]}, ["columns ['a', 'b', 'c'] and ['a', 'b', 'c', 'd']"]),
    ],
)
def test_planted_difference(change, complaint):
    assert bits.differences(pd.DataFrame(BASE), pd.DataFrame(BASE | change)) == complaint


def test_planted_sign_and_length():
    zero, negative = pd.DataFrame({"a": [0.0]}), pd.DataFrame({"a": [-0.0]})
    assert bits.differences(zero, negative) == ["a[0]"]
    assert bits.differences(zero, pd.concat([zero, zero])) == ["1 and 2 rows"]
