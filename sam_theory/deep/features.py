"""Rank of the features before the last layer, and error rates of parts of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_theory.errors import InputError

from .losses import predictions
from .network import Network


def rank_of_features(features: Any, share: float = 0.99) -> int:
    """Return the number of principal components that hold a share of the variance.

    Parameters
    ----------
    features : array of shape (n, d)
        Rows are examples; columns are centred here.
    share : float
        In (0, 1].

    Returns
    -------
    int
        Smallest k with sum_{i <= k} s_i^2 >= share sum_i s_i^2 over the singular values s; 0 if all
        rows are equal.

    Raises
    ------
    InputError
        share is out of range, or features are not a finite matrix.
    """
    if not 0 < share <= 1:
        raise InputError(f"share must be in (0, 1], not {share!r}")
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or not np.all(np.isfinite(matrix)):
        raise InputError("features must be a finite matrix")
    values = np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False) ** 2
    total = values.sum()
    if total <= 1e-28 * max(1.0, float((matrix**2).sum())):
        return 0
    reached = np.cumsum(values) >= share * total * (1 - 1e-12)
    return int(np.argmax(reached)) + 1


def feature_rank(
    network: Network, weights: Any, buffers: Any, images: Any, share: float = 0.99
) -> int:
    """Rank of what the last linear layer sees on some images, in evaluation mode.

    Parameters
    ----------
    network, weights, buffers, images
        As in :func:`sam_theory.deep.sharpness.m_sharpness`.
    share : float
        As in :func:`rank_of_features`.

    Returns
    -------
    int
        >= 0.
    """
    found = network.features(weights, images, buffers=buffers)
    return rank_of_features(network.backend.host(found), share)


def error_rates(
    network: Network, logits: Any, labels: Any, noisy: Any = None
) -> tuple[float, float, float]:
    """Error rates of all, of clean and of noisy examples.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    logits : array of shape (n, outputs)
        As :meth:`Network.evaluate` returns them.
    labels : array of int, shape (n,)
        Classes.
    noisy : array of bool, shape (n,), optional
        Which labels were changed; None is none.

    Returns
    -------
    all, clean, noisy : float
        nan for an empty part.
    """
    wrong = network.backend.host(predictions(network.xp, logits)) != network.backend.host(labels)
    mask = np.zeros(len(wrong), bool) if noisy is None else np.asarray(noisy, bool)

    def rate(part: Any) -> float:
        return float(part.mean()) if part.size else float("nan")

    return rate(wrong), rate(wrong[~mask]), rate(wrong[mask])
