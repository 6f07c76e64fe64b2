"""Where a model file comes from and goes to: a path, bytes, or a binary file object."""

from __future__ import annotations

import os
from typing import Any

from fastvae import _core


def read(source: Any) -> tuple[str | bytes, str]:
    """Return a path or the bytes of a model file, and its title for messages."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return path, repr(path)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the bytes"
    if not callable(getattr(source, "read", None)):
        raise TypeError(f"load reads a path, bytes or a binary file object, not {type(source).__name__}")
    data = source.read()
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"load needs a binary file object, whose read() returns bytes: {_REMEDY} (mode 'rb')")
    return bytes(data), _title(source)


def begins(source: str | bytes, first: bytes) -> bool:
    """Whether a file, given by its path or its bytes, begins with `first`."""
    if isinstance(source, bytes):
        return source.startswith(first)
    try:
        with open(source, "rb") as file:
            return file.read(len(first)) == first
    except OSError:
        return False


def write(target: Any, data: bytes, method: str = "save") -> None:
    """Write the bytes of a file: to a path atomically, or to a binary file object. `method` is named in messages."""
    if isinstance(target, (str, os.PathLike)):
        _core.write_atomically(os.fsdecode(target), data)
        return
    if not callable(getattr(target, "write", None)):
        raise TypeError(f"{method} writes to a path or a binary file object, not {type(target).__name__}")
    rest = memoryview(data)
    while rest:
        try:
            written = target.write(rest)
        except TypeError:
            raise TypeError(
                f"{method} needs a binary file object, whose write() takes bytes: {_REMEDY} (mode 'wb')"
            ) from None
        if not isinstance(written, int) or not 0 <= written <= len(rest):  # a writer that does not count takes all
            return
        if written == 0:
            raise OSError(f"{_title(target)} takes no more bytes")
        rest = rest[written:]


_REMEDY = "open it in binary mode"


def _title(file: Any) -> str:
    name = getattr(file, "name", None)
    return repr(name) if isinstance(name, str) else f"the {type(file).__name__}"
