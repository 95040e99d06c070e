"""Dense and sparse designs against the obvious NumPy, chunk by chunk; planted faults are seen."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from sam_theory import design


def random_design(n, d, seed=0):
    """A matrix with empty rows and columns, one in three entries stored."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.35)
    X[n // 2, :] = 0.0
    X[:, d // 3] = 0.0
    return X


def assert_close(found, expected, scale):
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected)) <= 1e-14 * scale


def assert_gram(gram, X, weight):
    """The checker of every Gram matrix below."""
    assert np.array_equal(gram, gram.T)
    expected = np.einsum("ij,kj,j->ik", X, X, weight)
    assert_close(gram, expected, X.shape[1] * np.max(weight) * np.max(np.abs(X)) ** 2)


@pytest.fixture(params=["dense", "sparse"])
def form(request):
    return np.ascontiguousarray if request.param == "dense" else sparse.csr_array


@pytest.fixture(params=[1 << 19, 16])
def small_parts(request, monkeypatch):
    """Cut into one part as usual, and into as many as there can be."""
    monkeypatch.setattr(design, "CHUNK", request.param)
    if request.param == 16:
        monkeypatch.setattr(design, "_PART", 7)
        monkeypatch.setattr(design, "_GRAM_PART", 11)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 9), (5, 40), (9, 4)])
@pytest.mark.usefixtures("small_parts")
def test_products_and_gram_matrices(form, n, d):
    X = random_design(n, d)
    rng = np.random.default_rng(1)
    v, mu, weight = rng.standard_normal(d), rng.standard_normal(n), rng.random(d)
    assert_close(design.product(form(X), v), X @ v, d)
    assert_close(design.transposed_product(form(X), mu), X.T @ mu, n)
    assert_gram(design.weighted_gram(form(X), weight), X, weight)
    assert_gram(design.scaled_gram(form(X), np.sqrt(weight), mu), mu[:, None] * X, weight)
    columns = design.scaled_gram(design.transposed(form(X)), np.ones(n), np.sqrt(weight))
    assert_gram(columns, np.sqrt(weight)[:, None] * X.T, np.ones(n))
    assert design.largest(form(X)) == np.max(np.abs(X))
    assert np.array_equal(design.row_largest(form(X)), np.max(np.abs(X), axis=1))
    chunks = [
        design.scaled_columns(form(X), *chunk, weight, mu)
        for chunk in design.column_chunks(form(X))
    ]
    assert_close(np.hstack(chunks), mu[:, None] * X * weight, 10.0)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 9), (5, 40)])
@pytest.mark.usefixtures("small_parts")
def test_triangular_factors(form, n, d):
    X = random_design(n, d)
    rng = np.random.default_rng(2)
    column, row, right = rng.random(d), 0.5 + rng.random(n), rng.standard_normal(d)
    upper = design.triangle(form(X), column)
    assert np.array_equal(upper, np.triu(upper))
    assert_close(upper.T @ upper, (X * column) @ (X * column).T, 10.0 * d)
    both = np.vstack([X * column, right])
    upper = design.triangle(form(X), column, right)
    assert_close(upper.T @ upper, both @ both.T, 10.0 * d)
    upper, pivot = design.pivoted_triangle(form(X), column, row)
    scaled = (row[:, None] * X * column)[pivot]
    assert_close(upper.T @ upper, scaled @ scaled.T, 10.0 * d)
    assert np.all(np.diff(np.abs(np.diag(upper))) <= 1e-12)


def test_single_precision_gram(monkeypatch):
    monkeypatch.setattr(design, "_SINGLE_FROM", 0)
    X = random_design(6, 50) * 10.0 ** np.linspace(-60, 60, 6)[:, None]
    weight = 10.0 ** np.linspace(-30, 0, 50)
    size = np.where(np.any(X, axis=1), np.max(np.abs(X), axis=1), 1.0)
    gram, norm = design.single_gram(X, np.sqrt(weight), size)
    expected = np.linalg.norm(X * np.sqrt(weight), axis=1)
    assert gram.dtype == np.float32
    assert np.allclose(norm, expected, rtol=1e-6, atol=0.0) and norm[3] == 0.0
    scaled = X * np.sqrt(weight) / np.where(expected > 0.0, expected, 1.0)[:, None]
    assert np.max(np.abs(gram - scaled @ scaled.T)) < 1e-6
    assert design.single_pays(X) and not design.single_pays(sparse.csr_array(X))


def test_a_dropped_part_is_seen(form, monkeypatch):
    X, weight = random_design(5, 40), np.ones(40)
    honest = design.cut
    monkeypatch.setattr(design, "_GRAM_PART", 11)
    assert_gram(design.weighted_gram(form(X), weight), X, weight)
    monkeypatch.setattr(design, "cut", lambda *args: honest(*args)[:-1] or honest(*args))
    with pytest.raises(AssertionError):
        assert_gram(design.weighted_gram(form(X), weight), X, weight)


def test_a_forgotten_weight_is_seen(form):
    X, weight = random_design(5, 40), np.linspace(0.0, 1.0, 40)
    with pytest.raises(AssertionError):
        assert_gram(design.scaled_gram(form(X), weight), X, weight)


@pytest.mark.parametrize("length", [0, 1, 7, 100])
@pytest.mark.parametrize("work", [0, 1, 5, 1000])
def test_parts_cover_the_range(length, work):
    parts = design.cut(length, work, 3)
    assert [k for start, stop in parts for k in range(start, stop)] == list(range(length))
    assert length == 0 or all(start < stop for start, stop in parts)
    sizes = [stop - start for start, stop in parts]
    assert max(sizes) - min(sizes) <= 1


def test_compiled_form():
    X = random_design(4, 9)
    assert design.compiled(X) is X
    matrix = sparse.csr_array(X)
    data, indices, indptr, shape = design.compiled(matrix)
    assert data is matrix.data and indices is matrix.indices and indptr is matrix.indptr
    assert shape == (4, 9)


def test_bits_do_not_depend_on_the_number_of_threads(form, monkeypatch):
    monkeypatch.setattr(design, "_PART", 500)
    monkeypatch.setattr(design, "_GRAM_PART", 5000)
    X = form(random_design(20, 300))
    rng = np.random.default_rng(3)
    v, mu, weight = rng.standard_normal(300), rng.standard_normal(20), rng.random(300)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("SAM_THEORY_THREADS", threads)
        results = (
            design.product(X, v),
            design.transposed_product(X, mu),
            design.weighted_gram(X, weight),
        )
        found.append([result.tobytes() for result in results])
    assert found[0] == found[1] == found[2]


def test_no_temporary_of_the_size_of_the_data():
    X = np.random.default_rng(4).standard_normal((40, 100_000))
    weight, v, mu = np.ones(100_000), np.ones(100_000), np.ones(40)
    row = np.ones(40)

    def peak(call):
        tracemalloc.start()
        call()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size / X.nbytes

    assert peak(lambda: design.weighted_gram(X, weight)) < 0.5
    assert peak(lambda: design.triangle(X, weight)) < 0.5
    assert peak(lambda: design.product(X, v)) < 0.1
    assert peak(lambda: design.transposed_product(X, mu)) < 0.1
    assert peak(lambda: design.largest(X)) < 0.1
    assert peak(lambda: design.row_largest(X)) < 0.1
    assert peak(lambda: design.pivoted_triangle(X, weight, row)) < 1.5
    assert peak(lambda: X * weight) > 0.9


@pytest.mark.slow
def test_cost_of_a_sparse_gram_matrix_is_that_of_its_pairwise_products():
    """Nonzeros as many, in more columns: less work per nonzero, and no cost of the empty ones."""
    rng = np.random.default_rng(5)

    def seconds(n, d, stored):
        place = (rng.integers(n, size=stored), rng.integers(d, size=stored))
        X = sparse.coo_array((rng.standard_normal(stored), place), shape=(n, d)).tocsr()
        weight, best = np.ones(d), np.inf
        for _ in range(5):
            start = time.perf_counter()
            design.weighted_gram(X, weight)
            best = min(best, time.perf_counter() - start)
        return best

    dense = np.ones((300, 100_000))
    start = time.perf_counter()
    design.weighted_gram(dense, np.ones(100_000))
    full = time.perf_counter() - start
    few, many = seconds(300, 100_000, 200_000), seconds(300, 100_000, 1_600_000)
    # Eight times the nonzeros: between eight times the cost (per nonzero) and 64 (per pair).
    assert 3.0 < many / few < 100.0
    assert few < 0.1 * full
