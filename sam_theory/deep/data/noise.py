"""Label noise with a record: which labels are wrong, and what the true ones are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sam_theory._validate import checked_number
from sam_theory.deep.data import streams
from sam_theory.deep.data.images import ImageSet, checked_labels
from sam_theory.errors import InputError

KINDS = ("symmetric", "asymmetric")


def noisy_labels(
    data: ImageSet,
    fraction: float,
    *,
    seed: int,
    kind: str = "symmetric",
    noise_map: Sequence[int] | None = None,
) -> ImageSet:
    """Return the set with a fraction of its labels changed.

    Symmetric: exactly round(fraction n) examples, each label uniform over the other classes.
    Asymmetric: exactly round(fraction k) of the k examples whose class the map changes; the others
    keep their labels and do not count as noisy.

    Parameters
    ----------
    data : ImageSet
        With its true labels.
    fraction : float
        From 0 to 1 (dimensionless).
    seed : int
        The same seed gives the same noise.
    kind : str
        "symmetric" or "asymmetric".
    noise_map : sequence of int, optional
        For asymmetric noise: the class that each class turns into, itself if it stays.

    Returns
    -------
    ImageSet
        ``noisy`` says which labels were changed, ``true_labels`` keeps the old ones.

    Raises
    ------
    InputError
        A fraction outside [0, 1], an unknown kind, a map that is missing or changes nothing, or
        labels that are noisy already.

    Notes
    -----
    The published experiments also count as noisy, under asymmetric noise, the chosen examples of
    classes that the map leaves alone.
    """
    share = checked_number("fraction of noisy labels", fraction)
    if not 0 <= share <= 1:
        raise InputError(f"the fraction of noisy labels must be from 0 to 1, not {share}")
    if kind not in KINDS:
        raise InputError(f"unknown kind of label noise {kind!r}; known are {', '.join(KINDS)}")
    if data.noisy.any():
        raise InputError(f"{data.source}: the labels are noisy already")
    if kind == "asymmetric":
        target = _checked_map(noise_map, data)[data.labels]
    else:
        shift = 1 + streams.integers(
            data.n, data.classes - 1, seed=seed, purpose="label noise", keys=(1,)
        )
        target = (data.labels + shift) % data.classes
    order = streams.permutation(data.n, seed=seed, purpose="label noise", keys=(0,))
    able = order[target[order] != data.labels[order]]
    chosen = able[: round(share * len(able))]
    labels = data.labels.copy()
    labels[chosen] = target[chosen]
    return replace(data, labels=labels, true_labels=data.labels)


def _checked_map(noise_map: Sequence[int] | None, data: ImageSet) -> np.ndarray:
    if noise_map is None:
        raise InputError(f"{data.source}: asymmetric label noise has no class map for this set")
    table = checked_labels(np.asarray(noise_map), data.classes, data.classes, "noise_map")
    if not np.any(table != np.arange(data.classes)):
        raise InputError("noise_map changes no class")
    return table
