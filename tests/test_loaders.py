"""Designs in files of their own: mapped where they can be, read or refused otherwise."""

import numpy as np
import pytest
from scipy import sparse

import sam_theory as st


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "X.npy", rng.standard_normal((4, 7)))
    np.save(tmp_path / "y.npy", rng.standard_normal(4))
    return tmp_path


def is_mapped(array):
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def test_a_mapped_array_equals_the_array_and_is_not_copied(folder):
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    data = st.Regression.from_npy(folder / "X.npy", folder / "y.npy")
    assert is_mapped(data.X) and type(data.X) is np.ndarray and data.X.flags.writeable
    assert np.array_equal(data.X, X) and np.array_equal(data.y, y)
    found = st.minimize_potential(data.X, data.y, 0.1)
    assert np.array_equal(found.beta, st.minimize_potential(X, y, 0.1).beta)
    given = np.load(folder / "X.npy", mmap_mode="r")
    kept = st.Regression(given, y).X
    assert np.shares_memory(kept, given)
    assert np.array_equal(st.minimize_potential(kept, y, 0.1).beta, found.beta)
    data.X[0, 0] = 5.0
    assert np.load(folder / "X.npy")[0, 0] == X[0, 0]


def test_an_array_that_does_not_fit_is_read(folder):
    X = np.load(folder / "X.npy")
    np.save(folder / "F.npy", np.asfortranarray(X.astype(np.float32)))
    data = st.Regression.from_npy(folder / "F.npy", folder / "y.npy")
    assert np.array_equal(data.X, X.astype(np.float32)) and data.X.flags.c_contiguous


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_a_sparse_design_in_any_format(folder, kind):
    X = np.load(folder / "X.npy") * (np.arange(7) % 3 == 0)
    sparse.save_npz(folder / "S.npz", sparse.coo_array(X).asformat(kind))
    data = st.Regression.from_npy(folder / "S.npz", folder / "y.npy")
    assert isinstance(data.X, sparse.csr_array) and data.X.nnz == np.count_nonzero(X)
    assert np.array_equal(data.X.toarray(), X)


def test_damaged_files_are_read_whole_or_refused(folder):
    rng = np.random.default_rng(1)
    sparse.save_npz(folder / "S.npz", sparse.csr_array(np.eye(4, 7)))
    refused = 0
    for name in ("X.npy", "S.npz"):
        content = (folder / name).read_bytes()
        for k in range(250):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] = rng.integers(256)
            cut = damaged[: rng.integers(len(content))] if k % 5 == 0 else damaged
            path = folder / f"damaged{name}"
            path.write_bytes(cut)
            try:
                st.Regression.from_npy(path, folder / "y.npy")
            except st.InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 150


def test_indices_out_of_range_do_not_reach_the_kernels(folder):
    matrix = sparse.csr_array(np.eye(4, 7))
    matrix.indices[2] = 70
    with pytest.raises(st.InputError, match="not a valid sparse array"):
        st.Regression(matrix, np.ones(4))
    np.savez(
        folder / "bad.npz",
        format=b"csc",
        shape=(4, 7),
        data=np.ones(1),
        indices=np.array([9]),
        indptr=np.array([0, 1, 1, 1, 1, 1, 1, 1]),
        _is_array=True,
    )
    with pytest.raises(st.InputError):
        st.Regression.from_npy(folder / "bad.npz", folder / "y.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "no such file"),
        ("empty.npy", b"", "the file is empty"),
        ("text.npy", b"a,b\n1,2\n", "a damaged file"),
        ("text.npz", b"a,b\n1,2\n", "a damaged file"),
    ],
)
def test_bad_files_are_named(folder, name, content, message):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(st.InputError, match=f"{name}: {message}"):
        st.Regression.from_npy(folder / name, folder / "y.npy")


def test_python_objects_are_refused(folder):
    np.save(folder / "O.npy", np.array([[None, {}]]), allow_pickle=True)
    with pytest.raises(st.InputError, match="needs pickle"):
        st.Regression.from_npy(folder / "O.npy", folder / "y.npy")
