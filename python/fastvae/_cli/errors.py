"""Errors of the command line."""

from __future__ import annotations


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


def missing(package: str, task: str, install: str | None = None) -> UsageError:
    """Return the error for a missing optional package."""
    return UsageError(f"{task} needs {package}, which is missing: pip install {install or package}")
