"""Lines on standard error: errors, warnings, notes. Standard output is for data only."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastvae._cli.explain import in_options


class _State:
    quiet = False
    seen: list[str] = []  # noqa: RUF012 - the warnings of this run


def configure(options: Any) -> None:
    """Set ``--quiet``."""
    _State.quiet = bool(getattr(options, "quiet", False))


def seen() -> list[str]:
    """Return the warnings of this run."""
    return list(_State.seen)


def error(text: str) -> None:
    """Write the error of a command."""
    _line(f"fastvae: error: {text}")


def warning(text: str) -> None:
    """Write a warning on one line."""
    text = in_options(" ".join(text.split()))
    _State.seen.append(text)
    _line(f"fastvae: warning: {text}")


def note(text: str) -> None:
    """Write what a command does, unless ``--quiet``."""
    if not _State.quiet:
        _line(f"fastvae: {text}")


def _line(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full or None: the command goes on
        pass


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show each warning of Python as one line."""
    _State.quiet, _State.seen = False, []
    with warnings.catch_warnings():

        def show(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
            warning(str(message))

        warnings.showwarning = show
        yield
