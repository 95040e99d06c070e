"""Every cell has its own inputs, and arrays that are mapped from a file stay there."""

import pickle
from dataclasses import dataclass

import bits
import numpy as np
import pytest
import toy_studies
from scipy import sparse
from test_run import go

import sam_theory as st
from sam_theory.sweeps.inputs import Mapped, portable, private, size

DATA = st.sparse_regression(n=5, d=3, n_test=2)


@dataclass(frozen=True)
class Holder:
    array: np.ndarray


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "array.npy", np.arange(12.0).reshape(3, 4))
    return tmp_path / "array.npy"


def mapped(path, mode="r"):
    return np.load(path, mmap_mode=mode)


def test_private_copies_share_nothing(path):
    given = {"a": [np.arange(6.0).reshape(2, 3).T], "data": DATA, "mapped": mapped(path)}
    copied = private(given)
    pairs = [
        (given["a"][0], copied["a"][0]),
        (given["mapped"], copied["mapped"]),
        (DATA.X, copied["data"].X),
        (DATA.test.y, copied["data"].test.y),
    ]
    for old, new in pairs:
        assert type(new) is np.ndarray and new.flags.c_contiguous and new.flags.writeable
        assert np.array_equal(old, new) and not np.shares_memory(old, new)
    assert isinstance(copied["data"], st.Regression) and copied["data"].source == DATA.source
    assert size(given) == 8 * (6 + 12 + (15 + 5 + 3) + (6 + 2 + 3))
    assert [type(v) for v in private([np.float64(1), np.int64(1), np.float32(1)])] == [
        float,
        int,
        np.float32,
    ]


def test_sparse_arrays_are_copied():
    given = sparse.csr_array(np.diag([1.0, 2.0]))
    copied = private({"X": given})["X"]
    copied.data[:] = 0.0
    assert given.data.tolist() == [1.0, 2.0] and type(copied) is sparse.csr_array
    assert size(given) == 16 + given.indices.nbytes + given.indptr.nbytes


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
@pytest.mark.parametrize(
    "part", [lambda a: a, lambda a: a[1:], lambda a: np.asarray(a), lambda a: a.reshape(-1)[5:7]]
)
def test_mapped_arrays_travel_as_their_place(part, mode, path):
    given = part(mapped(path, mode))
    sent = portable({"holder": Holder(given)})
    assert type(sent["holder"].array) is Mapped
    assert len(pickle.dumps(sent)) < 1000
    one, other = (private(sent)["holder"].array for _ in range(2))
    assert type(one) is np.ndarray and one.dtype == given.dtype
    one[:] = -1.0
    assert np.array_equal(other, given) and np.array_equal(private(sent)["holder"].array, given)


def test_what_the_file_does_not_hold_is_copied(path):
    changed, strided = mapped(path, "c"), mapped(path)[:, ::2]
    changed[0, 0] = 7.0
    for given in (changed, strided, mapped(path)[:0], mapped(path) + 1.0):
        sent = portable(given)
        assert type(sent) is np.ndarray and np.array_equal(sent, given)


def test_a_file_that_changes_meanwhile_is_refused(path):
    sent = portable(mapped(path))
    np.save(path, np.zeros((3, 5)))
    with pytest.raises(st.InputError, match="array.npy has changed since the sweep began"):
        private(sent)
    path.unlink()
    with pytest.raises(st.InputError, match="array.npy: cannot be read"):
        private(sent)


def test_a_sweep_over_mapped_data(path, tmp_path):
    data = st.sparse_regression(n=5, d=3, n_test=0)
    results = [
        go(
            toy_studies.spoil,
            {"x": range(4)},
            tmp_path / f"{count} {type(array).__name__}",
            common={"data": data, "array": array},
            workers=count,
        )
        for count in (1, 2)
        for array in (np.load(path), mapped(path))
    ]
    for other in results[1:]:
        assert other.computed == 4
        assert bits.differences(other.table, results[0].table) == []
    assert np.load(path).tolist() == np.arange(12.0).reshape(3, 4).tolist()
