"""A progress line on standard error."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """Rewrites one line on standard error during training.

    If standard error fails (closed, full, a terminal that is gone), the line ends and training goes on.

    Parameters
    ----------
    show : bool or None
        None shows the line only if standard error is a terminal.
    epochs, examples : int
        Number of epochs, which may grow, and of examples per epoch.
    done : int
        Number of epochs done before.
    """

    def __init__(self, show: bool | None, epochs: int, examples: int, done: int = 0) -> None:
        self._on = sys.stderr is not None and (_is_terminal() if show is None else show)  # None: pythonw, a daemon
        self.epochs, self._examples = epochs, examples
        self._epoch = done
        self._last = ""
        self._start = time.perf_counter()

    def tick(self, examples: int) -> None:
        """Show the progress of the current epoch; `examples` are done."""
        self._write(f"{100 * examples // self._examples:3d} %  {self._last}")

    def epoch(self, logs: dict[str, float]) -> None:
        """Show the losses of a finished epoch."""
        self._epoch += 1
        shown = [f"{key} {logs[key]:.2f}" for key in ("loss", "val_loss") if key in logs]
        self._last = "  ".join(shown)
        self._write(f"100 %  {self._last}")

    def close(self) -> None:
        """End the line."""
        if self._on:
            self._put("\n")

    def _write(self, text: str) -> None:
        if not self._on:
            return
        seconds = time.perf_counter() - self._start
        epoch = min(self._epoch + (not text.startswith("100")), self.epochs)
        line = f"epoch {epoch}/{self.epochs}  {text}  {seconds:.1f} s"
        self._put(f"\r{line:<78}")

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except Exception:  # of any kind: the stream may be anyone's object
            self._on = False


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except Exception:
        return False


def check(progress: Any) -> bool | None:
    """Return the parameter ``progress``, or raise ValueError."""
    if progress is None or isinstance(progress, bool):
        return progress
    raise ValueError(f"progress={progress!r} must be None, True or False")
