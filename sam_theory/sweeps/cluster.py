"""A Dask cluster as a place for the workers; needs the extra ``distributed``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from joblib._dask import DaskDistributedBackend

from sam_theory.errors import InputError, MissingExtra


class Backend(DaskDistributedBackend):
    """joblib's backend, but for two things.

    A task that is lost with its workers is an error, not silence; and a cluster with one core left
    computes on it, where joblib would compute in this process.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of cores of the cluster, at least 2; InputError if it has none."""
        try:
            return max(2, super().effective_n_jobs(n_jobs))
        except TimeoutError:
            raise InputError("the cluster has no workers") from None

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Submit a batch of tasks; `callback` gets the result or the exception."""
        future = super().submit(func, callback)

        def lost(done: Any) -> None:
            if callback is not None and done.exception() is not None:
                callback(done.exception())

        future.add_done_callback(lost)
        return future


@contextlib.contextmanager
def connected(scheduler: Any) -> Iterator[Any]:
    """Yield the client of a cluster.

    Parameters
    ----------
    scheduler : str or distributed.Client, optional
        Its address, which is connected to and left again; a client; None for the current client.

    Raises
    ------
    InputError
        There is no cluster there, or it ends before the sweep does.
    MissingExtra
        Without the extra ``distributed``.
    """
    try:
        import distributed
    except ImportError:
        raise MissingExtra("distributed", "distributed") from None
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            client = _current()
        elif isinstance(scheduler, distributed.Client):
            client = scheduler
        else:
            client = stack.enter_context(_client(scheduler))
        try:
            yield client
        except distributed.client.FutureCancelledError as error:
            raise InputError(f"the cluster was lost: {' '.join(str(error).split())}") from None


def _current() -> Any:
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        raise InputError(
            "backend='dask' needs a cluster: give scheduler='tcp://HOST:PORT' or a Client"
        ) from None


def _client(scheduler: Any) -> Any:
    import distributed

    try:
        return distributed.Client(scheduler, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"scheduler {scheduler}: {' '.join(str(error).split())}") from None
