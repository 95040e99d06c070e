"""BLAS on one thread inside a solver, so that its bits do not depend on the number of threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded(function: Function) -> Function:
    """Decorate function to run with single-threaded BLAS."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]
