"""Where and in which precision networks are computed: NumPy with compiled kernels, or cupy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sam_theory._threads import worker_count
from sam_theory.errors import InputError, MissingExtra

Name = Literal["numpy", "cupy", "arrays"]
NAMES = ("numpy", "cupy", "arrays")
PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Backend:
    """Array module, precision and how batches are cut.

    Parameters
    ----------
    name : {"numpy", "cupy", "arrays"}
        Compiled kernels on the CPU; a GPU; plain NumPy array code, slow, for comparison.
    precision : {"float32", "float64"}
    threads : int, optional
        Threads on the CPU; None takes SAM_THEORY_THREADS or the cores we may use. The result does
        not depend on it.
    lanes : int
        Parts into which a batch is cut, at most; sums are taken over them in order, so results in
        different lanes differ by rounding. More threads than lanes are of no use.

    Raises
    ------
    InputError
        A field is out of range, or there is no GPU.
    MissingExtra
        cupy is asked for and not installed.
    """

    name: Name = "numpy"
    precision: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    lanes: int = 8

    def __post_init__(self) -> None:
        """Check every field, and that a GPU is there if one is asked for."""
        if self.name not in NAMES:
            raise InputError(f"backend must be one of {', '.join(NAMES)}, not {self.name!r}")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        if isinstance(self.lanes, bool) or not isinstance(self.lanes, int) or self.lanes < 1:
            raise InputError(f"lanes must be an integer >= 1, not {self.lanes!r}")
        worker_count(self.threads)
        if self.name == "cupy":
            _cupy()

    @property
    def xp(self) -> Any:
        """The array module."""
        return _cupy() if self.name == "cupy" else np

    @property
    def dtype(self) -> Any:
        """The precision as a NumPy dtype."""
        return np.dtype(self.precision)

    def operations(self) -> Any:
        """Return the operations of this backend."""
        if self.name == "numpy":
            from .operations.compiled import CompiledOperations

            return CompiledOperations()
        if self.name == "cupy":
            from .operations.gpu import GpuOperations

            return GpuOperations(self.xp)
        from .operations.arrays import ArrayOperations

        return ArrayOperations(np)

    def array(self, values: Any, dtype: Any = None) -> Any:
        """Return ``values`` on the device, in its precision unless ``dtype`` says otherwise."""
        return self.xp.asarray(values, dtype=self.dtype if dtype is None else dtype)

    def host(self, values: Any) -> Any:
        """Return ``values`` as a NumPy array."""
        return self.xp.asnumpy(values) if self.name == "cupy" else np.asarray(values)


def _cupy() -> Any:
    try:
        import cupy
    except ModuleNotFoundError:
        raise MissingExtra("cupy", "gpu") from None
    except ImportError as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip(" =")), "")
        raise InputError(f"backend 'cupy': cupy cannot be loaded ({reason})") from None
    if not cupy.is_available():
        raise InputError("backend 'cupy': no usable GPU (cupy.is_available() is False)")
    return cupy
