"""The errors of training on several ranks, which all ranks raise with the same sentence."""

from __future__ import annotations

# Errors of which another rank raises the same class; others are RuntimeErrors there.
_ALIKE = (ValueError, TypeError, FloatingPointError, MemoryError, RuntimeError)


class FailedElsewhereError(Exception):
    """Another rank has failed; its error follows. It never leaves the group."""


class SilentRankError(Exception):
    """The ranks did not meet in time. It never leaves the group."""


class DisagreementError(ValueError):
    """All ranks raise it with the same sentence. It leaves the group as a ValueError."""


def described(error: BaseException) -> tuple[str, str]:
    """Return the name of an error's class, if all ranks raise it alike, else an empty one, and a sentence."""
    kind, message = type(error).__name__, str(error)
    if type(error) in _ALIKE:
        return kind, message
    if isinstance(error, KeyboardInterrupt):
        return "", "interrupted by Ctrl-C"
    return "", f"{kind}: {message}" if message else kind


def rebuilt(kind: str, message: str) -> Exception:
    """Return an error from its description, with a sentence."""
    return {cls.__name__: cls for cls in _ALIKE}.get(kind, RuntimeError)(message)
