"""Columns of a table hold every value that a study may return."""

import numpy as np

from sam_theory.sweeps.tables import _column


def test_text_is_a_column_of_text_unless_it_has_half_a_surrogate_pair():
    assert str(_column(["a", "\u03c1", "\U0001f600"]).dtype) == "str"
    broken = _column(["a", "\ud800"])
    assert broken.dtype == object and list(broken) == ["a", "\ud800"]


def test_numbers_keep_their_value():
    assert _column([1, 2]).dtype == np.int64
    assert list(_column([1, 2**63])) == [1, 2**63]
    assert list(_column([1.5, 2**53 + 1])) == [1.5, 2**53 + 1]
