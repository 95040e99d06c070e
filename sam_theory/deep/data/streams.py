"""Random numbers as a function of (seed, purpose, keys), whatever was drawn before.

A stream is the Philox generator of NumPy, seeded by ``SeedSequence(seed, spawn_key=(code of the
purpose, *keys))``. Only its raw 64-bit words are used, r below: NumPy fixes those for good, but not
how its distributions use them. Uniforms are floor(r / 2^11) 2^-53, integers floor(u k), and a
permutation is the stable order of the words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_theory._validate import checked_integer
from sam_theory.errors import InputError

# Part of every stream: a number that has been used must keep its meaning.
_PURPOSES = {
    "batch order": 1,
    "augmentation": 2,
    "validation split": 3,
    "training fraction": 4,
    "label noise": 5,
    "test split": 6,
    "initialisation": 7,
    "perturbation": 8,
    "gradient noise": 9,
    "dropout": 10,
    "sharpness": 11,
}


BLOCK = 4
"""Words that the generator makes at once."""


def words(
    count: int, *, seed: int, purpose: str, keys: tuple[int, ...] = (), skip: int = 0
) -> np.ndarray:
    """Return raw words of a stream, the first ones unless some are skipped.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        From 0 to 2^128 - 1.
    purpose : str
        One of the listed purposes, so that no two parts of a run share a stream.
    keys : tuple of int
        Further coordinates, such as the epoch; each from 0 to 2^32 - 1.
    skip : int
        Begin after this many blocks of ``BLOCK`` words, which costs nothing.

    Returns
    -------
    numpy.ndarray
        uint64, (count,).

    Raises
    ------
    InputError
        The seed, a key or the purpose is none of these.
    """
    if purpose not in _PURPOSES:
        raise InputError(f"purpose {purpose!r} is unknown; known are {', '.join(_PURPOSES)}")
    entropy = checked_integer("seed", seed, 0, 2**128 - 1)
    place = tuple(checked_integer("a key of a stream", key, 0, 2**32 - 1) for key in keys)
    sequence = np.random.SeedSequence(entropy, spawn_key=(_PURPOSES[purpose], *place))
    generator = np.random.Philox(sequence)
    if skip:
        generator.advance(checked_integer("skip", skip, 0))
    return generator.random_raw(checked_integer("count", count, 0))


def uniforms(count: int, **stream: Any) -> np.ndarray:
    """Return numbers uniform on [0, 1), float64, (count,); arguments as of :func:`words`."""
    return _unit(words(count, **stream))


def integers(count: int, below: int, **stream: Any) -> np.ndarray:
    """Return integers uniform on 0 .. below - 1, int64, (count,), to within below 2^-53."""
    return _scaled(words(count, **stream), below)


def permutation(count: int, **stream: Any) -> np.ndarray:
    """Return a random order of 0 .. count - 1, int64, (count,)."""
    return np.argsort(words(count, **stream), kind="stable").astype(np.int64, copy=False)


def _unit(raw: np.ndarray) -> np.ndarray:
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scaled(raw: np.ndarray, below: int) -> np.ndarray:
    return np.floor(_unit(raw) * checked_integer("below", below, 1)).astype(np.int64)
