"""Label noise: exact rates, honest records; planted faults are found."""

from dataclasses import replace

import numpy as np
import pytest
from test_data_formats import refused
from test_data_images import made

from sam_theory.deep.data import noisy_labels, streams

CIFAR10 = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)


def complaints(before, after, expected):
    """What is wrong with label noise: rate, record, images; empty if nothing."""
    changed = int(np.count_nonzero(after.labels != before.labels))
    found = [] if changed == expected else [f"{changed} labels differ, not {expected}"]
    if not np.array_equal(after.true_labels, before.labels):
        found.append("the record of true labels is not the clean labels")
    if not np.array_equal(after.noisy, after.labels != before.labels):
        found.append("the record of noisy examples is not what differs")
    if not np.array_equal(after.pixels, before.pixels):
        found.append("the images differ")
    return found


@pytest.mark.parametrize("fraction", [0.0, 0.123, 0.4, 0.6, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_symmetric(fraction, classes):
    clean = made(1003, classes)
    noisy = noisy_labels(clean, fraction, seed=2)
    assert complaints(clean, noisy, round(fraction * 1003)) == []
    assert not clean.noisy.any()


def test_symmetric_is_uniform_over_the_other_classes():
    clean = made(30_000)
    noisy = noisy_labels(clean, 0.6, seed=0)
    shift = (noisy.labels - clean.labels)[noisy.noisy] % 10
    counts = np.bincount(shift, minlength=10)
    assert counts[0] == 0
    expected = 18_000 / 9
    # Chi squared with 8 degrees of freedom: 26.1 is its 99.9 % point.
    assert np.sum((counts[1:] - expected) ** 2 / expected) < 26.1
    per_class = np.bincount(clean.labels[noisy.noisy], minlength=10)
    assert np.all(np.abs(per_class - 1800) < 5 * np.sqrt(3000 * 0.6 * 0.4))


def test_asymmetric_counts_only_what_changes():
    clean = made(2000)
    noisy = noisy_labels(clean, 0.4, seed=1, kind="asymmetric", noise_map=CIFAR10)
    able = np.isin(clean.labels, [9, 2, 3, 5, 4])
    assert complaints(clean, noisy, round(0.4 * able.sum())) == []
    where = noisy.noisy
    assert np.array_equal(noisy.labels[where], np.array(CIFAR10)[clean.labels[where]])
    assert not where[~able].any()


def test_the_seed_decides():
    clean = made(500)
    first, again, other = (noisy_labels(clean, 0.3, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    less = noisy_labels(clean, 0.1, seed=7)
    assert np.all(first.noisy[less.noisy])


def test_planted_noise_that_can_return_the_true_label():
    clean = made(1000)
    order = streams.permutation(1000, seed=0, purpose="label noise")[:600]
    labels = clean.labels.copy()
    labels[order] = np.random.default_rng(0).integers(0, 10, 600)
    planted = replace(clean, labels=labels, true_labels=clean.labels)
    assert any("not 600" in line for line in complaints(clean, planted, 600))


def test_planted_records():
    clean = made(1000)
    noisy = noisy_labels(clean, 0.5, seed=0)
    forgotten = replace(noisy, true_labels=noisy.labels)
    found = complaints(clean, forgotten, 500)
    assert found[0].startswith("the record of true labels") and len(found) == 2
    assert complaints(clean, replace(noisy, pixels=255 - noisy.pixels), 500) == [
        "the images differ"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fraction": 1.2}, "from 0 to 1, not 1.2"),
        ({"fraction": float("nan")}, "must be finite"),
        ({"kind": "random"}, "unknown kind of label noise 'random'; known are symmetric, asym"),
        ({"kind": "asymmetric"}, "no class map"),
        ({"kind": "asymmetric", "noise_map": range(10)}, "noise_map changes no class"),
        ({"kind": "asymmetric", "noise_map": (1, 0)}, "noise_map: the labels must be 10 integers"),
    ],
)
def test_bad_noise(given, message):
    given = {"fraction": 0.5, "seed": 0} | given
    refused(message, noisy_labels, made(), given.pop("fraction"), **given)


def test_noise_is_added_once():
    refused("noisy already", noisy_labels, noisy_labels(made(), 0.1, seed=0), 0.1, seed=0)
