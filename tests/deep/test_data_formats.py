"""Small files in every format, read back; and every way in which a file can be wrong."""

import gzip
import struct

import numpy as np
import pytest
from scipy.io import savemat

from sam_theory import InputError
from sam_theory.deep.data import files, formats
from sam_theory.deep.data.files import KnownFile


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array):
    magic = 0x00000800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def cifar_bytes(pixels, *labels):
    return np.hstack([*(x[:, None] for x in labels), pixels.reshape(len(pixels), -1)]).tobytes()


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_cifar10(tmp_path, ending):
    pixels, labels = images(7, 3, 32, 32), np.arange(3, 10).astype(np.uint8)
    path = write(tmp_path / f"data_batch_1.bin{ending}", cifar_bytes(pixels, labels))
    found = formats.read_cifar(path, classes=10, label_bytes=1)
    assert np.array_equal(found[0], pixels) and found[0].dtype == np.uint8
    assert np.array_equal(found[1], labels) and found[1].dtype == np.int64


def test_cifar100_takes_the_fine_label(tmp_path):
    pixels = images(3, 3, 32, 32)
    coarse, fine = np.array([[1, 2, 3], [99, 0, 50]], dtype=np.uint8)
    path = write(tmp_path / "train.bin", cifar_bytes(pixels, coarse, fine))
    found = formats.read_cifar(path, classes=100, label_bytes=2)
    assert np.array_equal(found[0], pixels) and found[1].tolist() == [99, 0, 50]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx(tmp_path, ending):
    pixels, labels = images(5, 6, 9), np.arange(5).astype(np.uint8)
    paths = [
        write(tmp_path / f"{name}{ending}", idx_bytes(array))
        for name, array in (("images", pixels), ("labels", labels))
    ]
    found = formats.read_idx_pair(*paths)
    assert np.array_equal(found[0], pixels[:, None])
    assert np.array_equal(found[1], labels) and found[1].dtype == np.int64


def test_svhn(tmp_path):
    pixels = images(32, 32, 3, 4)
    path = tmp_path / "train_32x32.mat"
    savemat(path, {"X": pixels, "y": np.array([[10], [1], [9], [2]], dtype=np.uint8)})
    found = formats.read_svhn(path)
    assert found[1].tolist() == [0, 1, 9, 2] and found[0].shape == (4, 3, 32, 32)
    assert found[0][2, 1, 5, 7] == pixels[5, 7, 1, 2]


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 2, 5, 6)])
def test_npz(tmp_path, shape):
    pixels, path = images(*shape), tmp_path / "train.npz"
    np.savez(path, images=pixels, labels=np.array([0, 3, 1, 1], dtype=np.uint8))
    found = formats.read_npz(path)
    assert found[0].shape == (4, 1 if len(shape) == 3 else 2, 5, 6)
    assert np.array_equal(found[0].reshape(shape), pixels) and found[1].tolist() == [0, 3, 1, 1]


def refused(message, read, *given, **named):
    with pytest.raises(InputError, match=message) as caught:
        read(*given, **named)
    assert "\n" not in str(caught.value)


def test_truncated_files_say_which_and_how_long(tmp_path):
    cifar = write(tmp_path / "data_batch_2.bin", b"\0" * 9_000)
    known = KnownFile("data_batch_2.bin", 9_219)
    message = r"data_batch_2.bin: truncated: 9,000 bytes where 9,219 are expected$"
    refused(message, formats.read_cifar, cifar, known, classes=10, label_bytes=1)
    refused(
        "not a number of records of 3,073", formats.read_cifar, cifar, classes=10, label_bytes=1
    )
    content = idx_bytes(images(5, 6, 9))
    plain = write(tmp_path / "plain", content[:-1])
    refused("plain: truncated: 285 bytes where 286 are expected$", formats.read_idx, plain)
    packed = write(tmp_path / "packed.gz", content[:-1])
    refused("packed.gz: truncated: 285 bytes .* expected, unpacked$", formats.read_idx, packed)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(content)[:-30])
    refused("cut.gz: truncated: the packed data ends .* 286 are expected", formats.read_idx, cut)
    flipped = bytearray(gzip.compress(content))
    flipped[-6] ^= 1
    broken = tmp_path / "broken.gz"
    broken.write_bytes(flipped)
    refused(r"broken.gz: a damaged .gz file \(CRC", formats.read_idx, broken)


@pytest.mark.parametrize("size", [0, 3, 4, 15])
def test_an_idx_header_that_is_cut(tmp_path, size):
    path = write(tmp_path / "images", idx_bytes(images(2, 2, 2))[:size])
    refused("images: (wrong magic number nothing|truncated: the header)", formats.read_idx, path)


def test_files_that_are_too_long(tmp_path):
    path = write(tmp_path / "x", idx_bytes(images(2, 2, 2)) + b"\0")
    refused("x: longer than the 24 bytes expected", formats.read_idx, path)
    path = write(tmp_path / "x.gz", idx_bytes(images(2, 2, 2)) + b"\0")
    refused("x.gz: longer than the 24 bytes expected, unpacked", formats.read_idx, path)


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path):
    path = write(tmp_path / "x.gz", struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 1) + b"\0")
    refused("x.gz: truncated: 17 bytes where 18,446,744,065,119,617,041", formats.read_idx, path)


def test_wrong_magic(tmp_path):
    path = write(tmp_path / "x", b"\x89PNG\r\n\x1a\n")
    refused("x: wrong magic number 0x89504e47; an IDX file", formats.read_idx, path)


def test_idx_files_that_do_not_belong_together(tmp_path):
    pixels = write(tmp_path / "i", idx_bytes(images(5, 2, 2)))
    labels = write(tmp_path / "l", idx_bytes(np.zeros(4, np.uint8)))
    refused("l: 4 labels for 5 images", formats.read_idx_pair, pixels, labels)
    refused("l: holds labels, not images", formats.read_idx_pair, labels, labels)
    refused("i: holds images, not labels", formats.read_idx_pair, pixels, pixels)


def test_labels_out_of_range(tmp_path):
    pixels = images(3, 3, 32, 32)
    path = write(tmp_path / "b.bin", cifar_bytes(pixels, np.array([0, 10, 1], np.uint8)))
    message = "b.bin: label 10 of image 2; labels must be from 0 to 9"
    refused(message, formats.read_cifar, path, classes=10, label_bytes=1)
    path = tmp_path / "x.mat"
    savemat(path, {"X": images(32, 32, 3, 2), "y": np.array([[1], [0]], dtype=np.uint8)})
    refused("x.mat: label 0 of image 2; labels must be from 1 to 10", formats.read_svhn, path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_truncated_mat_and_npz(tmp_path, keep):
    mat, npz = tmp_path / "x.mat", tmp_path / "x.npz"
    savemat(mat, {"X": images(32, 32, 3, 5), "y": np.ones((5, 1), np.uint8)}, do_compression=True)
    np.savez(npz, images=images(9, 4, 4), labels=np.zeros(9, np.int64))
    for path, read in ((mat, formats.read_svhn), (npz, formats.read_npz)):
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        refused(f"{path.name}: (truncated|not an NPZ|X must|y must)", read, path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2))}, "X must be uint8 of shape .* not float64"),
        ({"y": np.zeros((2, 1), np.uint8)}, "X must be uint8"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "y must be integer of shape"),
    ],
)
def test_another_mat_file(tmp_path, arrays, message):
    savemat(tmp_path / "x.mat", arrays)
    refused(message, formats.read_svhn, tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(2, int)}, "no array 'images'"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(2, int)}, "uint8 of shape .*float64"),
        ({"images": images(2, 4, 4), "labels": np.zeros(2)}, "2 integers, not float64"),
        ({"images": images(2, 4, 4), "labels": np.zeros(3, int)}, "2 integers, not int64 of shape"),
    ],
)
def test_another_npz_file(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    refused(message, formats.read_npz, tmp_path / "x.npz")


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    np.savez(tmp_path / "x.npz", images=np.array([Trap()]), labels=np.zeros(1, int))
    refused("pickle, refused", formats.read_npz, tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


def test_checksums(tmp_path):
    path = write(tmp_path / "x", b"abc")
    digests = {
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    for digest in digests:
        assert files.read(path, KnownFile("x", 3, digest)) == b"abc"
        other = KnownFile("x", 3, digest[:-1] + "e")
        refused("x: damaged or another file: its (md5|sha256) is", files.read, path, other)


def test_missing_file_names_it_with_its_size(tmp_path):
    known = KnownFile("train.bin", 153_700_000)
    message = r"cifar100: no file train.bin \(153,700,000 bytes\), plain or .gz; looked in .*"
    refused(message, files.find, known, [tmp_path], "cifar100")
    refused("gone: no such file", files.read, tmp_path / "gone")
