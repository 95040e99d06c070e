"""The outcome of a cell as bytes and back, exactly, under a checksum.

A record is one line ``sam_theory-sweep-cell-1 KEY SHA256`` and then JSON, readable by eye: the
study, its settings, and the rows or the error. The SHA-256 is that of the JSON's bytes. Finite
floats are written with the digits that read back to the same bits, others by their bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_theory.errors import InputError

_MAGIC = "sam_theory-sweep-cell-1"
_SHOWN = 80
_SMALL = 2**63
# Python refuses to print integers of more than 4300 digits.
_BITS = 14_000
Row = dict[str, Any]


class Damaged(Exception):
    """A record is not what was written; the message says in which way."""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no rows.

    Attributes
    ----------
    type, message : str
        The exception's class and text.
    traceback : str
        As Python prints it; empty where there is none.
    """

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure that an exception describes."""
        # The first frame is the caller's, not the study's.
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        try:
            text = str(error)
        except Exception:
            text = "(its message cannot be shown)"
        try:
            lines = traceback.format_exception(type(error), error, frames)
        except Exception:
            lines = []
        return cls(type(error).__name__, text, "".join(lines))


@dataclass(frozen=True)
class Outcome:
    """What a cell came to: its rows, or the failure."""

    rows: list[Row]
    failure: Failure | None = None


def rows_of(result: Any, settings: Mapping[str, Any]) -> list[Row]:
    """Return what a study returned as rows of Python's own scalars.

    Parameters
    ----------
    result : mapping, DataFrame or list of mappings
        One row, or several.
    settings : mapping
        The cell's settings, whose names the result must not use.

    Raises
    ------
    InputError
        Another type, or a value that cannot be stored exactly; one line names it.
    """
    pandas = sys.modules.get("pandas")
    if isinstance(result, Mapping):
        given = [result]
    elif pandas is not None and isinstance(result, pandas.DataFrame):
        if not result.columns.is_unique:
            raise InputError("the result has two columns of the same name")
        columns = [result[name].tolist() for name in result.columns]
        given = [dict(zip(result.columns, row, strict=True)) for row in zip(*columns, strict=True)]
    elif isinstance(result, list | tuple) and all(isinstance(row, Mapping) for row in result):
        given = list(result)
    else:
        raise InputError(
            f"the study returned a {type(result).__name__}; it must return a mapping of scalars, "
            "a DataFrame or a list of mappings"
        )
    return [{_name(key, settings): _scalar(key, row[key]) for key in row} for row in given]


def _name(name: Any, settings: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"the name of a result must be a string, not {name!r}")
    if name in settings:
        raise InputError(f"the result {name!r} has the name of a setting")
    return str(name)


def _scalar(name: str, value: Any) -> Any:
    kind = type(value)
    if isinstance(value, np.generic):
        exact = value.dtype.kind in "biuU" or (value.dtype.kind == "f" and value.itemsize <= 8)
        value = value.item() if exact else value
    if type(value) is int and value.bit_length() > _BITS:
        raise InputError(f"the result {name!r} is an integer of {value.bit_length()} bits")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InputError(
        f"the result {name!r} is a {kind.__name__}, which cannot be stored; "
        "known are numbers, strings, booleans and None"
    )


def pack(key: str, outcome: Outcome, study: str, settings: Mapping[str, Any]) -> bytes:
    """Return the record of a cell; the same outcome gives the same bytes."""
    content: dict[str, Any] = {
        "study": study,
        "settings": {name: _brief(value) for name, value in settings.items()},
    }
    if outcome.failure is None:
        content["rows"] = [
            {name: _spelled(value) for name, value in row.items()} for row in outcome.rows
        ]
    else:
        failure = outcome.failure
        content["failure"] = [failure.type, failure.message, failure.traceback]
    body = json.dumps(content, allow_nan=False).encode("ascii") + b"\n"
    return _head(key, body) + body


def unpack(key: str, data: bytes) -> Outcome:
    """Return the outcome in a record; Damaged if it is not exactly a record of that cell."""
    head, newline, body = data.partition(b"\n")
    if not head.startswith(_MAGIC.encode()):
        raise Damaged("is not a record of a sweep")
    if head + newline != _head(key, body):
        raise Damaged("does not have the checksum that was written with it")
    content = json.loads(body)
    if "failure" in content:
        return Outcome([], Failure(*content["failure"]))
    return Outcome([{k: _read(value) for k, value in row.items()} for row in content["rows"]])


def _head(key: str, body: bytes) -> bytes:
    return f"{_MAGIC} {key} {hashlib.sha256(body).hexdigest()}\n".encode("ascii")


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        text = type(value).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _spelled(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        return {"float": struct.pack(">d", value).hex()}
    if type(value) is int and not -_SMALL <= value < _SMALL:
        return {"int": hex(value)}
    return value


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "int" in value:
        return int(value["int"], 16)
    return struct.unpack(">d", bytes.fromhex(value["float"]))[0]
