"""Tables compared bit for bit."""

from __future__ import annotations

import struct


def of(value) -> str:
    """A value with its type, floats by their bits."""
    if type(value) is float:
        return struct.pack(">d", value).hex()
    return f"{type(value).__name__} {value:x}" if type(value) is int else repr(value)


def differences(first, second) -> list[str]:
    """Where two tables differ in names, types of columns, length, or any bit of any value."""
    if list(first.columns) != list(second.columns):
        return [f"columns {list(first.columns)} and {list(second.columns)}"]
    if len(first) != len(second):
        return [f"{len(first)} and {len(second)} rows"]
    found = []
    for name in first.columns:
        if first[name].dtype != second[name].dtype:
            found.append(f"{name}: {first[name].dtype} and {second[name].dtype}")
        pairs = zip(first[name].tolist(), second[name].tolist(), strict=True)
        found += [f"{name}[{j}]" for j, (a, b) in enumerate(pairs) if of(a) != of(b)]
    return found
