"""Regression: validation, row space, splits, preprocessing, readers, the published instance."""

import io
import warnings
import zipfile

import numpy as np
import pytest
from scipy import sparse

import sam_theory as st
from sam_theory.row_space import row_space


def test_the_published_instance_bit_for_bit():
    stream = np.random.RandomState(0)
    X = stream.multivariate_normal(np.zeros(30), np.eye(30), 20)
    X_test = stream.multivariate_normal(np.zeros(30), np.eye(30), 1000)
    theta = stream.randn(30)
    theta[3:] = 0.0
    theta = np.abs(theta) / np.linalg.norm(theta)
    data = st.sparse_regression()
    assert np.array_equal(data.X, X) and np.array_equal(data.test.X, X_test)
    assert np.array_equal(data.beta_star, theta)
    assert np.array_equal(data.y, X @ theta) and np.array_equal(data.test.y, X_test @ theta)


def test_the_generators_options():
    noisy = st.sparse_regression(n=10, d=40, nonzeros=5, noise=0.5, seed=3, n_test=0)
    assert noisy.test is None and np.count_nonzero(noisy.beta_star) == 5
    assert 0.1 < np.std(noisy.y - noisy.X @ noisy.beta_star) < 1.0
    chained = st.sparse_regression(n=4000, d=3, nonzeros=1, correlation=0.8, n_test=0)
    correlation = np.corrcoef(chained.X.T)
    assert abs(correlation[0, 1] - 0.8) < 0.03 and abs(correlation[0, 2] - 0.64) < 0.04
    for bad in ({"n": 0}, {"nonzeros": 31}, {"noise": -1.0}, {"correlation": 1.0}, {"seed": -1}):
        with pytest.raises(st.InputError, match=next(iter(bad))):
            st.sparse_regression(**bad)


def test_loss_is_half_the_mean_square():
    data = st.Regression([[1.0, 0.0], [0.0, 2.0]], [1.0, 1.0])
    assert data.loss([0.0, 1.0]) == 0.25 * (1.0 + 1.0)


def test_row_space():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, 9))
    full = row_space(X, X @ np.ones(9))
    assert full.rank == 4 and full.consistent and full.rows.tolist() == [0, 1, 2, 3]
    tall = np.vstack([X[0], 2.0 * X[0], X[1:], X[1] - X[2]])
    given = row_space(tall, tall @ np.ones(9))
    assert given.rank == 4 and given.consistent
    assert np.linalg.matrix_rank(tall[given.rows]) == 4
    y = rng.standard_normal(6)
    given = row_space(tall, y)
    assert not given.consistent and given.residual > 0.1
    fitted = tall @ np.linalg.lstsq(tall, y)[0]
    assert np.max(np.abs(given.y_range - fitted)) < 1e-12
    assert row_space(np.zeros((2, 3)), np.zeros(2)).rank == 0


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones(3), np.ones(3), "X must have 2 dimensions"),
        (np.ones((0, 3)), np.ones(0), "no rows"),
        (np.ones((3, 0)), np.ones(3), "no columns"),
        (np.ones((3, 2)), np.ones(2), "y has length 2 but X has 3 rows"),
        ([[1.0, np.inf]], [1.0], "X is inf in row 1, column 2"),
        (np.ones((2, 2)), [1.0, np.nan], "y is nan in row 2"),
        (np.ones((2, 2)) * 1j, [1.0, 1.0], "real numbers"),
        ([["a"]], [1.0], "real numbers"),
    ],
)
def test_bad_arrays_are_named(X, y, message):
    with pytest.raises(st.InputError, match=message):
        st.Regression(X, y)


def test_no_copy_of_an_array_that_already_fits():
    X = np.ones((2, 3))
    assert np.shares_memory(st.Regression(X, np.ones(2)).X, X)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_sparse_data_of_any_format(kind):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((8, 5)) * (rng.random((8, 5)) < 0.5), rng.standard_normal(8)
    given = sparse.coo_array(X).asformat(kind)
    dense, data = st.Regression(X, y), st.Regression(given, y, test=st.Regression(given, y))
    assert isinstance(data.X, sparse.csr_array) and data.X.dtype == np.float64
    assert np.array_equal(data.X.toarray(), X) and np.array_equal(data.test.X.toarray(), X)
    assert data.loss(np.ones(5)) == pytest.approx(dense.loss(np.ones(5)), rel=1e-14)
    assert (data.rank, data.consistent) == (dense.rank, dense.consistent)
    parts, expected = (form.split(0.25, seed=1) for form in (st.Regression(given, y), dense))
    assert np.array_equal(parts.X.toarray(), expected.X) and sparse.issparse(parts.test.X)
    assert np.array_equal(parts.test.y, expected.test.y)
    assert repr(data) == "Regression(n=8, d=5, rank=5, test n=8)"


def test_sparse_data_are_made_canonical_and_the_original_is_left_alone():
    data = np.array([1.0, 2.0, 4.0, 0.0], dtype=np.float32)
    given = sparse.csr_matrix((data, [2, 0, 2, 1], [0, 3, 4]), shape=(2, 3))
    kept = st.Regression(given, np.ones(2)).X
    assert kept.data.tolist() == [2.0, 5.0] and kept.indices.tolist() == [0, 2]
    assert kept.indptr.tolist() == [0, 2, 2]
    assert given.indices.tolist() == [2, 0, 2, 1] and given.data.tolist() == data.tolist()
    assert np.shares_memory(st.Regression(kept, np.ones(2)).X.data, kept.data)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (sparse.csr_array([[0.0, 1.0], [np.nan, 0.0]]), "X is nan in row 2, column 1"),
        (sparse.csc_array([[0.0, 1.0], [0.0, -np.inf]]), "X is -inf in row 2, column 2"),
        (sparse.csr_array(np.eye(2) * 1j), "real numbers, not dtype complex128"),
        (sparse.coo_array(np.ones(3)), "X must have 2 dimensions"),
        (sparse.csr_array((0, 3)), "no rows"),
        (sparse.csr_array((3, 0)), "no columns"),
    ],
)
def test_bad_sparse_arrays_are_named(X, message):
    with pytest.raises(st.InputError, match=message):
        st.Regression(X, np.ones(2))


def test_split_and_standardize():
    rng = np.random.default_rng(0)
    data = st.Regression(
        rng.standard_normal((20, 4)) * [1, 10, 100, 1] + 5, rng.standard_normal(20)
    )
    parts = data.split(0.25, seed=1)
    assert (parts.n, parts.test.n) == (15, 5)
    together = np.vstack([parts.X, parts.test.X])
    assert sorted(map(tuple, together)) == sorted(map(tuple, data.X))
    again = data.split(0.25, seed=1)
    assert np.array_equal(parts.X, again.X)
    assert not np.array_equal(parts.X, data.split(0.25, seed=2).X)
    unit = parts.standardize(center=True, scale=True, center_target=True)
    assert np.max(np.abs(unit.X.mean(axis=0))) < 1e-14 and abs(unit.y.mean()) < 1e-15
    assert np.allclose(unit.X.std(axis=0), 1.0, rtol=1e-13)
    assert np.array_equal(unit.preprocessing.apply(parts.X), unit.X)
    assert np.array_equal(unit.preprocessing.apply(parts.test.X), unit.test.X)
    assert np.array_equal(unit.test.y, parts.test.y - unit.preprocessing.target_center)
    with pytest.raises(st.InputError, match="column 2"):
        st.Regression([[1.0, 3.0], [2.0, 3.0]], [0.0, 1.0]).standardize()
    for fraction in (-0.1, 1.0):
        with pytest.raises(st.InputError, match="test_fraction"):
            data.split(fraction)


def test_standardize_at_the_ends_of_the_range():
    X = np.random.default_rng(0).standard_normal((6, 2))
    wanted = (X - X.mean(axis=0)) / X.std(axis=0)
    for exponent in (-900, -3, 900):
        data = st.Regression(np.ldexp(X, exponent), np.ones(6)).standardize()
        assert np.max(np.abs(data.X - wanted)) < 1e-15


def test_csv_round_trip(tmp_path):
    data = st.sparse_regression(n=5, d=3, nonzeros=2)
    path = tmp_path / "data.csv"
    rows = np.column_stack([data.X[:, :1], data.y, data.X[:, 1:]])
    lines = [",".join(map(repr, row.tolist())) for row in rows]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["a,label,b,c", *lines, ""]).encode())
    read = st.Regression.from_csv(path, target="label")
    assert np.array_equal(read.X, data.X) and np.array_equal(read.y, data.y)
    assert list(read.feature_names) == ["a", "b", "c"] and read.target == "label"
    assert st.Regression.from_csv(path, target="label", test_fraction=0.4).test.n == 2


def test_csv_with_quotes_and_blank_lines(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('\n"a","y"\n"1.5","2"\n\n3,4\n')
    read = st.Regression.from_csv(path, target="y")
    assert read.X.tolist() == [[1.5], [3.0]] and read.y.tolist() == [2.0, 4.0]


def test_npz_round_trip(tmp_path):
    data = st.sparse_regression()
    path = tmp_path / "data.npz"
    names = np.array([f"f{j}" for j in range(30)])
    np.savez(
        path,
        X=data.X,
        y=data.y,
        X_test=data.test.X,
        y_test=data.test.y,
        beta_star=data.beta_star,
        feature_names=names,
    )
    read = st.Regression.from_file(path)
    assert np.array_equal(read.X, data.X) and np.array_equal(read.test.y, data.test.y)
    assert np.array_equal(read.beta_star, data.beta_star)
    assert list(read.feature_names) == names.tolist()


def test_damaged_npz_is_read_whole_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    refused = 0
    for save in (np.savez, np.savez_compressed):
        save(path, X=rng.standard_normal((3, 4)), y=np.ones(3), feature_names=list("abcd"))
        content = path.read_bytes()
        for k in range(300):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(len(content))] if k % 5 == 0 else damaged)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    st.Regression.from_npz(path)
            except st.InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 300


def test_npz_with_a_forged_header_is_read_whole_or_refused(tmp_path):
    """The checksum is right, so NumPy's header parser meets the damage."""
    rng = np.random.default_rng(0)
    good = {"X": rng.standard_normal((3, 4)), "y": np.ones(3), "feature_names": np.array(["a"] * 4)}
    path = tmp_path / "data.npz"
    refused = 0
    for k in range(600):
        with zipfile.ZipFile(path, "w") as archive:
            for j, (name, array) in enumerate(good.items()):
                stream = io.BytesIO()
                np.save(stream, array)
                member = bytearray(stream.getvalue())
                if k % 3 == j:
                    member[rng.integers(len(member))] = rng.choice(list(b"\xff(),'{}[]<>iOUSV09"))
                archive.writestr(name + ".npy", bytes(member))
        try:
            read = st.Regression.from_npz(path)
        except st.InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert read.feature_names is not None
    assert refused > 300


def test_npz_member_that_is_no_array_is_not_dropped(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.eye(2), y=np.ones(2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("feature_names.npy", b"a,b")
    with pytest.raises(st.InputError, match="feature_names is not a NumPy array"):
        st.Regression.from_npz(path)
    np.savez(
        path,
        X=np.eye(2),
        y=np.ones(2),
        feature_names=np.array([2**31 - 1, 65]).astype("<u4").view("<U1"),
    )
    with pytest.raises(st.InputError, match="feature_names must be"):
        st.Regression.from_npz(path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["1.5", "2"], "column 'a' is of type string, not numeric"),
        ([b"1", b"2"], "column 'a' is of type binary"),
        ([[1.0], [2.0]], "column 'a' is of type list"),
        ([1.0, None], "row 2, column 'a': the cell is empty"),
        ([1.0, float("inf")], "row 2, column 'a': inf is not finite"),
    ],
)
def test_parquet_column_that_is_not_numeric(column, message, tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"a": column, "y": [3.0, 4.0]}), path)
    with pytest.raises(st.InputError, match=message):
        st.Regression.from_parquet(path, target="y")


def test_parquet_column_twice(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    path = tmp_path / "data.parquet"
    columns = [pyarrow.array([1.0])] * 3
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=["a", "a", "y"]), path)
    with pytest.raises(st.InputError, match="column 'a' appears twice"):
        st.Regression.from_parquet(path, target="y")


def test_damaged_parquet_is_read_or_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "y": [3, 4]}), path)
    content = path.read_bytes()
    refused = 0
    for k in range(len(content)):
        for damaged in (content[:k], content[:k] + b"\xff" + content[k + 1 :]):
            path.write_bytes(damaged)
            try:
                st.Regression.from_parquet(path, target="y")
            except st.InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > len(content)


def test_parquet_round_trip(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "y": [3, 4], "b": [0.5, None]}), path)
    with pytest.raises(st.InputError, match="'b'"):
        st.Regression.from_parquet(path, target="y")
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "y": [3, 4]}), path)
    read = st.Regression.from_file(path, target="y")
    assert read.X.tolist() == [[1.0], [2.0]] and read.y.tolist() == [3.0, 4.0]
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(st.InputError, match="not a Parquet file"):
        st.Regression.from_parquet(path, target="y")


def test_parquet_without_the_extra_names_it(tmp_path, monkeypatch):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(st.MissingExtra, match=r"sam-theory\[parquet\]"):
        st.Regression.from_parquet(path, target="y")


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_data_that_cannot_be_factorised_is_refused(size):
    for X, y in ((np.eye(2) * size, np.ones(2)), (np.eye(2), np.ones(2) * size)):
        with pytest.raises(st.InputError, match="the largest entry of"):
            st.implicit_bias(st.Regression(X, y), alpha=0.1, algorithm=st.gd())
