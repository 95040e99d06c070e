"""From a data set to what a run trains, validates and tests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam_theory._validate import checked_number
from sam_theory.deep.data import streams
from sam_theory.deep.data.images import ImageSet
from sam_theory.deep.data.known import DataSet
from sam_theory.deep.data.noise import noisy_labels
from sam_theory.errors import InputError


@dataclass(frozen=True, eq=False)
class Splits:
    """The parts of a data set.

    Attributes
    ----------
    train : ImageSet
        With label noise, if asked for.
    validation : ImageSet or None
        With clean labels; None if its share is 0.
    test : ImageSet
        All of the test set, clean.
    train_indices, validation_indices : numpy.ndarray
        Rows of the distributed training set, int64, ascending.
    flip : bool
        Whether images may be mirrored.
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    train_indices: np.ndarray
    validation_indices: np.ndarray
    flip: bool


def prepare(
    data: DataSet,
    seed: int,
    *,
    classes: tuple[int, int] | None = None,
    grey: bool = False,
    fraction: float = 1.0,
    validation: float = 0.1,
    noise: float = 0.0,
    noise_kind: str = "symmetric",
    noise_map: tuple[int, ...] | None = None,
) -> Splits:
    """Cut a data set into training, validation and test parts.

    In this order: two classes, grey-scale, a fraction of the training set, the validation split out
    of that fraction, label noise on what is left for training. Validation and test labels stay
    clean; every part is in file order.

    Parameters
    ----------
    data : DataSet
        From :func:`sam_theory.deep.data.load`.
    seed : int
        Decides fraction, validation split and noise, each by a stream of its own.
    classes : pair of int, optional
        Keep these two, relabelled 0 and 1.
    grey : bool
        In one channel.
    fraction : float
        Of the training set, above 0, at most 1 (dimensionless).
    validation : float
        Share of the fraction that is held out, at least 0, below 1 (dimensionless).
    noise : float
        Fraction of training labels changed, from 0 to 1 (dimensionless).
    noise_kind : str
        "symmetric" or "asymmetric".
    noise_map : tuple of int, optional
        In place of the data set's own class map, in the labels of the distributed set.

    Returns
    -------
    Splits
        The parts, and which rows they are.

    Raises
    ------
    InputError
        A value out of range, or a part that would be empty.

    Examples
    --------
    >>> from sam_theory.deep import data
    >>> parts = data.prepare(data.load("digits"), 0, validation=0.1, noise=0.6)
    >>> round(float(parts.train.noisy.mean()), 2), bool(parts.validation.noisy.any())
    (0.6, False)
    """
    share, held = checked_number("fraction", fraction), checked_number("validation", validation)
    if not 0 < share <= 1:
        raise InputError(
            f"the fraction of the training set must be above 0, at most 1, not {share}"
        )
    if not 0 <= held < 1:
        raise InputError(f"the validation share must be at least 0 and below 1, not {held}")
    train, test, rows = data.train, data.test, np.arange(data.train.n)
    mapping = data.noise_map if noise_map is None else noise_map
    if classes is not None:
        train, rows = train.two_classes(*classes)
        test = test.two_classes(*classes)[0]
        mapping = None if mapping is None else _restricted(mapping, classes)
    kept = _share(train.n, share, seed, "training fraction")
    inside = _share(len(kept), held, seed, "validation split")
    validating = kept[inside]
    training = np.delete(kept, inside)
    if not len(training):
        raise InputError(
            f"{data.name}: no training example is left of {train.n} (fraction {share}, "
            f"validation {held})"
        )
    if not test.n:
        raise InputError(f"{data.name}: there is no test image")
    if held > 0 and not len(validating):
        raise InputError(f"{data.name}: a validation share {held} of {len(kept)} examples is none")
    parts = [train.select(training), train.select(validating) if len(validating) else None, test]
    if grey:
        parts = [part and part.grey() for part in parts]
    first, second, third = parts
    assert first is not None and third is not None
    if noise:
        first = noisy_labels(first, noise, seed=seed, kind=noise_kind, noise_map=mapping)
    return Splits(first, second, third, rows[training], rows[validating], data.flip)


def _share(count: int, share: float, seed: int, purpose: str) -> np.ndarray:
    """Return round(share count) of 0 .. count - 1, ascending; all of them without a draw."""
    wanted = round(share * count)
    if wanted == count:
        return np.arange(count)
    return np.sort(streams.permutation(count, seed=seed, purpose=purpose)[:wanted])


def _restricted(mapping: tuple[int, ...], classes: tuple[int, int]) -> tuple[int, ...]:
    """Return a class map on two classes; a class that would leave them stays."""
    return tuple(
        classes.index(mapping[value]) if mapping[value] in classes else place
        for place, value in enumerate(classes)
    )
