"""What identifies a cell: the SHA-256 of its inputs, each written so that no two spell the same.

Every value is fed as a type's letter, a length where the length can vary, and its exact bytes:
1, 1.0, True and "1" differ, so do 0.0 and -0.0, and an array differs from its list.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_theory.errors import InputError
from sam_theory.sweeps.inputs import ARRAYS, PLAIN, is_dataclass, is_sparse

FORMAT = b"sam_theory sweep cell 1"
KNOWN = "numbers, strings, None, lists, tuples, dicts, arrays and frozen dataclasses (Regression)"
_ARRAY_KINDS = "biufcSU"


def cell_key(study: str, code: str, settings: Mapping[str, Any], common: str) -> str:
    """Return the key of a cell.

    Parameters
    ----------
    study : str
        Name of the study.
    code : str
        Version of the code.
    settings : mapping
        The cell's own arguments, by name; their order does not matter.
    common : str
        :func:`digest` of the arguments that all cells share.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputError
        A setting is of a type that has no exact form; the message names it.
    """
    state = hashlib.sha256(FORMAT)
    for text in (study, code, common):
        _text(state, text)
    _feed(state, dict(settings), "")
    return state.hexdigest()


def digest(values: Mapping[str, Any], where: str) -> str:
    """Return the SHA-256 of named values; InputError names one that has no exact form."""
    state = hashlib.sha256(FORMAT)
    _feed(state, dict(values), where)
    return state.hexdigest()


def _feed(state: Any, value: Any, where: str) -> None:
    kind = type(value)
    if isinstance(value, PLAIN):
        value = value.item()
        kind = type(value)
    if value is None:
        state.update(b"N")
    elif kind is bool:
        state.update(b"B1" if value else b"B0")
    elif kind is int:
        state.update(b"I")
        _text(state, hex(value))
    elif kind is float:
        state.update(b"F" + struct.pack("<d", value))
    elif kind is complex:
        state.update(b"C" + struct.pack("<dd", value.real, value.imag))
    elif kind is str:
        state.update(b"S")
        _text(state, value)
    elif kind is bytes:
        state.update(b"Y" + struct.pack("<q", len(value)) + value)
    elif kind in (list, tuple):
        state.update((b"L" if kind is list else b"T") + struct.pack("<q", len(value)))
        for j, entry in enumerate(value):
            _feed(state, entry, f"{where}[{j}]")
    elif kind is dict:
        _feed_mapping(state, value, where)
    elif isinstance(value, np.ndarray | np.generic):
        _feed_array(state, value, where)
    elif is_sparse(value):
        _feed_sparse(state, value, where)
    elif is_dataclass(value):
        _feed_dataclass(state, value, where)
    else:
        raise _refusal(where, f"a {kind.__name__}")


def _feed_mapping(state: Any, value: dict[Any, Any], where: str) -> None:
    for name in value:
        if type(name) is not str:
            raise _refusal(where, f"a dict with the key {name!r}, which is no string,")
    state.update(b"M" + struct.pack("<q", len(value)))
    for name in sorted(value):
        _text(state, name)
        _feed(state, value[name], f"{where}[{name!r}]" if where else name)


def _feed_array(state: Any, value: Any, where: str) -> None:
    kind, dtype = type(value), value.dtype
    if isinstance(value, np.ndarray) and kind not in ARRAYS:
        raise _refusal(where, f"a {kind.__name__}")
    wide = dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)
    if dtype.kind not in _ARRAY_KINDS or wide:
        raise _refusal(where, f"an array or scalar of dtype {dtype}")
    state.update(b"A" if isinstance(value, np.ndarray) else b"G")
    _text(state, dtype.str)
    state.update(struct.pack(f"<q{value.ndim}q", value.ndim, *value.shape))
    # Item by item in C order, whatever the layout: a view of it where possible.
    state.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)


def _feed_sparse(state: Any, value: Any, where: str) -> None:
    if value.format not in ("csr", "csc"):
        raise _refusal(where, f"a {type(value).__name__} (only csr and csc)")
    state.update(b"P")
    _text(state, type(value).__name__)
    state.update(struct.pack("<qq", *value.shape))
    for part in (value.data, value.indices, value.indptr):
        _feed_array(state, part, where)


def _feed_dataclass(state: Any, value: Any, where: str) -> None:
    kind = type(value)
    if not kind.__dataclass_params__.frozen:
        raise _refusal(where, f"a {kind.__name__}, a dataclass that is not frozen,")
    state.update(b"D")
    _text(state, f"{kind.__module__}.{kind.__qualname__}")
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    _feed_mapping(state, fields, where)


def _text(state: Any, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    state.update(struct.pack("<q", len(content)) + content)


def _refusal(where: str, what: str) -> InputError:
    return InputError(f"{where}: {what} cannot be an input of a sweep; known are {KNOWN}")
