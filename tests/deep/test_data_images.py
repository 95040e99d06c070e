"""Image sets and their splits."""

import dataclasses

import numpy as np
import pytest
from test_data_formats import images, refused

from sam_theory.deep.data import DataSet, ImageSet, in_order, prepare


def made(count=200, classes=10, channels=3, **named):
    labels = np.random.default_rng(3).permutation(np.arange(count) % classes)
    return ImageSet(images(count, channels, 6, 5), labels, classes, source="toy", **named)


def dataset(count=200, **named):
    return DataSet("toy", made(count), made(50), True, **named)


def test_floats_are_correctly_rounded():
    data = made()
    exact = data.pixels.astype(np.float64) / 255
    assert np.array_equal(data.floats(dtype=np.float64), exact)
    assert data.floats().dtype == np.float32
    assert np.array_equal(data.floats([4, 2]), exact[[4, 2]].astype(np.float32))
    refused("float32 or float64, not float16", data.floats, dtype=np.float16)
    levels = ImageSet(np.arange(17, dtype=np.uint8).reshape(17, 1, 1, 1), np.zeros(17, int), 2, 16)
    assert levels.floats().ravel().tolist() == [k / 16 for k in range(17)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((2, 1, 4, 4))}, r"toy: the images must be uint8 .* not float64"),
        ({"pixels": images(2, 4, 4)}, r"not uint8 of shape \(2, 4, 4\)"),
        ({"labels": np.array([0, 3])}, "toy: label 3 of image 2; labels must be from 0 to 2"),
        ({"labels": np.array([-1, 0])}, "toy: label -1 of image 1"),
        ({"labels": np.array([0.0, 1.0])}, "2 integers, not float64"),
        ({"labels": np.array([0])}, "2 integers, not int64 of shape"),
        ({"true_labels": np.array([0, 7])}, r"toy \(true labels\): label 7"),
        ({"classes": 1}, "classes must be >= 2"),
        ({"largest": 3}, "a pixel is .* above 3"),
    ],
)
def test_bad_sets(change, message):
    good = {"pixels": images(2, 1, 4, 4), "labels": np.array([0, 2]), "classes": 3, "source": "toy"}
    ImageSet(**good)
    refused(message, ImageSet, **(good | change))


def test_two_classes():
    data = made()
    part, rows = data.two_classes(7, 2)
    assert np.array_equal(rows, np.flatnonzero(np.isin(data.labels, [2, 7])))
    assert np.array_equal(part.labels, (data.labels[rows] == 2).astype(int))
    assert np.array_equal(part.pixels, data.pixels[rows]) and part.classes == 2
    refused("needs two classes, not 3 twice", data.two_classes, 3, 3)
    refused("between 0 and 9", data.two_classes, 3, 10)
    refused("no image of class 9", data.select(np.flatnonzero(data.labels < 9)).two_classes, 9, 1)


def test_grey():
    data = made()
    weights = np.array([0.299, 0.587, 0.114])
    exact = np.einsum("nchw,c->nhw", data.pixels.astype(float), weights)
    grey = data.grey()
    assert grey.shape == (1, 6, 5)
    assert np.max(np.abs(grey.pixels[:, 0] - exact)) <= 0.5 + 1e-9
    assert grey.grey() is grey
    refused("no grey-scale variant of 2 channels", made(channels=2).grey)


def test_splits_are_disjoint_and_cover():
    data = dataset()
    parts = prepare(data, 4)
    rows = np.concatenate([parts.train_indices, parts.validation_indices])
    assert np.array_equal(np.sort(rows), np.arange(200))
    assert (parts.train.n, parts.validation.n, parts.test.n) == (180, 20, 50)
    assert np.array_equal(parts.train.pixels, data.train.pixels[parts.train_indices])
    assert np.array_equal(parts.validation.labels, data.train.labels[parts.validation_indices])
    assert np.all(np.diff(parts.train_indices) > 0) and parts.flip
    same, other = prepare(data, 4), prepare(data, 5)
    assert np.array_equal(same.train_indices, parts.train_indices)
    assert not np.array_equal(other.validation_indices, parts.validation_indices)


def test_validation_comes_out_of_the_fraction():
    parts = prepare(dataset(), 0, fraction=0.25, validation=0.2)
    assert (parts.train.n, parts.validation.n) == (40, 10)
    assert not set(parts.train_indices) & set(parts.validation_indices)
    assert prepare(dataset(), 0, validation=0.0).validation is None


def test_two_grey_classes_with_noise_keep_their_rows():
    data = dataset(noise_map=(0, 1, 0, 5, 7, 3, 6, 7, 8, 1))
    parts = prepare(data, 1, classes=(5, 3), grey=True, noise=0.5, noise_kind="asymmetric")
    rows = parts.train_indices
    assert np.array_equal(parts.train.true_labels, (data.train.labels[rows] == 3).astype(int))
    assert parts.train.shape[0] == parts.test.shape[0] == parts.validation.shape[0] == 1
    assert parts.train.noisy.sum() == round(0.5 * parts.train.n)
    assert not parts.validation.noisy.any() and not parts.test.noisy.any()
    other = {"classes": (0, 1), "noise": 0.5, "noise_kind": "asymmetric"}
    refused("noise_map changes no class", prepare, data, 1, **other)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"fraction": 0.0}, "fraction of the training set must be above 0"),
        ({"fraction": 1.1}, "at most 1, not 1.1"),
        ({"validation": 1.0}, "validation share must be at least 0 and below 1"),
        ({"fraction": 0.001}, "no training example is left of 200"),
        ({"fraction": 0.02}, "a validation share 0.1 of 4 examples is none"),
        ({"noise": -0.1}, "from 0 to 1, not -0.1"),
        ({"noise": 0.1, "noise_kind": "asymmetric"}, "toy: asymmetric label noise has no class"),
    ],
)
def test_bad_splits(named, message):
    refused(message, prepare, dataset(), 0, **named)


def test_a_test_set_without_images_is_refused():
    whole = dataset()
    empty = dataclasses.replace(whole, test=whole.test.select(np.arange(0)))
    refused("toy: there is no test image", prepare, empty, 0)


def test_in_order_covers_everything():
    data = made(23)
    batches = list(in_order(data, 10))
    assert [len(batch.labels) for batch in batches] == [10, 10, 3]
    assert np.array_equal(np.concatenate([b.images for b in batches]), data.floats())
    assert np.array_equal(np.concatenate([b.indices for b in batches]), np.arange(23))
