"""The command line: ``fastvae`` and ``python -m fastvae``.

Exit codes: 0; 1 if the work failed (diverged training, a full disk); 2 for wrong usage and bad input; 130 after Ctrl-C,
143 after SIGTERM, 141 if the reader of standard output went away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastvae._cli import messages
from fastvae._cli.errors import CommandError, Terminated
from fastvae._cli.explain import explain
from fastvae._cli.parser import parse

__all__ = ["main"]

_INTERRUPTED, _TERMINATED, _BROKEN_PIPE = 130, 143, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `argv` is ``sys.argv[1:]`` by default."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        with messages.warnings_as_lines(), _sigterm():
            try:
                options = parse(arguments)
                messages.configure(options)
                code = options.run(options)
                sys.stdout.flush()
                return int(code or 0)
            except BrokenPipeError:
                _silence(sys.stdout)
                return _BROKEN_PIPE
            except CommandError as error:
                if debug:
                    raise
                messages.error(str(error))
                return error.code
            except Exception as error:
                if debug:
                    raise
                message, code = explain(error)
                messages.error(message)
                return code
    except Terminated:
        return _TERMINATED
    except KeyboardInterrupt:
        messages.error("interrupted")
        return _INTERRUPTED


@contextmanager
def _sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that a partial model is kept."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _silence(stream: Any) -> None:
    """Redirect a broken stream to the null device: the interpreter flushes it at its exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError, AttributeError):
        warnings.simplefilter("ignore")
