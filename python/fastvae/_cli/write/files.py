"""Files that are written whole or not at all, and never over another one without ``--force``."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from fastvae._cli.errors import UsageError, WorkError


def check(path: Path, force: bool, *, folder: bool = False) -> None:
    """Raise UsageError unless a file can be written to the path; called before the work, not after it."""
    if folder:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is no folder")
        if path.is_dir() and any(path.iterdir()) and not force:
            raise UsageError(f"the folder {path} is not empty: pass --force to write into it")
    elif path.is_dir():
        raise UsageError(f"{path} is a folder: name a file")
    elif path.exists() and is_regular(path) and not force:
        raise UsageError(f"{path} exists: pass --force to replace it")
    parent = path.absolute().parent
    if not parent.is_dir():
        if folder and not parent.exists():
            return
        raise UsageError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(parent, os.W_OK) and not (path.exists() and not is_regular(path)):
        raise UsageError(f"{path}: the folder {path.parent} is not writable")


def is_regular(path: Path) -> bool:
    """Whether a path is a file on disk, and no device or pipe."""
    return stat.S_ISREG(path.stat().st_mode)


def write(path: Path, data: bytes) -> None:
    """Write a file atomically; a device or a pipe directly."""
    from fastvae import _core

    try:
        if path.exists() and not is_regular(path):
            with path.open("wb") as file:
                file.write(data)
            return
        _core.write_atomically(str(path), data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WorkError(f"{path} was not written: {error.strerror or error}") from None


def print_text(text: str) -> None:
    """Write text to standard output. BrokenPipeError passes."""
    write_stdout(text.encode())


def write_stdout(data: bytes) -> None:
    """Write to standard output. BrokenPipeError passes."""
    if sys.stdout is None:
        raise WorkError("standard output is closed")
    try:
        sys.stdout.flush()
        rest = memoryview(data)
        while rest:  # with PYTHONUNBUFFERED a write may take a part
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise WorkError(f"standard output was not written: {error}") from None


def size(path: Path) -> str:
    """Return the size of a file as text, such as "12.3 kB"."""
    n = float(path.stat().st_size)
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"
