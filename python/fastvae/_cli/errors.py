"""Errors of the command line, and the sentence and the exit code of any error."""

from __future__ import annotations

from pathlib import Path


class CommandError(Exception):
    """An error with a sentence for the user and an exit code."""

    code = 1


class UsageError(CommandError):
    """Wrong usage or bad input: exit code 2."""

    code = 2


class WorkError(CommandError):
    """The work failed: exit code 1."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: treated as Ctrl-C, with its own exit code."""


def explain(error: Exception) -> tuple[str, int]:
    """Return one sentence about an error, and the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case FloatingPointError():
            return text, 1
        case MemoryError():
            return f"out of memory: {text}" if str(error) else "out of memory", 1
        case FileNotFoundError() | IsADirectoryError() | NotADirectoryError() | PermissionError():
            return _of_file(error), 2
        case OSError():
            return _of_file(error), 1
        case ImportError() | NotImplementedError():
            return text, 2
        case ValueError() | TypeError():
            return text, 2
        case _:
            kind = type(error).__name__
            return f"unexpected {kind}: {text} (--debug shows the traceback; please report it)", 1


def _of_file(error: OSError) -> str:
    text = " ".join(str(error).split())
    if error.strerror is None or error.filename is None:
        return text
    # The core's errors name their file in the sentence already.
    return f"{Path(str(error.filename))}: {error.strerror}"


def missing(package: str, task: str, install: str | None = None) -> UsageError:
    """Return the error for a missing optional package."""
    return UsageError(f"{task} needs {package}, which is missing: pip install {install or package}")
