"""Running statistics of batch normalisation for weights that were not trained to have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sam_theory.errors import InputError

from .network import Network


def reestimated_buffers(network: Network, weights: Any, batches: Iterable[Any]) -> Any:
    """Mean over batches of their means and unbiased variances, at fixed weights.

    Averaged weights and points of a segment need this before they are evaluated.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    weights : array of shape (size,)
        Parameters.
    batches : iterable of arrays of shape (n, height, width, channels)
        As :meth:`Network.images` returns them; every batch counts alike.

    Returns
    -------
    array of shape (buffer size,)
        Unchanged initial statistics for a network without batch normalisation.

    Raises
    ------
    InputError
        There is no batch.
    """
    buffers = network.initial_buffers()
    if not network.has_batch_norm:
        return buffers
    views = network.buffer_layout.stored(buffers)
    norms = {norm.name: norm for norm in network.model.norms}
    totals: dict[str, Any] = {}
    count = 0
    for images in batches:
        labels = network.xp.zeros(len(images), dtype="int64")
        _, _, found = network.evaluate(
            weights, images, labels, batch_statistics=True, micro_batch=None
        )
        count += 1
        for name, values in found.moments.items():
            mean, variance = values[0]
            old = totals.get(name, (0.0, 0.0))
            totals[name] = old[0] + mean, old[1] + variance
    if count == 0:
        raise InputError("no batch to estimate the statistics of batch normalisation from")
    for name, (mean, variance) in totals.items():
        views[norms[name].mean][...] = mean / count
        views[norms[name].variance][...] = variance / count
    return buffers
