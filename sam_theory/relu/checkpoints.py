"""Runs of training on disk: one NPZ file without pickles, written atomically, under a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .loop import State
from .network import Network
from .plan import Run
from .result import Training

_FORM = "sam_theory.relu training 1"
_RUN = ("step_size", "steps", "schedule", "objective", "tol", "tol_at", "seed", "precision")
_ALGORITHM = ("rho", "m", "batch_size", "normalized", "ascent_steps")
_STATE = ("steps", "status", "diverged_at", "objective", "perturbed_objective")


def checked_path(path: str | PathLike[str]) -> Path:
    """Return where to write; InputError, before anything is computed, if that cannot be."""
    target = Path(path)
    if target.suffix != ".npz":
        raise InputError(f"checkpoint {path}: must end with .npz")
    if not target.parent.is_dir():
        raise InputError(f"checkpoint {path}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        raise InputError(f"checkpoint {path}: is not a regular file")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"checkpoint {path}: the folder {target.parent} cannot be written to")
    return target


def save_checkpoint(result: Training, path: str | PathLike[str]) -> None:
    """Write a run, finished or paused, with X, y and the source of its data.

    Parameters
    ----------
    result : Training
        What is saved.
    path : path
        Ends with ``.npz``. The file is either the old one or all of the new one, also if the
        process or the machine stops meanwhile.

    Raises
    ------
    InputError
        The path cannot be written to, or the disk is full; the file of before is intact.
    """
    target = checked_path(path)
    state, run = result._state, result.run
    generator = None if state.generator is None else state.generator.bit_generator.state
    described = {
        "algorithm": {name: getattr(run.algorithm, name) for name in _ALGORITHM},
        "run": {name: getattr(run, name) for name in _RUN},
        "record": run.record if run.record is None or isinstance(run.record, int) else "array",
        "state": {name: getattr(state, name) for name in _STATE},
        "generator": generator,
        "source": result.data.source,
    }
    arrays: dict[str, Any] = {
        "form": np.array(_FORM),
        "described": np.array(json.dumps(described)),
        "X": result.data.X,
        "y": result.data.y,
        "history": state.history,
        "balance": state.balance,
        "record": np.asarray(run.record if described["record"] == "array" else [], np.int64),
        **_weights("start", run.start),
        **_weights("reached", state.network),
    }
    arrays["checksum"] = np.array(_checksum(arrays))
    try:
        _write(target, arrays)
    except OSError as error:
        raise InputError(
            f"checkpoint {path}: cannot be written ({error.strerror or error}); what was written "
            "before stays valid"
        ) from None


def _write(target: Path, arrays: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | PathLike[str]) -> Training:
    """Read a run; :func:`continue_training` goes on with it.

    Parameters
    ----------
    path : path
        Written by :func:`save_checkpoint` or ``train(..., checkpoint=path)``.

    Returns
    -------
    Training
        With status "paused" if the run was under way.

    Raises
    ------
    InputError
        The file is missing, truncated, damaged or something else; the message names it.
    """
    arrays = _read(path)
    if str(arrays.get("form", "")) != _FORM:
        raise InputError(f"{path}: not a checkpoint of ReLU training")
    try:
        stored = str(arrays.pop("checksum"))
        if stored != _checksum(arrays):
            raise InputError(f"{path}: damaged: its content does not fit its checksum")
        return _assemble(arrays)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a checkpoint of this version ({error})") from None


def _assemble(arrays: dict[str, Any]) -> Training:
    described = json.loads(str(arrays["described"]))
    record = described["record"]
    run = Run(
        _network("start", arrays),
        Algorithm(**described["algorithm"]),
        record=arrays["record"] if record == "array" else record,
        **described["run"],
    )
    generator = None
    if described["generator"] is not None:
        generator = np.random.default_rng(0)
        generator.bit_generator.state = described["generator"]
    state = State(
        network=_network("reached", arrays),
        history=arrays["history"],
        balance=arrays["balance"],
        generator=generator,
        **described["state"],
    )
    data = Regression(arrays["X"], arrays["y"], source=described["source"])
    return Training(data, run, state)


def _weights(name: str, network: Network) -> dict[str, Any]:
    return {
        f"{name}_hidden_weights": network.hidden_weights,
        f"{name}_hidden_bias": network.hidden_bias,
        f"{name}_output_weights": network.output_weights,
    }


def _network(name: str, arrays: dict[str, Any]) -> Network:
    return Network(
        arrays[f"{name}_hidden_weights"],
        arrays[f"{name}_hidden_bias"],
        arrays[f"{name}_output_weights"],
    )


def _checksum(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        # np.load closes a file that it has opened itself only if it can be read.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'no NPZ file'})") from None
    except AttributeError:
        raise InputError(f"{path}: one array, not a checkpoint of ReLU training") from None
    except MemoryError:
        raise
    except Exception:
        # Of any class: a damaged archive is parsed before its checksum can be compared.
        raise InputError(f"{path}: truncated, damaged or not an NPZ file") from None
