"""Loss and error along the line through two networks, and distances between networks.

    w(s) = (1 - s) w_A + s w_B,     s in [-1, 2]

with the statistics of batch normalisation estimated anew at every point, unless they were frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam_theory.errors import InputError

from .network import Network
from .statistics import reestimated_buffers

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """Loss and error along a line.

    Attributes
    ----------
    positions : array of shape (k,)
    loss, error : dict of arrays of shape (k,)
        By name of the data set; mean loss without the regulariser, error rate.
    """

    positions: Floats
    loss: dict[str, Floats]
    error: dict[str, Floats]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with the columns s, data, loss, error."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {
                    "s": self.positions,
                    "data": name,
                    "loss": self.loss[name],
                    "error": self.error[name],
                }
            )
            for name in self.loss
        ]
        return pd.concat(parts, ignore_index=True)


def loss_along_segment(
    network: Network, first: Any, second: Any, data: Mapping[str, tuple[Any, Any]], *,
    positions: Sequence[float] | None = None, batches: Callable[[], Iterable[Any]] | None = None,
    buffers: Any = None,
) -> Segment:  # fmt: skip
    """Evaluate w(s) on data sets.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    first, second : array of shape (size,)
        w_A at s = 0 and w_B at s = 1, both evaluated exactly.
    data : mapping of name to (images, labels)
        As :meth:`Network.images` and :meth:`Network.labels` return them.
    positions : sequence of float, optional
        s; 61 points from -1 to 2 by default.
    batches : callable, optional
        Returns batches of images for :func:`reestimated_buffers`; needed with batch normalisation
        unless there are ``buffers``.
    buffers : array, optional
        Running statistics of every point, for networks that were trained with frozen ones.

    Returns
    -------
    Segment
        Loss and error of every data set at every position.

    Raises
    ------
    InputError
        No data, an empty data set, parameters of another network, or batches are missing for a
        network with batch normalisation.
    """
    if not data:
        raise InputError("no data set to evaluate the segment on")
    for name, (images, _) in data.items():
        if not len(images):
            raise InputError(f"data set {name!r} of the segment has no images")
    _check_sizes(network, first, second)
    if network.has_batch_norm and batches is None and buffers is None:
        raise InputError("batches are needed to estimate the statistics of batch normalisation")
    places = (
        np.round(np.linspace(-1, 2, 61), 12) if positions is None else np.array(positions, float)
    )
    loss = {name: np.empty(len(places)) for name in data}
    error = {name: np.empty(len(places)) for name in data}
    kind = first.dtype.type
    for k, s in enumerate(places):
        w = kind(1 - s) * first + kind(s) * second
        there = buffers
        if there is None:
            there = reestimated_buffers(network, w, batches() if batches is not None else ())
        for name, (images, labels) in data.items():
            _, _, found = network.evaluate(w, images, labels, buffers=there)
            loss[name][k], error[name][k] = found.loss, found.errors / len(images)
    return Segment(places, loss, error)


def distance(network: Network, first: Any, second: Any) -> float:
    """Euclidean distance between two networks' parameters.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    first, second : array of shape (size,)
        Parameters of two networks.

    Returns
    -------
    float
        >= 0.

    Raises
    ------
    InputError
        Parameters of another network.
    """
    _check_sizes(network, first, second)
    return network.vectors.norm(first - second)


def _check_sizes(network: Network, *arrays: Any) -> None:
    for array in arrays:
        if array.shape != (network.size,):
            raise InputError(
                f"parameters have shape {array.shape}, the network takes ({network.size},)"
            )
